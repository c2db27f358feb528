"""Which trials a search wants, given those that are finished.

  wanted = points_wanted(config, found)      # grows, until nothing is new

A search is a row of `SEARCHES`: a function of the config and of the lines of
finished trials, no more, so that it goes on wherever it was stopped, and
several processes come to the same wishes. It looks at ID validation, never at
a test set.
"""

import math
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from daft_jax.head_rate import AUTO
from daft_jax.methods import uses_head_lr, uses_lr
from daft_jax.points import Point

Found = Mapping[Point, Mapping[str, Any]]
Rates = tuple[float | None, float | str | None]

# What protocols advise for batches of 64 with train-mode BatchNorm: the rates
# of LP-FT's and DAFT's code together, and what lies between.
WIDE_LRS = (1e-1, 3e-2, 1e-2, 3e-3, 1e-3, 3e-4, 1e-4, 3e-5, 1e-5, 3e-6)
PAPER_HEAD_LRS = (1.0, 10.0, 3.0, 0.3, 0.1)  # the first one is of stage 1
AUTO_LRS = (0.01, 0.003, 0.03, 0.001, 0.1)  # the likeliest first

_ETA = 3  # of successive halving: a third goes on, three times as long


def points_wanted(config: Mapping[str, Any], found: Found) -> list[Point]:
  """All trials that are known to be wanted so far, in their order.

  Args:
    config: as `settings.check` returns it; its `search` names the row.
    found: the result lines of finished trials.

  Example:
    >>> config = {'search': 'paper', 'methods': ('daft',), 'seeds': (0,)}
    >>> config |= {'lrs': (0.1, 0.01), 'head_lrs': (1.0, 0.3), 'epochs': 9}
    >>> first = points_wanted(config, {})
    >>> [(point.lr, point.head_lr) for point in first]
    [(0.1, 1.0), (0.01, 1.0)]
    >>> found = {point: {'id_val': point.lr} for point in first}
    >>> points_wanted(config, found)[-1][2:4]
    (0.1, 0.3)
  """
  return list(dict.fromkeys(SEARCHES[config['search']](config, found)))


def _grid(config: Mapping[str, Any], found: Found) -> Iterator[Point]:
  """Every rate with every other, seed by seed."""
  for seed in config['seeds']:
    for method in config['methods']:
      for rates in _pairs(method, config['lrs'], config['head_lrs']):
        yield Point(method, seed, *rates)


def _paper(config: Mapping[str, Any], found: Found) -> Iterator[Point]:
  """The backbone's rates at the first head rate, then the other head rates.

  Source: the authors' release, run-*.sh; see `configs/common.py`.
  """
  yield from _two_stages(config, found, config['lrs'], config['head_lrs'])


def _wide(config: Mapping[str, Any], found: Found) -> Iterator[Point]:
  """The same over `WIDE_LRS` and the paper's head rates."""
  yield from _two_stages(config, found, WIDE_LRS, PAPER_HEAD_LRS)


def _two_stages(
  config: Mapping[str, Any],
  found: Found,
  lrs: Sequence[float],
  head_lrs: Sequence[float | str],
) -> Iterator[Point]:
  for method in config['methods']:
    pairs = _pairs(method, lrs, head_lrs[:1])
    yield from _all_seeds(config, method, pairs)
    best = _best(config, found, method, pairs)
    if best and uses_head_lr(method):
      others = [(best[0][0], head_lr) for head_lr in head_lrs[1:]]
      yield from _all_seeds(config, method, others)


def _halving(config: Mapping[str, Any], found: Found) -> Iterator[Point]:
  """Successive halving over the grid, by threes: E/9, E/3 and E epochs.

  Source: Jamieson and Talwalkar 2016, arXiv 1502.07943.
  """
  epochs = config['epochs']
  for method in config['methods']:
    pairs = _pairs(method, config['lrs'], config['head_lrs'])
    plan, enter = [], len(pairs)
    for rung in sorted({max(1, epochs // _ETA**2), max(1, epochs // _ETA)}):
      if rung < epochs and enter > 1:
        plan.append((rung, enter))
        enter = math.ceil(enter / _ETA)
    yield from _rungs(config, found, method, pairs, [*plan, (epochs, enter)])


def _auto(config: Mapping[str, Any], found: Found) -> Iterator[Point]:
  """A good rate in at most three times the time of one run."""
  head = (AUTO,) if config['optimizer']['name'] == 'sgd' else config['head_lrs']
  for method in config['methods']:
    pairs = _pairs(method, AUTO_LRS, head[:1])
    plan = auto_plan(config['epochs'], len(pairs))
    yield from _rungs(config, found, method, pairs, plan)


def auto_plan(epochs: int, rates: int) -> list[tuple[int, int]]:
  """How many of the rates are tried for how many epochs.

  All for a tenth, the better two for a third, the best to the end: that is
  2.2 E epochs, of which a third more would be three times E.

  Example:
    >>> auto_plan(10, 5), auto_plan(1, 5)
    ([(1, 5), (3, 2), (10, 1)], [(1, 1)])
  """
  short, middle = max(1, epochs // 10), epochs // 3
  plan = []
  if short < epochs and rates > 1:
    plan.append((short, min(rates, epochs // short)))
    if middle > short:
      plan.append((middle, 2))
  return [*plan, (epochs, 1)]


def _rungs(
  config: Mapping[str, Any],
  found: Found,
  method: str,
  pairs: Sequence[Rates],
  plan: Sequence[tuple[int, int]],
) -> Iterator[Point]:
  """The first `enter` pairs at each rung, the best of it at the next one.

  Rungs are run with the first seed; what is left at the end with all of them.
  """
  if not uses_lr(method) and not uses_head_lr(method):
    plan = plan[-1:]
  for rung, enter in plan:
    pairs = pairs[:enter]
    if rung == config['epochs']:
      yield from _all_seeds(config, method, pairs)
      return
    some = {**config, 'seeds': config['seeds'][:1]}
    yield from _all_seeds(some, method, pairs, rung)
    pairs = _best(some, found, method, pairs, rung)
    if not pairs:  # It is not done yet, or all diverged.
      return


def _pairs(
  method: str, lrs: Sequence[float], head_lrs: Sequence[float | str]
) -> list[Rates]:
  """A rate that a method does not have is None and makes no further points."""
  return [
    (lr, head_lr)
    for lr in (lrs if uses_lr(method) else (None,))
    for head_lr in (head_lrs if uses_head_lr(method) else (None,))
  ]


def _all_seeds(
  config: Mapping[str, Any],
  method: str,
  pairs: Sequence[Rates],
  rung: int | None = None,
) -> list[Point]:
  return [
    Point(method, seed, *rates, rung)
    for seed in config['seeds']
    for rates in pairs
  ]


def _best(
  config: Mapping[str, Any],
  found: Found,
  method: str,
  pairs: Sequence[Rates],
  rung: int | None = None,
) -> list[Rates]:
  """The pairs from the best on, or () as long as one is not finished.

  By the mean over seeds of ID validation accuracy, then of its loss, then the
  earlier one. Pairs that diverged for a seed are left out.
  """
  scores = {}
  for rates in pairs:
    points = [Point(method, seed, *rates, rung) for seed in config['seeds']]
    lines = [found[point] for point in points if point in found]
    if len(lines) < len(points):
      return []
    accuracy = statistics.fmean(line['id_val'] for line in lines)
    loss = statistics.fmean(line.get('id_val_loss') or 0.0 for line in lines)
    if not math.isnan(accuracy):
      scores[rates] = -round(accuracy, 12), loss
  return sorted(scores, key=scores.__getitem__)


SEARCHES: dict[str, Callable[[Mapping[str, Any], Found], Iterator[Point]]] = {
  'grid': _grid,
  'paper': _paper,
  'wide': _wide,
  'halving': _halving,
  'auto': _auto,
}

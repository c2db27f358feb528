"""The choice of rates: by ID validation, nothing else.

best = choose(lines)['daft']
print(best.lr, best.head_lr, [line['id_test'] for line in best.lines])

Standard library only.
"""

import math
import statistics
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from daft_jax.results.files import Line


class Choice(NamedTuple):
  """The trials of one method at one pair of rates, a line for every seed."""

  lr: float | None
  head_lr: float | str | None
  lines: tuple[Line, ...]


def rates_of(line: Line) -> tuple[float, ...]:
  """Sorts by lr, then head_lr, a rate that is not there first, 'auto' last."""
  order = {None: -math.inf, 'auto': math.inf}
  return tuple(order.get(rate, rate) for rate in (line['lr'], line['head_lr']))


def by_rate(lines: Iterable[Line]) -> dict[str, list[Choice]]:
  """Groups lines by method, in order of appearance, and rates, ascending.

  Rungs of a search, which were trained for less, are left out.
  """
  groups: dict[str, dict[tuple[float, ...], list[Line]]] = {}
  for line in lines:
    if line.get('rung'):
      continue
    rates = groups.setdefault(line['method'], {})
    rates.setdefault(rates_of(line), []).append(line)
  return {
    method: [
      Choice(group[0]['lr'], group[0]['head_lr'], tuple(group))
      for _, group in sorted(rates.items())
    ]
    for method, rates in groups.items()
  }


def compared(choices: Sequence[Choice]) -> list[Choice]:
  """Leaves out diverged rates (nan) and rates with fewer seeds than others.

  One lucky seed must not win against the mean of five, so that a table made
  in the middle of a search is not misleading.
  """
  finite = [c for c in choices if not math.isnan(mean_id_val(c))]
  most = max((len(choice.lines) for choice in finite), default=0)
  return [choice for choice in finite if len(choice.lines) == most]


def mean_id_val(choice: Choice) -> float:
  """The mean ID validation accuracy over seeds, nan if one diverged."""
  return statistics.fmean(line['id_val'] for line in choice.lines)


def choose(lines: Iterable[Line]) -> dict[str, Choice]:
  """Picks each method's rates by mean ID validation accuracy over seeds.

  OOD and test accuracies are never looked at. Ties go to the smaller lr, then
  the smaller head_lr. A method whose every trial diverged is not in the
  result. See `compared` for what enters.

  Returns:
    {method: Choice(lr, head_lr, lines), one line for every seed}.
  """
  chosen = {}
  for method, choices in by_rate(lines).items():
    rivals = compared(choices)
    if rivals:
      # Rounded: 0.9 and 1.0 tie with 0.95 twice. max takes the first.
      chosen[method] = max(rivals, key=lambda c: round(mean_id_val(c), 12))
  return chosen

"""Methods compared in pairs, over the seeds that both were run with.

  for pair in pairs.compare(rows):
    print(pair.first, pair.second, pair.ood.mean, pair.ood.low, pair.ood.high)

A seed decides the order of the images, their augmentation and random heads, so
that two methods share the luck of a seed, and their difference is without it.
"""

import itertools
import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from daft_jax.report import blocks, summary, tables

LEAST = 3  # seeds, below which nothing is said
_DRAWS = 10_000


class Difference(NamedTuple):
  """Mean of paired differences, with its 90 % interval; nan: too few seeds."""

  mean: float
  low: float
  high: float
  n: int

  @property
  def sign(self) -> int:
    """1 or -1 where the interval is on one side of 0, else 0."""
    return (self.low > 0) - (self.high < 0)


class Pair(NamedTuple):
  """Two methods; differences are those of the first minus the second."""

  first: str
  second: str
  id_test: Difference
  ood: Difference


def compare(rows: Sequence[summary.Row]) -> list[Pair]:
  """Every pair of methods, in the order of the rows."""
  return [
    Pair(
      first.method,
      second.method,
      *(
        difference(_by_seed(first, field), _by_seed(second, field))
        for field in ('id_test', 'ood_mean')
      ),
    )
    for first, second in itertools.combinations(rows, 2)
  ]


def _by_seed(row: summary.Row, field: str) -> dict[int, float]:
  return {line['seed']: line[field] for line in row.choice.lines}


def difference(first: dict[int, float], second: dict[int, float]) -> Difference:
  """The mean difference over common seeds, with a bootstrap interval.

    mean -+ t(0.95, n - 1) sqrt(n / (n - 1)) s

  s is the standard deviation of the mean over draws of n seeds with
  replacement. The bootstrap's own quantiles are too narrow for few seeds: it
  takes the n differences for all there are. The root mends its variance, and
  Student's t that this is estimated.

  Args:
    first, second: seed -> value; nan where a trial diverged.

  Returns:
    No interval (nan) for fewer than `LEAST` seeds, or where all differences
    are equal: how much they vary is then not known.

  Source: Efron, Tibshirani 1993, An Introduction to the Bootstrap, ch. 12.

  Example:
    >>> found = difference({0: 0.5, 1: 0.6, 2: 0.7}, {0: 0.4, 1: 0.4, 2: 0.4})
    >>> round(found.mean, 3), found.sign
    (0.2, 1)
  """
  both = [first[seed] - second[seed] for seed in first if seed in second]
  values = np.array([value for value in both if math.isfinite(value)])
  n = len(values)
  mean = float(values.mean()) if n else math.nan
  if n < LEAST or np.ptp(values) < 1e-12:
    return Difference(mean, math.nan, math.nan, n)
  draws = np.random.default_rng(0).choice(values, (_DRAWS, n))
  s = draws.mean(axis=1).std() * math.sqrt(n / (n - 1))
  half = float(summary.student(n) * s)
  return Difference(mean, mean - half, mean + half, n)


def findings(pairs: Iterable[Pair]) -> list[blocks.Text]:
  """What may be said of them: nothing else is shown.

  For ID test, then for OOD, of each method those that it is better than.
  """
  worse: dict[tuple[str, str], list[tuple[str, str]]] = {}
  for pair in pairs:
    for where, found in (('ID test', pair.id_test), ('OOD', pair.ood)):
      if found.sign:
        better, other = [pair.first, pair.second][:: found.sign]
        low, high = sorted(100 * abs(x) for x in (found.low, found.high))
        by = f' by {100 * abs(found.mean):.1f} ({low:.1f} to {high:.1f})'
        worse.setdefault((where, better), []).append((other, by))
  said = []
  for (where, better), others in sorted(worse.items(), key=lambda x: x[0][0]):
    text = [blocks.Code(better), f' is better on {where} than ']
    for i, (other, by) in enumerate(others):
      text += [', ' if i else '', blocks.Code(other), by]
    said.append(text)
  return said


def table(pairs: Sequence[Pair]) -> blocks.Table:
  """A row a pair: differences in points, with their intervals."""
  body = []
  for pair in pairs:
    cells = [pair.first, pair.second]
    for found in (pair.id_test, pair.ood):
      text = tables.number(100 * found.mean, 1)
      if not math.isnan(found.low):
        text += f' ({100 * found.low:.1f} to {100 * found.high:.1f})'
      cells.append(text)
    body.append([*cells, str(pair.ood.n)])
  header = ['method', 'minus', 'ID test', 'OOD', 'seeds']
  return blocks.Table(header, body, {}, left=2)

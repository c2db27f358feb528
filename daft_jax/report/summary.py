"""The final table as numbers: one row a method, over its chosen trials.

  rows = summary.summarize(results.read(workdir))
  print(rows[0].method, rows[0].id_test.mean, rows[0].id_test.std)
  first, second = summary.ranked(rows, summary.columns(rows)[1])

Which trials are chosen is `results.choose`'s business. Standard library only.
"""

import math
import statistics
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from daft_jax import results


class Stat(NamedTuple):
  """Mean and sample standard deviation (n - 1) over n seeds; nan for n = 1."""

  mean: float
  std: float
  n: int


class Row(NamedTuple):
  """One method in the final table: statistics over the chosen lines."""

  method: str
  choice: results.Choice
  id_val: Stat
  id_test: Stat
  ood: dict[str, Stat]
  ood_mean: Stat
  feature_l2: Stat
  feature_cosine: Stat
  seconds: Stat


class Column(NamedTuple):
  """A measurement: where to find it, how to print it, which way is good."""

  title: str
  get: Callable[[Row], Stat]
  scale: float
  digits: int
  good: Callable[[Iterable[float]], float]  # max or min
  marked: bool = True


def stat(values: Iterable[float]) -> Stat:
  """Mean and sample standard deviation; one nan makes both nan."""
  values = list(values)
  if not values or any(math.isnan(value) for value in values):
    return Stat(math.nan, math.nan, len(values))
  std = statistics.stdev(values) if len(values) > 1 else math.nan
  return Stat(statistics.fmean(values), std, len(values))


def summarize(lines: Iterable[results.Line]) -> list[Row]:
  """Returns the rows of the final table, one for every method with a choice."""
  lines = list(lines)
  names = list(dict.fromkeys(name for line in lines for name in line['ood']))
  rows = []
  for method, choice in results.choose(lines).items():
    stats = {
      name: stat(line[name] for line in choice.lines)
      for name in Row._fields[2:]
      if name != 'ood'
    }
    stats['ood'] = {
      name: stat(line['ood'].get(name, math.nan) for line in choice.lines)
      for name in names
    }
    rows.append(Row(method=method, choice=choice, **stats))
  return rows


def diverged(lines: Iterable[results.Line]) -> list[str]:
  """The methods with no rate to choose: no trial has a finite accuracy."""
  lines = list(lines)
  chosen = results.choose(lines)
  methods = dict.fromkeys(line['method'] for line in lines)
  return [method for method in methods if method not in chosen]


def columns(rows: Sequence[Row], *, each: bool = True) -> list[Column]:
  """Returns the measurements of the final table, in its order.

  `each=False` leaves the mean alone of several OOD sets.
  """
  names = list(rows[0].ood) if rows else []
  found = [
    Column('ID val', lambda row: row.id_val, 100, 1, max),
    Column('ID test', lambda row: row.id_test, 100, 1, max),
  ]
  for name in names if each or len(names) == 1 else ():
    get = lambda row, name=name: row.ood[name]  # noqa: E731
    found.append(Column(f'OOD {name}', get, 100, 1, max))
  if len(names) > 1:
    found.append(Column('OOD mean', lambda row: row.ood_mean, 100, 1, max))
  return found + [
    Column('feature L2', lambda row: row.feature_l2, 1, 2, min, False),
    Column('cosine', lambda row: row.feature_cosine, 1, 3, max, False),
    Column('seconds', lambda row: row.seconds, 1, 1, min, False),
  ]


def ranked(rows: Sequence[Row], column: Column) -> list[list[Row]]:
  """Best and second: rows equal at the printed precision share a place."""
  shown = {
    row.method: round(column.scale * column.get(row).mean, column.digits)
    for row in rows
    if not math.isnan(column.get(row).mean)
  }
  places = []
  while shown and len(places) < 2:
    best = column.good(shown.values())
    places.append([row for row in rows if shown.get(row.method) == best])
    shown = {name: value for name, value in shown.items() if value != best}
  return places

"""The final table as numbers: one row a method, over its chosen trials.

  rows = summary.summarize(results.read(workdir))
  print(rows[0].method, rows[0].id_test.mean, rows[0].id_test.half)
  first, second = summary.ranked(rows, summary.columns(rows)[1])

Which trials are chosen is `results.choose`'s business. Standard library only.
"""

import math
import re
import statistics
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from daft_jax import results

# A table with more OOD sets than this is not read, it is searched.
MANY = 8


# The 0.95 quantile of Student's t, by degrees of freedom; then the normal's.
_STUDENT = (
  *(6.314, 2.920, 2.353, 2.132, 2.015, 1.943, 1.895, 1.860, 1.833, 1.812),
  *(1.796, 1.782, 1.771, 1.761, 1.753, 1.746, 1.740, 1.734, 1.729, 1.725),
  *(1.721, 1.717, 1.714, 1.711, 1.708, 1.706, 1.703, 1.701, 1.699, 1.697),
)
_NORMAL = 1.645


class Stat(NamedTuple):
  """Mean over n seeds, and half the width of its 90 % interval; see `stat`."""

  mean: float
  half: float
  n: int


class Row(NamedTuple):
  """One method in the final table: statistics over the chosen lines."""

  method: str
  choice: results.Choice
  id_val: Stat
  id_test: Stat
  ood: dict[str, Stat]
  ood_mean: Stat
  summaries: dict[str, Stat]  # one number of several OOD sets
  feature_l2: Stat
  feature_cosine: Stat
  seconds: Stat


class Column(NamedTuple):
  """A measurement: where to find it, how to print it, which way is good."""

  title: str
  get: Callable[[Any], Stat]
  scale: float
  digits: int
  good: Callable[[Iterable[float]], float]  # max or min
  marked: bool = True


def stat(values: Iterable[float]) -> Stat:
  """The mean of a value for each seed, with its 90 % interval.

    mean -+ t(0.95, n - 1) s / sqrt(n)

  s is the sample standard deviation (n - 1). As in LP-FT (arXiv 2202.10054),
  which takes 1.645 for Student's t: too narrow for its three seeds.

  Returns:
    The half is nan for one value; one nan makes both nan.

  Example:
    >>> found = stat([0.5, 0.6, 0.7])
    >>> round(found.mean, 3), round(found.half, 3)
    (0.6, 0.169)
  """
  values = list(values)
  if not values or any(math.isnan(value) for value in values):
    return Stat(math.nan, math.nan, len(values))
  half = math.nan
  if len(values) > 1:
    half = student(len(values)) * statistics.stdev(values) / len(values) ** 0.5
  return Stat(statistics.fmean(values), half, len(values))


def student(n: int) -> float:
  """The 0.95 quantile of Student's t for n values, two or more.

  Example:
    >>> student(3), student(1000)
    (2.92, 1.645)
  """
  return _STUDENT[n - 2] if n - 2 < len(_STUDENT) else _NORMAL


def summarize(lines: Iterable[results.Line]) -> list[Row]:
  """Returns the rows of the final table, one for every method with a choice."""
  lines = list(lines)
  rows = []
  for method, choice in results.choose(lines).items():
    stats = {
      name: stat(line[name] for line in choice.lines)
      for name in Row._fields[2:]
      if name not in ('ood', 'summaries')
    }
    for field in ('ood', 'summaries'):
      names = dict.fromkeys(n for line in lines for n in line.get(field, ()))
      stats[field] = {
        name: stat(x.get(field, {}).get(name, math.nan) for x in choice.lines)
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


def columns(rows: Sequence[Row], *, detail: str = 'sets') -> list[Column]:
  """Returns the measurements of the final table, in its order.

  Args:
    rows: what `summarize` returns.
    detail: of several OOD sets, the 'sets', their mean and the summaries; the
      mean and the 'summaries'; or the 'mean' alone. More than `MANY` sets, or
      summaries, are for a table of their own: see `shown`, `overall`.
  """
  several = bool(rows) and len(rows[0].ood) > 1
  sets, summaries = shown(rows)
  sets = [] if len(sets) > MANY else sets
  summaries = overall(rows) if len(summaries) > MANY else summaries
  found = [
    Column('ID val', lambda row: row.id_val, 100, 1, max),
    Column('ID test', lambda row: row.id_test, 100, 1, max),
  ]
  if detail == 'sets' or not several:
    found += ood_columns('ood', sets, 'OOD ')
  if several:
    found.append(Column('OOD mean', lambda row: row.ood_mean, 100, 1, max))
  if detail != 'mean':
    found += ood_columns('summaries', summaries, 'OOD ')
  return found + [
    Column('feature L2', lambda row: row.feature_l2, 1, 2, min, False),
    Column('cosine', lambda row: row.feature_cosine, 1, 3, max, False),
    Column('seconds', lambda row: row.seconds, 1, 1, min, False),
  ]


def ood_columns(
  field: str, names: Iterable[str], prefix: str = ''
) -> list[Column]:
  """Columns of OOD sets (`field` 'ood') or of 'summaries'."""

  def column(name: str) -> Column:
    get = lambda row: getattr(row, field)[name]  # noqa: E731
    return Column(prefix + name, get, 100, 1, max)

  return [column(name) for name in names]


def shown(rows: Sequence[Any]) -> tuple[list[str], list[str]]:
  """Which OOD sets a table shows, and which summaries: all of these.

  Of more than `MANY` sets those are left out that a summary stands for, in
  every row that has them. Rows have `ood` and `summaries`.
  """
  sets, summaries = (
    list(dict.fromkeys(n for row in rows for n in getattr(row, field)))
    for field in ('ood', 'summaries')
  )
  if len(sets) > MANY:
    sets = [name for name in sets if not all(_stands(x, name) for x in rows)]
  return sets, summaries


def overall(rows: Sequence[Any]) -> list[str]:
  """The summaries that do not stand for sets of their own name."""
  bases = {_base(name) for row in rows for name in row.ood}
  return [name for name in shown(rows)[1] if name not in bases]


def _base(name: str) -> str | None:
  """'fog' of 'fog_3': result lines do not say what a summary is made of."""
  found = re.fullmatch(r'(.+)_\d+', name)
  return found and found[1]


def _stands(row: Any, name: str) -> bool:
  """Whether a row says by a summary what it knows of a set."""
  value, other = row.ood.get(name), row.summaries.get(_base(name))
  if value is None or math.isnan(value.mean):
    return True
  return other is not None and other.n >= value.n and not math.isnan(other.mean)


def ranked(rows: Sequence[Any], column: Column) -> list[list[Any]]:
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

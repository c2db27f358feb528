"""Tables of OOD sets: few are columns, many are rows below their summaries.

groups = sets.further(rows, collect.read_eval(workdir))
print(markdown.table(sets.table(groups)))
if sets.hidden(groups):
  print(markdown.table(sets.table(groups, every=True)))
"""

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from daft_jax import results
from daft_jax.report import blocks, summary, tables

_FIELDS = ('ood', 'summaries')


class Group(NamedTuple):
  """The chosen trials of a method: what is known of them on OOD sets."""

  method: str
  seeds: int
  ood: dict[str, summary.Stat]
  mean: summary.Stat  # of the sets
  summaries: dict[str, summary.Stat]


def trained(rows: Iterable[summary.Row]) -> list[Group]:
  """The sets that every trial reports."""
  return [
    Group(x.method, len(x.choice.lines), x.ood, x.ood_mean, x.summaries)
    for x in rows
  ]


def further(
  rows: Iterable[summary.Row], lines: Iterable[results.Line]
) -> list[Group]:
  """The further sets of those chosen trials that were evaluated on some.

  Args:
    rows: what `summary.summarize` returns.
    lines: of eval.jsonl; a later one of a trial replaces an earlier one, set
      by set.
  """
  found: dict[str, dict[str, dict[str, float]]] = {}
  for line in lines:
    known = found.setdefault(line['trial'], {field: {} for field in _FIELDS})
    for field in _FIELDS:
      for name, value in line.get(field, {}).items():
        known[field][name] = math.nan if value is None else value
  used = {
    row.method: [
      found[x['trial']] for x in row.choice.lines if x['trial'] in found
    ]
    for row in rows
  }
  groups = [_group(method, x, used) for method, x in used.items() if x]
  return groups if _every(groups) else []


def _group(
  method: str,
  trials: Sequence[dict[str, dict[str, float]]],
  used: Mapping[str, Sequence[dict[str, dict[str, float]]]],
) -> Group:
  """Statistics over those trials that have a set, of all sets that any has."""
  stats = {}
  for field in _FIELDS:
    names = dict.fromkeys(n for x in used.values() for y in x for n in y[field])
    stats[field] = {
      name: summary.stat(x[field][name] for x in trials if name in x[field])
      for name in names
    }
  mean = summary.stat([])
  if stats['ood'] and all(x.n == len(trials) for x in stats['ood'].values()):
    mean = summary.stat(statistics.fmean(x['ood'].values()) for x in trials)
  return Group(method, len(trials), stats['ood'], mean, stats['summaries'])


def hidden(groups: Sequence[Group]) -> bool:
  """Whether summaries stand for some of the sets."""
  return len(summary.shown(groups)[0]) < len(_every(groups))


def _every(groups: Iterable[Group]) -> list[str]:
  return list(dict.fromkeys(name for group in groups for name in group.ood))


def table(groups: Sequence[Group], *, every: bool = False) -> blocks.Table:
  """Accuracies, best and second marked; more than `summary.MANY` sets as rows.

  Args:
    groups: what `trained` or `further` returns, not empty.
    every: every set, not the summaries that stand for some.
  """
  names, summaries = summary.shown(groups)
  if every:
    names, summaries = _every(groups), []
  columns = summary.ood_columns('ood', names)
  if len(names) == len(_every(groups)):  # or it is not seen what it is of
    columns.append(summary.Column('mean', lambda x: x.mean, 100, 1, max))
  columns += summary.ood_columns('summaries', summaries)
  body, marks = [], {}
  for group in groups:
    cells = [tables.spread(x.get(group), 100, 1) for x in columns]
    body.append([group.method, str(group.seeds), *cells])
  for index, column in enumerate(columns, 2):
    # One seed's accuracy is not ranked with the mean of five.
    rivals = [x for x in groups if column.get(x).n == x.seeds]
    if len(rivals) > 1:
      places = summary.ranked(rivals, column)
      marks |= tables.marked(groups, places, index)
  header = ['method', 'seeds', *(column.title for column in columns)]
  found = blocks.Table(header, body, marks, left=1)
  many = len(names) + len(summaries) > summary.MANY
  return tables.turn(found, 'set') if many else found

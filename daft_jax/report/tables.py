"""The tables of a report: result lines in, cells of text out.

  lines = results.read(workdir)
  rows = summary.summarize(lines)          # one a method, its chosen trials
  print(markdown.table(tables.summary_table(rows)))

Accuracies are shown in per cent. Standard library only.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Any

from daft_jax import results
from daft_jax.report import blocks, summary

MISSING = '–'
NOT_COMPARED = 'not compared'


def number(value: float | None, digits: int | None = None) -> str:
  """Formats a number: fixed digits, or shortest; a dash where there is none."""
  if isinstance(value, str):
    return value
  if value is None or math.isnan(value):
    return MISSING
  return f'{value:.3g}' if digits is None else f'{value:.{digits}f}'


def spread(
  value: summary.Stat, scale: float, digits: int, half: bool = True
) -> str:
  """Formats a `Stat` as '97.2 ± 0.3', without the second where n = 1."""
  text = number(scale * value.mean, digits)
  if not half or math.isnan(value.half):
    return text
  return f'{text} ± {number(scale * value.half, digits)}'


def head_rate(choice: results.Choice) -> str:
  """The head's rate, or the C that each seed's probe picked, as 'C=0.01'."""
  parts = [] if choice.head_lr is None else [number(choice.head_lr)]
  found = sorted({line['C'] for line in choice.lines if line['C'] is not None})
  if len(found) > 2:
    parts.append(f'C={number(found[0])} to {number(found[-1])}')
  elif found:
    parts.append('C=' + ', '.join(number(value) for value in found))
  return ', '.join(parts) or MISSING


def summary_table(
  rows: Sequence[summary.Row], *, halves: str = 'most', detail: str = 'sets'
) -> blocks.Table:
  """The final table: a row a method, best and second accuracies marked.

  Args:
    rows: what `summary.summarize` returns.
    halves: intervals of 'most' columns (not the seconds), 'some' (the
      accuracies only) or 'none'.
    detail: of OOD sets, see `summary.columns`.
  """
  measured = summary.columns(rows, detail=detail)
  header = ['method', 'lr', 'head lr or C', 'seeds']
  body, marks = [], {}
  for row in rows:
    cells = [row.method, number(row.choice.lr), head_rate(row.choice)]
    cells.append(str(len(row.choice.lines)))
    for column in measured:
      most = halves == 'most' and column.title != 'seconds'
      shown = most or (halves == 'some' and column.marked)
      cells.append(spread(column.get(row), column.scale, column.digits, shown))
    body.append(cells)
  for index, column in enumerate(measured, len(header)):
    if not column.marked or len(rows) < 2:
      continue
    marks |= marked(rows, summary.ranked(rows, column), index)
  return blocks.Table(header + [c.title for c in measured], body, marks, left=1)


def marked(
  rows: Sequence[Any], places: Iterable[Sequence[Any]], index: int
) -> dict[tuple[int, int], str]:
  """Marks of a column: all rows in the first place, and in the second."""
  return {
    (rows.index(row), index): name
    for name, place in zip(('best', 'second'), places, strict=False)
    for row in place
  }


def turn(table: blocks.Table, corner: str) -> blocks.Table:
  """Makes rows of the columns, for tables with many of these."""
  names, *body = map(list, zip(table.header, *table.body, strict=True))
  marks = {(j - 1, i + 1): mark for (i, j), mark in table.marks.items()}
  return blocks.Table([corner, *names[1:]], body, marks, left=1)


def metrics_table(rows: Sequence[summary.Row]) -> blocks.Table:
  """Every set's metrics: means over seeds; in brackets, deviation of images."""
  sets = list(
    dict.fromkeys(
      name for row in rows for x in row.choice.lines for name in x['metrics']
    )
  )
  body = []
  for name in sets:
    for row in rows:
      values = [line['metrics'].get(name, {}) for line in row.choice.lines]

      def mean(field: str, values=values) -> float:
        return summary.stat(value.get(field, math.nan) for value in values).mean

      cells = [name, row.method, number(100 * mean('accuracy'), 1)]
      cells += [number(mean('loss'), 3), number(mean('ece'), 3)]
      for field, digits in (('feature_l2', 2), ('feature_cosine', 3)):
        deviation = number(mean(f'{field}_std'), digits)
        cells.append(f'{number(mean(field), digits)} ({deviation})')
      body.append(cells)
  header = ['set', 'method', 'accuracy', 'loss', 'ECE', 'L2', 'cosine']
  return blocks.Table(header, body, {}, left=2)


def choice_table(rows: Sequence[summary.Row]) -> blocks.Table:
  """What was chosen: rates, and C and best epoch of every seed."""
  body = []
  for row in rows:
    lines = row.choice.lines
    each = [
      ', '.join(number(line[name]) for line in lines)
      if any(line[name] is not None for line in lines)
      else MISSING
      for name in ('C', 'epoch')
    ]
    seeds = ', '.join(str(line['seed']) for line in lines)
    rates = [number(row.choice.lr), number(row.choice.head_lr)]
    body.append([row.method, *rates, *each, seeds])
  header = ['method', 'lr', 'head lr', 'C', 'best epoch', 'seeds']
  return blocks.Table(header, body, {}, left=1)


def rates_table(lines: Iterable[results.Line]) -> blocks.Table:
  """Every pair of rates that was tried, with what it was judged by.

  And, beside it, what the choice decides without knowing: the mean of OOD sets.
  """
  lines = list(lines)
  chosen = results.choose(lines)
  fields = {'ID val': 'id_val'}
  if any(line['ood'] for line in lines):
    fields['OOD'] = 'ood_mean'
  body = []
  for method, choices in results.by_rate(lines).items():
    rivals = results.compared(choices)
    for choice in choices:
      verdict = '' if choice in rivals else NOT_COMPARED
      if chosen.get(method) == choice:
        verdict = 'chosen'
      found = [
        spread(summary.stat(x[field] for x in choice.lines), 100, 1)
        for field in fields.values()
      ]
      seeds = ', '.join(str(line['seed']) for line in choice.lines)
      cells = [method, number(choice.lr), head_rate(choice), seeds]
      body.append([*cells, *found, verdict])
  header = ['method', 'lr', 'head lr or C', 'seeds', *fields, '']
  return blocks.Table(header, body, {}, left=1)

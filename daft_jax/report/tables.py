"""The tables of a report: result lines in, Markdown or plain text out.

  lines = results.read(workdir)
  rows = summary.summarize(lines)          # one a method, its chosen trials
  print(tables.markdown(tables.summary_table(rows)))
  print(tables.console(rows))              # fits 100 columns

A `Table` knows nothing of its format, so another one is another small
function. Accuracies are shown in per cent. Standard library only.
"""

import math
import statistics
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from daft_jax import results
from daft_jax.report import summary

MISSING = '–'
NOT_COMPARED = 'not compared'


class Table(NamedTuple):
  """Cells of text; `marks` has 'best' or 'second' for some (row, column)."""

  header: list[str]
  body: list[list[str]]
  marks: dict[tuple[int, int], str]
  left: int  # how many columns are names, aligned left


def number(value: float | None, digits: int | None = None) -> str:
  """Formats a number: fixed digits, or shortest; a dash where there is none."""
  if value is None or math.isnan(value):
    return MISSING
  return f'{value:.3g}' if digits is None else f'{value:.{digits}f}'


def spread(
  value: summary.Stat, scale: float, digits: int, std: bool = True
) -> str:
  """Formats a `Stat` as '97.2 ± 0.3', without the second where n = 1."""
  text = number(scale * value.mean, digits)
  if not std or math.isnan(value.std):
    return text
  return f'{text} ± {number(scale * value.std, digits)}'


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
  rows: Sequence[summary.Row], *, std: str = 'most', each: bool = True
) -> Table:
  """The final table: a row a method, best and second accuracies marked.

  Args:
    rows: what `summary.summarize` returns.
    std: deviations of 'most' columns (not the seconds), 'some' (the
      accuracies only) or 'none'.
    each: a column for every OOD set, not for their mean alone.
  """
  measured = summary.columns(rows, each=each)
  header = ['method', 'lr', 'head lr or C', 'seeds']
  body, marks = [], {}
  for row in rows:
    cells = [row.method, number(row.choice.lr), head_rate(row.choice)]
    cells.append(str(len(row.choice.lines)))
    for column in measured:
      most = std == 'most' and column.title != 'seconds'
      shown = most or (std == 'some' and column.marked)
      cells.append(spread(column.get(row), column.scale, column.digits, shown))
    body.append(cells)
  for index, column in enumerate(measured, len(header)):
    if not column.marked or len(rows) < 2:
      continue
    for place, found in enumerate(summary.ranked(rows, column)):
      name = ('best', 'second')[place]
      marks |= {(rows.index(row), index): name for row in found}
  return Table(header + [c.title for c in measured], body, marks, left=1)


def metrics_table(rows: Sequence[summary.Row]) -> Table:
  """Every set's metrics: means over seeds; ± of L2 and cosine over images."""
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
        pair = summary.Stat(mean(field), mean(f'{field}_std'), len(values))
        cells.append(spread(pair, 1, digits))
      body.append(cells)
  header = ['set', 'method', 'accuracy', 'loss', 'ECE', 'L2', 'cosine']
  return Table(header, body, {}, left=2)


def choice_table(rows: Sequence[summary.Row]) -> Table:
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
  return Table(header, body, {}, left=1)


def rates_table(lines: Iterable[results.Line]) -> Table:
  """Every pair of rates that was tried, with what it was judged by."""
  lines = list(lines)
  chosen = results.choose(lines)
  body = []
  for method, choices in results.by_rate(lines).items():
    rivals = results.compared(choices)
    for choice in choices:
      verdict = '' if choice in rivals else NOT_COMPARED
      if chosen.get(method) == choice:
        verdict = 'chosen'
      id_val = spread(summary.stat(x['id_val'] for x in choice.lines), 100, 1)
      seeds = ', '.join(str(line['seed']) for line in choice.lines)
      cells = [method, number(choice.lr), head_rate(choice), seeds]
      body.append([*cells, id_val, verdict])
  header = ['method', 'lr', 'head lr or C', 'seeds', 'ID val', '']
  return Table(header, body, {}, left=1)


def further_table(
  rows: Sequence[summary.Row], further: Iterable[results.Line]
) -> Table | None:
  """Accuracies on further OOD sets of the chosen trials that have them."""
  found: dict[str, dict[str, float]] = {}
  for line in further:  # a later evaluation of a trial replaces an earlier one
    values = {k: math.nan if v is None else v for k, v in line['ood'].items()}
    found.setdefault(line['trial'], {}).update(values)
  used = {
    row.method: [
      found[x['trial']] for x in row.choice.lines if x['trial'] in found
    ]
    for row in rows
  }
  used = {method: group for method, group in used.items() if group}
  names = list(
    dict.fromkeys(n for group in used.values() for x in group for n in x)
  )
  if not names:
    return None
  body = []
  for method, group in used.items():
    stats = [
      summary.stat(x[name] for x in group if name in x) for name in names
    ]
    mean = summary.stat(statistics.fmean(x.values()) for x in group)
    complete = all(value.n == len(group) for value in stats)
    stats.append(mean if complete else summary.Stat(math.nan, math.nan, 0))
    cells = [spread(value, 100, 1) for value in stats]
    body.append([method, str(len(group)), *cells])
  return Table(['method', 'seeds', *names, 'mean'], body, {}, left=1)


def escape(text: str) -> str:
  """Keeps a name from being read as Markdown or HTML."""
  for old, new in (('&', '&amp;'), ('<', '&lt;'), ('|', '\\|'), ('*', '\\*')):
    text = text.replace(old, new)
  return ' '.join(text.split()).replace('_', '\\_')


def markdown(table: Table) -> str:
  """Renders a table: the best of a column bold, the second underlined."""
  form = {'best': '**{}**', 'second': '<ins>{}</ins>'}
  rule = [':--' if i < table.left else '--:' for i in range(len(table.header))]
  rows = [[escape(cell) for cell in table.header], rule]
  for i, cells in enumerate(table.body):
    marked = [
      form.get(table.marks.get((i, j)), '{}') for j in range(len(cells))
    ]
    rows.append([marked[j].format(escape(x)) for j, x in enumerate(cells)])
  return '\n'.join('| ' + ' | '.join(cells) + ' |' for cells in rows)


def plain(table: Table) -> str:
  """Renders a table for a terminal, columns two spaces apart."""
  widths = [
    max(map(len, x)) for x in zip(table.header, *table.body, strict=True)
  ]
  rows = [table.header, ['-' * width for width in widths], *table.body]
  text = []
  for cells in rows:
    padded = [
      cell.ljust(widths[i]) if i < table.left else cell.rjust(widths[i])
      for i, cell in enumerate(cells)
    ]
    text.append('  '.join(padded).rstrip())
  return '\n'.join(text)


def console(rows: Sequence[summary.Row], width: int = 100) -> str:
  """Renders the final table in at most `width` columns.

  Detail goes first where it is too wide: the deviations, then the single OOD
  sets, at last the rates. Nothing is cut off in the middle.
  """
  for std, each, rates in (
    ('most', True, True),
    ('some', True, True),
    ('none', True, True),
    ('some', False, True),
    ('none', False, True),
    ('none', False, False),
  ):
    table = summary_table(rows, std=std, each=each)
    if not rates:
      header, *body = (
        [cells[0], *cells[4:]] for cells in (table.header, *table.body)
      )
      table = Table(header, body, {}, left=1)
    text = plain(table)
    if max(map(len, text.split('\n'))) <= width:
      break
  return text

"""Tables for a terminal: plain text, columns two spaces apart.

print(terminal.console(summary.summarize(lines)))     # fits 100 columns
"""

from collections.abc import Sequence

from daft_jax.report import blocks, summary, tables


def plain(table: blocks.Table) -> str:
  """Renders a table, columns two spaces apart."""
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

  Detail goes first where it is too wide: the intervals, then the single OOD
  sets, the rates, at last the summaries of sets. Nothing is cut off.
  """
  for halves, detail, rates in (
    ('most', 'sets', True),
    ('some', 'sets', True),
    ('none', 'sets', True),
    ('some', 'summaries', True),
    ('none', 'summaries', True),
    ('none', 'summaries', False),
    ('some', 'mean', True),
    ('none', 'mean', True),
    ('none', 'mean', False),
  ):
    table = tables.summary_table(rows, halves=halves, detail=detail)
    if not rates:
      header, *body = (
        [cells[0], *cells[4:]] for cells in (table.header, *table.body)
      )
      table = blocks.Table(header, body, {}, left=1)
    text = plain(table)
    if max(map(len, text.split('\n'))) <= width:
      break
  return text

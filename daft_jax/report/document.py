"""The text of a report: what the result lines say, and no more.

  text = markdown.render(document.compose(found, pictures))

Every sentence is computed. A method is named first in a column where its mean
is; it is called better than another only in pairs, where the seeds show it.
"""

from collections.abc import Iterable, Sequence

from daft_jax import results
from daft_jax.report import (
  blocks,
  card,
  classes,
  collect,
  figures,
  origin,
  pairs,
  published,
  sets,
  speed,
  summary,
  tables,
)
from daft_jax.report.blocks import Block, Bullets, Code, Heading, Paragraph

_ABOUT = """\
Accuracies are in per cent. Feature L2 and cosine compare the features of the
ID test images before and after fine-tuning, mean over images. Bold is the
highest accuracy of a column, underlined the second, at the precision shown."""

_OF_A_SET = ' Bold is the highest of a set, underlined the second.'

Shown = Sequence[tuple[figures.Drawing, blocks.Picture]]


def compose(found: collect.Collected, shown: Shown) -> list[Block]:
  """Returns the blocks of a report.

  Args:
    found: the finished trials, and what else there is of them.
    shown: the figures, in their order.
  """
  lines, rows = found.lines, summary.summarize(found.lines)
  selection = collect.selection(next(iter(found.experiments.values())))
  parts = classes.read(found)
  return [
    Heading(1, [f'Fine-tuning on {lines[0]["suite"]}']),
    _head(lines),
    Heading(2, ['Results']),
    *_results(lines, rows, selection),
    *_pairs(rows),
    *_many(rows),
    *_figures(shown),
    *_further(rows, found.further),
    *_sets(rows),
    *classes.section(found, parts, rows),
    *published.section(lines, rows),
    *origin.chosen(lines, rows, selection),
    *speed.section(found, rows),
    *card.section(found, parts, selection),
    *origin.versions(lines, found.experiments),
  ]


def _count(number: int, noun: str) -> str:
  return f'{number} {noun}{"s" * (number != 1)}'


def _head(lines: Sequence[results.Line]) -> Block:
  methods = list(dict.fromkeys(line['method'] for line in lines))
  seeds = sorted({line['seed'] for line in lines})
  listed = ', '.join(map(str, seeds))
  first = lines[0]
  return Paragraph(
    [
      *('Backbone ', Code(first['backbone'])),
      *(' with weights ', Code(first['weights'])),
      *(', suite ', Code(first['suite'])),
      f': {_count(len(lines), "finished trial")} of ',
      *(f'{_count(len(methods), "method")} (', *blocks.listed(methods)),
      f'), seed{"s" * (len(seeds) != 1)} {listed}. Every number below is read '
      'from the result files of these trials.',
    ]
  )


def _results(
  lines: Sequence[results.Line], rows: Sequence[summary.Row], selection: str
) -> list[Block]:
  lost = summary.diverged(lines)
  notes = [[Code(name), ': every trial diverged'] for name in lost]
  if not rows:
    return [Bullets(notes)]
  counts = {len(row.choice.lines) for row in rows}
  spread = ' The ± is the 90 % interval of the mean over seeds (Student t).'
  if counts == {1}:
    spread = ' With one seed a method, differences may be chance.'
  elif len(counts) > 1:
    spread += ' The methods do not all have the same number of seeds.'
  said = [*findings(rows), *notes]
  return [
    Paragraph([_ABOUT.replace('\n', ' ') + spread, *_about_sets(rows)]),
    Paragraph([f'Rates, epochs and C: {origin.CHOSEN[selection]}.']),
    tables.summary_table(rows),
    *([Bullets(said)] if said else []),
  ]


def _pairs(rows: Sequence[summary.Row]) -> list[Block]:
  """Which of two methods is better, where the seeds show it."""
  found = pairs.compare(rows)
  if not any(pair.ood.n >= pairs.LEAST for pair in found):
    return []
  text = (
    'Differences of accuracy in points, mean over the seeds that both methods '
    "have, with a 90 % interval (bootstrap over seeds, widened by Student's "
    't). A method is called better only where its interval is on one side of '
    '0; of many pairs one in ten may be so by chance. Seeds are those of '
    'the chosen rates; what other rates give is under Chosen hyperparameters.'
  )
  said = pairs.findings(found)
  none = Paragraph(['No difference is shown.'])
  table = pairs.table(found)
  many = len(found) > 3
  return [
    Heading(2, ['In pairs']),
    Paragraph([text]),
    Bullets(said) if said else none,
    blocks.Folded('Every pair', [table]) if many else table,
  ]


def _about_sets(rows: Sequence[summary.Row]) -> blocks.Text:
  """What those columns are that are of several OOD sets."""
  text, titles = [], _titles(rows)
  if len(rows[0].ood) > 1:
    text.append(f' OOD mean is over the {len(rows[0].ood)} OOD sets.')
  found = [name for name in rows[0].summaries if f'OOD {name}' in titles]
  if found:
    text += [' ', *blocks.listed(found)]
    text.append(': of several sets together, not in OOD mean.')
  return text


def _titles(rows: Sequence[summary.Row]) -> set[str]:
  return {column.title for column in summary.columns(rows)}


def findings(rows: Sequence[summary.Row]) -> list[blocks.Text]:
  """Says which method is first and second in each column.

  Accuracies that differ by no more than the wider of their two intervals are
  said to.
  """
  said = []
  for column in summary.columns(rows) if len(rows) > 1 else ():
    places = summary.ranked(rows, column)
    if not places:
      continue
    accuracy = '' if not column.marked else ' accuracy'
    kind = 'Highest' if column.good is max else 'Least'
    text: list[str | Code] = [f'{kind} {column.title}{accuracy}: ']
    for index, place in enumerate(places):
      text += [', then '] * (index > 0) + [*_place(place, column)]
    if column.marked and [len(place) for place in places] == [1, 1]:
      first, second = (column.get(place[0]) for place in places)
      if first.mean - second.mean <= max(first.half, second.half):
        text.append('; the gap is within the 90 % interval')
    said.append(text)
  return said


def _place(place: Sequence[summary.Row], column: summary.Column) -> blocks.Text:
  values = [column.get(row) for row in place]
  half = len(place) == 1
  shown = tables.spread(values[0], column.scale, column.digits, half)
  return [*blocks.listed(row.method for row in place), f' ({shown})']


def _many(rows: Sequence[summary.Row]) -> list[Block]:
  """The OOD sets that are too many for columns of the final table."""
  parts = _accuracies(sets.trained(rows)) if rows else []
  names = {f'OOD {name}' for part in summary.shown(rows) for name in part}
  if names <= _titles(rows):
    parts = parts[1:]  # what it shows is in the final table
  if not parts:
    return []
  about = Paragraph([f'Accuracies (%).{_OF_A_SET}'])
  return [Heading(2, ['OOD sets']), about, *parts]


def _accuracies(groups: Sequence[sets.Group]) -> list[Block]:
  """A table of OOD sets, and one of all where summaries stand for some."""
  parts: list[Block] = [sets.table(groups)]
  if sets.hidden(groups):
    every = sets.table(groups, every=True)
    parts.append(blocks.Folded('Every OOD set', [every]))
  return parts


def _figures(shown: Shown) -> list[Block]:
  parts: list[Block] = []
  for drawing, picture in shown:
    parts += [
      Heading(2, [drawing.title]),
      picture,
      Paragraph([drawing.caption]),
    ]
  if not shown:
    text = ['No figures: matplotlib is not installed (']
    text += [Code('pip install matplotlib')]
    text += ['), or no trial has the numbers.']
    parts.append(Paragraph(text))
  elif 'feature_distortion' not in [drawing.name for drawing, _ in shown]:
    text = ['No histograms of feature distortion: no chosen trial has moved ']
    text += ['features and an ', Code('arrays.npz'), '.']
    parts.append(Paragraph(text))
  return parts


def _further(
  rows: Sequence[summary.Row], further: Iterable[results.Line]
) -> list[Block]:
  further = list(further)
  groups = sets.further(rows, further)
  if not groups:
    return []
  chosen = {line['trial'] for row in rows for line in row.choice.lines}
  other = len({line['trial'] for line in further} - chosen)
  text = 'Accuracies (%) of the chosen trials, evaluated afterwards.'
  text += _OF_A_SET
  if other:
    text += f' Left out: {_count(other, "trial")} that are not the chosen ones.'
  parts = _accuracies(groups)
  return [Heading(2, ['Further OOD sets']), Paragraph([text]), *parts]


def _sets(rows: Sequence[summary.Row]) -> list[Block]:
  table = tables.metrics_table(rows)
  if not table.body:
    return []
  about = (
    'Chosen trials, mean over seeds. In brackets: the standard deviation of '
    'L2 and cosine over images. ECE: 15 bins.'
  )
  many = len(rows[0].ood) > summary.MANY
  return [
    Heading(2, ['Each set']),
    Paragraph([about]),
    blocks.Folded('All sets', [table]) if many else table,
  ]

"""The text of a report: what the result lines say, and no more.

  text = document.compose(lines, experiments, further, shown)

Every sentence is computed. A method is named first in a column where its mean
is; it is called better than another only in pairs, where the seeds show it.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from daft_jax import results
from daft_jax.report import (
  collect,
  figures,
  origin,
  pairs,
  sets,
  summary,
  tables,
)

_ABOUT = """\
Accuracies are in per cent. Feature L2 and cosine compare the features of the
ID test images before and after fine-tuning, mean over images. Bold is the
highest accuracy of a column, underlined the second, at the precision shown."""

_OF_A_SET = ' Bold is the highest of a set, underlined the second.'


def compose(
  lines: Sequence[results.Line],
  experiments: Mapping[str, dict[str, Any]],
  further: Iterable[results.Line],
  shown: Collection[figures.Drawing],
) -> str:
  """Returns the Markdown of a report.

  Args:
    lines: the finished trials, all of one suite, backbone and weights.
    experiments: {workdir: its experiment.json}, all of one selection.
    further: lines of eval.jsonl.
    shown: the figures that lie beside the report.
  """
  rows = summary.summarize(lines)
  selection = collect.selection(next(iter(experiments.values())))
  parts = [
    f'# Fine-tuning on {tables.escape(lines[0]["suite"])}',
    _head(lines),
    '## Results',
    *_results(lines, rows, selection),
    *_pairs(rows),
    *_many(rows),
    *_figures(shown),
    *_further(rows, further),
    *_sets(rows),
    *origin.chosen(lines, rows, selection),
    *origin.versions(lines, experiments),
  ]
  return '\n\n'.join(parts) + '\n'


def _names(names: Iterable[str]) -> str:
  *most, last = map(tables.code, names)
  return f'{", ".join(most)} and {last}' if most else last


def _count(number: int, noun: str) -> str:
  return f'{number} {noun}{"s" * (number != 1)}'


def _head(lines: Sequence[results.Line]) -> str:
  methods = list(dict.fromkeys(line['method'] for line in lines))
  seeds = sorted({line['seed'] for line in lines})
  listed = ', '.join(map(str, seeds))
  first = lines[0]
  return (
    f'Backbone {tables.code(first["backbone"])} with weights '
    f'{tables.code(first["weights"])}, suite {tables.code(first["suite"])}: '
    f'{_count(len(lines), "finished trial")} of '
    f'{_count(len(methods), "method")} ({_names(methods)}), '
    f'seed{"s" * (len(seeds) != 1)} {listed}. Every number below is read from '
    'the result files of these trials.'
  )


def _results(
  lines: Sequence[results.Line], rows: Sequence[summary.Row], selection: str
) -> list[str]:
  lost = summary.diverged(lines)
  notes = [f'- {tables.code(name)}: every trial diverged' for name in lost]
  if not rows:
    return ['\n'.join(notes)]
  counts = {len(row.choice.lines) for row in rows}
  spread = ' The ± is the sample standard deviation over seeds.'
  if counts == {1}:
    spread = ' With one seed a method, differences may be chance.'
  elif len(counts) > 1:
    spread += ' The methods do not all have the same number of seeds.'
  about = _ABOUT.replace('\n', ' ') + spread + _about_sets(rows)
  parts = [about, f'Rates, epochs and C: {origin.CHOSEN[selection]}.']
  parts.append(tables.markdown(tables.summary_table(rows)))
  said = [*findings(rows), *notes]
  return parts + ['\n'.join(said)] * bool(said)


def _pairs(rows: Sequence[summary.Row]) -> list[str]:
  """Which of two methods is better, where the seeds show it."""
  found = pairs.compare(rows)
  if not any(pair.ood.n >= pairs.LEAST for pair in found):
    return []
  text = (
    'Differences of accuracy in points, mean over the seeds that both methods '
    "have, with a 90 % interval (bootstrap over seeds, widened by Student's "
    't). A method is called better only where its interval is on one side of '
    '0; of many pairs one in ten may be so by chance.'
  )
  said = pairs.findings(found) or ['No difference is shown.']
  table = tables.markdown(pairs.table(found))
  every = tables.details('Every pair', table) if len(found) > 3 else table
  return ['## In pairs', text, '\n'.join(said), every]


def _about_sets(rows: Sequence[summary.Row]) -> str:
  """What those columns are that are of several OOD sets."""
  text, titles = '', _titles(rows)
  if len(rows[0].ood) > 1:
    text += f' OOD mean is over the {len(rows[0].ood)} OOD sets.'
  found = [name for name in rows[0].summaries if f'OOD {name}' in titles]
  if found:
    text += f' {_names(found)}: of several sets together, not in OOD mean.'
  return text


def _titles(rows: Sequence[summary.Row]) -> set[str]:
  return {column.title for column in summary.columns(rows)}


def findings(rows: Sequence[summary.Row]) -> list[str]:
  """Says which method is first and second in each column, as a list.

  Accuracies that differ by no more than the larger of the two standard
  deviations over seeds are said to.
  """
  said = []
  for column in summary.columns(rows) if len(rows) > 1 else ():
    places = summary.ranked(rows, column)
    if not places:
      continue
    accuracy = '' if not column.marked else ' accuracy'
    kind = 'Highest' if column.good is max else 'Least'
    text = f'- {kind} {tables.escape(column.title)}{accuracy}: '
    text += ', then '.join(_place(place, column) for place in places)
    if column.marked and [len(place) for place in places] == [1, 1]:
      first, second = (column.get(place[0]) for place in places)
      if first.mean - second.mean <= max(first.std, second.std):
        text += '; the gap is within one standard deviation over seeds'
    said.append(text)
  return said


def _place(place: Sequence[summary.Row], column: summary.Column) -> str:
  values = [column.get(row) for row in place]
  std = len(place) == 1
  shown = tables.spread(values[0], column.scale, column.digits, std)
  return f'{_names(row.method for row in place)} ({shown})'


def _many(rows: Sequence[summary.Row]) -> list[str]:
  """The OOD sets that are too many for columns of the final table."""
  parts = _accuracies(sets.trained(rows)) if rows else []
  names = {f'OOD {name}' for part in summary.shown(rows) for name in part}
  if names <= _titles(rows):
    parts = parts[1:]  # what it shows is in the final table
  if not parts:
    return []
  return ['## OOD sets', f'Accuracies (%).{_OF_A_SET}', *parts]


def _accuracies(groups: Sequence[sets.Group]) -> list[str]:
  """A table of OOD sets, and one of all where summaries stand for some."""
  parts = [tables.markdown(sets.table(groups))]
  if sets.hidden(groups):
    every = tables.markdown(sets.table(groups, every=True))
    parts.append(tables.details('Every OOD set', every))
  return parts


def _figures(shown: Collection[figures.Drawing]) -> list[str]:
  parts = []
  for drawing in shown:
    parts += [
      f'## {drawing.title}',
      f'![{drawing.alt}]({drawing.file})',
      drawing.caption,
    ]
  names = [drawing.name for drawing in shown]
  if not names:
    parts.append(
      'No figures: matplotlib is not installed (`pip install matplotlib`), or '
      'no trial has the numbers.'
    )
  elif 'feature_distortion' not in names:
    parts.append(
      'No histograms of feature distortion: no chosen trial has moved '
      'features and an `arrays.npz`.'
    )
  return parts


def _further(
  rows: Sequence[summary.Row], further: Iterable[results.Line]
) -> list[str]:
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
  return ['## Further OOD sets', text, *_accuracies(groups)]


def _sets(rows: Sequence[summary.Row]) -> list[str]:
  table = tables.metrics_table(rows)
  if not table.body:
    return []
  text = tables.markdown(table)
  if len(rows[0].ood) > summary.MANY:
    text = tables.details('Show', text)
  return [
    '## Each set',
    'Chosen trials, mean over seeds. The ± of L2 and cosine is the standard '
    'deviation over images. ECE: 15 bins.',
    text,
  ]

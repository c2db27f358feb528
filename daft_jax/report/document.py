"""The text of a report: what the result lines say, and no more.

  text = document.compose(lines, experiments, further, images)

Every sentence is computed. A method is named first in a column where its mean
is; whether that is more than chance is left to the reader, who is told the
deviation over seeds, and where there is none.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from daft_jax import results
from daft_jax.report import summary, tables

ACCURACY = 'ood_against_id.png'
DISTORTION = 'feature_distortion.png'

# What a grid is made of: workdirs put together may differ in these.
_GRID = ('methods', 'seeds', 'lrs', 'head_lrs')

_ABOUT = """\
Accuracies are in per cent. Feature L2 and cosine compare the features of the
ID test images before and after fine-tuning, mean over images. Bold is the
highest accuracy of a column, underlined the second, at the precision shown."""

_SELECTION = """\
Each method's learning rates are those with the highest mean ID validation
accuracy over seeds (ties: the smaller learning rate, then the smaller head
rate), and each trial reports its epoch, or its C, of highest ID validation
accuracy. No OOD or test accuracy was used."""


def compose(
  lines: Sequence[results.Line],
  experiments: Mapping[str, dict[str, Any]],
  further: Iterable[results.Line],
  images: Collection[str],
) -> str:
  """Returns the Markdown of a report.

  Args:
    lines: the finished trials, all of one suite, backbone and weights.
    experiments: {workdir: its experiment.json}.
    further: lines of eval.jsonl.
    images: which of `ACCURACY` and `DISTORTION` lie beside the report.
  """
  rows = summary.summarize(lines)
  parts = [
    f'# Fine-tuning on {tables.escape(lines[0]["suite"])}',
    _head(lines),
    '## Results',
    *_results(lines, rows),
    *_figures(images),
    *_further(rows, further),
    *_sets(rows),
    *_chosen(lines, rows),
    *_origin(lines, experiments),
  ]
  return '\n\n'.join(parts) + '\n'


def _names(names: Iterable[str]) -> str:
  *most, last = [f'`{name}`' for name in names]
  return f'{", ".join(most)} and {last}' if most else last


def _count(number: int, noun: str) -> str:
  return f'{number} {noun}{"s" * (number != 1)}'


def _head(lines: Sequence[results.Line]) -> str:
  methods = list(dict.fromkeys(line['method'] for line in lines))
  seeds = sorted({line['seed'] for line in lines})
  listed = ', '.join(map(str, seeds))
  first = lines[0]
  return (
    f'Backbone `{first["backbone"]}` with weights `{first["weights"]}`, suite '
    f'`{first["suite"]}`: {_count(len(lines), "finished trial")} of '
    f'{_count(len(methods), "method")} ({_names(methods)}), '
    f'seed{"s" * (len(seeds) != 1)} {listed}. Every number below is read from '
    'the result files of these trials.'
  )


def _results(
  lines: Sequence[results.Line], rows: Sequence[summary.Row]
) -> list[str]:
  notes = [f'- `{m}`: every trial diverged' for m in summary.diverged(lines)]
  if not rows:
    return ['\n'.join(notes)]
  counts = {len(row.choice.lines) for row in rows}
  spread = ' The ± is the sample standard deviation over seeds.'
  if counts == {1}:
    spread = ' With one seed a method, differences may be chance.'
  elif len(counts) > 1:
    spread += ' The methods do not all have the same number of seeds.'
  table = tables.markdown(tables.summary_table(rows))
  text = '\n'.join(findings(rows) + notes)
  return [_ABOUT.replace('\n', ' ') + spread, table] + ([text] if text else [])


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


def _figures(images: Collection[str]) -> list[str]:
  parts = []
  if ACCURACY in images:
    parts += [
      '## OOD against ID accuracy',
      f'![OOD against ID test accuracy of every trial]({ACCURACY})',
      'A point is a trial. Filled: the chosen rates; large: their mean, with '
      'bars of one standard deviation over seeds.',
    ]
  if DISTORTION in images:
    parts += [
      '## How far the features moved',
      f'![Histograms of cosine and L2 distortion]({DISTORTION})',
      'Cosine and L2 distance between the features of an image before and '
      'after fine-tuning; chosen trials, seeds together, OOD sets together. '
      'Up to 0.2 % of the images at either end may lie outside.',
    ]
  if not images:
    parts.append(
      'No figures: matplotlib is not installed (`pip install matplotlib`), or '
      'no trial has the numbers.'
    )
  elif DISTORTION not in images:
    parts.append(
      'No histograms of feature distortion: no chosen trial has moved '
      'features and an `arrays.npz`.'
    )
  return parts


def _further(
  rows: Sequence[summary.Row], further: Iterable[results.Line]
) -> list[str]:
  further = list(further)
  table = tables.further_table(rows, further)
  if table is None:
    return []
  chosen = {line['trial'] for row in rows for line in row.choice.lines}
  other = len({line['trial'] for line in further} - chosen)
  text = 'Accuracies (%) of the chosen trials, evaluated afterwards.'
  if other:
    text += f' Left out: {_count(other, "trial")} that are not the chosen ones.'
  return ['## Further OOD sets', text, tables.markdown(table)]


def _sets(rows: Sequence[summary.Row]) -> list[str]:
  table = tables.metrics_table(rows)
  if not table.body:
    return []
  return [
    '## Each set',
    'Chosen trials, mean over seeds. The ± of L2 and cosine is the standard '
    'deviation over images. ECE: 15 bins.',
    tables.markdown(table),
  ]


def _chosen(
  lines: Sequence[results.Line], rows: Sequence[summary.Row]
) -> list[str]:
  rates = tables.rates_table(lines)
  text = _SELECTION.replace('\n', ' ')
  if any(cells[-1] == tables.NOT_COMPARED for cells in rates.body):
    text += (
      ' Rates that diverged, or have fewer seeds than others of the same '
      'method, were not compared.'
    )
  return [
    '## Chosen hyperparameters',
    text,
    tables.markdown(tables.choice_table(rows)),
    _details('Every rate', tables.markdown(rates)),
  ]


def _details(title: str, text: str) -> str:
  return f'<details>\n<summary>{title}</summary>\n\n{text}\n\n</details>'


def _origin(
  lines: Sequence[results.Line], experiments: Mapping[str, dict[str, Any]]
) -> list[str]:
  """Versions and configs, and where the workdirs' settings differ."""
  seen: dict[str, set[str]] = {}
  for line in lines:
    for name, version in line.get('versions', {}).items():
      seen.setdefault(name, set()).add(str(version))
  listed = [f'{name} {" and ".join(sorted(v))}' for name, v in seen.items()]
  text = f'Versions: {", ".join(listed)}.' if listed else ''
  for workdir, experiment in experiments.items():
    title = f'`{workdir}`:\n\n' if len(experiments) > 1 else ''
    text += f'\n\n{title}```json\n{results.dumps(experiment, 2)}\n```'
  parts = ['## Versions and config']
  parts += _differences(experiments)
  return parts + [_details('Show', text.strip())]


def _differences(experiments: Mapping[str, dict[str, Any]]) -> list[str]:
  """Settings, other than the grid's, that differ between the workdirs."""
  flat = [dict(_flatten(x.get('config') or {})) for x in experiments.values()]
  names = dict.fromkeys(name for config in flat for name in config)
  said = []
  for name in names:
    values = [results.dumps(config.get(name)) for config in flat]
    if name not in _GRID and len(set(values)) > 1:
      said.append(f'`{name}` ({", ".join(values)})')
  return [f'The workdirs differ in {", ".join(said)}.'] if said else []


def _flatten(config: Mapping[str, Any], prefix: str = '') -> Any:
  for name, value in config.items():
    if isinstance(value, dict):
      yield from _flatten(value, f'{prefix}{name}.')
    else:
      yield prefix + name, value

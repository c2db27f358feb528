"""A model card: what the files say of the model that a run leads to.

parts = card.section(collected, classes.read(collected), 'val')

Source of the form: Mitchell et al. 2019, "Model Cards for Model Reporting".
Nothing is said that is not in the files; what they do not say is named.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from daft_jax import results
from daft_jax.report import blocks, classes, collect, origin, summary, tables
from daft_jax.report.blocks import Code, Strong

_WHICH = """\
of the method of highest mean ID validation accuracy, the seed of highest ID
validation accuracy."""
_LONGEST = 60  # characters of a setting


def section(
  found: collect.Collected, parts: Sequence[classes.Part], selection: str
) -> list[blocks.Block]:
  """The section of a report; [] where every trial diverged.

  Args:
    found: what a report is made of.
    parts: accuracies by class.
    selection: 'val' or 'paper'.
  """
  if not found.choices:
    return []
  method = max(
    found.choices, key=lambda name: results.mean_id_val(found.choices[name])
  )
  choice = found.choices[method]
  line = max(choice.lines, key=lambda x: x['id_val'])
  workdir = str(found.folders[line['trial']].parent.parent)
  about = found.experiments.get(workdir) or next(
    iter(found.experiments.values())
  )
  # Of several workdirs, one alone may lead to another.
  call = Code(f'daft_jax.load_run(workdir, {method!r})')
  what = [call, ' returns: '] if len(found.experiments) == 1 else ['is ']
  return [
    blocks.Heading(2, ['Model card']),
    blocks.Paragraph(['The model that ', *what, _WHICH.replace('\n', ' ')]),
    blocks.Bullets([*_facts(found, line, about, selection)]),
    _numbers(line, choice),
    blocks.Bullets([*_limits(found, line, parts, selection)]),
  ]


def _facts(
  found: collect.Collected,
  line: results.Line,
  about: Mapping[str, Any],
  selection: str,
) -> Iterator[blocks.Text]:
  """What it is, what it sees, what it was trained on, how it was chosen."""
  number = about.get('num_classes')
  of = f' of {number} classes' if number else ''
  yield [
    *(Strong('Model:'), ' ', Code(line['backbone']), f'{of}, fine-tuned from '),
    *(Code(line['weights']), ' by ', Code(line['method'])),
    *(f', seed {line["seed"]}, trial ', Code(line['trial']), '.'),
  ]
  given = about.get('preprocess')
  if isinstance(given, dict) and given:
    each = [f'{key} {results.dumps(x)}' for key, x in given.items()]
    text = ', '.join(x for x in each if len(x) <= _LONGEST)
    yield [Strong('Input:'), f' RGB images; {text}.']
  settings = about.get('settings', {})
  parts = [Strong('Trained on:'), ' suite ', Code(line['suite'])]
  if images := (about.get('images') or {}).get('train'):
    parts.append(f', {images:,} images')
  for name, value in (
    ('learning rate', line['lr']),
    ('head', line['head_lr']),
    ('C', line['C']),
    ('epochs', settings.get('epochs')),
    ('chosen epoch', line['epoch']),
    ('batch size', settings.get('batch_size')),
  ):
    if value is not None and len(shown := _shown(value)) <= _LONGEST:
      parts.append(f', {name} {shown}')
  yield [*parts, '.']
  methods = {x['method'] for x in found.lines}
  yield [
    Strong('Choice:'),
    f' of {len(found.lines)} trials of {len(methods)} methods, '
    f'{origin.CHOSEN[selection]}.',
  ]


def _shown(value: Any) -> str:
  return tables.number(value) if type(value) is float else results.dumps(value)


def _numbers(line: results.Line, choice: results.Choice) -> blocks.Table:
  """Of this model, and of all seeds of its method."""
  body = []
  for name in ('id_test', *line['ood']):
    metrics = line.get('metrics', {}).get(name, {})

    def accuracy(x: results.Line, name=name) -> float:
      return x['id_test'] if name == 'id_test' else x['ood'].get(name, np.nan)

    over = summary.stat(accuracy(x) for x in choice.lines)
    cells = [name, tables.number(100 * accuracy(line), 1)]
    cells += [tables.number(metrics.get(x), 3) for x in ('loss', 'ece')]
    body.append([*cells, tables.spread(over, 100, 1)])
  header = ['set', 'accuracy', 'loss', 'ECE', 'accuracy over seeds']
  return blocks.Table(header, body, {}, left=1)


def _limits(
  found: collect.Collected,
  line: results.Line,
  parts: Sequence[classes.Part],
  selection: str,
) -> Iterator[blocks.Text]:
  """What is known to be worse, and what is not known."""
  names = classes.class_names
  for name, value in line['ood'].items():
    gap = 100 * (line['id_test'] - value)
    if gap > 0 and len(line['ood']) <= summary.MANY:
      yield [f'Accuracy is {gap:.1f} points lower on ', Code(name), '.']
  for part in parts:
    values = part.accuracy.get(line['method'])
    if values is not None and np.isfinite(values).any():
      index = int(np.nanargmin(values))
      named = names(found.experiments.values(), len(values))[index]
      yield [
        f'The worst class, {part.title}, is ',
        *(Code(named), f': {100 * values[index]:.1f} % over seeds.'),
      ]
  if selection == 'paper':
    yield ['It was chosen on the ID test set, whose numbers are optimistic.']
  yield [
    'It was tested on these sets and no others. The files do not say what it '
    'is meant for, who or what is in the images, or under which licences '
    'weights and images are.'
  ]

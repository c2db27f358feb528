"""What a mean accuracy hides: the worst class, the worst set, who won and lost.

blocks = classes.section(collected, classes.read(collected), rows)
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from daft_jax.report import arrays, blocks, collect, summary, tables

FEWEST = 10  # images of a class that is looked at
_MOST_ROWS = 100
_LONGEST = 200  # characters of a name
_BASELINES = ('ft', 'lp')


class Part(NamedTuple):
  """The ID test set, or the OOD sets together.

  Attributes:
    title: 'ID test' or 'OOD'.
    images: of each class in one trial.
    accuracy: method -> that of each class over seeds; nan: too few images.
  """

  title: str
  images: np.ndarray
  accuracy: dict[str, np.ndarray]


def section(
  found: collect.Collected, parts: Sequence[Part], rows: Sequence[summary.Row]
) -> list[blocks.Block]:
  """The section of a report; [] where no trial has counted by class.

  Args:
    found: what a report is made of.
    parts: what `read` returns.
    rows: of the final table.
  """
  if not parts:
    return []
  names = class_names(found.experiments.values(), len(parts[0].images))
  about = (
    'Chosen trials, seeds together, OOD sets together; of classes with at '
    f'least {FEWEST} images.'
  )
  return [
    blocks.Heading(2, ['Classes']),
    blocks.Paragraph([about]),
    worst_table(parts, names, rows),
    *_changes(parts, names),
  ]


def read(found: collect.Collected) -> list[Part]:
  """Reads accuracies by class, of the parts that have any.

  Raises:
    results.ResultsError: an `arrays.npz` is damaged.
  """
  sums = arrays.added(found.choices, found.folders, arrays.CLASSES)
  parts = []
  for title, methods in sums.items():
    accuracy, images = {}, np.zeros(0)
    for method, (count, correct) in methods.items():
      images = count / len(found.choices[method].lines)
      some = images >= FEWEST
      accuracy[method] = np.full(len(count), math.nan)
      accuracy[method][some] = correct[some] / count[some]
    if any(np.isfinite(x).any() for x in accuracy.values()):
      parts.append(Part(title, images, accuracy))
  return parts


def class_names(
  experiments: Iterable[Mapping[str, object]], number: int
) -> list[str]:
  """Names of the classes, else their numbers."""
  for experiment in experiments:
    names = experiment.get('classes')
    if names and len(names) == number:
      return [name[:_LONGEST] for name in names]
  return [str(index) for index in range(number)]


def worst_table(
  parts: Sequence[Part], names: Sequence[str], rows: Sequence[summary.Row]
) -> blocks.Table:
  """The class of lowest accuracy, and of several OOD sets the set."""
  several = len(rows[0].ood) > 1
  header = ['method']
  for part in parts:
    header += [f'worst class, {part.title}', 'accuracy']
  header += ['worst OOD set', 'accuracy'] * several
  body = []
  for row in rows:
    cells = [row.method]
    for part in parts:
      values = part.accuracy.get(row.method, np.full(1, math.nan))
      cells += _lowest(dict(enumerate(values)), names)
    if several:
      sets = {name: stat.mean for name, stat in row.ood.items()}
      cells += _lowest(sets, {name: name for name in sets})
    body.append(cells)
  return blocks.Table(header, body, {}, left=1)


def _lowest(values: Mapping, names) -> list[str]:
  """The name of the lowest, and its accuracy."""
  finite = {key: x for key, x in values.items() if math.isfinite(x)}
  if not finite:
    return [tables.MISSING] * 2
  key = min(finite, key=finite.get)
  return [names[key], tables.number(100 * finite[key], 1)]


def _changes(parts: Sequence[Part], names: Sequence[str]) -> list[blocks.Block]:
  """How the classes of every method differ from those of a baseline."""
  methods = [*dict.fromkeys(x for part in parts for x in part.accuracy)]
  baseline = next((x for x in _BASELINES if x in methods), methods[0])
  said, folded = [], []
  for part in parts:
    if baseline not in part.accuracy or len(part.accuracy) < 2:
      continue
    changes = {
      method: 100 * (values - part.accuracy[baseline])
      for method, values in part.accuracy.items()
      if method != baseline
    }
    for method, values in changes.items():
      said.append([blocks.Code(method), *_said(part.title, values, names)])
    table = change_table(part, baseline, changes, names)
    folded.append(blocks.Folded(f'Every class, {part.title}', [table]))
  if not said:
    return []
  about = ['Accuracy of each class in points, against ', blocks.Code(baseline)]
  about.append('. That of a class with few images may differ by chance.')
  return [blocks.Paragraph(about), blocks.Bullets(said), *folded]


def _said(
  title: str, values: np.ndarray, names: Sequence[str]
) -> Iterable[str]:
  """How many classes are higher, and which differ most."""
  known = np.flatnonzero(np.isfinite(values))
  if not len(known):
    return [f', {title}: no class to compare']
  up, down = (int((sign * values[known] > 0).sum()) for sign in (1, -1))
  text = f', {title}: {up} of {len(known)} classes higher, {down} lower'
  low, high = (known[f(values[known])] for f in (np.argmin, np.argmax))
  return [
    f'{text}; from {values[low]:+.1f} (',
    blocks.Code(names[low]),
    f') to {values[high]:+.1f} (',
    blocks.Code(names[high]),
    ')',
  ]


def change_table(
  part: Part,
  baseline: str,
  changes: Mapping[str, np.ndarray],
  names: Sequence[str],
) -> blocks.Table:
  """A row a class; of very many, those that differ most from the baseline."""
  each = np.nan_to_num([*changes.values()])
  order = np.argsort(-np.abs(each).max(axis=0), kind='stable')
  body = []
  for index in np.sort(order[:_MOST_ROWS]):
    cells = [names[index], f'{part.images[index]:.0f}']
    cells.append(tables.number(100 * part.accuracy[baseline][index], 1))
    for values in changes.values():
      value = values[index]
      cells.append(tables.MISSING if math.isnan(value) else f'{value:+.1f}')
    body.append(cells)
  header = ['class', 'images', baseline, *changes]
  return blocks.Table(header, body, {}, left=1)

"""Published data sets on disk: as published, or as TFDS prepared them.

  from daft_jax.data import published

  found = published.load('imagenet_r:test', '/data')
  found.classes[found.examples.labels[0]]          # 'n01443537'
  published.load('imagenet:val', '/data', only={'n01443537'})

What TensorFlow Datasets prepared as array_record is preferred to the
publisher's own layout.
`python -m daft_jax.data prepare SUITE --data_dir=/data` says what is there and
where to get the rest.
"""

import os
import pathlib
from collections.abc import Callable, Collection

import numpy as np

from daft_jax import names
from daft_jax.data import sources, suites, walk
from daft_jax.data.published import (
  arrays,
  catalog,
  domainnet,
  fmow,
  folders,
  layout,
  prepared,
)
from daft_jax.data.published.dataset import Dataset
from daft_jax.data.published.layout import Found, Missing

__all__ = (
  *('DATASETS', 'Dataset', 'Found', 'Missing', 'domain_folder', 'existing'),
  *('list_sources', 'load', 'suite_of'),
)

PathLike = str | os.PathLike[str]

DATASETS = catalog.DATASETS
domain_folder = folders.domain_folder

_READERS: dict[str, Callable[..., Found]] = {
  'cifar10': arrays.cifar10,
  'cifar10_1': arrays.cifar10_1,
  'cifar10_c': arrays.cifar10_c,
  'stl10': arrays.stl10,
  'domainnet40': domainnet.read,
  'imagenet': folders.imagenet,
  'imagenet_v2': folders.imagenet_v2,
  'imagenet_shift': folders.imagenet_shift,
  'fmow': fmow.read,
}


def list_sources() -> list[str]:
  """Returns every source string that `load` knows."""
  return [f'{row.name}:{x}' for row in DATASETS.values() for x in row.parts]


def load(
  source: str,
  data_dir: PathLike,
  *,
  only: Collection[str] | None = None,
) -> Found:
  """Finds the examples of a published data set.

  Args:
    source: such as 'cifar10:train', one of `list_sources()`.
    data_dir: the folder that holds the data sets.
    only: names of the classes that are wanted; None: all. Others are left out,
      and their folders not listed; labels still index all classes.

  Returns:
    `Found`: images in memory where they are small, else their places.

  Raises:
    ValueError: an unknown source or class; it is not there (`Missing`, if no
      part of it is); or it is damaged, with the file and the fix.
    ModuleNotFoundError: it was prepared by TensorFlow Datasets, which is not
      installed.
    OSError: a file cannot be read.

  Example:
    >>> load('cifar11:train', '/data')  # doctest: +ELLIPSIS
    Traceback (most recent call last):
      ...
    ValueError: no source named 'cifar11:train'. Did you mean 'cifar10:train'...
  """
  names.check(source, list_sources(), 'source')
  name, _, part = source.partition(':')
  row = DATASETS[name]
  if only is not None:
    only = frozenset(
      names.check(x, row.classes, f'class of {name}') for x in only
    )
  data_dir = existing(data_dir)
  found = _find(row, part, data_dir, only)
  labels = found.examples.labels
  if only is not None:
    _, wanted = layout.listed_classes(row, only)
    chosen = np.flatnonzero(np.isin(labels, wanted))
    if len(chosen) < len(labels):
      found = Found(
        _take(found.examples, chosen), found.classes, found.where, found.notes
      )
  if not len(found.examples):
    what = 'it' if only is None else 'the wanted classes'
    raise ValueError(
      f'{source}: {found.where} has no image of {what}: {layout.AGAIN}'
    )
  notes = (*found.notes, *_notes(row, part, found, only))
  return Found(found.examples, found.classes, found.where, notes)


def existing(data_dir: PathLike) -> pathlib.Path:
  """The folder, `~` expanded; ValueError if it is none."""
  give = 'the folder that holds the data sets'
  return walk.existing(data_dir, called='data_dir ', give=give)


def _find(
  row: Dataset,
  part: str,
  data_dir: pathlib.Path,
  only: Collection[str] | None,
) -> Found:
  """What is prepared, else the publisher's layout, else says what to do."""
  tfds = row.tfds.get(part)
  folder = prepared.find(data_dir, tfds) if tfds else None
  if folder is not None and prepared.is_array_record(folder):
    return prepared.read(row, folder, tfds.split, only)
  try:
    return _READERS[row.reader](row, part, data_dir, only)
  except Missing as missing:
    looked = missing.looked
  if folder is not None:
    raise ValueError(
      f'{folder} is not prepared as array_record, which is what can be read '
      'without TensorFlow: move the folder away and type, once, where '
      f'TensorFlow is installed, {prepared.how_to_prepare(tfds, data_dir)}'
    )
  looked = (*([prepared.place(tfds)] if tfds else ()), *looked)
  error = Missing(looked)
  error.args = (
    f'{row.name}:{part} is not in {data_dir}: looked for {", ".join(looked)}. '
    f'Type `python -m daft_jax.data prepare {suite_of(row.name)} '
    f'--data_dir={data_dir}`, which says where to get it',
  )
  raise error


def suite_of(name: str) -> str:
  """The first suite that uses a data set."""
  for suite in suites.SUITES.values():
    used = (
      *(suite.train, suite.id_val, suite.id_test),
      *(*suite.ood.values(), *suite.more_ood.values()),
    )
    if any(source.partition(':')[0] == name for source in used):
      return suite.name
  raise ValueError(f'no suite uses {name}')


def _take(examples, rows: np.ndarray):
  if isinstance(examples, sources.ImageSet):
    return sources.ImageSet(examples.images[rows], examples.labels[rows])
  return examples.take(rows)


def _notes(
  row: Dataset, part: str, found: Found, only: Collection[str] | None
) -> list[str]:
  """Counts that differ from the published ones, and classes without images."""
  notes = []
  count, expected = len(found.examples), row.counts.get(part)
  if only is not None and expected is not None:
    share, rest = divmod(expected * len(only), len(row.classes))
    expected = share if part in row.balanced and not rest else None
  if expected not in (None, count):
    notes.append(
      f'{row.name}:{part}: {count:,} examples in {found.where}, '
      f'{expected:,} are published'
    )
  if only is not None:
    there = set(found.examples.labels.tolist())
    wanted, labels = layout.listed_classes(row, only)
    without = [
      x for x, label in zip(wanted, labels, strict=True) if label not in there
    ]
    if without:
      notes.append(
        f'{row.name}:{part}: no image of {names.listed(without)} in '
        f'{found.where}'
      )
  return notes

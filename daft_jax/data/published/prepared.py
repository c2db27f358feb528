"""Reads data sets that TensorFlow Datasets prepared as array_record.

  folder = prepared.find(data_dir, row.tfds['val'])    # .../imagenet2012/5.1.0
  found = prepared.read(row, folder, 'validation')
  found.examples.items.read(0)                         # the bytes of a JPEG

`tensorflow_datasets` and `array_record` are needed, TensorFlow is not. Images
stay encoded: what travels to a worker is row numbers, and each process opens a
data set once.
"""

import contextlib
import dataclasses
import functools
import hashlib
import io
import json
import os
import pathlib
import re
from collections.abc import Collection, Iterator, Sequence
from typing import Any

import numpy as np

from daft_jax import names, results
from daft_jax.data import images, records
from daft_jax.data.published import dataset, features, layout

_INFO = 'dataset_info.json'
_BLOCK = 256  # examples that are read at once for their labels


@dataclasses.dataclass(frozen=True, eq=False)
class Rows:
  """Examples of a prepared split, by their row numbers.

  Attributes:
    folder: of the prepared data set.
    split: its name there.
    rows: int64 [N].
  """

  folder: str
  split: str
  rows: np.ndarray

  def __len__(self) -> int:
    return len(self.rows)

  def take(self, rows: np.ndarray) -> 'Rows':
    return Rows(self.folder, self.split, self.rows[rows])

  def read(self, row: int) -> bytes:
    # A process that was forked must not share the readers of its parent.
    source = _source(self.folder, self.split, os.getpid())
    with _others(self.folder):
      return source[int(self.rows[row])]['image']

  def name(self, row: int) -> str:
    return f'{self.folder} {self.split}[{self.rows[row]}]'


def find(
  data_dir: pathlib.Path, prepared: dataset.Prepared
) -> pathlib.Path | None:
  """The newest version of a data set that is prepared and has the split.

  Raises:
    ValueError: its description is damaged.
  """
  place = data_dir / prepared.name / prepared.config
  versions = [
    (tuple(map(int, path.name.split('.'))), path)
    for path in (place.iterdir() if place.is_dir() else ())
    if re.fullmatch(r'\d+\.\d+\.\d+', path.name) and (path / _INFO).is_file()
  ]
  for _, path in sorted(versions, reverse=True):
    if prepared.split in _splits(path):
      return path
  return None


def place(prepared: dataset.Prepared) -> str:
  """Where TensorFlow Datasets puts a data set, for messages.

  Example:
    >>> place(dataset.Prepared('cifar10', '', 'test'))
    'cifar10/<version>/dataset_info.json'
  """
  parts = (prepared.name, prepared.config, '<version>', _INFO)
  return '/'.join(filter(None, parts))


def is_array_record(folder: pathlib.Path) -> bool:
  """Whether it can be read; TensorFlow Datasets prepares tfrecord by itself."""
  return _info(folder).get('fileFormat') == 'array_record'


def how_to_prepare(prepared: dataset.Prepared, data_dir: pathlib.Path) -> str:
  """The command that prepares a data set; it needs TensorFlow."""
  name = '/'.join(filter(None, prepared[:2]))
  return (
    'python -c "import tensorflow_datasets as tfds; '
    f"tfds.builder('{name}', data_dir='{data_dir}', "
    "file_format='array_record').download_and_prepare()\""
  )


def _info(folder: pathlib.Path) -> dict[str, Any]:
  path = folder / _INFO
  try:
    info = json.loads(layout.read_text(path))
    if isinstance(info, dict) and isinstance(info.get('splits'), list):
      return info
    raise ValueError('it lists no splits')
  except (OSError, ValueError, RecursionError) as error:
    raise ValueError(
      f'{path} is damaged ({error}): prepare the data set again'
    ) from error


def _splits(folder: pathlib.Path) -> set[str]:
  found = (x.get('name') for x in _info(folder)['splits'] if type(x) is dict)
  return {name for name in found if isinstance(name, str)}


def read(
  row: dataset.Dataset,
  folder: pathlib.Path,
  split: str,
  only: Collection[str] | None = None,
) -> layout.Found:
  """Reads a split that `find` found.

  Images of classes that the row does not have are left out: DomainNet has 345.

  Raises:
    ValueError: it has no images or labels, or does not agree with the row.
    ModuleNotFoundError: `tensorflow_datasets` or `array_record` is missing.
  """
  to = _to_labels(row, folder)
  labels = _labels(str(folder), split)
  if labels.size and not 0 <= labels.min() <= labels.max() < len(to):
    raise ValueError(
      f'{folder} {split} has labels that are no class: prepare it again'
    )
  labels = to[labels]
  _, wanted = layout.listed_classes(row, only)
  chosen = np.flatnonzero(np.isin(labels, wanted))
  items = Rows(str(folder), split, chosen)
  examples = records.Records(items, labels[chosen])
  if row.side:
    examples = _in_memory(row, examples)
  return layout.Found(examples, row.classes, str(folder))


def _to_labels(row: dataset.Dataset, folder: pathlib.Path) -> np.ndarray:
  """Label there -> label of the row, or -1; by names where there are any."""
  there = _builder(str(folder)).info.features
  if not {'image', 'label'} <= set(there):
    raise ValueError(
      f'{folder} has {names.listed(map(names.shown, there))}, not image and '
      'label: it is another data set'
    )
  label = there['label']
  named = label.int2str(0) != '0'
  there = label.names if named else [*row.classes]
  if label.num_classes != len(there):
    raise ValueError(
      f'{folder} has {label.num_classes} classes without names, not '
      f'{len(there)}: prepare it again'
    )
  lacking = [name for name in row.classes if name not in there]
  if lacking:
    raise ValueError(
      f'{folder} has no class {names.listed(lacking)} '
      f'(classes: {names.listed(map(names.shown, there))}): it is another '
      'data set'
    )
  number = {name: label for label, name in enumerate(row.classes)}
  return np.array([number.get(name, -1) for name in there], np.int32)


def _in_memory(
  row: dataset.Dataset, examples: records.Records
) -> layout.sources.ImageSet:
  pixels = np.empty((len(examples), row.side, row.side, 3), np.uint8)
  items = examples.items
  for i in range(len(items)):
    picture = images.decode(items.read(i))
    if picture.size != (row.side, row.side):
      raise ValueError(
        f'{items.name(i)} is {picture.size}, not {row.side} x {row.side}: '
        'prepare the data set again'
      )
    pixels[i] = picture
  return layout.image_set(pixels, examples.labels, row, items.folder)


@functools.cache
def _builder(folder: str) -> Any:
  try:
    import array_record.python.array_record_module  # noqa: F401
    import tensorflow_datasets as tfds
  except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
      f'{folder} was prepared by TensorFlow Datasets, and {error.name} is not '
      'installed: pip install tensorflow-datasets array_record'
    ) from error
  features.check(pathlib.Path(folder))
  with _others(folder):
    return tfds.builder_from_directory(folder)


@contextlib.contextmanager
def _others(folder: str) -> Iterator[None]:
  """Readers of other packages raise whatever they stumble over."""
  try:
    yield
  except Exception as error:
    reason = ' '.join(str(error).split())[:200] or type(error).__name__
    raise ValueError(
      f'{folder} cannot be read ({reason}): prepare the data set again'
    ) from error


@functools.cache
def _source(folder: str, split: str, process: int) -> Sequence[dict[str, Any]]:
  builder = _builder(folder)
  import tensorflow_datasets as tfds

  skip = {'image': tfds.decode.SkipDecoding()}
  with _others(folder):
    return builder.as_data_source(split=split, decoders=skip)


def _labels(folder: str, split: str) -> np.ndarray:
  """All labels of a split; kept beside it, since images lie between them.

  Reading those of ImageNet is reading ImageNet.
  """
  source = _source(folder, split, os.getpid())
  path = pathlib.Path(folder) / f'daft_jax_labels_{_stamp(folder, split)}.npy'
  if path.is_file():
    try:
      labels = np.load(path, allow_pickle=False)
      if labels.shape == (len(source),) and labels.dtype == np.int32:
        return labels
    except (ValueError, OSError, EOFError):
      pass  # Cut off: it is made again.
  found = []
  for start in range(0, len(source), _BLOCK):
    block = range(start, min(start + _BLOCK, len(source)))
    with _others(folder):
      examples = source.__getitems__([*block])
      found += [int(example['label']) for example in examples]
  labels = np.array(found, np.int32)
  if len(labels) > _BLOCK:
    out = io.BytesIO()
    np.save(out, labels)
    try:
      results.atomic_write(path, out.getvalue())
    except OSError:
      pass  # A read-only data_dir: they are read anew each time.
  return labels


def _stamp(folder: str, split: str) -> str:
  """Changes with the files of a split."""
  with os.scandir(folder) as entries:
    files = sorted(
      (entry.name, entry.stat().st_size, entry.stat().st_mtime_ns)
      for entry in entries
      if f'-{split}.' in entry.name
    )
  return f'{split}_{hashlib.sha256(repr(files).encode()).hexdigest()[:16]}'

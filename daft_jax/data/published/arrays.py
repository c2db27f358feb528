"""Reads the small data sets from their publishers' files, into memory.

  found = arrays.cifar10(row, 'train', data_dir)     # row: of the catalog
  found.examples.images.shape                        # (50000, 32, 32, 3)

Nothing in a file is run: the pickles of CIFAR-10 are read as data, NumPy's
files without pickles. Sizes are checked before memory is taken.
"""

import pathlib
from collections.abc import Collection
from typing import Any

import numpy as np

from daft_jax.data.published import dataset, layout
from daft_jax.unpickle import allowed, npy, pickled

Only = Collection[str] | None

_SIDE = 32
_BYTES = _SIDE * _SIDE * 3
_STL_SIDE = 96
_SEVERITIES = 5
_MOST = 100_000  # images in one file: twice as many as are published


def cifar10(
  row: dataset.Dataset, part: str, data_dir: pathlib.Path, only: Only = None
) -> layout.Found:
  """CIFAR-10 as pickles ('python version') or as bytes ('binary version').

  Raises:
    Missing: there is neither folder.
    ValueError: a batch is missing, damaged, or asks for what is not data.
  """
  batches = [f'data_batch_{i}' for i in range(1, 6)]
  batches = batches if part == 'train' else ['test_batch']
  forms = {
    'cifar-10-batches-py': ('', _pickled_batch),
    'cifar-10-batches-bin': ('.bin', _binary_batch),
  }
  for folder, (suffix, read) in forms.items():
    place = data_dir / folder
    if not place.is_dir():
      continue
    _check_names(place, row)
    sets = []
    for name in batches:
      path = place / f'{name}{suffix}'
      if not path.is_file():
        raise ValueError(f'{place} has no {path.name}: {layout.AGAIN}')
      sets.append(layout.image_set(*read(path), row, path))
    return layout.Found(
      layout.image_set(
        np.concatenate([x.images for x in sets]),
        np.concatenate([x.labels for x in sets]),
        row,
        place,
      ),
      row.classes,
      str(place),
    )
  raise layout.Missing(f'{folder}/' for folder in forms)


def _check_names(place: pathlib.Path, row: dataset.Dataset) -> None:
  """Classes in another order would silently be others."""
  path = place / 'batches.meta'
  if not path.is_file():
    return
  found = _fields(path).get('label_names')
  if not isinstance(found, list) or list(map(_text, found)) != [*row.classes]:
    raise ValueError(
      f'{path} does not name the classes of CIFAR-10 in their order '
      f'({", ".join(row.classes)}): {layout.AGAIN}'
    )


def _text(value: Any) -> Any:
  """Bytes of Python 2, or of a batch written again by Python 3."""
  return value.decode('latin-1') if isinstance(value, bytes) else value


def _fields(path: pathlib.Path) -> dict[str, Any]:
  """The dict in a pickle, read as data."""
  size = path.stat().st_size
  if size > pickled.MOST_BYTES:
    raise ValueError(
      f'{path} has {size} bytes, more than any batch: {layout.AGAIN}'
    )
  try:
    with path.open('rb') as file:
      value = pickled.load(pickled.Stream(file, size))
      if not isinstance(value, dict):
        raise ValueError('it is no dict')
  except allowed.Refused as error:
    raise ValueError(f'{path} {error}: {layout.AGAIN}') from None
  except (ValueError, OverflowError) as error:
    raise ValueError(
      f'{path} is not a batch of CIFAR-10 ({error}): {layout.AGAIN}'
    ) from error
  return {_text(key): item for key, item in value.items()}


def _pickled_batch(path: pathlib.Path) -> tuple[np.ndarray, np.ndarray]:
  fields = _fields(path)
  match fields.get('data'):
    case allowed.Record(state=np.ndarray(dtype=np.uint8, shape=(_, 3072)) as x):
      pixels = x
    case _:
      raise ValueError(
        f'{path} has no data of uint8 [N, {_BYTES}]: {layout.AGAIN}'
      )
  match fields.get('labels'):
    case [*labels] if all(type(x) is int for x in labels):
      # Out of range of int64 is out of range of the classes, too.
      numbers = [x if 0 <= x < 256 else -1 for x in labels]
      return _images(pixels), np.array(numbers, np.int64)
  raise ValueError(f'{path} has no list of labels: {layout.AGAIN}')


def _binary_batch(path: pathlib.Path) -> tuple[np.ndarray, np.ndarray]:
  """One byte of the label, then the image, channel by channel."""
  rows = _bytes(path, _BYTES + 1)
  return _images(rows[:, 1:]), rows[:, 0]


def _bytes(path: pathlib.Path, width: int) -> np.ndarray:
  """uint8 [N, width] of a file of nothing else."""
  size = path.stat().st_size
  if size % width or not size:
    raise ValueError(
      f'{path} has {size} bytes, no multiple of {width}: {layout.AGAIN}'
    )
  if size // width > _MOST:
    raise ValueError(
      f'{path} has {size // width:,} images, more than {_MOST:,}: '
      f'{layout.AGAIN}'
    )
  return np.fromfile(path, np.uint8).reshape(-1, width)


def _images(rows: np.ndarray) -> np.ndarray:
  """[N, 3072] -> [N, 32, 32, 3]."""
  planes = rows.reshape(-1, 3, _SIDE, _SIDE)
  return np.ascontiguousarray(planes.transpose(0, 2, 3, 1))


def cifar10_1(
  row: dataset.Dataset, part: str, data_dir: pathlib.Path, only: Only = None
) -> layout.Found:
  """CIFAR-10.1: two files of NumPy.

  Raises:
    Missing: they are not there.
    ValueError: one is missing, or damaged.
  """
  files = [f'cifar10.1_{part}_{what}.npy' for what in ('data', 'labels')]
  for place in (data_dir, data_dir / 'cifar10.1', data_dir / 'CIFAR-10.1'):
    paths = [place / file for file in files]
    there = [path for path in paths if path.is_file()]
    if len(there) == 1:
      (lacking,) = set(files) - {there[0].name}
      raise ValueError(f'{there[0]} is there, but not {lacking}: add it')
    if there:
      images, labels = (np.array(_mapped(path)) for path in paths)
      examples = layout.image_set(images, labels, row, *paths)
      return layout.Found(examples, row.classes, str(paths[0]))
  raise layout.Missing(files)


def cifar10_c(
  row: dataset.Dataset, part: str, data_dir: pathlib.Path, only: Only = None
) -> layout.Found:
  """CIFAR-10-C: a file for each corruption, severities one after the other.

  Raises:
    Missing: there is no such folder.
    ValueError: a file is missing, or damaged.
  """
  name, _, severity = part.partition('/')
  place = data_dir / 'CIFAR-10-C'
  if not place.is_dir():
    raise layout.Missing([f'CIFAR-10-C/{name}.npy'])
  path, path_labels = place / f'{name}.npy', place / 'labels.npy'
  for file in (path, path_labels):
    if not file.is_file():
      raise ValueError(f'{place} has no {file.name}: {layout.AGAIN}')
  images, labels = _mapped(path), _mapped(path_labels)
  count, odd = divmod(len(images), _SEVERITIES)
  if odd or labels.shape != images.shape[:1]:
    raise ValueError(
      f'{path} is {images.shape} and {path_labels.name} {labels.shape}: both '
      f'must have {_SEVERITIES} blocks of as many: {layout.AGAIN}'
    )
  rows = slice((int(severity) - 1) * count, int(severity) * count)
  examples = layout.image_set(
    np.array(images[rows]), np.array(labels[rows]), row, path, path_labels
  )
  return layout.Found(examples, row.classes, str(path))


def _mapped(path: pathlib.Path) -> np.ndarray:
  """An array in a file: no objects, and a header that does not lie."""
  try:
    with path.open('rb') as file:
      shape, _ = npy.read_header(file)
    if len(shape) and shape[0] > _MOST:
      raise ValueError(f'{shape[0]:,} of what are at most {_MOST:,}')
    array = np.lib.format.open_memmap(path, mode='r')
  except (ValueError, OSError, OverflowError, SyntaxError, EOFError) as error:
    raise ValueError(
      f'{path} is not a whole file of NumPy without objects ({error}): '
      f'{layout.AGAIN}'
    ) from error
  size = path.stat().st_size
  if array.ndim == 0 or array.offset + array.nbytes != size:
    raise ValueError(
      f'{path} has {size} bytes, its header says {array.shape} {array.dtype}: '
      f'{layout.AGAIN}'
    )
  return array


def stl10(
  row: dataset.Dataset, part: str, data_dir: pathlib.Path, only: Only = None
) -> layout.Found:
  """STL-10: images column by column, labels from 1.

  Raises:
    Missing: there is no such folder.
    ValueError: a file is missing, or damaged.
  """
  place = data_dir / 'stl10_binary'
  if not place.is_dir():
    raise layout.Missing(['stl10_binary/'])
  path, path_labels = place / f'{part}_X.bin', place / f'{part}_y.bin'
  for file in (path, path_labels):
    if not file.is_file():
      raise ValueError(f'{place} has no {file.name}: {layout.AGAIN}')
  names = place / 'class_names.txt'
  if names.is_file():
    found = layout.read_text(names).split()
    if found != [*row.classes]:
      raise ValueError(
        f'{names} does not have {", ".join(row.classes)}: {layout.AGAIN}'
      )
  planes = _bytes(path, _STL_SIDE * _STL_SIDE * 3)
  labels = _bytes(path_labels, 1)[:, 0].astype(np.int32)
  if labels.min() < 1:
    raise ValueError(f'{path_labels} has label 0, not 1 ... 10: {layout.AGAIN}')
  images = planes.reshape(-1, 3, _STL_SIDE, _STL_SIDE).transpose(0, 3, 2, 1)
  examples = layout.image_set(
    np.ascontiguousarray(images), labels - 1, row, path, path_labels
  )
  return layout.Found(examples, row.classes, str(place))

"""What the readers of published data sets share: results, errors, listings.

  found = layout.Found(examples, classes, where='/data/CIFAR-10-C/fog.npy')
  layout.images_in('/data/train/n01440764')      # ['n01440764_10026.JPEG', ...]

A reader takes (row, part, data_dir, only) and returns `Found`, or raises
`Missing` where nothing of the data set is there. What is there and damaged is a
ValueError that names the file.
"""

import dataclasses
import os
import pathlib
from collections.abc import Collection, Iterable, Sequence

import numpy as np

from daft_jax import names
from daft_jax.data import images, records, sources, walk
from daft_jax.data.published import dataset

AGAIN = 'unpack or download it again'
_MOST_TEXT = 1 << 24  # bytes of a list, or of a description


class Missing(ValueError):
  """Nothing of a data set is there.

  Attributes:
    looked: the places, relative to data_dir.
  """

  def __init__(self, looked: Iterable[str]):
    self.looked = tuple(looked)
    super().__init__(f'not there: {", ".join(self.looked)}')


@dataclasses.dataclass(frozen=True, eq=False)
class Found:
  """The examples of one source.

  Attributes:
    examples: images in memory, or places of encoded ones; labels are indices
      into `classes`.
    classes: the data set's own, in its own order.
    where: the file or folder that was read.
    notes: what the user should know, a line each: other counts than published.
  """

  examples: sources.ImageSet | records.Records
  classes: tuple[str, ...]
  where: str
  notes: tuple[str, ...] = ()


def read_text(path: pathlib.Path) -> str:
  """A list of a publisher's: a text that is not long.

  Raises:
    ValueError: it is.
  """
  size = path.stat().st_size
  if size > _MOST_TEXT:
    raise ValueError(f'{path} has {size:,} bytes, too many for a list: {AGAIN}')
  return path.read_text(encoding='utf-8', errors='replace')


def images_in(folder: str | os.PathLike[str]) -> list[str]:
  """Sorted names of the images in one folder, without hidden files."""
  with os.scandir(folder) as entries:
    return sorted(
      entry.name
      for entry in entries
      if not entry.name.startswith('.')
      and os.path.splitext(entry.name)[1].lower() in images.SUFFIXES
    )


def first_folder(
  data_dir: pathlib.Path, places: Iterable[str], holds: Collection[str]
) -> pathlib.Path | None:
  """The first of these places with a folder of one of the names `holds`.

  A name such as `train` or `sketch` may belong to another data set.
  """
  for place in places:
    path = data_dir / place
    if path.is_dir():
      with os.scandir(path) as entries:
        if any(entry.name in holds and entry.is_dir() for entry in entries):
          return path
  return None


def class_folders(
  place: pathlib.Path,
  folders: Sequence[str],
  labels: Sequence[int],
) -> records.Records:
  """Images of class folders; those that are not there have none.

  Args:
    place: the folder of class folders.
    folders: names of the wanted ones.
    labels: of these, one a folder.

  Raises:
    OSError: a folder cannot be read.
  """
  paths: list[str] = []
  counts = []
  for name in folders:
    path = os.path.join(place, name)
    inside = images_in(path) if os.path.isdir(path) else []
    paths += [os.path.join(path, file) for file in inside]
    counts.append(len(inside))
  return records.Records(
    records.Files(tuple(paths)),
    np.repeat(np.asarray(labels, np.int32), counts),
  )


def check_folders(
  place: pathlib.Path, known: Collection[str], what: str
) -> None:
  """Refuses folders that are no class of the data set.

  Raises:
    ValueError: there is one.
  """
  odd = [path.name for path in walk.folders(place) if path.name not in known]
  if odd:
    raise ValueError(
      f'{place} has {len(odd)} folders that are no {what} '
      f'({names.listed(map(names.shown, odd))}).'
      f'{names.did_you_mean(odd[0], known)} Move them elsewhere, or rename them'
    )


def check_labels(
  labels: np.ndarray, classes: Sequence[str], file: str | os.PathLike[str]
) -> np.ndarray:
  """Returns labels as int32.

  Raises:
    ValueError: no integers [N], or one out of range.
  """
  if labels.dtype.kind not in 'iu' or labels.ndim != 1:
    raise ValueError(
      f'{file} holds labels of shape {labels.shape} and type {labels.dtype}, '
      f'not integers in a row: {AGAIN}'
    )
  wrong = (labels < 0) | (labels >= len(classes))
  if wrong.any():
    row = int(np.argmax(wrong))
    raise ValueError(
      f'{file} has label {labels[row]} at {row}, and labels are '
      f'0 ... {len(classes) - 1}: {AGAIN}'
    )
  return labels.astype(np.int32)


def image_set(
  pixels: np.ndarray,
  labels: np.ndarray,
  row: dataset.Dataset,
  file: str | os.PathLike[str],
  labels_file: str | os.PathLike[str] = '',
) -> sources.ImageSet:
  """Checks images in memory against their labels and their data set.

  Args:
    pixels: uint8 [N, side, side, 3].
    labels: integers [N].
    row: of the data set.
    file: the images' and, unless it is another, the labels', for messages.
    labels_file: the labels'.

  Raises:
    ValueError: another size or type, numbers that differ, a label that is none.
  """
  side = row.side
  if pixels.dtype != np.uint8 or pixels.shape[1:] != (side, side, 3):
    raise ValueError(
      f'{file} holds {pixels.dtype} {pixels.shape}, not uint8 '
      f'(N, {side}, {side}, 3): {AGAIN}'
    )
  labels = check_labels(labels, row.classes, labels_file or file)
  if len(pixels) != len(labels):
    places = f'{file} and {labels_file}' if labels_file else file
    raise ValueError(
      f'{places}: {len(pixels)} images, but {len(labels)} labels: {AGAIN}'
    )
  return sources.ImageSet(pixels, labels)


def listed_classes(
  row: dataset.Dataset, only: Collection[str] | None
) -> tuple[list[str], list[int]]:
  """Names and labels of the wanted classes, in the order of the labels."""
  pairs = [
    (name, label)
    for label, name in enumerate(row.classes)
    if only is None or name in only
  ]
  return [name for name, _ in pairs], [label for _, label in pairs]

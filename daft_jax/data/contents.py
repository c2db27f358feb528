"""The images of a scanned folder: decoded, checked, in memory.

found = folder.scan('/my/images')
sets = contents.read(found, preprocess, bad_files='skip')
sets.images['train'].images.shape              # (N, 224, 224, 3)
"""

import concurrent.futures
import hashlib
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from daft_jax import names
from daft_jax.data import folder, images
from daft_jax.data.preprocess import Preprocess
from daft_jax.data.sources import ImageSet

_SHOWN = 10  # files listed in an error


class Sets(NamedTuple):
  """The images of a scan, decoded.

  Attributes:
    images: name of the split -> its images and labels.
    sha256: of all that was read: split, class and content of every image.
    notes: lines for the user: bad files, files that occur twice.
  """

  images: dict[str, ImageSet]
  sha256: str
  notes: tuple[str, ...]


def read(
  found: folder.Found, preprocess: Preprocess, *, bad_files: str = 'error'
) -> Sets:
  """Decodes every image, several at a time, at the size of the model.

  Args:
    found: what `scan` returns.
    preprocess: its size, cut and interpolation are used, not mean and std.
    bad_files: what to do where a file cannot be read: 'error' refuses and lists
      all of them; 'skip' leaves them out and says how many; 'report' leaves
      them out and lists each.

  Raises:
    ValueError: bad files, a split or a class of train left without images, or
      one image in train and in a test set (told by its content).
  """
  files = [
    (name, path, label)
    for name, split in found.splits.items()
    for path, label in zip(*split, strict=True)
  ]
  with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
    done = list(pool.map(lambda file: _read(file[1], preprocess), files))
  bad = [
    f'{path} {problem}'
    for (_, path, _), (_, _, problem) in zip(files, done, strict=True)
    if problem
  ]
  if bad and bad_files == 'error':
    raise ValueError(
      f'{len(bad)} of {len(files)} image files cannot be read. Mend or remove '
      "them, or set config.data.bad_files to 'skip':\n  " + '\n  '.join(bad)
    )
  good = [
    (*file, digest, pixels)
    for file, (digest, pixels, problem) in zip(files, done, strict=True)
    if not problem
  ]
  notes = [f'{len(bad)} unreadable files left out'] if bad else []
  notes += [f'  {line}' for line in bad] if bad_files == 'report' else []
  notes += _twice(good)
  whole = hashlib.sha256()
  for name, _, label, digest, _ in good:
    whole.update(f'{name} {found.classes[label]} {digest}\n'.encode())
  sets = {name: _image_set(name, good, preprocess) for name in found.splits}
  _check_left(sets, found.classes)
  return Sets(sets, whole.hexdigest(), tuple(notes))


def _read(
  path: pathlib.Path, preprocess: Preprocess
) -> tuple[str, np.ndarray | None, str]:
  """The sha256 of a file, its pixels, and what is wrong with it."""
  try:
    data = path.read_bytes()
    picture = np.asarray(images.decode(data))
  except (OSError, ValueError) as error:
    return '', None, str(error)
  return hashlib.sha256(data).hexdigest(), preprocess.cut(picture[None])[0], ''


def _twice(good: Sequence[tuple]) -> list[str]:
  """Refuses tests of what was trained on; counts other files that are twice."""
  first: dict[str, tuple[str, pathlib.Path]] = {}
  shared, twice = [], 0
  for name, path, _, digest, _ in good:  # train and id_val come first
    before = first.setdefault(digest, (name, path))
    if before[0] != name and before[0] in ('train', 'id_val'):
      shared.append(f'{before[1]} ({before[0]}) is {path} ({name})')
    elif before != (name, path):
      twice += 1
  if shared:
    raise ValueError(
      f'{len(shared)} images are in two splits, so that a test would be of '
      'what was trained on or chosen by. Remove one of each:\n  '
      + '\n  '.join(shared[:_SHOWN])
    )
  return [f'{twice} files occur more than once'] if twice else []


def _image_set(
  name: str, good: Sequence[tuple], preprocess: Preprocess
) -> ImageSet:
  rows = [row for row in good if row[0] == name]
  size = preprocess.image_size
  pixels = [row[4] for row in rows]
  stacked = np.stack(pixels) if pixels else np.zeros((0, size, size, 3), 'u1')
  return ImageSet(stacked, np.array([row[2] for row in rows], np.int32))


def _check_left(sets: Mapping[str, ImageSet], classes: Sequence[str]) -> None:
  empty = [name for name, images in sets.items() if not len(images)]
  if empty:
    raise ValueError(f'no readable image is left in {", ".join(empty)}')
  if 'train' not in sets:  # Only tests were asked for.
    return
  left = set(sets['train'].labels.tolist())
  gone = [name for label, name in enumerate(classes) if label not in left]
  if gone:
    raise ValueError(
      f'no readable image of {names.listed(gone)} is left in train'
    )

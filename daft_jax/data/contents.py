"""The images of a scanned folder: decoded, checked, in memory.

found = folder.scan('/my/images')
sets = contents.read(found, preprocess, bad_files='skip')
sets.images['train'].images.shape              # (N, 224, 224, 3)
"""

import concurrent.futures
import hashlib
import os
import pathlib
import warnings
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from daft_jax import names
from daft_jax.data import folder, images
from daft_jax.data.preprocess import Preprocess
from daft_jax.data.sources import ImageSet

_SHOWN = 20  # files listed in an error


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


class _File(NamedTuple):
  """One file that was read: its place, the sha256 and what is wrong with it."""

  split: str
  path: pathlib.Path
  label: int
  digest: str
  problem: str


def read(
  found: folder.Found, preprocess: Preprocess, *, bad_files: str = 'error'
) -> Sets:
  """Decodes every image, several at a time, at the size of the model.

  Args:
    found: what `folder.scan` returns.
    preprocess: its size, cut and interpolation are used, not mean and std.
    bad_files: what to do where a file cannot be read: 'error' refuses and lists
      all of them; 'skip' leaves them out and says how many; 'report' leaves
      them out and lists each.

  Raises:
    ValueError: bad files, a split or a class of train left without images, one
      image in two classes, or in train and in a test set (told by content).
  """
  files, sets = [], {}
  # PIL warns of large pictures and of odd EXIF and TIFF records. Here and not
  # where it decodes: the filters are the process's, not a thread's.
  with warnings.catch_warnings():
    warnings.simplefilter('ignore')
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
      for name, split in found.splits.items():
        pixels, done = _read_split(name, split, preprocess, pool)
        files += done
        good = [not file.problem for file in done]
        pixels = pixels if all(good) else pixels[good]
        labels = [file.label for file in done if not file.problem]
        sets[name] = ImageSet(pixels, np.array(labels, np.int32))
  bad = [f'{file.path} {file.problem}' for file in files if file.problem]
  if bad and bad_files == 'error':
    raise ValueError(
      f'{len(bad)} of {len(files)} image files cannot be read. Mend or remove '
      "them, or set config.data.bad_files to 'skip':\n  " + '\n  '.join(bad)
    )
  notes = [f'{len(bad)} unreadable files left out'] if bad else []
  notes += [f'  {line}' for line in bad] if bad_files == 'report' else []
  files = [file for file in files if not file.problem]
  notes += _twice(files, found.classes)
  _check_left(sets, found.classes)
  whole = hashlib.sha256()
  for file in files:
    label = found.classes[file.label]
    whole.update(f'{file.split}\n{label}\n{file.digest}\n'.encode())
  return Sets(sets, whole.hexdigest(), tuple(notes))


def _read_split(
  name: str,
  split: folder.Split,
  preprocess: Preprocess,
  pool: concurrent.futures.Executor,
) -> tuple[np.ndarray, list[_File]]:
  """The pixels of a split, in one array, and its files."""
  size = preprocess.image_size
  pixels = np.zeros((len(split.paths), size, size, 3), np.uint8)

  def one(row: int) -> _File:
    path, label = split.paths[row], split.labels[row]
    try:
      data = path.read_bytes()
      picture = np.asarray(images.decode(data))
      pixels[row] = preprocess.cut(picture[None])[0]
    except (OSError, ValueError) as error:
      return _File(name, path, label, '', str(error))
    return _File(name, path, label, hashlib.sha256(data).hexdigest(), '')

  return pixels, list(pool.map(one, range(len(split.paths))))


def _twice(files: Sequence[_File], classes: Sequence[str]) -> list[str]:
  """Refuses tests of what was trained on; counts other files that are twice."""
  first: dict[str, _File] = {}
  shared, torn, twice = [], [], 0
  for file in files:  # train and id_val come first
    before = first.setdefault(file.digest, file)
    if before is file:
      continue
    twice += 1
    pair = f'{before.path} ({before.split}) is {file.path} ({file.split})'
    if before.split != file.split and before.split in ('train', 'id_val'):
      shared.append(pair)
    elif before.label != file.label:
      torn.append(pair)
  for wrong, what in (
    (shared, 'in two splits, a test would be of what was trained or chosen by'),
    (torn, 'in two classes'),
  ):
    if wrong:
      more = len(wrong) - _SHOWN
      rest = [f'and {more} more'] if more > 0 else []
      raise ValueError(
        f'{len(wrong)} images are {what}. Remove one of each:\n  '
        + '\n  '.join(wrong[:_SHOWN] + rest)
      )
  return [f'{twice} files occur more than once'] if twice else []


def _check_left(sets: Mapping[str, ImageSet], classes: Sequence[str]) -> None:
  empty = [name for name, images in sets.items() if not len(images)]
  if empty:
    raise ValueError(f'no readable image is left in {", ".join(empty)}')
  left = set(sets['train'].labels.tolist())
  gone = [name for label, name in enumerate(classes) if label not in left]
  if gone:
    raise ValueError(
      f'no readable image of {names.listed(gone)} is left in train'
    )

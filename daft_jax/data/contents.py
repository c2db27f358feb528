"""The images of a scanned folder: decoded, checked, in memory.

found = folder.scan('/my/images')
sets = contents.read(found, preprocess, bad_files='skip')
sets.images['train'].images.shape              # (N, 224, 224, 3)
"""

import concurrent.futures
import contextlib
import hashlib
import os
import pathlib
import threading
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from daft_jax import names, processes
from daft_jax.data import folder, images
from daft_jax.data.preprocess import Preprocess
from daft_jax.data.recipe import Examples
from daft_jax.data.records import Files, Records
from daft_jax.data.sources import ImageSet

_SHOWN = 20  # files listed in an error
# Pixels that are decoded at once, however many cores there are: two gigabytes.
# Eight photographs of 24 megapixels, or four pictures of the largest size.
_ROOM = 4 * images.MOST_PIXELS


class Sets(NamedTuple):
  """The images of a scan, decoded.

  Attributes:
    images: name of the split -> its images and labels, or files and labels.
    sha256: of all that was read: split, class and content of every image.
    notes: lines for the user: bad files, files that occur twice.
  """

  images: dict[str, Examples]
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
  found: folder.Found,
  preprocess: Preprocess | Mapping[str, Preprocess | None],
  *,
  bad_files: str = 'error',
  published: bool = False,
) -> Sets:
  """Decodes every image, several at a time, at the size of the model.

  Args:
    found: what `folder.scan` returns.
    preprocess: its size, cut and interpolation are used, not mean and std. Or
      one for each split; None: images are looked at and stay on disk. Of
      several processes each then reads its share of them.
    bad_files: what to do where a file cannot be read: 'error' refuses and lists
      all of them; 'skip' leaves them out and says how many; 'report' leaves
      them out and lists each.
    published: of a benchmark that others are compared on, images that are in
      two splits or classes stay, and are counted.

  Raises:
    ValueError: bad files, a split or a class of train left without images, one
      image in two classes, or in train and in a test set (told by content).
  """
  if isinstance(preprocess, Preprocess):
    preprocess = dict.fromkeys(found.splits, preprocess)
  files, sets = [], {}
  # PIL warns of large pictures and of odd EXIF and TIFF records. Here and not
  # where it decodes: the filters are the process's, not a thread's.
  with warnings.catch_warnings():
    warnings.simplefilter('ignore')
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
      for name, split in found.splits.items():
        pixels, done = _read_split(name, split, preprocess[name], pool)
        files += done
        good = [not file.problem for file in done]
        kept = [file for file in done if not file.problem]
        labels = np.array([file.label for file in kept], np.int32)
        if pixels is None:
          paths = tuple(os.fspath(file.path) for file in kept)
          sets[name] = Records(Files(paths), labels)
        else:
          pixels = pixels if all(good) else pixels[good]
          sets[name] = ImageSet(pixels, labels)
  bad = [
    f'{names.shown(file.path)} {file.problem}' for file in files if file.problem
  ]
  if bad and bad_files == 'error':
    raise ValueError(
      f'{len(bad)} of {len(files)} image files cannot be read. Mend or remove '
      "them, or set config.data.bad_files to 'skip':\n  " + '\n  '.join(bad)
    )
  notes = [f'{len(bad)} unreadable files left out'] if bad else []
  notes += [f'  {line}' for line in bad] if bad_files == 'report' else []
  files = [file for file in files if not file.problem]
  notes += _twice(files, published)
  _check_left(sets, found.classes)
  whole = hashlib.sha256()
  for file in files:
    label = found.classes[file.label]
    whole.update(f'{file.split}\n{label}\n{file.digest}\n'.encode())
  return Sets(sets, whole.hexdigest(), tuple(notes))


def _read_split(
  name: str,
  split: folder.Split,
  preprocess: Preprocess | None,
  pool: concurrent.futures.Executor,
) -> tuple[np.ndarray | None, list[_File]]:
  """The pixels of a split, in one array, and its files."""
  pixels = None
  if preprocess is not None:
    size = preprocess.image_size
    pixels = np.zeros((len(split.paths), size, size, 3), np.uint8)

  room = _Room(_ROOM)

  def one(row: int) -> tuple[str, str]:
    """The digest of a file, or what is wrong with it."""
    try:
      data = images.read(split.paths[row])
      with room.taken(images.count_pixels(data)):
        picture = np.asarray(images.decode(data))
        if preprocess is not None:
          pixels[row] = preprocess.cut(picture[None])[0]
        del picture  # while its room is taken
    except (OSError, ValueError) as error:
      return '', str(error)
    return hashlib.sha256(data).hexdigest(), ''

  rows = range(len(split.paths))
  if preprocess is None:
    done = processes.gathered([*pool.map(one, processes.mine(len(rows)))])
  else:
    done = pool.map(one, rows)
  return pixels, [
    _File(name, split.paths[row], split.labels[row], *found)
    for row, found in zip(rows, done, strict=True)
  ]


class _Room:
  """Memory for pictures, in pixels: large ones are decoded one at a time."""

  def __init__(self, most: int):
    self._left = most
    self._changed = threading.Condition()

  @contextlib.contextmanager
  def taken(self, pixels: int) -> Iterator[None]:
    """Waits until there is room; `pixels` are at most all of it."""
    with self._changed:
      self._changed.wait_for(lambda: pixels <= self._left)
      self._left -= pixels
    try:
      yield
    finally:
      with self._changed:
        self._left += pixels
        self._changed.notify_all()


def _twice(files: Sequence[_File], published: bool) -> list[str]:
  """Refuses tests of what was trained on; counts other files that are twice."""
  first: dict[str, _File] = {}
  shared, torn, twice = [], [], 0
  for file in files:  # train and id_val come first
    before = first.setdefault(file.digest, file)
    if before is file:
      continue
    twice += 1
    first_path, path = names.shown(before.path), names.shown(file.path)
    pair = f'{first_path} ({before.split}) is {path} ({file.split})'
    if before.split != file.split and before.split in ('train', 'id_val'):
      shared.append(pair)
    elif before.label != file.label:
      torn.append(pair)
  for wrong, what in (
    (shared, 'in two splits, a test would be of what was trained or chosen by'),
    (torn, 'in two classes'),
  ):
    if wrong and not published:
      more = len(wrong) - _SHOWN
      rest = [f'and {more} more'] if more > 0 else []
      raise ValueError(
        f'{len(wrong)} images are {what}. Remove one of each:\n  '
        + '\n  '.join(wrong[:_SHOWN] + rest)
      )
  kept = f', {len(shared)} in two splits' if shared else ''
  kept += f', {len(torn)} in two classes' if torn else ''
  return [f'{twice} files occur more than once{kept}'] if twice else []


def _check_left(sets: Mapping[str, Examples], classes: Sequence[str]) -> None:
  empty = [name for name, images in sets.items() if not len(images)]
  if empty:
    raise ValueError(f'no readable image is left in {", ".join(empty)}')
  left = set(sets['train'].labels.tolist())
  gone = [name for label, name in enumerate(classes) if label not in left]
  if gone:
    raise ValueError(
      f'no readable image of {names.listed(gone)} is left in train'
    )

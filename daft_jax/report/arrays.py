"""What the `arrays.npz` of a trial holds, which may be of a stranger.

for split, measure, counts, edges in read(path, ('id_test', 'mnist')):
  print(split, measure, counts.sum())              # 'mnist', 'l2', 5000
by_layer(path, 'bn_shift', ('mean',))              # {'bn1': (0.69,), ...}
after, before, labels = sample(path, 'id_test')    # [n, D], [n, D], [n]
sums(path, ('id_test',), CLASSES)['id_test']       # [2, C]: images, right ones

What it takes to read them is bounded, whatever the file says of itself.
"""

import contextlib
import io
import math
import pathlib
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

from daft_jax import bounded, names, results

MEASURES = ('l2', 'cosine')
# Of a set: sums over its images, the first of which counts them.
CLASSES = ('class_count', 'class_correct')
RELIABILITY = ('bin_count', 'bin_correct', 'bin_confidence')
_MOST_BYTES = 1 << 24  # of the file; with 75 sets it has a million
_MOST_OF_ARRAY = 1 << 20
_MOST_LAYERS = 10_000
_LARGEST_FEATURE = 1e6  # float16 ends at 65,504
_LARGEST = 1e100  # a sum or a difference of these is finite

Found = tuple[str, str, np.ndarray, np.ndarray]


def files(
  choice: results.Choice, folders: Mapping[str, pathlib.Path]
) -> Iterator[tuple[results.Line, pathlib.Path]]:
  """Yields the trials of a choice that have arrays, and where these are."""
  for line in choice.lines:
    path = folders[line['trial']] / 'arrays.npz'
    if path.is_file():
      yield line, path


def read(path: pathlib.Path, splits: Iterable[str]) -> list[Found]:
  """Reads (split, measure, counts [n], edges [n + 1]) of those that are there.

  A trial that diverged has counted nothing, or has no edges to count in: these
  are passed over.

  Raises:
    results.ResultsError: it is damaged, or holds something else.
  """
  with _open(path) as archive:
    inside = {*archive.namelist()}
    return [
      (split, measure, *found)
      for split in splits
      for measure in MEASURES
      if f'{split}/{measure}_counts.npy' in inside
      and (found := _pair(archive, f'{split}/{measure}')) is not None
    ]


def by_layer(
  path: pathlib.Path, group: str, fields: Iterable[str]
) -> dict[str, tuple[float, ...]]:
  """Reads name of a layer -> a number for each field, in the order there.

  Empty where the file has no such group; a number may be nan.

  Raises:
    results.ResultsError: it is damaged, or holds something else.
  """
  with _open(path) as archive:
    if f'{group}/layer.npy' not in archive.namelist():
      return {}
    layers = _array(archive, f'{group}/layer.npy', 'U').tolist()
    columns = [_array(archive, f'{group}/{field}.npy') for field in fields]
    for column in columns:
      if column.shape != (len(layers),):
        raise ValueError(
          f'{group} has {len(layers)} layers, {len(column)} numbers'
        )
      if (np.abs(column) > _LARGEST).any():
        raise ValueError(f'{group} has numbers above 1e100')
    if len(layers) > _MOST_LAYERS or len({*layers}) < len(layers):
      raise ValueError(f'{group} has a layer twice, or too many')
    return dict(zip(layers, zip(*columns, strict=True), strict=True))


def sample(
  path: pathlib.Path, split: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
  """Reads features after and before [n, D] and labels [n] of some images.

  None where the file has no such set. Images whose features are not finite are
  left out.

  Raises:
    results.ResultsError: it is damaged, or holds something else.
  """
  with _open(path) as archive:
    if f'{split}/sample/label.npy' not in archive.namelist():
      return None
    labels = _array(archive, f'{split}/sample/label.npy', 'iu')
    after, before = (
      _array(archive, f'{split}/sample/{name}.npy', 'f', dims=2)
      for name in ('features', 'reference')
    )
    if after.shape != before.shape or len(after) != len(labels):
      raise ValueError(
        f'{split}/sample has features {list(after.shape)} and '
        f'{list(before.shape)} of {len(labels)} images'
      )
    finite = np.isfinite(after).all(axis=1) & np.isfinite(before).all(axis=1)
    # So that squares of what a stranger wrote as float64 are finite, too.
    finite &= (np.abs(after) < _LARGEST_FEATURE).all(axis=1)
    finite &= (np.abs(before) < _LARGEST_FEATURE).all(axis=1)
    return after[finite], before[finite], labels[finite]


def sums(
  path: pathlib.Path, splits: Iterable[str], fields: Sequence[str]
) -> dict[str, np.ndarray]:
  """Reads split -> sums [fields, n], of the splits that have them.

  Args:
    path: of the file.
    splits: names of sets.
    fields: `CLASSES` or `RELIABILITY`.

  Raises:
    results.ResultsError: it is damaged, or holds something else.
  """
  found = {}
  with _open(path) as archive:
    inside = {*archive.namelist()}
    for split in splits:
      names = [f'{split}/{field}.npy' for field in fields]
      if inside.issuperset(names):
        found[split] = _sums([_array(archive, name) for name in names], split)
  return found


def added(
  choices: Mapping[str, results.Choice],
  folders: Mapping[str, pathlib.Path],
  fields: Sequence[str],
) -> dict[str, dict[str, np.ndarray]]:
  """Adds `sums` of the chosen trials up: over seeds, and over OOD sets.

  Returns:
    {'ID test' and 'OOD': {method: [fields, n]}}, of those that have any. What
    is not as long as the first is passed over.

  Raises:
    results.ResultsError: see `sums`.
  """
  found: dict[str, dict[str, np.ndarray]] = {'ID test': {}, 'OOD': {}}
  length: dict[str, int] = {}
  for method, choice in choices.items():
    for line, path in files(choice, folders):
      for split, each in sums(path, ('id_test', *line['ood']), fields).items():
        part = 'ID test' if split == 'id_test' else 'OOD'
        size = each.shape[1]
        if each.any() and length.setdefault(part, size) == size:
          found[part][method] = found[part].get(method, 0) + each
  return found


def _sums(columns: Sequence[np.ndarray], split: str) -> np.ndarray:
  if len({len(column) for column in columns}) > 1:
    raise ValueError(f'{split} has sums of different lengths')
  each = np.array(columns)
  # A sum of confidences is rounded.
  within = (each >= 0) & (each <= 1.001 * each[0])
  if not within.all() or (each > _LARGEST).any():
    raise ValueError(f'{split} has sums that are not of its images')
  return each


@contextlib.contextmanager
def _open(path: pathlib.Path) -> Iterator[zipfile.ZipFile]:
  """Opens it; whatever goes wrong inside says that it is damaged."""
  try:
    file = io.BytesIO(bounded.read(path, _MOST_BYTES))
    with zipfile.ZipFile(file) as archive:
      yield archive
  # The parsers of NumPy and of zips raise whatever they stumble over.
  except Exception as error:
    reason = names.shown(error) or type(error).__name__
    folder = names.shown(path.parent)
    raise results.ResultsError(
      f'{names.shown(path)}: damaged ({reason}); delete {folder} and run the '
      'same command again'
    ) from None


def _pair(
  archive: zipfile.ZipFile, name: str
) -> tuple[np.ndarray, np.ndarray] | None:
  """Counts and edges; None where nothing was counted."""
  counts, edges = (
    _array(archive, f'{name}_{part}.npy') for part in ('counts', 'edges')
  )
  if edges.shape != (len(counts) + 1,):
    raise ValueError(
      f'{name} has {len(counts)} counts between {len(edges)} edges'
    )
  # Before the numbers are looked at: all of them are nan then.
  if not np.isfinite(edges).all():
    return None
  if not (np.abs(counts) <= _LARGEST).all() or np.abs(edges).max() > _LARGEST:
    raise ValueError(f'{name} has numbers that are not finite or above 1e100')
  return (counts, edges) if counts.sum() > 0 else None


def _array(
  archive: zipfile.ZipFile, name: str, kinds: str = 'iuf', dims: int = 1
) -> np.ndarray:
  """A list [n], or a matrix, read without trust in what any header says."""
  info = archive.getinfo(name)
  # Others unpack as much as they like at once; NumPy writes these two.
  if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
    raise ValueError(f'{name} is compressed in a way that NumPy does not use')
  with archive.open(info) as member:
    data = member.read(_MOST_OF_ARRAY + 1)
  if len(data) > _MOST_OF_ARRAY:
    raise ValueError(f'{name} has more than {_MOST_OF_ARRAY:,} bytes')
  file = io.BytesIO(data)
  version = np.lib.format.read_magic(file)
  if version != (1, 0):
    raise ValueError(f'{name} is of version {version} of the format')
  shape, _, dtype = np.lib.format.read_array_header_1_0(file)
  rest = data[file.tell() :]
  if dtype.kind not in kinds or len(shape) != dims:
    raise ValueError(f'{name} is {dtype}{list(shape)}, not what belongs there')
  if len(rest) != math.prod(shape) * dtype.itemsize:
    raise ValueError(f'{name} has {len(rest)} bytes for {list(shape)} values')
  found = np.frombuffer(rest, dtype).reshape(shape)
  return found if kinds == 'U' else found.astype(np.float64)

"""The histograms in the `arrays.npz` of a trial, which may be of a stranger.

for split, measure, counts, edges in read(path, ('id_test', 'mnist')):
  print(split, measure, counts.sum())              # 'mnist', 'l2', 5000

What it takes to read them is bounded, whatever the file says of itself.
"""

import io
import pathlib
import zipfile
from collections.abc import Iterable

import numpy as np

from daft_jax import bounded, names, results

MEASURES = ('l2', 'cosine')
_MOST_BYTES = 1 << 24  # of the file; with 75 sets it has a million
_MOST_OF_ARRAY = 1 << 20
_LARGEST = 1e100  # a sum or a difference of these is finite

Found = tuple[str, str, np.ndarray, np.ndarray]


def read(path: pathlib.Path, splits: Iterable[str]) -> list[Found]:
  """Reads (split, measure, counts [n], edges [n + 1]) of those that are there.

  A trial that diverged has counted nothing, or has no edges to count in: these
  are passed over.

  Raises:
    results.ResultsError: it is damaged, or holds something else.
  """
  try:
    file = io.BytesIO(bounded.read(path, _MOST_BYTES))
    with zipfile.ZipFile(file) as archive:
      inside = {*archive.namelist()}
      return [
        (split, measure, *found)
        for split in splits
        for measure in MEASURES
        if f'{split}/{measure}_counts.npy' in inside
        and (found := _pair(archive, f'{split}/{measure}')) is not None
      ]
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


def _array(archive: zipfile.ZipFile, name: str) -> np.ndarray:
  """A list of numbers [n], read without trust in what any header says."""
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
  if dtype.kind not in 'iuf' or len(shape) != 1:
    raise ValueError(f'{name} is {dtype}{list(shape)}, not a list of numbers')
  if len(rest) != shape[0] * dtype.itemsize:
    raise ValueError(f'{name} has {len(rest)} bytes for {shape[0]} numbers')
  return np.frombuffer(rest, dtype).astype(np.float64)

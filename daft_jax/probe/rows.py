"""The scaled rows of a feature matrix, in memory or read again at every pass.

  rows = Rows(features, labels, scaling(features))
  gram = sum(rows.each(lambda x: x.T @ x))

A matrix in memory is one block. Of chunks no more than one block is in memory;
all blocks have one shape, so that one program serves them.

Of several processes each has some rows. A block is then one array over all of
their devices, so that whatever is summed over its rows is summed over all.
"""

import functools
import itertools
import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from daft_jax import processes, sharding

PADDING = -1  # the label of rows that fill the last block
_BLOCK_BYTES = 2**26
_PIECE = 1024  # rows that are summed at once, in float64


class Scaling(NamedTuple):
  """One mean and deviation of a whole matrix, and the mean of its columns."""

  mean: np.float64
  std: np.float64
  columns: np.ndarray


def are_shared(mesh: Mesh | None) -> bool:
  """Whether rows are those of several processes."""
  return mesh is not None and mesh.is_multi_process


def of_each(value: Any, mesh: Mesh | None) -> list[Any]:
  """The values of all processes that share the rows."""
  return processes.gathered([value]) if are_shared(mesh) else [value]


def is_chunked(features: Any) -> bool:
  """Whether it is read in blocks: chunks, or a file mapped into memory."""
  if isinstance(features, np.memmap):
    return True
  if isinstance(features, np.ndarray | jax.Array):
    return False
  return all(np.ndim(chunk) == 2 for chunk in _first(features))


def _first(features: Any) -> list[Any]:
  if not isinstance(features, Iterable):
    raise ValueError(f'features are {type(features).__name__}, not an array')
  if iter(features) is features:
    raise ValueError(
      'features can be read only once, and every pass reads them again: pass '
      'a list, or an object whose __iter__ starts anew'
    )
  return [chunk for chunk, _ in zip(features, range(1), strict=False)]


def pieces(features: Any) -> Iterator[np.ndarray]:
  """Float32 [n, D], one after the other; a matrix is cut into views."""
  if isinstance(features, np.ndarray):
    width = max(1, features.shape[1])
    step = max(1, _BLOCK_BYTES // (4 * width))
    starts, matrix = range(0, len(features), step), features
    features = (matrix[i : i + step] for i in starts)
  for chunk in features:
    chunk = np.asarray(chunk)
    with np.errstate(over='ignore'):
      yield chunk.astype(np.float32, copy=False)


def scaling(features: Any, mesh: Mesh | None = None) -> Scaling:
  """The moments of a finite matrix with rows and columns, in float64."""
  parts = of_each([*_sums(features)], mesh)
  parts = [part for part in parts if part[0]]
  count, columns, squares, origin = functools.reduce(_merged, parts)
  columns = columns / count
  shift = columns.mean()
  mean = origin + shift
  std = np.sqrt(max(0.0, squares / (count * len(columns)) - shift**2))
  # What float32 cannot tell apart is constant; any scale will do.
  least = max(abs(mean) * np.finfo(np.float32).eps, np.finfo(np.float32).tiny)
  return Scaling(mean, std if std > least else np.float64(1), origin + columns)


def _sums(features: Any) -> tuple[int, Any, Any, Any]:
  """Number of rows; sums, by column, and of squares, around an origin."""
  count, columns, squares, origin = 0, 0.0, 0.0, None
  for piece in _exact(features):
    # From the first mean on, squares of deviations stay small.
    origin = piece.mean() if origin is None else origin
    piece -= origin
    columns = columns + piece.sum(axis=0)
    squares += np.vdot(piece, piece)
    count += len(piece)
  return count, columns, squares, origin


def _exact(features: Any) -> Iterator[np.ndarray]:
  """Float64 [n, D] of few rows, one after the other."""
  for chunk in pieces(features):
    for i in range(0, len(chunk), _PIECE):
      yield chunk[i : i + _PIECE].astype(np.float64)


def _merged(first: Any, second: Any) -> tuple[int, Any, Any, Any]:
  """`_sums` of the rows of both, around the origin of the first."""
  count, columns, squares, origin = second
  away = origin - first[3]
  # sum (x + a)^2 = sum x^2 + 2 a sum x + n a^2
  squares += away * (2 * columns.sum() + count * len(columns) * away)
  columns = columns + count * away
  return first[0] + count, first[1] + columns, first[2] + squares, first[3]


def each(function: Callable[..., Any], *lists: Iterable[Any]) -> list[Any]:
  """Calls a function of a block for every block, with one of each list.

  It waits for a block before it takes the next, so that they do not pile up on
  the devices; and with many sums over devices on their way CPUs hang.
  """
  return [
    jax.block_until_ready(function(*block))
    for block in zip(*lists, strict=True)
  ]


class Rows:
  """Rows with their labels, scaled and with columns of mean 0.

  Args:
    features: finite [n, D], or chunks [n_i, D] that can be read repeatedly.
    labels: int [n].
    moments: of the training matrix.
    mesh: its devices share the rows of every block; of several processes each
      gives its own rows, which may be none.

  Attributes:
    num_rows, num_columns: N, of all processes, and D.
    share: of the rows, this process's.
    moments: as given.
    labels: of every block, int32 on the devices.
  """

  def __init__(
    self,
    features: Any,
    labels: np.ndarray,
    moments: Scaling,
    mesh: Mesh | None = None,
  ):
    self.num_columns = len(moments.columns)
    self.moments = moments
    self._features, self._mesh = features, mesh
    self._labels = np.asarray(labels, np.int32)
    self._scale = _scaler(moments)
    self._kept = None
    parts = of_each([len(labels), is_chunked(features)], mesh)
    self.num_rows = sum(count for count, _ in parts)
    self.share = len(labels) / self.num_rows
    most = size = max(count for count, _ in parts)
    chunked = any(chunked for _, chunked in parts)
    if chunked:
      size = min(size, max(1, _BLOCK_BYTES // (4 * self.num_columns)))
    devices = mesh.size // len(parts) if mesh else 1
    self._size = math.ceil(size / devices) * devices
    self.labels = [
      self._put(self._labels[i : i + self._size], PADDING)
      for i in range(0, most, self._size)
    ]
    if not chunked:
      self._kept = self._block(np.asarray(features, np.float32), self.labels[0])

  def count(self, num_classes: int) -> np.ndarray:
    """How many rows each class has, int [K]."""
    return self.added(np.bincount(self._labels, minlength=num_classes))

  def exact(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Of this process, few at a time: rows float64 [n, D], and their labels.

    They are as given, not scaled.
    """
    first = 0
    for piece in _exact(self._features):
      yield piece, self._labels[first : first + len(piece)]
      first += len(piece)

  def added(self, part: Any) -> Any:
    """The sum of what each process found of its rows, in one order."""
    return sum(of_each(part, self._mesh))

  def put(self, tree: Any) -> Any:
    """Arrays that are not of rows on all devices: those of the first process.

    They may be what a library of the host computed, whose last digits depend on
    its processor.
    """
    if self._mesh is None:
      return jax.device_put(tree)
    if are_shared(self._mesh):
      tree = multihost_utils.broadcast_one_to_all(tree)
    return sharding.replicate(tree, self._mesh)

  def each(self, function: Callable[..., Any], *lists: list[Any]) -> list[Any]:
    """Calls function(x, ...) for every block [n, D], with one of each list.

    Rows that are padding are 0, their labels -1.
    """
    return each(function, self._blocks(), *lists)

  def _blocks(self) -> Iterator[jax.Array]:
    if self._kept is not None:
      yield self._kept
      return
    blocks = _reblocked(pieces(self._features), self._size)
    # Another process may have more.
    nothing = np.zeros((0, self.num_columns), np.float32)
    ends = len(self.labels) - math.ceil(len(self._labels) / self._size)
    blocks = itertools.chain(blocks, itertools.repeat(nothing, ends))
    for block, labels in zip(blocks, self.labels, strict=True):
      yield self._block(block, labels)

  def _block(self, x: np.ndarray, labels: jax.Array) -> jax.Array:
    return self._scale(self._put(x, 0), labels)

  def _put(self, rows: np.ndarray, fill: int) -> jax.Array:
    missing = self._size - len(rows)
    if missing:
      widths = [(0, missing)] + [(0, 0)] * (rows.ndim - 1)
      rows = np.pad(rows, widths, constant_values=fill)
    if self._mesh is None:
      return jax.device_put(rows)
    split = NamedSharding(self._mesh, PartitionSpec(self._mesh.axis_names))
    return jax.make_array_from_process_local_data(split, rows)


def _scaler(moments: Scaling) -> Callable[..., jax.Array]:
  columns = np.float32(moments.columns)
  # The part that float32 drops; features far from 0 notice.
  rest = np.float32(moments.columns - columns)
  scale = np.float32(1 / moments.std)
  return lambda x, y: _scaled(x, y, columns, rest, scale)


@jax.jit
def _scaled(
  x: jax.Array,
  y: jax.Array,
  columns: jax.Array,
  rest: jax.Array,
  scale: jax.Array,
) -> jax.Array:
  scaled = ((x - columns) - rest) * scale
  return jnp.where((y == PADDING)[:, None], 0, scaled)


def _reblocked(chunks: Iterable[np.ndarray], size: int) -> Iterator[np.ndarray]:
  """The same rows in blocks of one size, the last may be smaller."""
  kept, count = [], 0
  for chunk in chunks:
    while len(chunk):
      part, chunk = chunk[: size - count], chunk[size - count :]
      kept.append(part)
      count += len(part)
      if count == size:
        yield kept[0] if len(kept) == 1 else np.concatenate(kept)
        kept, count = [], 0
  if kept:
    yield np.concatenate(kept)

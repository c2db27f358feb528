"""One mesh (data, model): batches are split over data, parameters by rules.

  mesh = sharding.make_mesh()                     # all devices on 'data'
  mesh = sharding.make_mesh(data=4, model=2)
  batch = sharding.shard_batch({'image': image, 'mask': mask}, mesh)
  layout = sharding.Layout(mesh, sharding.RULES['fsdp'])
  params = layout.place(params)

A jitted function of the two computes on the whole batch: means, and so
BatchNorm statistics, are those of one device with all of it. What a parameter
is split over changes where it lies, and results in the last digits at most.
"""

import dataclasses
import functools
import math
import re
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from daft_jax import trees

PyTree = Any
# (regular expression of paths, axes of the mesh for the last axes of a leaf)
Rules = tuple[tuple[str, tuple[str | None, ...]], ...]

DATA, MODEL = 'data', 'model'

# How parameters, and the momenta that follow them, are split; the first rule
# that matches counts, and what none matches is whole on every device.
RULES: dict[str, Rules] = {
  # A head of many classes alone, where there is a model axis.
  'replicated': (
    (r'(^|/)head/kernel$', (None, MODEL)),
    (r'(^|/)head/bias$', (MODEL,)),
  ),
  # Every kernel by its output features, put together where it is used: ZeRO,
  # Rajbhandari et al. 2020, arXiv 1910.02054.
  'fsdp': (
    (r'(^|/)head/kernel$', (DATA, MODEL)),
    (r'(^|/)head/bias$', (MODEL,)),
    (r'(^|/)(kernel|embedding)$', (DATA,)),
  ),
}
MANY_CLASSES = 1000  # from here on a head is worth splitting over model
_SMALL = 1 << 12  # elements: split over data, they would only cost a message


def make_mesh(data: int = 0, model: int = 1) -> Mesh:
  """The mesh, with the axes 'data' and 'model'.

  Devices are in the order of their processes, so that each process has
  neighbouring rows of a batch.

  Args:
    data: into how many parts a batch is split; 0: as many as there are devices
      for.
    model: into how many parts rules may split a parameter.

  Raises:
    ValueError: there are not as many devices; or, of several processes, one
      would have none, or a part of the rows of another's.
  """
  devices = sorted(jax.devices(), key=lambda x: (x.process_index, x.id))
  count, processes = len(devices), jax.process_count()
  wanted = f'data={data} and model={model}'
  there = f'there are {count} devices ({devices[0].platform})'
  if data < 0 or model < 1 or max(data, 1) * model > count:
    fits = min(max(model, 1), count)
    raise ValueError(
      f'it is {wanted}, but {there}: say data={count // fits} and model={fits},'
      ' or less'
    )
  if not data and count % model:
    raise ValueError(
      f'it is {wanted}, but {there}: say model={math.gcd(count, model)}, or '
      'how many data is'
    )
  data = data or count // model
  own, processes = jax.local_device_count(), jax.process_count()
  if processes > 1 and (data * model < count or own % model):
    raise ValueError(
      f'it is {wanted}, but {there} of {processes} processes, {own} each: '
      'every device has to be used, and model has to divide those of a '
      f'process. Say data=0 and model={math.gcd(own, model)}'
    )
  grid = np.array(devices[: data * model]).reshape(data, model)
  # Explicit axes are the default of new versions and refuse gathers.
  return Mesh(grid, (DATA, MODEL), axis_types=(AxisType.Auto,) * 2)


def one_device() -> Mesh:
  """The mesh of this process's first device alone."""
  first = np.array(jax.local_devices()[:1]).reshape(1, 1)
  return Mesh(first, (DATA, MODEL), axis_types=(AxisType.Auto,) * 2)


def check_batch_size(batch_size: int, mesh: Mesh, name: str) -> None:
  """Raises ValueError unless all parts of a batch have as many rows."""
  parts = mesh.shape[DATA]
  if batch_size % parts:
    nearest = max(1, round(batch_size / parts)) * parts
    raise ValueError(
      f'{name} is {batch_size}, which {parts} devices cannot share '
      f'equally: say {nearest}, or fewer devices with mesh.data'
    )


def replicated(mesh: Mesh) -> NamedSharding:
  """Every device holds the whole array."""
  return NamedSharding(mesh, PartitionSpec())


def split_rows(mesh: Mesh) -> NamedSharding:
  """Every device holds its part of axis 0."""
  return NamedSharding(mesh, PartitionSpec(DATA))


def replicate(tree: PyTree, mesh: Mesh) -> PyTree:
  """Puts a copy of every leaf on every device.

  The result shares no memory with `tree`, so it may be donated.
  """
  return Layout(mesh).place(tree)


def shard_batch(batch: PyTree, mesh: Mesh) -> PyTree:
  """Splits every NumPy leaf [B, ...] of this process's rows over the mesh.

  Leaves that are on devices already stay as they are.
  """
  rows = split_rows(mesh)

  def put(leaf: Any) -> jax.Array:
    if isinstance(leaf, jax.Array):
      return leaf
    return jax.make_array_from_process_local_data(rows, leaf)

  return jax.tree.map(put, batch)


def own_rows(batch: jax.Array) -> tuple[np.ndarray, np.ndarray]:
  """The rows [n, ...] that this process has of an array, and which they are."""
  if batch.is_fully_addressable or batch.is_fully_replicated:
    return np.asarray(batch), np.arange(len(batch))
  # Devices along 'model' have the same ones.
  parts = {x.index[0].start: x.data for x in batch.addressable_shards}
  numbers = [np.arange(i, i + len(parts[i])) for i in sorted(parts)]
  values = [np.asarray(parts[i]) for i in sorted(parts)]
  return np.concatenate(values), np.concatenate(numbers)


def settle(tree: PyTree) -> None:
  """Waits for a step, where processes hang with more than one on its way.

  That is on CPUs, of which two devices in each of two processes hung in 7 of 11
  runs (gloo, jax 0.10).
  """
  if jax.process_count() > 1 and jax.default_backend() == 'cpu':
    jax.block_until_ready(tree)


@dataclasses.dataclass(frozen=True)
class Layout:
  """Where the leaves of a tree lie.

  Attributes:
    mesh: from `make_mesh`.
    rules: as of `RULES`; none: everything is whole on every device.
  """

  mesh: Mesh
  rules: Rules = ()

  def spec(self, path: str, shape: tuple[int, ...]) -> PartitionSpec:
    """How a leaf is split.

    An axis that the mesh does not divide is not, nor is a small leaf over
    'data', nor a head of fewer than 1,000 classes over 'model'.

    Example:
      >>> layout = Layout(make_mesh(1), RULES['fsdp'])
      >>> tuple(layout.spec('conv/kernel', (3, 3, 64, 128)))
      (None, None, None, 'data')
    """
    rules = (axes for pattern, axes in self.rules if re.search(pattern, path))
    axes = next(rules, ())[-len(shape) :] if shape else ()

    def fits(axis: str | None, size: int) -> bool:
      if axis is None or size % self.mesh.shape[axis]:
        return False
      if axis == MODEL:
        return size >= MANY_CLASSES
      return math.prod(shape) >= _SMALL

    first = len(shape) - len(axes)
    parts = [None] * first + [
      axis if fits(axis, size) else None
      for axis, size in zip(axes, shape[first:], strict=True)
    ]
    while parts and parts[-1] is None:  # As the results of a step have it.
      parts.pop()
    return PartitionSpec(*parts)

  def shardings(self, tree: PyTree) -> PyTree:
    """The sharding of every leaf."""
    return trees.map_with_path(
      lambda path, leaf: NamedSharding(
        self.mesh, self.spec(path, np.shape(leaf))
      ),
      tree,
    )

  def place(self, tree: PyTree) -> PyTree:
    """A copy of a tree where it belongs; it may be donated.

    Of several processes each has all of `tree`, or it is on their common mesh.
    """
    return jax.tree.map(place, tree, self.shardings(tree))

  def constrain(self, tree: PyTree) -> PyTree:
    """In a jitted function: leaves lie as the rules say."""
    return jax.lax.with_sharding_constraint(tree, self.shardings(tree))

  def gathered(self) -> 'Layout':
    """The layout of what is computed with: whole over 'data'."""
    rules = tuple(
      (pattern, tuple(None if axis == DATA else axis for axis in axes))
      for pattern, axes in self.rules
    )
    return Layout(self.mesh, rules)


def place(leaf: Any, sharding: jax.sharding.Sharding) -> jax.Array:
  """A copy of one array on the devices of a sharding; it may be donated.

  Of several processes each has all of it, or it is on their common mesh.
  """
  source = np.asarray(whole(leaf) if isinstance(leaf, jax.Array) else leaf)
  # On CPU devices would share memory with the source.
  device = next(iter(sharding.device_set))
  part = np.array if device.platform == 'cpu' else np.asarray
  # Not device_put, of which several processes cannot save the result (jax
  # 0.10).
  return jax.make_array_from_callback(
    source.shape, sharding, lambda index: part(source[index])
  )


def whole(leaf: jax.Array) -> jax.Array:
  """The array, whole on every device; every process has to call it."""
  if leaf.is_fully_replicated:
    return leaf
  return _onto((replicated(leaf.sharding.mesh),))([leaf])[0]


def gather(tree: PyTree) -> PyTree:
  """Arrays of one mesh, put together over 'data'; over 'model' they stay.

  What is not split over 'data' is not copied; every process has to call it.
  """
  leaves, structure = jax.tree.flatten(tree)
  split = [i for i, leaf in enumerate(leaves) if is_split(leaf, DATA)]
  if split:
    where = tuple(_without_data(leaves[i].sharding) for i in split)
    together = _onto(where)([leaves[i] for i in split])
    for i, leaf in zip(split, together, strict=True):
      leaves[i] = leaf
  return jax.tree.unflatten(structure, leaves)


def is_split(leaf: jax.Array, axis: str) -> bool:
  """Whether an array lies in parts over an axis of its mesh."""
  spec = getattr(leaf.sharding, 'spec', ())
  return axis in spec and leaf.sharding.mesh.shape[axis] > 1


def _without_data(sharding: NamedSharding) -> NamedSharding:
  axes = (None if axis == DATA else axis for axis in sharding.spec)
  return NamedSharding(sharding.mesh, PartitionSpec(*axes))


@functools.lru_cache(maxsize=64)
def _onto(where: tuple[NamedSharding, ...]) -> Any:
  """Compiled once for each kind of arrays."""
  return jax.jit(lambda leaves: leaves, out_shardings=list(where))

"""One mesh over all devices: the batch is split, everything else is copied.

  mesh = sharding.make_mesh()
  variables = sharding.replicate(variables, mesh)
  batch = sharding.shard_batch({'image': image, 'mask': mask}, mesh)

A jitted function of the two computes on the whole batch: means, and so
BatchNorm statistics, are those of one device with all of it.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

PyTree = Any

AXIS = 'data'


def make_mesh(num_devices: int = 0) -> Mesh:
  """A one-dimensional mesh with the axis 'data'.

  Args:
    num_devices: how many devices, the first ones; 0 for all there are.

  Raises:
    ValueError: more devices than there are.
  """
  devices = jax.devices()
  if num_devices < 0 or num_devices > len(devices):
    raise ValueError(
      f'num_devices is {num_devices}, but there are {len(devices)} '
      f'({devices[0].platform}): say 0 for all of them, or 1 to {len(devices)}'
    )
  devices = devices[: num_devices or len(devices)]
  # Explicit axes are the default of new versions and refuse gathers.
  return jax.make_mesh(
    (len(devices),), (AXIS,), axis_types=(AxisType.Auto,), devices=devices
  )


def check_batch_size(batch_size: int, mesh: Mesh, name: str) -> None:
  """Raises ValueError unless every device gets as many rows."""
  if batch_size % mesh.size:
    nearest = max(1, round(batch_size / mesh.size)) * mesh.size
    raise ValueError(
      f'{name} is {batch_size}, which {mesh.size} devices cannot share '
      f'equally: say {nearest}, or fewer devices with num_devices'
    )


def replicated(mesh: Mesh) -> NamedSharding:
  """Every device holds the whole array."""
  return NamedSharding(mesh, PartitionSpec())


def split_rows(mesh: Mesh) -> NamedSharding:
  """Every device holds its part of axis 0."""
  return NamedSharding(mesh, PartitionSpec(AXIS))


def replicate(tree: PyTree, mesh: Mesh) -> PyTree:
  """Puts a copy of every leaf on every device.

  The result shares no memory with `tree`, so it may be donated.
  """
  # From NumPy: device_put of a jax.Array onto a mesh of several processes
  # gives arrays that cannot be saved (jax 0.10).
  tree = jax.tree.map(np.asarray, tree)
  copy = jax.jit(
    lambda leaves: jax.tree.map(jnp.copy, leaves),
    out_shardings=replicated(mesh),
  )
  return copy(tree)


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

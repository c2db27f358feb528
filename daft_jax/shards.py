"""The same bits on 1, 2, 4 and 8 devices: a batch as eight virtual shards.

  total, each = over_shards(fn, args, rows, mesh)

What makes bits depend on the number of devices is the order of sums, and what a
compiler makes of arrays of another size. So every shard is computed by one
program, which knows nothing of devices, and what it returns is added in pairs,
the pairs in pairs, and so on: first on each device, then between devices.
"""

import dataclasses
import functools
import os
from collections.abc import Callable
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, PartitionSpec

from daft_jax import sharding

PyTree = Any

SHARDS = 8
# Of every jitted function that computes over shards. For several devices XLA
# looks for equal subexpressions once more, earlier, and in the end the program
# of a shard would be another one than for one device.
COMPILER_OPTIONS = {'xla_disable_hlo_passes': 'cse'}


def fix_threads() -> None:
  """Makes results on CPU not depend on how many devices it is divided into.

  Matrix products of XLA's CPU backend are cut by the number of its threads:
  the cores, or the devices if these are more. So with fewer cores than eight it
  gets eight threads. Before JAX starts its backend, or it has no effect.
  """
  if (os.cpu_count() or 1) < SHARDS:
    os.environ.setdefault('NPROC', str(SHARDS))


def apart(fn: Callable[..., PyTree], count: jax.Array) -> Callable[..., PyTree]:
  """`fn` as a program of its own inside a jitted function.

  Compilers fuse a computation with what comes before and after it, and then
  round otherwise (a product and a sum by one instruction, say). They do not
  across a condition that only the run decides.

  Args:
    fn: a pure function of arrays.
    count: int32 [], 0 or more, which the compiler cannot know.
  """

  def call(*args: PyTree) -> PyTree:
    shapes = jax.eval_shape(fn, *args)

    def never(*args: PyTree) -> PyTree:
      return jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)

    return jax.lax.cond(count >= 0, fn, never, *args)

  return call


def over_shards(
  fn: Callable[[PyTree, PyTree], tuple[PyTree, PyTree]],
  args: PyTree,
  rows: PyTree,
  mesh: Mesh,
) -> tuple[PyTree, PyTree]:
  """What `fn` gives of each of eight parts of a batch, and their sum.

  A device computes its parts one at a time.

  Args:
    fn: (args, rows of a part) -> what is added, and what is kept, a row each.
    args: the same for every part.
    rows: [B, ...] each; a part has B / 8 consecutive ones.
    mesh: its 'data' is 1, 2, 4 or 8.

  Returns:
    The sum over the parts, and what is kept of all rows.
  """
  devices = mesh.shape[sharding.DATA]

  def local(args: PyTree, rows: PyTree) -> PyTree:
    some = jax.tree.leaves(rows)[0].ravel()[:2]
    alone = functools.partial(apart(fn, some.argmax()), args)
    own = SHARDS // devices
    one = jax.tree.map(lambda x: x[: len(x) // own], rows)
    shapes, _ = jax.eval_shape(fn, args, one)
    # The zero that changes no bit of what is added to it is the negative one.
    zeros = jax.tree.map(lambda x: -jnp.zeros(x.shape, x.dtype), shapes)
    total, kept = _in_pairs(alone, rows, own, zeros)
    return _between_devices(total, devices), kept

  whole, split = PartitionSpec(), PartitionSpec(sharding.DATA)
  return jax.shard_map(
    local,
    mesh=mesh,
    in_specs=(whole, split),
    out_specs=(whole, split),
    check_vma=False,
  )(args, rows)


def over_devices(
  fn: Callable[[PyTree, PyTree], PyTree],
  args: PyTree,
  rows: PyTree,
  mesh: Mesh,
) -> PyTree:
  """The sum over devices of what `fn` gives of their own rows, added once."""
  whole, split = PartitionSpec(), PartitionSpec(sharding.DATA)
  return jax.shard_map(
    lambda args, rows: jax.lax.psum(fn(args, rows), sharding.DATA),
    mesh=mesh,
    in_specs=(whole, split),
    out_specs=whole,
    check_vma=False,
  )(args, rows)


@dataclasses.dataclass(frozen=True)
class Each:
  """The function (fn, args, rows) -> what `fn` gives of each part, [8, ...].

  Every device, and so every process, gets all of it. Arguments are those of
  `over_shards`.
  """

  mesh: Mesh
  compiler_options: ClassVar[dict[str, str]] = COMPILER_OPTIONS

  def __call__(
    self,
    fn: Callable[[PyTree, PyTree], PyTree],
    args: PyTree,
    rows: PyTree,
  ) -> PyTree:
    def kept(args: PyTree, rows: PyTree) -> tuple[PyTree, PyTree]:
      return (), jax.tree.map(lambda x: x[None], fn(args, rows))

    found = over_shards(kept, args, rows, self.mesh)[1]
    everywhere = sharding.replicated(self.mesh)
    return jax.lax.with_sharding_constraint(found, everywhere)


def _in_pairs(
  fn: Callable[[PyTree], tuple[PyTree, PyTree]],
  rows: PyTree,
  count: int,
  zeros: PyTree,
) -> tuple[PyTree, PyTree]:
  """The sum over `count` parts of the rows, and what is kept of all of them.

  Added as ((0 + 1) + (2 + 3)) + ..., with one sum of each level in memory, each
  of which begins with `zeros`.
  """
  if count == 1:
    return fn(rows)
  halves = jax.tree.map(lambda x: x.reshape(2, -1, *x.shape[1:]), rows)

  def add(total: PyTree, half: PyTree) -> tuple[PyTree, PyTree]:
    added, kept = _in_pairs(fn, half, count // 2, zeros)
    return jax.tree.map(jnp.add, total, added), kept

  total, kept = jax.lax.scan(add, zeros, halves)
  return total, jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), kept)


def _between_devices(tree: PyTree, devices: int) -> PyTree:
  """The same over devices, each with its partner; all get the same sum."""
  if devices == 1:
    return tree
  leaves, structure = jax.tree.flatten(tree)
  kinds = sorted({leaf.dtype for leaf in leaves}, key=str)
  # One message of each kind, not one of each leaf.
  packed = [
    jnp.concatenate([leaf.ravel() for leaf in leaves if leaf.dtype == kind])
    for kind in kinds
  ]
  apart = 1
  while apart < devices:
    swap = [(device, device ^ apart) for device in range(devices)]
    other = jax.lax.ppermute(packed, sharding.DATA, swap)
    packed = [x + y for x, y in zip(packed, other, strict=True)]
    apart *= 2
  for i, leaf in enumerate(leaves):
    kind = kinds.index(leaf.dtype)
    part, packed[kind] = jnp.split(packed[kind], [leaf.size])
    leaves[i] = part.reshape(leaf.shape)
  return jax.tree.unflatten(structure, leaves)

"""In which parts a batch is computed, and whether it can be cut into them.

parts = Parts(grad_accum_steps=4, bn_group_size=16)
check_micro_batches(parts, batch_size, mesh)
"""

import dataclasses
from typing import Any

from daft_jax import sharding, shards


@dataclasses.dataclass(frozen=True)
class Parts:
  """In which parts a batch is computed.

  Attributes:
    grad_accum_steps: micro-batches that a step computes one after another, so
      that only one needs memory. Of n, the i-th has the rows i, i + n, i + 2 n,
      ...: some of every device, and padding is spread evenly.
    bn_group_size: consecutive rows of a micro-batch that a BatchNorm on batch
      statistics takes them over; 0: all of the micro-batch.
    elastic: the same bits on 1, 2, 4 and 8 devices: a batch is eight virtual
      shards, see `shards`; micro-batches and groups are of the rows of one.
  """

  grad_accum_steps: int = 1
  bn_group_size: int = 0
  elastic: bool = False


WHOLE = Parts()


def check_elastic(
  parts: Parts, batch_size: int, mesh: Any, name: str = 'batch_size'
) -> None:
  """Raises ValueError unless devices can share a batch of virtual shards.

  Example:
    >>> check_elastic(Parts(elastic=True), 64, sharding.make_mesh(1))
  """
  devices, count = mesh.shape[sharding.DATA], shards.SHARDS
  if not parts.elastic:
    return
  if count % devices:
    raise ValueError(
      f'{count} virtual shards are for 1, 2, 4 or 8 devices, not {devices}: '
      'say so with mesh.data'
    )
  if batch_size % count:
    raise ValueError(
      f'{count} virtual shards cannot share a batch of {batch_size} equally: '
      f'say {name}={-(-batch_size // count) * count}'
    )


def check_micro_batches(parts: Parts, batch_size: int, mesh: Any) -> None:
  """Raises ValueError unless devices have as many rows of each micro-batch.

  Example:
    >>> check_micro_batches(Parts(4), 64, sharding.make_mesh(1))
  """
  count, devices = parts.grad_accum_steps, mesh.shape[sharding.DATA]
  who = f'each of {devices} devices' if devices > 1 else 'a device'
  if parts.elastic:
    devices, who = shards.SHARDS, f'each of {shards.SHARDS} virtual shards'
  rows = batch_size // devices
  if batch_size % (count * devices):
    fits = max(n for n in range(1, count + 1) if rows % n == 0)
    raise ValueError(
      f'it is {count}, and {who} has {rows} rows of a batch of {batch_size}, '
      f'which are not as many micro-batches of one size: say {fits}, or change '
      'batch_size'
    )


def check_groups(parts: Parts, batch_size: int) -> None:
  """Raises ValueError unless groups of BatchNorm are of one size.

  Example:
    >>> check_groups(Parts(bn_group_size=16), 64)
  """
  size, rows = parts.bn_group_size, batch_size // parts.grad_accum_steps
  rows //= shards.SHARDS if parts.elastic else 1
  if size and rows % size:
    fits = max(n for n in range(1, min(size, rows) + 1) if rows % n == 0)
    raise ValueError(
      f'it is {size}, which does not divide the {rows} rows that a step '
      f'computes at a time: say {fits}, or 0 for all of them'
    )

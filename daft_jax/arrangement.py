"""How a run lies on its devices, as it says when it begins.

for line in describe(task, config['optimizer']):
  print(line)                # '8 x cpu as data=4 x model=2 ...'
"""

import math
from collections.abc import Mapping
from typing import Any

import jax

from daft_jax import optim, sharding, trees
from daft_jax.task import Task

PyTree = Any


def describe(task: Task, optimizer: Mapping[str, Any]) -> list[str]:
  """Lines: devices and processes, batches, and where parameters lie.

  Args:
    task: what is run.
    optimizer: fields of `optim.Optimizer`.
  """
  return [_devices(task), _batches(task), _parameters(task, optimizer)]


def _devices(task: Task) -> str:
  mesh = task.mesh
  data, model = (mesh.shape[axis] for axis in mesh.axis_names)
  kind, processes = mesh.devices.flat[0].device_kind, jax.process_count()
  where = '1 process' if processes == 1 else f'{processes} processes'
  idle = len(jax.devices()) - mesh.size
  unused = f'; {idle} more are not used' if idle else ''
  return (
    f'{mesh.size} x {kind} of {where}, as data={data} x model={model}{unused}'
  )


def _batches(task: Task) -> str:
  parts, processes = task.mesh.shape[sharding.DATA], jax.process_count()

  def shown(size: int) -> str:
    each = f', {size // parts} on each device' if parts > 1 else ''
    read = f', {size // processes} by each process' if processes > 1 else ''
    return f'{size}{each}{read}'

  return (
    f'batches: {shown(task.batch_size)}; '
    f'where nothing trains: {shown(task.eval_batch_size)}'
  )


def _parameters(task: Task, optimizer: Mapping[str, Any]) -> str:
  """Of a stage in which all of them train."""
  layout = sharding.Layout(task.mesh, task.rules)
  params = task.variables['params']
  tx = optim.make_tx(optim.Optimizer(1, 1, **optimizer))
  both = {'params': params, 'momenta': jax.eval_shape(tx.init, params)}
  total, part = _bytes(both, layout)
  text = f'parameters and momenta: {total / 1e6:,.1f} MB'
  if task.mesh.size > 1:
    text += f', {part / 1e6:,.1f} MB on each device'
  leaves = trees.flatten(params)
  specs = {k: layout.spec(k, leaf.shape) for k, leaf in leaves.items()}
  for axis in (sharding.DATA, sharding.MODEL):
    if task.mesh.shape[axis] == 1:
      continue
    split = [path for path, spec in specs.items() if axis in spec]
    text += f'; over {axis}: {_listed(split, len(leaves))}'
    if axis == sharding.MODEL and not split:
      text += (
        f' (a head is from {sharding.MANY_CLASSES:,} classes on, where model '
        f'divides them; this one has {task.num_classes:,})'
      )
  return text


def _bytes(tree: PyTree, layout: sharding.Layout) -> tuple[int, int]:
  """Of all arrays, and of what one device holds of them."""
  total = part = 0
  shardings = trees.flatten(layout.shardings(tree))
  for path, leaf in trees.flatten(tree).items():
    size = leaf.dtype.itemsize
    total += size * math.prod(leaf.shape)
    part += size * math.prod(shardings[path].shard_shape(leaf.shape))
  return total, part


def _listed(split: list[str], count: int) -> str:
  if len(split) <= 2:
    return ' and '.join(split) or 'nothing'
  return f'{len(split)} of {count} arrays ({split[0]}, ..., {split[-1]})'

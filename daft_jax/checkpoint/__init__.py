"""Checkpoints: the only package that knows Orbax.

  with Checkpoints(folder, mesh) as saved:
    saved.save_start(variables, {'C': 0.1})           # before the first epoch
    saved.save(3, state, id_val=0.9)                  # after epoch 3
    state = saved.restore(state)                      # the latest, or None
    variables = saved.variables(best_epoch)

A folder holds one stage: step 0 is its start (variables and notes), step e the
state after epoch e. Kept are the start, the two latest epochs and the best.

A manifest vouches for every leaf and every file of a step, see `manifest`. A
damaged epoch is moved to 'damaged', never deleted, and the one before is used;
a damaged start, from which all of them follow, ends the run. A step has its
name only when all of it, the manifest too, is on the disk: what a kill left
half written never had one, and is removed.
"""

import os
import pathlib
from typing import Any

from daft_jax import processes, sharding
from daft_jax.checkpoint import checked
from daft_jax.checkpoint.held import begun, prune
from daft_jax.checkpoint.manifest import CheckpointError, DamagedCheckpoint
from daft_jax.checkpoint.steps import Checkpoints

__all__ = [
  'CheckpointError',
  'Checkpoints',
  'DamagedCheckpoint',
  'begun',
  'load_variables',
  'prune',
  'save_variables',
]

PyTree = Any
PathLike = str | os.PathLike[str]


def save_variables(folder: PathLike, variables: PyTree) -> None:
  """Saves variables alone, whole or not at all; replaces what is there.

  Of several processes all have to call it.
  """
  folder = pathlib.Path(folder).resolve()
  items = checked.snapshot({'model': variables})

  def write() -> None:
    checked.write(folder, items, of=folder.name, about={})

  processes.from_first(write)


def load_variables(
  folder: PathLike, mesh: Any, *, fix: str = 'save them anew'
) -> PyTree:
  """Loads what `save_variables` saved, onto every device of the mesh.

  Where the mesh is that of several processes all of them have to call it.

  Raises:
    FileNotFoundError: there is nothing.
    DamagedCheckpoint: it is not what was saved; the text ends with `fix`.
  """
  folder = pathlib.Path(folder).resolve()

  def read() -> PyTree:
    if not folder.is_dir():
      raise FileNotFoundError(f'no variables are saved at {folder}')
    try:
      return checked.read(folder, {'model': None}, of=folder.name)['model']
    except DamagedCheckpoint as error:
      raise error.with_fix(fix) from None

  found = processes.from_first(read) if mesh.is_multi_process else read()
  return sharding.replicate(found, mesh)

"""Checkpoints: the only module that knows Orbax.

  with Checkpoints(folder, mesh) as saved:
    saved.save_start(variables, {'C': 0.1})           # before the first epoch
    saved.save(3, state, id_val=0.9)                  # after epoch 3
    state = saved.restore(state)                      # the latest, or None
    variables = saved.variables(best_epoch)

A folder holds one stage: step 0 is its start (variables and notes), step e the
state after epoch e. Kept are the start, the latest epoch and the best one.
"""

import os
import pathlib
import shutil
from typing import Any

import jax
import orbax.checkpoint as ocp
from orbax.checkpoint.checkpoint_managers import preservation_policy

from daft_jax import sharding

PyTree = Any
PathLike = str | os.PathLike[str]

START = 0


def _rank(metrics: dict[str, Any]) -> tuple[float, int]:
  """Best is the highest ID validation accuracy; of equals, the earlier."""
  return metrics['id_val'], -metrics['epoch']


class Checkpoints:
  """The checkpoints of one stage of one trial."""

  def __init__(self, folder: PathLike, mesh: Any):
    self._mesh = mesh
    keep = preservation_policy.AnyPreservationPolicy(
      [
        preservation_policy.CustomSteps([START]),
        preservation_policy.LatestN(1),
        preservation_policy.BestN(
          n=1,
          get_metric_fn=_rank,
          reverse=False,
          keep_checkpoints_without_metrics=False,
        ),
      ]
    )
    options = ocp.CheckpointManagerOptions(
      # Without best_fn metrics are not written, and BestN forgets the best
      # after a restart (orbax-checkpoint 0.12).
      best_fn=_rank,
      best_mode='max',
      preservation_policy=keep,
      cleanup_tmp_directories=True,
    )
    # Orbax reports a relative path only later, from a thread of its own.
    self._manager = ocp.CheckpointManager(
      pathlib.Path(folder).resolve(),
      options=options,
      item_handlers={
        'model': ocp.StandardCheckpointHandler(),
        'opt': ocp.StandardCheckpointHandler(),
        'notes': ocp.JsonCheckpointHandler(),
      },
    )

  def __enter__(self) -> 'Checkpoints':
    return self

  def __exit__(self, *unused: Any) -> None:
    self._manager.close()

  def save_start(self, variables: PyTree, notes: dict[str, Any]) -> None:
    """Saves what the stage starts from, with notes (JSON)."""
    items = {
      'model': ocp.args.StandardSave(variables),
      'notes': ocp.args.JsonSave(notes),
    }
    self._save(START, items, id_val=-1.0)

  def start(self) -> tuple[PyTree, dict[str, Any]] | None:
    """What `save_start` saved, or None."""
    if START not in self._manager.all_steps():
      return None
    found = self._manager.restore(
      START, args=ocp.args.Composite(notes=ocp.args.JsonRestore())
    )
    return self.variables(START), found['notes']

  def save(self, epoch: int, state: Any, *, id_val: float) -> None:
    """Saves the state after an epoch (from 1), in the background."""
    items = {
      'model': ocp.args.StandardSave(state.variables),
      'opt': ocp.args.StandardSave(_rest(state)),
    }
    self._save(epoch, items, id_val=id_val)

  def restore(self, state: Any) -> Any | None:
    """The state after the latest epoch in the form of `state`, or None."""
    epoch = self._manager.latest_step() or START
    if epoch == START:
      return None
    wanted = {'model': state.variables, 'opt': _rest(state)}
    found = self._restore(epoch, wanted)
    return state._replace(**found['model'], **found['opt'])

  def variables(self, epoch: int) -> PyTree:
    """The variables after an epoch, on every device of the mesh."""
    self._manager.wait_until_finished()  # It may be on its way to the disk.
    tree = self._manager.item_metadata(epoch)['model'].tree
    return self._restore(epoch, {'model': tree})['model']

  def _save(self, step: int, items: dict[str, Any], *, id_val: float) -> None:
    self._manager.save(
      step,
      args=ocp.args.Composite(**items),
      metrics={'id_val': id_val, 'epoch': step},
    )

  def _restore(self, step: int, wanted: dict[str, PyTree]) -> Any:
    items = {
      name: ocp.args.StandardRestore(_abstract(tree, self._mesh))
      for name, tree in wanted.items()
    }
    return self._manager.restore(step, args=ocp.args.Composite(**items))


def save_variables(folder: PathLike, variables: PyTree) -> None:
  """Saves variables alone, whole or not at all; replaces what is there."""
  with ocp.StandardCheckpointer() as checkpointer:
    checkpointer.save(pathlib.Path(folder).resolve(), variables, force=True)


def load_variables(folder: PathLike, mesh: Any) -> PyTree:
  """Loads what `save_variables` saved, onto every device of the mesh.

  Raises:
    FileNotFoundError: there is nothing.
  """
  folder = pathlib.Path(folder).resolve()
  if not folder.is_dir():
    raise FileNotFoundError(f'no variables are saved at {folder}')
  with ocp.StandardCheckpointer() as checkpointer:
    found = checkpointer.metadata(folder).item_metadata
    if found is None:
      raise FileNotFoundError(f'no variables are saved at {folder}')
    tree = found.tree
    return checkpointer.restore(folder, _abstract(tree, mesh))


def _rest(state: Any) -> dict[str, PyTree]:
  """What of a state is not its variables."""
  rest = {'step': state.step, 'opt_state': state.opt_state}
  # Orbax cannot save a tree without leaves.
  return rest | ({'extra': state.extra} if jax.tree.leaves(state.extra) else {})


def _abstract(tree: PyTree, mesh: Any) -> PyTree:
  where = sharding.replicated(mesh)
  return jax.tree.map(
    lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=where),
    tree,
  )


def has_start(folder: PathLike) -> bool:
  """Whether `save_start` was finished in a stage's folder."""
  # Orbax renames a step's folder when all of it is written.
  return (pathlib.Path(folder) / str(START)).is_dir()


def prune(folder: PathLike) -> None:
  """Removes all epochs of a stage's folder; its start stays."""
  for path in pathlib.Path(folder).iterdir():
    if path.is_dir() and path.name != str(START):
      shutil.rmtree(path)

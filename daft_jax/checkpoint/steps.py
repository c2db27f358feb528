"""The steps of one stage: what is kept, and what is used when one is damaged.

  with Checkpoints(folder, mesh, on_damage=print) as saved:
    state = saved.restore(state)
    saved.set_aside                 # the damaged ones that were passed over

What is kept is decided by the manifests, which vouch for the accuracies too.
"""

import concurrent.futures
import contextlib
import logging
import os
import pathlib
from collections.abc import Callable
from typing import Any

import jax

from daft_jax import processes, sharding
from daft_jax.checkpoint import checked, folders, form, held
from daft_jax.checkpoint import manifest as manifests
from daft_jax.checkpoint.held import PAUSED, START
from daft_jax.checkpoint.manifest import (
  CheckpointError,
  DamagedCheckpoint,
  Manifest,
)

PyTree = Any
PathLike = str | os.PathLike[str]

# Two, so that a damaged one costs an epoch and not the stage.
_LATEST = 2

_log = logging.getLogger(__name__)


class Checkpoints:
  """The checkpoints of one stage of one trial.

  Of several processes all call its methods; the first one alone reads, writes
  and decides, and tells the others, who need not even see the files.

  Attributes:
    set_aside: an error for every epoch that was found damaged.
  """

  def __init__(
    self,
    folder: PathLike,
    mesh: Any,
    *,
    on_damage: Callable[[str], None] = _log.warning,
    fix: str = 'delete the folder and begin again',
  ):
    """Opens a folder, or makes it.

    Args:
      folder: of the stage.
      mesh: from `sharding.make_mesh`; what is read goes onto it.
      on_damage: called with a line for every epoch that is set aside.
      fix: what the user is told to do when there is no way on.
    """
    self._folder = pathlib.Path(folder).resolve()
    self._mesh, self._on_damage, self._fix = mesh, on_damage, fix
    self.set_aside: list[DamagedCheckpoint] = []
    self._steps: dict[int, Manifest] = {}
    processes.from_first(self._open)
    self._pool = concurrent.futures.ThreadPoolExecutor(
      1, thread_name_prefix='checkpoint'
    )
    self._saving: concurrent.futures.Future[None] | None = None

  def _open(self) -> None:
    self._folder.mkdir(parents=True, exist_ok=True)
    folders.sweep(self._folder)
    for step in held.steps_in(self._folder):
      try:
        self._steps[step] = manifests.read(self._path(step), of=self._of(step))
      except DamagedCheckpoint as error:
        if step != START:  # `start` says so, and never goes on without.
          self._set_aside(step, error)

  def __enter__(self) -> 'Checkpoints':
    return self

  def __exit__(self, kind: Any, *unused: Any) -> None:
    try:
      if kind is None:
        processes.from_first(self._wait)
      else:  # After another error, that one is the news.
        with contextlib.suppress(CheckpointError):
          self._wait()
    finally:
      self._pool.shutdown()

  def save_start(self, variables: PyTree, notes: dict[str, Any]) -> None:
    """Saves what the stage starts from, with notes (JSON)."""
    self._save(START, {'model': variables}, {'notes': notes})

  def start(self) -> tuple[PyTree, dict[str, Any]] | None:
    """What `save_start` saved, or None if nothing was ever saved here.

    Raises:
      CheckpointError: it is damaged, or gone though there are epochs.
    """
    found = processes.from_first(self._start)
    if found is None:
      return None
    variables, notes = found
    return sharding.replicate(variables, self._mesh), notes

  def _start(self) -> tuple[PyTree, dict[str, Any]] | None:
    self._wait()
    if not held.begun(self._folder):
      return None
    if not self._path(START).is_dir():
      raise CheckpointError(
        f'{self._path(START)}, the start of what is saved beside it, is '
        f'missing. To go on, {self._fix}'
      )
    try:
      variables = self._read(START, {'model': None})['model']
    except DamagedCheckpoint as error:
      raise error.with_fix(self._fix) from None
    return variables, self._steps[START].about['notes']

  def save(self, epoch: int, state: Any, *, id_val: float) -> None:
    """Saves the state after an epoch (from 1), in the background.

    Raises:
      CheckpointError: the epoch before could not be saved.
    """
    self._save(epoch, form.items(state), {'id_val': id_val})

  def restore(self, state: Any) -> Any | None:
    """The state after the latest good epoch in the form of `state`, or None.

    Its arrays lie where those of `state` do, however they were saved.

    Raises:
      CheckpointError: there were epochs, and nothing good is left of them,
        not even the start.
    """
    leaves = processes.from_first(lambda: self._restore(form.items(state)))
    return None if leaves is None else form.like(state, leaves)

  def _restore(self, wanted: dict[str, PyTree]) -> list[Any] | None:
    self._wait()
    for epoch in reversed(self._epochs()):
      try:
        return jax.tree.leaves(self._read(epoch, wanted))
      except DamagedCheckpoint as error:
        self._set_aside(epoch, error)
    if self.set_aside:
      self._start()
    return None

  def save_paused(self, state: Any, about: dict[str, Any]) -> None:
    """Saves the state inside an epoch, now; it lasts until the next epoch.

    Args:
      state: after some step.
      about: what else it takes to go on (JSON).
    """
    items = checked.snapshot(form.items(state))
    about = {**about, 'step': int(state.step)}
    of = f'{self._folder.name}/{PAUSED}'

    def write() -> None:
      self._wait()
      checked.write(self._folder / PAUSED, items, of=of, about=about)

    processes.from_first(write)

  def paused(self, state: Any) -> tuple[Any, dict[str, Any]] | None:
    """What `save_paused` saved, in the form of `state`, or None."""
    found = processes.from_first(lambda: self._paused(form.items(state)))
    return None if found is None else (form.like(state, found[0]), found[1])

  def _paused(
    self, wanted: dict[str, PyTree]
  ) -> tuple[list[Any], dict[str, Any]] | None:
    path, of = self._folder / PAUSED, f'{self._folder.name}/{PAUSED}'
    if not path.is_dir():
      return None
    try:
      about = manifests.read(path, of=of).about
      return jax.tree.leaves(checked.read(path, wanted, of=of)), about
    except DamagedCheckpoint as error:
      self._set_aside(PAUSED, error)
      return None

  def variables(self, epoch: int) -> PyTree:
    """The variables after an epoch, on every device of the mesh.

    Raises:
      DamagedCheckpoint: they are not there any more; the epoch is set aside.
    """
    found, damage = processes.from_first(lambda: self._variables(epoch))
    if damage:
      raise DamagedCheckpoint(self._path(epoch), *damage, fix=self._fix)
    return sharding.replicate(found, self._mesh)

  def _variables(self, epoch: int) -> tuple[PyTree, list[Any] | None]:
    """Them, or of a `DamagedCheckpoint` the files and the leaves."""
    self._wait()  # It may be on its way to the disk.
    if epoch not in self._steps:
      why = {manifests.NAME: 'is missing, or the epoch was set aside'}
      return None, [why, []]
    try:
      return self._read(epoch, {'model': None})['model'], None
    except DamagedCheckpoint as error:
      if epoch != START:
        self._set_aside(epoch, error)
      return None, [error.files, error.leaves]

  def rewind(self, epoch: int) -> None:
    """Forgets what was saved after an epoch, so that it is done again."""
    processes.from_first(lambda: self._rewind(epoch))

  def _rewind(self, epoch: int) -> None:
    self._wait()
    for later in self._epochs():
      if later > epoch:
        self._remove(later)
    held.remove_paused(self._folder)

  def _epochs(self) -> list[int]:
    return sorted(step for step in self._steps if step != START)

  def _path(self, step: int | str) -> pathlib.Path:
    return self._folder / str(step)

  def _of(self, step: int) -> str:
    return f'{self._folder.name}/{step}'

  def _save(
    self, step: int, items: dict[str, PyTree], about: dict[str, Any]
  ) -> None:
    items = checked.snapshot(items)

    def begin() -> None:
      self._wait()
      self._saving = self._pool.submit(self._write, step, items, about)

    processes.from_first(begin)

  def _write(
    self, step: int, items: dict[str, PyTree], about: dict[str, Any]
  ) -> None:
    """In the thread: saves a step, and only then removes another."""
    self._steps[step] = checked.write(
      self._path(step), items, of=self._of(step), about=about
    )
    held.remove_paused(self._folder)
    epochs = self._epochs()
    # The highest ID validation accuracy; max takes the first of equals.
    best = max(
      epochs, key=lambda e: self._steps[e].about['id_val'], default=START
    )
    for epoch in epochs[:-_LATEST]:
      if epoch != best:
        self._remove(epoch)

  def _wait(self) -> None:
    """Until nothing is on its way to the disk; raises what went wrong."""
    if self._saving is not None:
      saving = self._saving
      concurrent.futures.wait([saving])
      self._saving = None
      saving.result()

  def _read(
    self, step: int, wanted: dict[str, PyTree | None]
  ) -> dict[str, PyTree]:
    return checked.read(self._path(step), wanted, of=self._of(step))

  def _remove(self, epoch: int) -> None:
    self._steps.pop(epoch, None)
    folders.remove(self._path(epoch))

  def _set_aside(self, epoch: int | str, error: DamagedCheckpoint) -> None:
    self._steps.pop(epoch, None)
    where = folders.set_aside(self._path(epoch), str(error))
    self.set_aside.append(error)
    self._on_damage(f'{error}. It was set aside: {where}')

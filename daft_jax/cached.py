"""Features of the training images: in memory, or on disk where they are large.

  found = cached.features(task, variables, seed=0, folder=workdir / 'features')
  probe.fit_probe(found.features, found.labels, ...)

What is on disk is found again by whatever needs the same features: the same
trial after a kill, another method, another process. Its name is a fingerprint
of weights, images and order, and its bytes are checked before they are used.
`remove` takes it away when a search is done.

Of several processes each keeps the features of the rows that it computed, large
ones in the folder for temporary files of its own host: the others may not see
the workdir. An elastic run alone has all of them in each.
"""

import contextlib
import dataclasses
import hashlib
import os
import pathlib
import shutil
import stat
import tempfile
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from daft_jax import fingerprints, processes
from daft_jax.checkpoint import CheckpointError, DamagedCheckpoint, folders
from daft_jax.checkpoint import manifest as manifests
from daft_jax.task import Task

PyTree = Any

FOLDER = 'features'  # in a workdir
LARGE = 1 << 31  # bytes: from here on, features are kept on disk

_FEATURES, _LABELS = 'features.f32', 'labels.i32'


class Features(NamedTuple):
  """Features float32 [n, D], which may be a np.memmap, and labels int32 [n]."""

  features: np.ndarray
  labels: np.ndarray


def features(
  task: Task, variables: PyTree, *, seed: int, folder: pathlib.Path
) -> Features:
  """Features of the training images as they are augmented in the first epoch.

  Args:
    task: whose images.
    variables: of the network, in eval mode; its head does not count.
    seed: of the order and the augmentation.
    folder: where large ones are kept, of one process; made if needed.

  Returns:
    Those of this process's rows; all of them where it is alone, or elastic.

  Raises:
    CheckpointError: the disk has no room for them.
    processes.ElsewhereError: that of another process has not.
  """
  size = task.eval_batch_size
  batches = task.train_batches(seed, 0, batch_size=size)
  kernel = variables['params']['head']['kernel']
  whole = task.parts.elastic
  parts = 1 if whole else jax.process_count()
  needed = 4 * -(-len(task.sets['train']) // parts) * kernel.shape[-2]
  if needed < LARGE:
    found = task.evaluate_batches(variables, batches, whole=whole)
    return Features(found.features, found.labels[found.rows])
  with processes.together():
    if processes.several():
      _make(folder := _own_folder())
    place = folder / (fingerprint(task, variables, seed) + _suffix())
    kept = _read(place) if place.is_dir() else None
    # All of them compute, or none.
    if not all(processes.gathered([kept is not None])):
      _check_room(folder, needed)
      kept = None
  return kept or _written(task, variables, batches, place, whole)


def _written(
  task: Task,
  variables: PyTree,
  batches: Iterable[dict[str, Any]],
  place: pathlib.Path,
  whole: bool,
) -> Features:
  """Computes them into a folder, which then gets its name."""
  temporary = folders.begin(place)
  with open(temporary / _FEATURES, 'wb') as file:
    found = task.evaluate_batches(variables, batches, into=file, whole=whole)
  labels = found.labels[found.rows].astype(np.int32)
  labels.tofile(temporary / _LABELS)
  files = manifests.hash_new_files(temporary)
  about = {'shape': [len(labels), found.features.shape[1]]}
  manifest = manifests.Manifest(place.name, about, {}, files)
  manifests.write(temporary, manifest)
  folders.finish(temporary, place)
  return _opened(place, about['shape'])


def _own_folder() -> pathlib.Path:
  """Where each of several processes on a host keeps its own, for this user."""
  return pathlib.Path(tempfile.gettempdir()) / f'daft_jax-{_user()}'


def _user() -> int:
  return os.getuid() if hasattr(os, 'getuid') else 0  # not on Windows


def _make(folder: pathlib.Path) -> None:
  """Anybody may write beside it, and could have made it before."""
  folder.mkdir(mode=0o700, exist_ok=True)
  about = folder.lstat()
  if not stat.S_ISDIR(about.st_mode) or about.st_uid != _user():
    raise CheckpointError(
      f'{folder} is for large features, and is not a folder of yours: set '
      'TMPDIR to another folder of this host'
    )


def _suffix() -> str:
  """Tells the files of several processes apart: '-1-of-4'."""
  if not processes.several():
    return ''
  return f'-{jax.process_index()}-of-{jax.process_count()}'


def fingerprint(task: Task, variables: PyTree, seed: int) -> str:
  """What features depend on, to the last bit, as 32 hexadecimal digits."""
  train = {'train': task.sets['train']}
  digest = hashlib.sha256()
  device = jax.devices()[0]
  for each in (
    *(fingerprints.of_weights(variables), fingerprints.of_images(train)),
    *(dataclasses.asdict(task.preprocess), dataclasses.asdict(task.recipe)),
    *(task.model, task.data_sha256, seed, task.eval_batch_size),
    *(task.mesh.shape, task.parts.elastic),
    *(device.device_kind, jax.__version__),
  ):
    digest.update(repr(each).encode())
  return digest.hexdigest()[:32]


def remove(folder: pathlib.Path, suffix: str = '') -> None:
  """Removes what is whole; what another process is writing stays."""
  for place in folder.glob(f'[!.]*{suffix}'):
    folders.remove(place)
  with contextlib.suppress(OSError):  # It is not there, or not empty.
    folder.rmdir()


def remove_own() -> None:
  """Removes what this one of several processes has on its host."""
  if processes.several():
    remove(_own_folder(), _suffix())


def _read(place: pathlib.Path) -> Features | None:
  """What is there, checked; None, and it is gone, where it is damaged."""
  try:
    manifest = manifests.read(place, of=place.name)
    wrong = manifests.foreign(place, manifest)
    wrong = wrong or manifests.check_files(place, manifest)
    if wrong:
      raise DamagedCheckpoint(place, wrong)
  except DamagedCheckpoint:
    folders.remove(place)
    return None
  return _opened(place, manifest.about['shape'])


def _opened(place: pathlib.Path, shape: Sequence[int]) -> Features:
  labels = np.fromfile(place / _LABELS, np.int32)
  if not shape[0]:  # Nothing cannot be mapped.
    return Features(np.zeros(shape, np.float32), labels)
  flat = np.memmap(place / _FEATURES, np.float32, 'r')
  return Features(flat.reshape(shape), labels)


def _check_room(folder: pathlib.Path, needed: int) -> None:
  folder.mkdir(parents=True, exist_ok=True)
  free = shutil.disk_usage(folder).free
  if free < needed:
    raise CheckpointError(
      f'{folder} cannot be written: features of the training images need '
      f'{needed / 1e9:.1f} GB, and the disk has {free / 1e9:.1f} GB of free '
      'space. Make room and run the same command again'
    )

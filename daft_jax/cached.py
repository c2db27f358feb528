"""Features of the training images: in memory, or on disk where they are large.

  found = cached.features(task, variables, seed=0, folder=workdir / 'features')
  probe.fit_probe(found.features, found.labels, ...)

What is on disk is found again by whatever needs the same features: the same
trial after a kill, another method, another process. Its name is a fingerprint
of weights, images and order, and its bytes are checked before they are used.
`remove` takes it away when a search is done.
"""

import contextlib
import dataclasses
import hashlib
import pathlib
import shutil
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
  """Features float32 [N, D], which may be a np.memmap, and labels int32 [N]."""

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
    folder: where large ones are kept; made if needed.

  Raises:
    CheckpointError: the disk has no room for them.
  """
  size = task.eval_batch_size
  batches = task.train_batches(seed, 0, batch_size=size)
  kernel = variables['params']['head']['kernel']
  needed = 4 * len(task.sets['train']) * kernel.shape[-2]
  # Every one of several processes has all of them, and the first one fits.
  if needed < LARGE or processes.several():
    found = task.evaluate_batches(variables, batches)
    return Features(found.features, found.labels)
  place = folder / fingerprint(task, variables, seed)
  if not place.is_dir() or (kept := _read(place)) is None:
    _check_room(folder, needed)
    temporary = folders.begin(place)
    with open(temporary / _FEATURES, 'wb') as file:
      found = task.evaluate_batches(variables, batches, into=file)
    found.labels.astype(np.int32).tofile(temporary / _LABELS)
    files = manifests.hash_new_files(temporary)
    about = {'count': len(found.labels)}
    manifest = manifests.Manifest(place.name, about, {}, files)
    manifests.write(temporary, manifest)
    folders.finish(temporary, place)
    kept = _opened(place, len(found.labels))
  return kept


def fingerprint(task: Task, variables: PyTree, seed: int) -> str:
  """What features depend on, to the last bit, as 32 hexadecimal digits."""
  train = {'train': task.sets['train']}
  digest = hashlib.sha256()
  device = jax.devices()[0]
  for each in (
    *(fingerprints.of_weights(variables), fingerprints.of_images(train)),
    *(dataclasses.asdict(task.preprocess), dataclasses.asdict(task.recipe)),
    *(task.model, task.data_sha256, seed, task.eval_batch_size),
    *(task.mesh.shape, device.device_kind, jax.__version__),
  ):
    digest.update(repr(each).encode())
  return digest.hexdigest()[:32]


def remove(folder: pathlib.Path) -> None:
  """Removes what is whole; what another process is writing stays."""
  for place in folder.glob('[!.]*'):
    folders.remove(place)
  with contextlib.suppress(OSError):  # It is not there, or not empty.
    folder.rmdir()


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
  return _opened(place, manifest.about['count'])


def _opened(place: pathlib.Path, count: int) -> Features:
  flat = np.memmap(place / _FEATURES, np.float32, 'r')
  labels = np.fromfile(place / _LABELS, np.int32)
  return Features(flat.reshape(count, -1), labels)


def _check_room(folder: pathlib.Path, needed: int) -> None:
  folder.mkdir(parents=True, exist_ok=True)
  free = shutil.disk_usage(folder).free
  if free < needed:
    raise CheckpointError(
      f'{folder} cannot be written: features of the training images need '
      f'{needed / 1e9:.1f} GB, and the disk has {free / 1e9:.1f} GB of free '
      'space. Make room and run the same command again'
    )

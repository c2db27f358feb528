"""What an experiment is made from: its settings and versions, on record.

shared = shared_settings(config, task)
open_workdir(workdir, config, task, shared)   # writes experiment.json
"""

import dataclasses
import importlib.metadata
import pathlib
import platform
import shutil
from collections.abc import Mapping
from typing import Any

import numpy as np

from daft_jax import (
  __version__,
  disclosed,
  fingerprints,
  locks,
  machine,
  results,
  trees,
)
from daft_jax.settings import ConfigError
from daft_jax.task import Task

_PACKAGES = ('jax', 'jaxlib', 'flax', 'optax', 'orbax-checkpoint', 'numpy')

_DATA = 'data_sha256'
_COMMANDS = 20  # that are on record
_SAVED = 10  # variables: start, three epochs with momenta, one on its way
# Fields of a config that all its trials depend on, beside task and grid.
_SHARED = ('dtype', 'epochs', 'batch_size', 'eval_batch_size')
_SHARED += (
  'grad_accum_steps',
  'bn_group_size',
  'elastic',
  'bn_estimator',
  'optimizer',
  'selection',
  'nonfinite',
)


def shared_settings(config: Mapping[str, Any], task: Task) -> dict[str, Any]:
  """Everything that results depend on and that no grid goes over.

  The weights count by their content, so another file is another setting. The
  number of devices does not count: it changes results in the last digits only.
  """
  return {
    'suite': task.suite,
    'backbone': task.backbone,
    'weights': task.weights,
    'weights_sha256': fingerprints.of_weights(task.variables),
    'preprocess': dataclasses.asdict(task.preprocess),
    'recipe': dataclasses.asdict(task.recipe),
    'mixing': dataclasses.asdict(task.mix),
    **(_of_folder(task) if task.data_sha256 else {}),
    **{name: config[name] for name in _SHARED},
  }


def open_workdir(
  workdir: pathlib.Path,
  config: Mapping[str, Any],
  task: Task,
  shared: dict[str, Any],
  command: str = '',
) -> str:
  """Makes the folder, or checks that it belongs to these settings.

  Args:
    workdir, config, task: of the experiment.
    shared: from `shared_settings`.
    command: what was typed, see `disclosed.command`; the record has the latest
      `_COMMANDS`.

  Returns:
    A line: what a repeat gives, see `machine.promise`.

  Raises:
    ConfigError: it holds an experiment with other settings, which are named.
  """
  if config['eval_only'] and not _exists(workdir):
    raise ConfigError(
      f'config.eval_only: {workdir} holds no run to evaluate; give the '
      '--workdir of a run'
    )
  _check_place(workdir, config['data'])
  try:
    workdir.mkdir(parents=True, exist_ok=True)
    _check_room(workdir, task)
    with locks.held(workdir / locks.NAME, wait=True):
      return _open(workdir, config, task, shared, command)
  except OSError as error:
    raise ConfigError(
      f'--workdir {workdir} cannot be made or written ({error.strerror}); '
      'choose another'
    ) from error


def _open(
  workdir: pathlib.Path,
  config: Mapping[str, Any],
  task: Task,
  shared: dict[str, Any],
  command: str,
) -> str:
  """With the lock: checks or sets aside what is there, and writes anew."""
  methods = list(config['methods'])
  now, begun = machine.describe(task.mesh), None
  commands: list[str] = []
  if _exists(workdir):
    before = results.read_experiment(workdir)
    settings, wanted = before.get('settings', {}), shared
    if config['eval_only']:  # On other images than it was trained on.
      settings, wanted = ({**x, _DATA: ''} for x in (settings, wanted))
    if _is_same(workdir, settings, wanted, config['change']):
      known = (before.get('config') or {}).get('methods') or ()
      methods = list(dict.fromkeys([*known, *methods]))
      begun = before.get('machine')
      commands = before.get('commands') or []
    if config['eval_only']:
      return machine.promise(now, begun, elastic=config['elastic'])
  commands = [x for x in commands if x != command] + [command] * bool(command)
  about = _about(config, task, shared, methods) | {
    'machine': begun or now,
    'commands': commands[-_COMMANDS:],
  }
  results.atomic_write(
    workdir / results.EXPERIMENT, results.dumps(about, indent=2) + '\n'
  )
  return machine.promise(now, begun, elastic=config['elastic'])


def _check_room(workdir: pathlib.Path, task: Task) -> None:
  """A trial saves a start and epochs, with momenta: refused in time."""
  leaves = trees.flatten(task.variables).values()
  needed = _SAVED * sum(np.asarray(leaf).nbytes for leaf in leaves)
  free = shutil.disk_usage(workdir).free
  if free < needed:
    raise ConfigError(
      f'--workdir {workdir} has {free / 1e6:.0f} MB of free space, and a trial '
      f'saves up to {needed / 1e6:.0f} MB: make room, or give another'
    )


def _exists(workdir: pathlib.Path) -> bool:
  return (workdir / results.EXPERIMENT).is_file()


def _about(
  config: Mapping[str, Any],
  task: Task,
  shared: dict[str, Any],
  methods: list[str],
) -> dict[str, Any]:
  """What experiment.json says."""
  return {
    'suite': task.suite,
    'backbone': task.backbone,
    'weights': task.weights,
    'num_classes': task.num_classes,
    'preprocess': shared['preprocess'],
    'settings': shared,
    'classes': list(task.classes),
    'residency': task.residency,
    'notes': [disclosed.note(x, config['data']) for x in task.notes],
    'images': {name: len(examples) for name, examples in task.sets.items()},
    'data_sha256': task.data_sha256 or fingerprints.of_images(task.sets),
    'config': {**disclosed.config(config), 'methods': methods},
    'versions': versions(),
  }


def recorded_residency(workdir: pathlib.Path) -> str | None:
  """Where the images of the run stayed that this workdir holds, if one is."""
  if not (workdir / results.EXPERIMENT).is_file():
    return None
  return results.read_experiment(workdir).get('residency')


def _of_folder(task: Task) -> dict[str, Any]:
  return {_DATA: task.data_sha256, 'classes': list(task.classes)}


def _check_place(workdir: pathlib.Path, data: Mapping[str, Any]) -> None:
  """A workdir among the images would be a class of the next run."""
  for folder in disclosed.folders(data):
    place = folder.resolve()
    if workdir.is_relative_to(place):
      raise ConfigError(
        f'--workdir {workdir} is inside {place}, among the images: give a '
        'folder elsewhere'
      )


def versions() -> dict[str, str]:
  """Versions of Python, this package and those that compute."""
  found = {name: importlib.metadata.version(name) for name in _PACKAGES}
  return {
    'daft_jax': __version__,
    'python': platform.python_version(),
    **found,
  }


def _is_same(
  workdir: pathlib.Path,
  before: Mapping[str, Any],
  now: Mapping[str, Any],
  meant: tuple[str, ...],
) -> bool:
  """Whether settings are those of the workdir; if the change is meant, what is
  there is set aside."""
  old, new = (trees.flatten(_plain(x)) for x in (before, now))
  changed = {
    name: f'{name}: {old.get(name)!r} there, {new.get(name)!r} now'
    for name in dict.fromkeys([*old, *new])
    if old.get(name) != new.get(name)
  }
  if not changed:
    return True
  if set(changed) <= set(meant):
    _set_aside(workdir)
    return False
  raise ConfigError(
    f'{workdir} holds an experiment with other settings ('
    + '; '.join(changed.values())
    + '). Give another --workdir, or put these back; or say that it is meant, '
    f'--config.change={"+".join(changed)}: then what is there is set aside.'
  )


def _set_aside(workdir: pathlib.Path) -> None:
  """Moves what a workdir holds into a folder in it; nothing is deleted."""
  number = 1
  while (workdir / f'before-{number}').exists():
    number += 1
  aside = workdir / f'before-{number}'
  aside.mkdir()
  # The record last: a kill in between leaves an experiment, not a riddle.
  inside = [x for x in workdir.iterdir() if x.name != locks.NAME]
  for path in sorted(inside, key=lambda x: x.name == results.EXPERIMENT):
    if not path.name.startswith('before-'):
      path.rename(aside / path.name)


def _plain(value: Any) -> Any:
  """As it is read back from JSON: lists as lists, so that they compare."""
  if isinstance(value, Mapping):
    return {key: _plain(item) for key, item in value.items()}
  return list(value) if isinstance(value, tuple) else value

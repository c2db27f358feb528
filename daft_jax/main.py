"""The program.

  python -m daft_jax.main --config=configs/digits.py --workdir=/tmp/digits

  --config=FILE.py           the experiment
  --config=FILE.py:methods=ft+daft,seeds=0+1
                             the same with other fields
  --config.epochs=5          any field of configs/common.py, as often as wanted
  --workdir=DIR              everything is written here
  --coordinator=HOST:PORT --num_processes=N --process_id=I
                             of several processes; with srun on Slurm, and on
                             TPU pods, they find each other
  --join_timeout=SECONDS     how long they wait for each other; 300

The same command continues a run that was stopped.
"""

import importlib.util
import logging
import os
import pathlib
import shutil
import sys
import traceback
from collections.abc import Mapping, Sequence
from typing import Any

from ml_collections import ConfigDict

from daft_jax import (
  disclosed,
  ended,
  experiment,
  launch,
  names,
  processes,
  settings,
  signals,
  writer,
)

_FLAGS = ('--config', '--workdir')
_DEEPEST = 8  # dicts in each other, of a config; there are two
_LEAST_FREE = 4_000_000  # bytes: one run of the smallest network
_USAGE = (
  'python -m daft_jax.main --config=configs/digits.py --workdir=/tmp/digits'
)


def main(argv: Sequence[str] | None = None) -> int:
  """Runs the command line; returns the exit status: 0, or 2 after an error.

  1 is what went wrong with images, checkpoints, memory or the disk while it
  ran; 130 and 143 are SIGINT and SIGTERM.

  What the user can put right is one line on stderr, without a traceback.

  Args:
    argv: the arguments; default: those of the process.
  """
  argv = list(sys.argv[1:] if argv is None else argv)
  if '--help' in argv or '-h' in argv:
    print(__doc__.strip())
    return 0
  # Orbax and JAX log each checkpoint and compilation through absl.
  logging.getLogger('absl').setLevel(logging.ERROR)
  try:
    with launch.joined(launch.given(argv)):
      return _run(argv)
  except settings.ConfigError as error:
    if not processes.was_told(error):
      print(f'daft_jax: {error}', file=sys.stderr)
    return 2
  except KeyboardInterrupt:  # Before signals are handled.
    return 130


def _run(argv: Sequence[str]) -> int:
  """Runs the experiment; what is to be said of its end, one process says."""
  config: Mapping[str, Any] = {}
  try:
    with writer.messages(active=processes.is_first()):
      with processes.together():
        config, workdir = parse(argv)
      with signals.handled():
        processes.from_first(lambda: _check_workdir(workdir))
        command = disclosed.command(launch.without(argv))
        found = experiment.run(config, workdir, command=command)
  except BaseException as error:
    status, text = ended.explained(error, config, argv)
    told = processes.was_told(error) or isinstance(error, signals.Stopped)
    if status is None:
      if isinstance(error, KeyboardInterrupt):
        launch.leave(130)
      if not told:
        launch.leave_with_traceback()
      raise
    if processes.is_first() or not told:
      print(f'daft_jax: {text}', file=sys.stderr)
    if not told:
      launch.leave(status)
    return status
  lost = [method for method, means in found.items() if means is None]
  if lost and processes.is_first():
    print(
      f'daft_jax: every trial of {", ".join(lost)} diverged. Lower config.lrs '
      'and config.head_lrs: the same command with other rates adds trials',
      file=sys.stderr,
    )
  return 1 if lost else 0


def parse(argv: Sequence[str]) -> tuple[Any, pathlib.Path]:
  """Turns arguments into the config and the workdir.

  Raises:
    ConfigError: an unknown or missing argument, a file that cannot be loaded,
      a field that does not exist.
  """
  given: dict[str, str] = {}
  words = list(argv)
  while words:
    name, equals, text = words.pop(0).partition('=')
    if not equals and words and not words[0].startswith('--'):
      text = words.pop(0)
    known = (*_FLAGS, *launch.FLAGS)
    if not name.startswith('--config.') and name not in known:
      hint = names.did_you_mean(name, known)
      raise settings.ConfigError(
        f'{name!r} is no argument.{hint} Type: {_USAGE}'
      )
    if given.setdefault(name, text) != text:
      raise settings.ConfigError(
        f'{name} is given twice, as {given[name]!r} and {text!r}: give it once '
        '(of fields that have several values, joined by +: '
        '--config.seeds=0+1)'
      )
  for name in _FLAGS:
    if not given.get(name):
      raise settings.ConfigError(f'{name} is missing. Type: {_USAGE}')
  config = load_config(given['--config'])
  for name, text in given.items():
    if name.startswith('--config.'):
      path = name.removeprefix('--config.')
      settings.assign(config, path, settings.parse(path, text))
  return config, _expanded('--workdir', given['--workdir'])


def load_config(name: str) -> Any:
  """Loads 'FILE.py' or 'FILE.py:ARG': what its `get_config(ARG)` returns.

  Raises:
    ConfigError: there is no such file, or its code fails (with the line).
  """
  file, _, arg = name.partition('.py:')
  path = _expanded('--config', file if not arg else f'{file}.py')
  if not path.is_file():
    what = (
      f'{path} is a folder' if path.is_dir() else f'there is no file {path}'
    )
    beside = [x.name for x in path.parent.glob('*.py')]
    parent = str(path.parent).replace('{', '{{').replace('}', '}}')
    hint = names.did_you_mean(path.name, beside, f'{parent}/{{}}')
    raise settings.ConfigError(
      f'--config: {what}: give a file such as configs/digits.py.{hint}'
    )
  # `from configs import common` works whatever the current directory is.
  root = str(path.resolve().parent.parent)
  if root not in sys.path:
    sys.path.insert(0, root)
  spec = importlib.util.spec_from_file_location('_daft_jax_config', path)
  if spec is None or spec.loader is None:
    raise settings.ConfigError(
      f'--config: {path} is not a Python file: give one such as '
      'configs/digits.py'
    )
  module = importlib.util.module_from_spec(spec)
  try:
    spec.loader.exec_module(module)
    if not hasattr(module, 'get_config'):
      raise settings.ConfigError(
        f'--config: {path} has no function get_config(): see configs/digits.py'
      )
    config = module.get_config(arg) if arg else module.get_config()
  except (settings.ConfigError, KeyboardInterrupt):
    raise
  except (
    BaseException
  ) as error:  # Also SystemExit: it must not end the program.
    frames = traceback.extract_tb(error.__traceback__)
    lines = [f.lineno for f in frames if f.filename.endswith(str(path))]
    lines += [error.lineno] if isinstance(error, SyntaxError) else []
    where = f'{path}:{lines[-1]}' if lines and lines[-1] else f'{path}'
    raise settings.ConfigError(
      f'--config: {where}: {type(error).__name__}: {_said(error)}. Mend the '
      'file'
    ) from error
  if not isinstance(config, Mapping | ConfigDict):
    raise settings.ConfigError(
      f'--config: get_config() in {path} returns {type(config).__name__}, no '
      'ConfigDict: does it end in `return config`?'
    )
  _check_depth(config, path)
  return config


def _said(error: BaseException) -> str:
  try:
    return names.shown(error)
  except Exception:  # A class of the config's own may say anything.
    return 'it cannot be shown'


def _check_depth(config: Any, path: pathlib.Path) -> None:
  """Refuses a dict in dicts without end, which may be itself."""
  level = [config]
  for _ in range(_DEEPEST):
    values = (value for group in level for value in group.values())
    found = (x for x in values if isinstance(x, Mapping | ConfigDict))
    level = [*{id(x): x for x in found}.values()]  # each once
  if level:
    raise settings.ConfigError(
      f'--config: get_config() in {path} returns dicts that are more than '
      f'{_DEEPEST} deep: configs/common.py has all fields'
    )


def _expanded(name: str, text: str) -> pathlib.Path:
  """The path; a shell leaves the ~ of --workdir=~/x as it is."""
  try:
    return pathlib.Path(text).expanduser()
  except RuntimeError as error:  # ~ of nobody
    raise settings.ConfigError(
      f'{name} {text}: {error}: write the path out'
    ) from None


def _check_workdir(workdir: pathlib.Path) -> None:
  """Refuses, before anything is read, what could not be written."""
  place = workdir
  while not place.exists() and place != place.parent:
    place = place.parent
  if not place.is_dir():
    raise settings.ConfigError(
      f'--workdir {workdir} cannot be made: {place} is a file. Give a folder'
    )
  if not os.access(place, os.W_OK | os.X_OK):
    raise settings.ConfigError(
      f'--workdir {workdir} cannot be written: {place} is read-only. Give '
      'another folder, or change its permissions'
    )
  free = shutil.disk_usage(place).free
  if free < _LEAST_FREE:
    raise settings.ConfigError(
      f'--workdir {workdir}: {free / 1e6:.1f} MB are free on its disk, and a '
      f'run writes its checkpoints there, {_LEAST_FREE / 1e6:.0f} MB or more. '
      'Make room, or give a folder on another disk'
    )


if __name__ == '__main__':
  sys.exit(main())

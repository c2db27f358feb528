"""The program.

  python -m daft_jax.main --config=configs/digits.py --workdir=/tmp/digits

  --config=FILE.py           the experiment
  --config=FILE.py:methods=ft+daft,seeds=0+1
                             the same with other fields
  --config.epochs=5          any field of configs/common.py, as often as wanted
  --workdir=DIR              everything is written here

The same command continues a run that was stopped.
"""

import importlib.util
import logging
import pathlib
import sys
import traceback
from collections.abc import Sequence
from typing import Any

from daft_jax import experiment, results, settings, writer
from daft_jax.data.records import DataError

_USAGE = (
  'python -m daft_jax.main --config=configs/digits.py --workdir=/tmp/digits'
)


def main(argv: Sequence[str] | None = None) -> int:
  """Runs the command line; returns the exit status: 0, or 2 after an error.

  1 is what went wrong with the images while it ran.

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
    config, workdir = parse(argv)
    with writer.messages():
      experiment.run(config, workdir)
  except (settings.ConfigError, results.ResultsError) as error:
    print(f'daft_jax: {error}', file=sys.stderr)
    return 2
  except DataError as error:
    print(f'daft_jax: {error}', file=sys.stderr)
    return 1
  except KeyboardInterrupt:
    print(
      '\ndaft_jax: stopped. The same command continues after the last '
      'finished epoch.',
      file=sys.stderr,
    )
    return 130
  return 0


def parse(argv: Sequence[str]) -> tuple[Any, pathlib.Path]:
  """Turns arguments into the config and the workdir.

  Raises:
    ConfigError: an unknown or missing argument, a file that cannot be loaded,
      a field that does not exist.
  """
  given, fields = {}, []
  words = list(argv)
  while words:
    name, equals, text = words.pop(0).partition('=')
    if not equals and words and not words[0].startswith('--'):
      text = words.pop(0)
    if name.startswith('--config.'):
      fields.append((name.removeprefix('--config.'), text))
    elif name in ('--config', '--workdir'):
      given[name] = text
    else:
      raise settings.ConfigError(f'{name!r} is no argument. Type: {_USAGE}')
  for name in ('--config', '--workdir'):
    if not given.get(name):
      raise settings.ConfigError(f'{name} is missing. Type: {_USAGE}')
  config = load_config(given['--config'])
  for path, text in fields:
    settings.assign(config, path, settings.parse(path, text))
  return config, pathlib.Path(given['--workdir'])


def load_config(name: str) -> Any:
  """Loads 'FILE.py' or 'FILE.py:ARG': what its `get_config(ARG)` returns.

  Raises:
    ConfigError: there is no such file, or its code fails (with the line).
  """
  file, _, arg = name.partition('.py:')
  path = pathlib.Path(file if not arg else f'{file}.py')
  if not path.is_file():
    raise settings.ConfigError(f'--config: there is no file {path}')
  # `from configs import common` works whatever the current directory is.
  root = str(path.resolve().parent.parent)
  if root not in sys.path:
    sys.path.insert(0, root)
  spec = importlib.util.spec_from_file_location('_daft_jax_config', path)
  if spec is None or spec.loader is None:
    raise settings.ConfigError(f'--config: {path} is not a Python file')
  module = importlib.util.module_from_spec(spec)
  try:
    spec.loader.exec_module(module)
    return module.get_config(arg) if arg else module.get_config()
  except settings.ConfigError:
    raise
  except Exception as error:
    frames = traceback.extract_tb(error.__traceback__)
    lines = [f.lineno for f in frames if f.filename.endswith(str(path))]
    where = f'{path}:{lines[-1]}' if lines else f'{path}'
    raise settings.ConfigError(
      f'--config: {where}: {type(error).__name__}: {error}'
    ) from error


if __name__ == '__main__':
  sys.exit(main())

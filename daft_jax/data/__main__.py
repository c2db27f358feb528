"""The command line of data sets: what is there, what is missing.

python -m daft_jax.data list
python -m daft_jax.data prepare SUITE --data_dir=DIR [--tfds]

`prepare` ends with 0 when all was found, 1 when something is missing and 2
after wrong arguments. It unpacks archives that lie in DIR; only --tfds uses the
network.
"""

import argparse
import pathlib
import sys
from collections.abc import Sequence

from daft_jax.data import domains, sources, suites
from daft_jax.data.published import catalog, preparing


def _list() -> None:
  """Prints the suites and the published data sets."""
  for name, suite in suites.SUITES.items():
    used = [x for x in preparing.needed(suite) if x not in sources.SOURCES]
    print(f'{name:16s} {", ".join(used) or "comes with a package"}')
  for name, row in domains.DOMAINS.items():
    print(f'{name:16s} folders: {", ".join(row.domains.values())}')
  print()
  for row in (*catalog.DATASETS.values(), *catalog.FOLDERS.values()):
    print(f'{row.name:16s} {row.licence:42s} {row.homepage}')


def main(argv: Sequence[str] | None = None) -> int:
  """Runs the command line; returns the exit status."""
  parser = argparse.ArgumentParser(prog='python -m daft_jax.data')
  commands = parser.add_subparsers(dest='command', required=True)
  commands.add_parser('list', help='all suites and data sets')
  one = commands.add_parser('prepare', help='what a suite needs and has')
  one.add_argument('suite')
  one.add_argument('--data_dir', type=pathlib.Path, required=True)
  one.add_argument(
    '--tfds', action='store_true', help='download with TensorFlow Datasets'
  )
  given = parser.parse_args(argv)
  if given.command == 'list':
    _list()
    return 0
  try:
    done = preparing.prepare(given.suite, given.data_dir, tfds=given.tfds)
  except (ValueError, OSError) as error:
    print(f'daft_jax.data: {error}', file=sys.stderr)
    return 2
  return 0 if done else 1


if __name__ == '__main__':
  sys.exit(main())

"""The logs of chosen trials: what came of each epoch, and how long it took.

  for line in epochs.curve(folder):
    print(line['epoch'], line['loss'], line['id_val'])
  epochs.laps(folder)                         # [{'what': ..., 'seconds': ...}]

They may be a stranger's: it is bounded what it takes to read them.
"""

import pathlib

from daft_jax import names, results

_MOST_BYTES = 1 << 22  # an epoch has 150


def curve(folder: pathlib.Path) -> list[results.Line]:
  """Reads the epochs of a trial, in their order; [] where there is no log.

  Raises:
    results.ResultsError: a damaged line, named.
  """
  return _read(folder / 'metrics.jsonl', results.EPOCH)


def laps(folder: pathlib.Path) -> list[results.Line]:
  """Reads what took how long; [] where there is no log.

  Raises:
    results.ResultsError: a damaged line, named.
  """
  return _read(folder / 'timings.jsonl', results.TIMING)


def _read(
  path: pathlib.Path, table: dict[str, results.Field]
) -> list[results.Line]:
  if not path.is_file():
    return []
  folder = names.shown(path.parent)
  fix = f'delete {folder} and run the same command again'
  return [
    results.check(line, where, fix, table)
    for where, line in results.read_jsonl(path, fix, _MOST_BYTES)
  ]

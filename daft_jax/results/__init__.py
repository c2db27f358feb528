"""Results are files: what a finished trial leaves, and what follows from it.

`trials/<trial>/result.json` is the truth. `results.jsonl` is derived from
these files, one line a trial; tables and figures come from the lines.

  results.write_line(workdir, line)      # result.json, then results.jsonl
  lines = results.read(workdir)
  best = results.choose(lines)['daft']   # by ID validation, nothing else
  print(best.lr, best.head_lr, [line['id_test'] for line in best.lines])

The JSON is strict: a number that is not finite is written as null, and null
is read back as nan where a measurement belongs. `files` reads and writes it,
`fields` says what must be in it, `choice` chooses. Standard library only.
"""

import pathlib
from typing import Any

from daft_jax import names
from daft_jax.results import fields, files
from daft_jax.results.choice import (
  Choice,
  by_rate,
  choose,
  compared,
  mean_id_val,
  rates_of,
)
from daft_jax.results.fields import EPOCH, EVAL, TIMING, Field, check
from daft_jax.results.files import (
  Line,
  PathLike,
  ResultsError,
  atomic_write,
  dumps,
  read_jsonl,
  read_text,
)

__all__ = [
  'Choice',
  'EPOCH',
  'EVAL',
  'Field',
  'Line',
  'PathLike',
  'ResultsError',
  'TIMING',
  'atomic_write',
  'by_rate',
  'check',
  'choose',
  'compared',
  'derive',
  'dumps',
  'finished',
  'mean_id_val',
  'read',
  'read_experiment',
  'read_jsonl',
  'read_text',
  'write_line',
]

EXPERIMENT = 'experiment.json'
RESULTS = 'results.jsonl'


def read_experiment(workdir: PathLike) -> dict[str, Any]:
  """Reads `experiment.json`: suite, backbone, weights and the config.

  Raises:
    ResultsError: it is not there (then `workdir` is none), or damaged.
  """
  path = pathlib.Path(workdir) / EXPERIMENT
  if not path.is_file():
    raise ResultsError(
      f'{names.shown(workdir)} is not a workdir: it has no {EXPERIMENT}; '
      'give the --workdir of a run'
    )
  fix = 'delete it and run the same command again, which writes it anew'
  found = files.parse(files.read_text(path, fix), f'{path}', fix)
  return fields.check(found, f'{path}', fix, fields.EXPERIMENT)


def read(workdir: PathLike) -> list[Line]:
  """Reads every finished trial of a workdir, in a stable order.

  The order: methods as in the experiment, then seed, lr, head_lr, trial.
  Where only `results.jsonl` was kept, without `trials/`, that is read.

  Raises:
    ResultsError: not a workdir, or a damaged file or line, named.
  """
  workdir = pathlib.Path(workdir)
  config = read_experiment(workdir).get('config') or {}
  order = {name: i for i, name in enumerate(config.get('methods') or ())}
  lines = []
  if (workdir / 'trials').is_dir():
    for path in sorted(workdir.glob('trials/*/result.json')):
      lines.append(_read_trial(path))
  elif (workdir / RESULTS).is_file():
    fix = 'restore it from a copy, or take the line out'
    for where, line in read_jsonl(workdir / RESULTS, fix):
      lines.append(check(line, where, fix))

  def key(line: Line) -> tuple[Any, ...]:
    rank = order.get(line['method'], len(order))
    return rank, line['method'], line['seed'], rates_of(line), line['trial']

  return sorted(lines, key=key)


def _read_trial(path: pathlib.Path) -> Line:
  fix = f'delete {names.shown(path.parent)} and run the same command again'
  line = files.parse(files.read_text(path, fix), f'{path}', fix)
  line = check(line, f'{path}', fix)
  if line['trial'] != path.parent.name:
    where = names.shown(path)
    raise ResultsError(f"{where}: 'trial' is {line['trial']!r}; {fix}")
  return line


def finished(folder: pathlib.Path) -> Line | None:
  """The result line of a trial's folder; None: it is not finished.

  Raises:
    ResultsError: it is damaged.
  """
  path = folder / 'result.json'
  if not path.is_file():
    return None
  return _read_trial(path)


def derive(workdir: PathLike) -> list[Line]:
  """Writes `results.jsonl` anew from the trials; returns its lines."""
  lines = read(workdir)
  text = ''.join(dumps(line) + '\n' for line in lines)
  atomic_write(pathlib.Path(workdir) / RESULTS, text)
  return lines


def write_line(workdir: PathLike, line: Line) -> pathlib.Path:
  """Writes a trial's `result.json`, its last act; returns the path.

  Raises:
    ResultsError: the line lacks a field, or an accuracy is out of [0, 1].
  """
  line = check(files.plain(line), f'trial {line.get("trial")}')
  path = pathlib.Path(workdir) / 'trials' / line['trial'] / 'result.json'
  path.parent.mkdir(parents=True, exist_ok=True)
  atomic_write(path, dumps(line, indent=2) + '\n')
  derive(workdir)
  return path

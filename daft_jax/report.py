"""Makes a report of finished trials: tables, and figures beside them.

  python -m daft_jax.report WORKDIR... [--output DIR]

writes `report.md`, `ood_against_id.png` and `feature_distortion.png`. It reads
the files of the workdirs and nothing else, and imports no JAX, so it runs on
any machine the files were copied to. Several workdirs of one suite, backbone
and weights are put together: seeds on one machine, methods on another.
"""

import argparse
import importlib.util
import pathlib
import sys
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from daft_jax import document, figures, histograms, results, summary, tables

PathLike = results.PathLike

_EVAL_FIX = 'take the line out and evaluate again with config.eval_only'


class Collected(NamedTuple):
  """Everything a report is made of, read from the files."""

  lines: list[results.Line]
  folders: dict[str, pathlib.Path]  # of every trial
  experiments: dict[str, dict[str, Any]]  # of every workdir
  further: list[results.Line]  # eval.jsonl


def collect(workdirs: Sequence[PathLike]) -> Collected:
  """Reads workdirs and checks that they belong together.

  A trial that is in two of them (same settings, same name) counts once.

  Raises:
    results.ResultsError: not a workdir, a damaged file, nothing finished, or
      results that do not belong in one table.
  """
  found: dict[str, results.Line] = {}
  folders, experiments, further = {}, {}, []
  for workdir in dict.fromkeys(map(pathlib.Path, workdirs)):
    experiments[str(workdir)] = results.read_experiment(workdir)
    for line in results.read(workdir):
      found.setdefault(line['trial'], line)
      folder = workdir / 'trials' / line['trial']
      folders.setdefault(line['trial'], folder)
    further += read_eval(workdir)
  if not found:
    raise results.ResultsError(
      f'no finished trials in {", ".join(experiments)}: a trial is finished '
      'when trials/*/result.json is there; wait for the run, or start it again'
    )
  lines = list(found.values())
  for field in ('suite', 'backbone', 'weights'):
    _check_same(lines, folders, field)
  _check_twice(lines, folders)
  methods = list(dict.fromkeys(line['method'] for line in lines))
  lines.sort(key=lambda x: (methods.index(x['method']), x['seed']))
  return Collected(lines, folders, experiments, further)


def _check_same(
  lines: list[results.Line], folders: dict[str, pathlib.Path], field: str
) -> None:
  first = lines[0]
  for line in lines:
    if line[field] != first[field]:
      raise results.ResultsError(
        f'cannot put a {field} {first[field]!r} ({folders[first["trial"]]}) '
        f'and a {field} {line[field]!r} ({folders[line["trial"]]}) in one '
        'table: make a report of each'
      )


def _check_twice(
  lines: list[results.Line], folders: dict[str, pathlib.Path]
) -> None:
  """Two trials with the same method, seed and rates cannot be averaged."""
  seen: dict[tuple[Any, ...], results.Line] = {}
  for line in lines:
    key = tuple(line[name] for name in ('method', 'seed', 'lr', 'head_lr'))
    other = seen.setdefault(key, line)
    if other is not line:
      raise results.ResultsError(
        f'{folders[other["trial"]]} and {folders[line["trial"]]} are both '
        f'{key[0]}, seed {key[1]}, at the same rates, with other settings: '
        'make a report of each workdir, or remove one of the two'
      )


def read_eval(workdir: PathLike) -> list[results.Line]:
  """Reads `eval.jsonl`: accuracies of trials on further OOD sets, or [].

  Raises:
    results.ResultsError: a damaged line, named with its number.
  """
  path = pathlib.Path(workdir) / 'eval.jsonl'
  lines = []
  found = results.read_jsonl(path, _EVAL_FIX) if path.is_file() else []
  for where, line in found:
    for name, kind in (('trial', str), ('method', str), ('ood', dict)):
      if not isinstance(line.get(name), kind):
        raise results.ResultsError(
          f'{where}: {name!r} is missing or not a {kind.__name__}; {_EVAL_FIX}'
        )
    for name, value in line['ood'].items():
      if value is not None and not isinstance(value, (int, float)):
        raise results.ResultsError(
          f'{where}: {name!r} in ood cannot be {value!r}; {_EVAL_FIX}'
        )
    lines.append(line)
  return lines


def write_report(
  workdirs: Sequence[PathLike] | PathLike, output: PathLike | None = None
) -> pathlib.Path:
  """Writes `report.md` and its figures; returns the path of the former.

  Args:
    workdirs: one workdir or several, which are put together.
    output: the folder to write to, made if needed; default: the first workdir.

  Raises:
    results.ResultsError: see `collect`.
  """
  if isinstance(workdirs, (str, pathlib.Path)):
    workdirs = [workdirs]
  return _write(collect(workdirs), output or workdirs[0])


def _write(found: Collected, output: PathLike) -> pathlib.Path:
  output = pathlib.Path(output)
  output.mkdir(parents=True, exist_ok=True)
  images = draw(found)
  for name, png in images.items():
    results.atomic_write(output / name, png)
  text = document.compose(
    found.lines, found.experiments, found.further, set(images)
  )
  results.atomic_write(output / 'report.md', text)
  return output / 'report.md'


def draw(found: Collected) -> dict[str, bytes]:
  """Returns {file name: PNG}, nothing where matplotlib is not installed."""
  if importlib.util.find_spec('matplotlib') is None:
    return {}
  choices = results.choose(found.lines)
  suite = found.lines[0]['suite']
  images = {
    document.ACCURACY: figures.accuracy(found.lines, choices, suite),
    document.DISTORTION: histograms.draw(
      histograms.read(choices, found.folders), choices
    ),
  }
  return {name: png for name, png in images.items() if png is not None}


def console_table(lines: Iterable[results.Line]) -> str:
  """Returns the final table as plain text of at most 100 columns.

  Example:
    print(report.console_table(results.read(workdir)))
  """
  lines = list(lines)
  rows = summary.summarize(lines)
  text = [tables.console(rows)] if rows else []
  text += [f'{x}: every trial diverged' for x in summary.diverged(lines)]
  return '\n'.join(text or ['no finished trials'])


def main(argv: Sequence[str] | None = None) -> int:
  """Runs the command line; returns the exit status, 2 after an error."""
  parser = argparse.ArgumentParser(
    prog='python -m daft_jax.report',
    description='Makes report.md and its figures from finished trials.',
  )
  parser.add_argument('workdirs', nargs='+', metavar='WORKDIR')
  parser.add_argument(
    '--output', metavar='DIR', help='default: the first WORKDIR'
  )
  arguments = parser.parse_args(argv)
  try:
    found = collect(arguments.workdirs)
    path = _write(found, arguments.output or arguments.workdirs[0])
  except (results.ResultsError, OSError) as error:
    print(f'daft_jax.report: {error}', file=sys.stderr)
    return 2
  print(console_table(found.lines))
  print(f'\nwritten: {path}')
  return 0


if __name__ == '__main__':
  sys.exit(main())

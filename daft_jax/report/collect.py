"""Reads the result files of workdirs that go into one report.

found = collect(['/tmp/digits'])
found.lines[0]['id_test']                        # 0.98
"""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from daft_jax import results

SELECTIONS = ('val', 'paper')

_EVAL_FIX = 'take the line out and evaluate again with config.eval_only'


class Collected(NamedTuple):
  """Everything a report is made of, read from the files."""

  lines: list[results.Line]
  choices: dict[str, results.Choice]  # of every method that has one
  folders: dict[str, pathlib.Path]  # of every trial
  experiments: dict[str, dict[str, Any]]  # of every workdir
  further: list[results.Line]  # eval.jsonl


def collect(workdirs: Sequence[results.PathLike]) -> Collected:
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
    whole = [x for x in results.read(workdir) if not x.get('rung')]
    for line in whole:
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
  _check_selection(experiments)
  _check_twice(lines, folders)
  methods = list(dict.fromkeys(line['method'] for line in lines))
  lines.sort(key=lambda x: (methods.index(x['method']), x['seed']))
  choices = results.choose(lines)
  return Collected(lines, choices, folders, experiments, further)


def selection(record: Mapping[str, Any]) -> str:
  """'val' or 'paper': by which images the rates and epochs were chosen.

  Args:
    record: experiment.json or a result line, which both hold the config.
  """
  return (record.get('config') or {}).get('selection') or 'val'


def _check_selection(experiments: Mapping[str, Mapping[str, Any]]) -> None:
  found = {name: selection(x) for name, x in experiments.items()}
  first, *_ = found
  for name, value in found.items():
    if value not in SELECTIONS:
      raise results.ResultsError(
        f'{name}: config.selection in {results.EXPERIMENT} is {value!r}, not '
        f'one of {", ".join(SELECTIONS)}; run the same command again'
      )
    if value != found[first]:
      raise _apart('selection', found[first], first, value, name)


def _apart(field: str, *pairs: object) -> results.ResultsError:
  value, where, other, there = pairs
  return results.ResultsError(
    f'cannot put a {field} {value!r} ({where}) and a {field} {other!r} '
    f'({there}) in one table: make a report of each'
  )


def _check_same(
  lines: list[results.Line], folders: dict[str, pathlib.Path], field: str
) -> None:
  first = lines[0]
  for line in lines:
    if line[field] != first[field]:
      here, there = (folders[x['trial']] for x in (first, line))
      raise _apart(field, first[field], here, line[field], there)


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


def read_eval(workdir: results.PathLike) -> list[results.Line]:
  """Reads `eval.jsonl`: accuracies of trials on further OOD sets, or [].

  Raises:
    results.ResultsError: a damaged line, named with its number.
  """
  path = pathlib.Path(workdir) / 'eval.jsonl'
  found = results.read_jsonl(path, _EVAL_FIX) if path.is_file() else []
  return [
    results.check(line, where, _EVAL_FIX, results.EVAL) for where, line in found
  ]

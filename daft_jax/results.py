"""Results are files: what a finished trial leaves, and what follows from it.

`trials/<trial>/result.json` is the truth. `results.jsonl` is derived from
these files, one line a trial; tables and figures come from the lines.

  results.write_line(workdir, line)      # result.json, then results.jsonl
  lines = results.read(workdir)
  best = results.choose(lines)['daft']   # by ID validation, nothing else
  print(best.lr, best.head_lr, [line['id_test'] for line in best.lines])

The JSON is strict: a number that is not finite is written as null, and null
is read back as nan where a measurement belongs. Standard library only.
"""

import contextlib
import json
import math
import os
import pathlib
import secrets
import statistics
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

PathLike = str | os.PathLike[str]
Line = dict[str, Any]

EXPERIMENT = 'experiment.json'
RESULTS = 'results.jsonl'

_NAMES = ('trial', 'suite', 'backbone', 'weights', 'method')
_ACCURACIES = ('id_val', 'id_test', 'ood_mean')
_MEASURED = _ACCURACIES + ('feature_l2', 'feature_cosine', 'seconds')
_REQUIRED = (*_NAMES, 'seed', 'id_val', 'id_test', 'ood')
_NUMBER = (int, float, type(None))
_INNER = {'ood': _NUMBER, 'summaries': _NUMBER, 'metrics': dict}
_KINDS: dict[str, Any] = {
  **dict.fromkeys(_NAMES, str),
  'seed': int,
  **dict.fromkeys(('lr', 'head_lr', 'C', 'epoch', *_MEASURED), _NUMBER),
  **dict.fromkeys((*_INNER, 'config', 'versions'), dict),
}


class ResultsError(ValueError):
  """Files of a workdir that cannot be read or do not belong together."""


class Choice(NamedTuple):
  """The trials of one method at one pair of rates, a line for every seed."""

  lr: float | None
  head_lr: float | None
  lines: tuple[Line, ...]


def atomic_write(path: PathLike, content: str | bytes) -> None:
  """Writes a file so that a reader, or a crash, sees all of it or none.

  A temporary file beside it is flushed to the disk and renamed over `path`;
  then the directory is flushed too, or a power cut could undo the rename.
  """
  path = pathlib.Path(path)
  data = content.encode() if isinstance(content, str) else content
  if path.exists() and not path.is_file():
    raise OSError(f'{path} is not a file and is not replaced: give another')
  temporary = path.with_name(f'.{path.name}.{secrets.token_hex(6)}.tmp')
  try:
    with open(temporary, 'xb') as file:
      file.write(data)
      file.flush()
      os.fsync(file.fileno())
    os.replace(temporary, path)
  except BaseException:
    temporary.unlink(missing_ok=True)
    raise
  # Some network file systems, and Windows, cannot flush a directory.
  with contextlib.suppress(OSError):
    directory = os.open(path.parent, os.O_RDONLY)
    try:
      os.fsync(directory)
    finally:
      os.close(directory)


def dumps(value: Any, indent: int | None = None) -> str:
  """Returns strict JSON: nan and infinities as null, arrays as lists.

  Example:
    >>> dumps({'lr': 0.1, 'id_val': float('nan')})
    '{"lr": 0.1, "id_val": null}'
  """
  return json.dumps(_plain(value), indent=indent, allow_nan=False)


def _plain(value: Any) -> Any:
  if isinstance(value, dict):
    return {str(key): _plain(item) for key, item in value.items()}
  if isinstance(value, (list, tuple)):
    return [_plain(item) for item in value]
  if isinstance(value, float):  # np.float64 is one
    return float(value) if math.isfinite(value) else None
  if hasattr(value, 'tolist'):  # NumPy scalars and arrays
    return _plain(value.tolist())
  return value


def _parse(text: str, where: str, fix: str) -> dict[str, Any]:
  """Parses one strict JSON object; `where` and `fix` go into the error."""

  def refuse(token: str) -> None:
    raise ValueError(f'{token} is not JSON')

  try:
    value = json.loads(text, parse_constant=refuse)
    if isinstance(value, dict):
      return value
    raise ValueError('not a JSON object')
  except ValueError as error:
    raise ResultsError(f'{where}: damaged ({error}); {fix}') from None


def _read_text(path: pathlib.Path, fix: str) -> str:
  try:
    return path.read_text(encoding='utf-8')
  except (OSError, UnicodeDecodeError) as error:
    raise ResultsError(f'{path}: cannot be read ({error}); {fix}') from None


def _nan(value: Any) -> Any:
  """Reads null back as nan, at any depth."""
  if isinstance(value, dict):
    return {key: _nan(item) for key, item in value.items()}
  return math.nan if value is None else value


def check(line: Line, where: str, fix: str = 'correct it') -> Line:
  """Returns a result line with nan for null, all measurements present.

  Raises:
    ResultsError: a field is missing or of the wrong kind, or an accuracy is
      outside of [0, 1]; the message starts with `where` and ends with `fix`.
  """
  for name in (name for name in _REQUIRED if name not in line):
    raise ResultsError(f'{where}: field {name!r} is missing; {fix}')
  kinds, values = dict(_KINDS), dict(line)
  for field, kind in _INNER.items():
    inner = line.get(field)
    for name, value in inner.items() if isinstance(inner, dict) else ():
      kinds[f'{field}/{name}'], values[f'{field}/{name}'] = kind, value
  for name in kinds.keys() & values.keys():
    value = values[name]
    if not isinstance(value, kinds[name]) or isinstance(value, bool):
      raise ResultsError(f'{where}: {name!r} cannot be {value!r}; {fix}')
    accuracy = name in _ACCURACIES or name.startswith(('ood/', 'summaries/'))
    if accuracy and value is not None and (value < 0 or value > 1):
      what = f'{name!r} is {value}, accuracies are in [0, 1]'
      raise ResultsError(f'{where}: {what}; {fix}')
  absent = {n: None for n in ('lr', 'head_lr', 'C', 'epoch') if n not in line}
  line = line | absent | {name: _nan(line.get(name)) for name in _MEASURED}
  return line | {name: _nan(line.get(name, {})) for name in _INNER}


def read_experiment(workdir: PathLike) -> dict[str, Any]:
  """Reads `experiment.json`: suite, backbone, weights and the config.

  Raises:
    ResultsError: it is not there (then `workdir` is none), or damaged.
  """
  path = pathlib.Path(workdir) / EXPERIMENT
  if not path.is_file():
    raise ResultsError(
      f'{workdir} is not a workdir: it has no {EXPERIMENT}; '
      'give the --workdir of a run'
    )
  fix = 'delete it and run the same command again, which writes it anew'
  return _parse(_read_text(path, fix), f'{path}', fix)


def read_jsonl(path: pathlib.Path, fix: str) -> list[tuple[str, Line]]:
  """Returns ('file:number', object) for every line that is not blank.

  Raises:
    ResultsError: a damaged line, named; `fix` says what to do about it.
  """
  return [
    (f'{path}:{number}', _parse(text, f'{path}:{number}', fix))
    for number, text in enumerate(_read_text(path, fix).split('\n'), 1)
    if text.strip()
  ]


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
      fix = f'delete {path.parent} and run the same command again'
      line = _parse(_read_text(path, fix), f'{path}', fix)
      lines.append(check(line, f'{path}', fix))
      if line['trial'] != path.parent.name:
        raise ResultsError(f"{path}: 'trial' is {line['trial']!r}; {fix}")
  elif (workdir / RESULTS).is_file():
    fix = 'restore it from a copy, or take the line out'
    for where, line in read_jsonl(workdir / RESULTS, fix):
      lines.append(check(line, where, fix))

  def key(line: Line) -> tuple[Any, ...]:
    rank = order.get(line['method'], len(order))
    return rank, line['method'], line['seed'], _rates(line), line['trial']

  return sorted(lines, key=key)


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
  line = check(_plain(line), f'trial {line.get("trial")}')
  path = pathlib.Path(workdir) / 'trials' / line['trial'] / 'result.json'
  path.parent.mkdir(parents=True, exist_ok=True)
  atomic_write(path, dumps(line, indent=2) + '\n')
  derive(workdir)
  return path


def _rates(line: Line) -> tuple[float, ...]:
  """Sorts by lr, then head_lr, a rate that is not there first."""
  rates = line['lr'], line['head_lr']
  return tuple(-math.inf if rate is None else rate for rate in rates)


def by_rate(lines: Iterable[Line]) -> dict[str, list[Choice]]:
  """Groups lines by method, in order of appearance, and rates, ascending."""
  groups: dict[str, dict[tuple[float, ...], list[Line]]] = {}
  for line in lines:
    rates = groups.setdefault(line['method'], {})
    rates.setdefault(_rates(line), []).append(line)
  return {
    method: [
      Choice(group[0]['lr'], group[0]['head_lr'], tuple(group))
      for _, group in sorted(rates.items())
    ]
    for method, rates in groups.items()
  }


def compared(choices: Sequence[Choice]) -> list[Choice]:
  """Leaves out diverged rates (nan) and rates with fewer seeds than others.

  One lucky seed must not win against the mean of five, so that a table made
  in the middle of a search is not misleading.
  """
  finite = [c for c in choices if not math.isnan(mean_id_val(c))]
  most = max((len(choice.lines) for choice in finite), default=0)
  return [choice for choice in finite if len(choice.lines) == most]


def mean_id_val(choice: Choice) -> float:
  """The mean ID validation accuracy over seeds, nan if one diverged."""
  return statistics.fmean(line['id_val'] for line in choice.lines)


def choose(lines: Iterable[Line]) -> dict[str, Choice]:
  """Picks each method's rates by mean ID validation accuracy over seeds.

  OOD and test accuracies are never looked at. Ties go to the smaller lr, then
  the smaller head_lr. A method whose every trial diverged is not in the
  result. See `compared` for what enters.

  Returns:
    {method: Choice(lr, head_lr, lines), one line for every seed}.
  """
  chosen = {}
  for method, choices in by_rate(lines).items():
    rivals = compared(choices)
    if rivals:
      # Rounded: 0.9 and 1.0 tie with 0.95 twice. max takes the first.
      chosen[method] = max(rivals, key=lambda c: round(mean_id_val(c), 12))
  return chosen

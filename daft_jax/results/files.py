"""Files of JSON: written whole or not at all, read with care.

  atomic_write(path, dumps({'lr': 0.1}))
  text = read_text(path, fix='write it anew')
  parse(text, f'{path}', fix='write it anew')       # {'lr': 0.1}

The JSON is strict: a number that is not finite is written as null. What is
read may be of a stranger: a device without an end, a file that is all holes,
lists in lists. All of it is refused before it costs anything.
"""

import contextlib
import json
import math
import os
import pathlib
import secrets
from typing import Any

from daft_jax import bounded, names

PathLike = str | os.PathLike[str]
Line = dict[str, Any]

MOST_BYTES = 1 << 26  # of a file; a line has 40,000, of 75 sets
MOST_VALUES = 3_000_000  # in a file: each takes up to 80 bytes of memory
DEEPEST = 40  # dicts and lists in each other


class ResultsError(ValueError):
  """Files of a workdir that cannot be read or do not belong together."""


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
  return json.dumps(plain(value), indent=indent, allow_nan=False)


def plain(value: Any) -> Any:
  """What `dumps` writes: nan and infinities as None, arrays as lists."""
  if isinstance(value, dict):
    return {str(key): plain(item) for key, item in value.items()}
  if isinstance(value, (list, tuple)):
    return [plain(item) for item in value]
  if isinstance(value, float):  # np.float64 is one
    return float(value) if math.isfinite(value) else None
  if hasattr(value, 'tolist'):  # NumPy scalars and arrays
    return plain(value.tolist())
  return value


def read_text(path: pathlib.Path, fix: str, most: int = MOST_BYTES) -> str:
  """The text of a file of JSON, of up to so many bytes.

  Raises:
    ResultsError: it cannot be read, is a pipe or a device, which may never
      end, or is larger than results are; `fix` says what to do about it.
  """
  try:
    text = bounded.read(path, most).decode('utf-8')
    if sum(map(text.count, '[{:,')) <= MOST_VALUES:
      return text
    reason = f'it has more than {MOST_VALUES:,} values'
  except (OSError, UnicodeDecodeError) as error:
    reason = f'{error}'
  except ValueError as error:  # of `bounded`
    reason = f'it {error}'
  raise ResultsError(f'{names.shown(path)}: cannot be read ({reason}); {fix}')


def parse(text: str, where: str, fix: str) -> dict[str, Any]:
  """Parses one strict JSON object; `where` and `fix` go into the error.

  Raises:
    ResultsError: it is none, or one that is nested too deeply.
  """

  def refuse(token: str) -> None:
    raise ValueError(f'{token} is not JSON')

  try:
    value = json.loads(text, parse_constant=refuse)
    if not isinstance(value, dict):
      raise ValueError('not a JSON object')
    if _is_deep(value):
      raise ValueError(f'nested more than {DEEPEST} deep')
    return value
  except RecursionError:
    reason = f'nested more than {DEEPEST} deep'
  except ValueError as error:
    reason = f'{error}'
  raise ResultsError(f'{names.shown(where)}: damaged ({reason}); {fix}')


def _is_deep(value: Any) -> bool:
  """Whether what goes through a value by recursion could end in an error."""
  level = [value]
  for _ in range(DEEPEST):
    inner = (x.values() if isinstance(x, dict) else x for x in level)
    level = [x for y in inner for x in y if isinstance(x, (dict, list))]
  return bool(level)


def read_jsonl(
  path: pathlib.Path, fix: str, most: int = MOST_BYTES
) -> list[tuple[str, Line]]:
  """Returns ('file:number', object) for every line that is not blank.

  Raises:
    ResultsError: a damaged line, named; `fix` says what to do about it.
  """
  return [
    (f'{path}:{number}', parse(text, f'{path}:{number}', fix))
    for number, text in enumerate(read_text(path, fix, most).split('\n'), 1)
    if text.strip()
  ]

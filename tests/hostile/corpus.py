"""Hostile input: what a stranger may hand to each entry point.

  case = corpus.every()['torch: os.system']
  case.write(folder, canary)      # folder/w.pth, which would write the canary

`python -m tests.hostile.driver` reads them as a user would. A payload touches
`canary` where it runs: in several places, since it does not know which last.
"""

import dataclasses
import pathlib
from collections.abc import Callable
from typing import Any

REFUSED = 2  # the exit status of every program, and of an error that is said


@dataclasses.dataclass(frozen=True)
class Canary:
  """Files that are there only if something of an input was run or written."""

  paths: tuple[pathlib.Path, ...]

  @property
  def shell(self) -> str:
    return 'touch ' + ' '.join(map(str, self.paths))

  @property
  def python(self) -> str:
    return f'[open(p, "w") for p in {[*map(str, self.paths)]}]'


@dataclasses.dataclass(frozen=True)
class Case:
  """One hostile input.

  Attributes:
    write: `write(folder, canary)` makes it in an empty folder.
    how: which entry point reads it, a key of `driver.READ`.
    status: the exit status that it must end with.
    says: what the output must have.
    args: of that entry point.
    seconds: that it may take.
    check: `check(out)` for the folder of its output, beyond what all must keep.
  """

  write: Callable[[pathlib.Path, Canary], Any]
  how: str
  status: int = REFUSED
  says: str = ''
  args: tuple[str, ...] = ()
  seconds: float = 5
  check: Callable[[pathlib.Path], None] | None = None


def sparse(path: pathlib.Path, size: int, head: bytes = b'') -> None:
  """A file that is large and takes no room."""
  with path.open('wb') as file:
    file.write(head)
    file.truncate(size)


# What a name may hold: markup, links, escape codes, mathematics, formulas.
NAMES = {
  'script': '<script>alert(1)</script>',
  'image': '<img src=x onerror=alert(1)>',
  'backtick': '`<b>bold</b>`',
  'link': '[click](javascript:alert(1))',
  'cell': 'a\\|b|c',
  'math': '$\\frac{1}{$ $$',
  'formula': "=cmd|' /C calc'!A0",
  'template': '{{7*7}}${7*7}%s%n{0.__class__}',
  'long': 'x' * 200,
  'dots': '...',
  'dash': '-rf',
  'entity': '&lt;i&gt;&#60;',
}
CODES = '\x1b[2J\x1b]0;owned\x07\x9b31m\u202e\r'


def every() -> dict[str, Case]:
  """Name -> case, of all modules."""
  from tests.hostile import (
    archives,
    array_files,
    config_files,
    data_dirs,
    pictures,
    torch_files,
    workdirs,
  )

  modules = (
    *(torch_files, array_files, archives, data_dirs),
    *(pictures, workdirs, config_files),
  )
  found = {}
  for module in modules:
    if found.keys() & module.CASES.keys():
      raise ValueError(f'{module.__name__} has the name of another case')
    found |= module.CASES
  return found

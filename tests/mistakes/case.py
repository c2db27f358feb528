"""One mistake, as data, and what is asked of the answer to it.

Case('weights of another backbone', ('--config.weights=...',), where, fix)
"""

import dataclasses
import pathlib
import time
from collections.abc import Callable

from daft_jax import locks, main

ROOT = pathlib.Path(main.__file__).parent.parent
CONFIGS = ROOT / 'configs'
SECONDS = 5


@dataclasses.dataclass(frozen=True)
class Case:
  """What a user did, and what the message has to hold.

  Attributes:
    name: in words, for the list of tests.
    args: of the command line; '{tmp}' is the folder of the test.
    where: the field, flag or file that has to be named; '{tmp}' as in args.
    fix: words of what to do.
    config: a file of configs/, or a path; '' where args are all there are.
    prepare: writes what the arguments speak of into the folder of the test.
  """

  name: str
  args: tuple[str, ...]
  where: str
  fix: str
  config: str = 'digits.py'
  prepare: Callable[[pathlib.Path], object] | None = None

  def command(self, tmp: pathlib.Path) -> list[str]:
    """The arguments; what the case gives replaces what is usual."""
    args = [arg.replace('{tmp}', str(tmp)) for arg in self.args]
    if not self.config:
      return args
    usual = [
      f'--config={CONFIGS / self.config.replace("{tmp}", str(tmp))}',
      f'--workdir={tmp / "run"}',
    ]
    given = {arg.partition('=')[0] for arg in args}
    return [x for x in usual if x.partition('=')[0] not in given] + args


def check(case: Case, tmp: pathlib.Path, capsys) -> float:
  """Makes the mistake; returns the seconds until it was answered."""
  if case.prepare:
    case.prepare(tmp)
  before = listed(tmp)
  start = time.perf_counter()
  status = main.main(case.command(tmp))
  seconds = time.perf_counter() - start
  out, err = capsys.readouterr()
  assert status == 2, (out, err)
  check_message(case, tmp, err)
  assert 'Traceback' not in out and 'epoch' not in out
  assert seconds < SECONDS
  assert listed(tmp) == before  # nothing was made, not even a folder
  return seconds


def listed(tmp: pathlib.Path) -> list[pathlib.Path]:
  """All there is, but the lock that a run which looks in leaves behind."""
  return sorted(path for path in tmp.rglob('*') if path.name != locks.NAME)


def check_message(case: Case, tmp: pathlib.Path, err: str) -> None:
  """One message, last on stderr, which says what, where and the fix."""
  notices, found, message = ('\n' + err).rpartition('\ndaft_jax: ')
  assert found and 'Traceback' not in err, err
  # What may come before: the weights were read, and their head was not used.
  assert all('left out' in line for line in notices.splitlines() if line), err
  for words in (case.where, case.fix):
    assert words.replace('{tmp}', str(tmp)) in message, message
  assert '[<' not in message and 'object at 0x' not in message

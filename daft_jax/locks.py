"""Who works on a trial: a lock that ends with its process.

  with locks.held(folder / 'lock') as owner:
    if owner is not None:
      ...                          # owner has it: 'host gpu3, process 4711'

The lock is the operating system's, on an open file. However a process ends, the
lock is gone with it: there is no stale lock to be told from a live one. What is
written in the file is for people.
"""

import contextlib
import errno
import json
import os
import pathlib
import socket
from collections.abc import Iterator

from daft_jax import bounded, names

try:
  import fcntl
except ImportError:  # Windows
  fcntl = None  # type: ignore[assignment]

NAME = 'lock'  # of a trial in its folder, of a workdir in it

_MOST_BYTES = 1000  # of what is written in one

# What file systems say that have no locks.
_NONE = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)


@contextlib.contextmanager
def held(path: pathlib.Path, *, wait: bool = False) -> Iterator[str | None]:
  """Takes a lock for the length of the block, or says who has it.

  On a file system without locks it is always taken: there, two processes must
  not be started on one workdir.

  Args:
    path: of the lock; the file is made and stays.
    wait: until whoever has it is done.

  Yields:
    None: it is ours. Else who has it.

  Raises:
    OSError: the file cannot be made.
  """
  file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
  try:
    if not _take(file, wait):
      yield owner(path)
      return
    text = json.dumps({'host': socket.gethostname(), 'process': os.getpid()})
    os.ftruncate(file, 0)
    os.pwrite(file, text.encode(), 0)
    yield None
  finally:
    os.close(file)


def owner(path: pathlib.Path) -> str:
  """Who wrote the file, for messages: 'host gpu3, process 4711'."""
  try:
    found = json.loads(bounded.read(path, _MOST_BYTES))
    host, process = (names.shown(found[key]) for key in ('host', 'process'))
    return f'host {host}, process {process}'
  except (OSError, ValueError, KeyError, TypeError, RecursionError):
    return 'another process'


def _take(file: int, wait: bool) -> bool:
  if fcntl is None:
    return True
  try:
    fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
  except BlockingIOError:
    return False
  except OSError as error:
    if error.errno not in _NONE:
      raise
  return True

"""Who works on a trial: a lock that ends with its process.

  with locks.held(folder / 'lock') as owner:
    if owner is not None:
      ...                          # owner has it: 'host gpu3, process 4711'

The lock is the operating system's, on an open file. However a process ends, on
whatever host, the lock is gone with it: there is no stale lock to be told from
a live one. What is written in the file is for people.
"""

import contextlib
import errno
import json
import os
import pathlib
import socket
from collections.abc import Callable, Iterator

from daft_jax import bounded, names

try:
  import fcntl
except ImportError:  # Windows
  fcntl = None  # type: ignore[assignment]

NAME = 'lock'  # of a trial in its folder, of a workdir in it

_MOST_BYTES = 1000  # of what is written in one

_MOUNTS = pathlib.Path('/proc/mounts')
_LOCAL = ('nolock', 'local_lock=flock', 'local_lock=all', 'localflock')
_BUCKETS = ('fuse.gcsfuse', 'fuse.s3fs', 'fuse.goofys', 'fuse.mount-s3')

# What file systems say that have no locks.
_NONE = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)


@contextlib.contextmanager
def held(
  path: pathlib.Path,
  *,
  wait: bool = False,
  done: Callable[[], bool] = lambda: False,
) -> Iterator[str | None]:
  """Takes a lock for the length of the block, or says who has it.

  On a file system without locks it is always taken: there, two processes must
  not be started on one workdir.

  Args:
    path: of the lock; the file is made and stays.
    wait: until whoever has it is done.
    done: asked once it is ours: nothing is left to do. The file then goes on to
      name who did it, not who came later and looked.

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
    if not done():
      _sign(file)
    yield None
  finally:
    os.close(file)


def local(path: pathlib.Path, mounts: str | None = None) -> str:
  """Why locks at `path` hold on this host alone, or ''.

  Args:
    path: a file or folder, which need not be there.
    mounts: lines as of /proc/mounts, which is read otherwise.

  Example:
    >>> local(pathlib.Path('/nfs/run'), 'gpu0:/x /nfs nfs4 rw,nolock 0 0')
    'nfs4 is mounted with nolock'
  """
  if mounts is None:
    try:
      mounts = _MOUNTS.read_text(errors='replace')
    except OSError:  # Not Linux.
      return ''
  rows = [line.split() for line in mounts.splitlines()]
  at = [row for row in rows if len(row) > 3 and _inside(path, row[1])]
  if not at:
    return ''
  # Of several in one place the last one counts.
  _, _, kind, options, *_ = max(at, key=lambda row: len(row[1]))
  found = [x for x in options.split(',') if x in _LOCAL]
  if found and kind.startswith(('nfs', 'lustre')):
    return f'{kind} is mounted with {found[0]}'
  return f'{kind} has none' if kind in _BUCKETS else ''


def _inside(path: pathlib.Path, mount: str) -> bool:
  return path.is_relative_to(mount.replace('\\040', ' '))


def owner(path: pathlib.Path) -> str:
  """Who wrote the file, for messages: 'host gpu3, process 4711'."""
  try:
    found = json.loads(bounded.read(path, _MOST_BYTES))
    host, process = (names.shown(found[key]) for key in ('host', 'process'))
    return f'host {host}, process {process}'
  except (OSError, ValueError, KeyError, TypeError, RecursionError):
    return 'another process'


def _sign(file: int) -> None:
  text = json.dumps({'host': socket.gethostname(), 'process': os.getpid()})
  os.ftruncate(file, 0)
  os.pwrite(file, text.encode(), 0)


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

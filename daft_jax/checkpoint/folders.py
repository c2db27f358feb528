"""Folders that appear whole, and go without a trace of half of them.

temporary = begin(folder)            # write into it
finish(temporary, folder)            # now it is there, all of it
remove(folder)
set_aside(folder, 'why')             # 'damaged/<name>' and a text beside it
sweep(parent)                        # what a kill left of the above
"""

import contextlib
import glob
import os
import pathlib
import secrets
import shutil

from daft_jax import results

DAMAGED = 'damaged'

_SAVING, _REMOVING = 'saving', 'removing'


def begin(folder: pathlib.Path) -> pathlib.Path:
  """An empty folder beside `folder`, to be filled; what a kill left goes."""
  folder.parent.mkdir(parents=True, exist_ok=True)
  sweep(folder.parent, glob.escape(folder.name))
  # Another each time: threads of a save that failed may still write to theirs.
  temporary = _hidden(folder, f'{secrets.token_hex(4)}.{_SAVING}')
  temporary.mkdir()
  return temporary


def finish(temporary: pathlib.Path, folder: pathlib.Path) -> None:
  """Gives the folder its name, for good; replaces one that has it.

  All in it is on the disk before: a power cut leaves all of it or nothing.
  """
  flush_all(temporary)
  if folder.exists():
    remove(folder)
  os.replace(temporary, folder)
  flush(folder.parent)


def flush_all(folder: pathlib.Path) -> None:
  """Brings all that is in a folder to the disk; costs nothing if it is."""
  for path in folder.rglob('*'):
    if path.is_dir():
      flush(path)
    else:
      with open(path, 'r+b') as file:
        os.fsync(file.fileno())
  flush(folder)


def remove(folder: pathlib.Path) -> None:
  """Removes a folder; a kill on the way never leaves half of it."""
  doomed = _hidden(folder, _REMOVING)
  shutil.rmtree(doomed, ignore_errors=True)
  os.replace(folder, doomed)
  shutil.rmtree(doomed, ignore_errors=True)


def sweep(parent: pathlib.Path, name: str = '*') -> None:
  """Removes what a kill left half written or half removed.

  It was never announced, or given up for good: nobody counts on it.

  Args:
    parent: where to look.
    name: pattern of the names that the folders were to have.
  """
  for left in (f'.{name}.*.{_SAVING}', f'.{name}.{_REMOVING}'):
    for path in parent.glob(left):
      shutil.rmtree(path, ignore_errors=True)


def set_aside(folder: pathlib.Path, why: str) -> pathlib.Path:
  """Moves a folder into 'damaged', the reason beside it; returns where."""
  home = folder.parent / DAMAGED
  home.mkdir(exist_ok=True)
  names = {path.name for path in home.iterdir()}
  count = 1
  while (name := folder.name + (f'-{count}' if count > 1 else '')) in names:
    count += 1
  results.atomic_write(home / f'{name}.txt', f'{why}\n')
  os.replace(folder, home / name)
  flush(home)
  flush(folder.parent)
  return home / name


def flush(folder: pathlib.Path) -> None:
  """Brings the names in a folder to the disk, against a power cut."""
  # Some network file systems, and Windows, cannot flush a directory.
  with contextlib.suppress(OSError):
    directory = os.open(folder, os.O_RDONLY)
    try:
      os.fsync(directory)
    finally:
      os.close(directory)


def _hidden(folder: pathlib.Path, word: str) -> pathlib.Path:
  return folder.with_name(f'.{folder.name}.{word}')

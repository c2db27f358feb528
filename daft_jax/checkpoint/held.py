"""What a stage's folder holds: its start, epochs, and a state inside one.

begun(folder)                 # whether anything is there, good or damaged
prune(folder)                 # a finished stage keeps its start
"""

import contextlib
import os
import pathlib

from daft_jax.checkpoint import folders

PathLike = str | os.PathLike[str]

START = 0
PAUSED = 'paused'  # inside an epoch


def begun(folder: PathLike) -> bool:
  """Whether a stage's folder holds anything, good or damaged."""
  folder = pathlib.Path(folder)
  others = (folder / name for name in (PAUSED, folders.DAMAGED))
  return bool(steps_in(folder)) or any(path.is_dir() for path in others)


def prune(folder: PathLike, *, start: bool = True) -> None:
  """Removes the epochs of a stage's folder; its start stays, if wanted.

  What was set aside stays in any case: it is not ours to delete.
  """
  folder = pathlib.Path(folder)
  folders.sweep(folder)
  remove_paused(folder)
  for step in steps_in(folder):
    if step != START or not start:
      folders.remove(folder / str(step))
  with contextlib.suppress(OSError):  # Something stays.
    folder.rmdir()


def remove_paused(folder: pathlib.Path) -> None:
  """Removes what was saved inside an epoch, if it is there."""
  if (folder / PAUSED).is_dir():
    folders.remove(folder / PAUSED)


def steps_in(folder: pathlib.Path) -> list[int]:
  """The steps that have their name in a stage's folder, good or damaged."""
  names = [path.name for path in folder.glob('[0-9]*') if path.is_dir()]
  return sorted(int(x) for x in names if x.isdecimal() and x == str(int(x)))

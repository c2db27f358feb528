"""What lies in folders: class folders, their files, and what is no image.

walk.folders(walk.existing('~/images'))        # [.../cat, .../dog]
walk.files(pathlib.Path('images/cat'))         # also those further down
"""

import os
import pathlib
from collections.abc import Iterable

from daft_jax import names
from daft_jax.data import images

PathLike = str | os.PathLike[str]
Tree = dict[str, list[pathlib.Path]]  # class -> all its files

_IGNORED = ('__macosx', '@eadir')  # what archives and servers leave behind


def existing(
  path: PathLike, *, called: str = '', give: str = 'a folder of class folders'
) -> pathlib.Path:
  """The folder, `~` expanded; ValueError, with what is near, if it is none."""
  try:
    path = pathlib.Path(path).expanduser()
  except RuntimeError as error:  # ~ of nobody
    raise ValueError(f'{path}: {error}') from None
  if not path.is_dir():
    what = 'is a file' if path.exists() else 'does not exist'
    beside = [names.shown(p.name) for p in folders(path.parent)]
    parent = str(path.parent).replace('{', '{{').replace('}', '}}')
    hint = names.did_you_mean(path.name, beside, f'{parent}/{{}}')
    raise ValueError(f'{called}{names.shown(path)} {what}: give {give}.{hint}')
  return path


def folders(path: pathlib.Path) -> list[pathlib.Path]:
  """Folders in a folder, without those that are hidden or left behind."""
  if not path.is_dir():
    return []
  return [
    inside
    for inside in sorted(path.iterdir())
    if inside.is_dir()
    and not inside.name.startswith('.')
    and inside.name.lower() not in _IGNORED
  ]


def files(folder: pathlib.Path) -> list[pathlib.Path]:
  """All files of a class, also those further down and behind links."""

  def fail(error: OSError) -> None:
    raise error

  found, seen = [], set()
  for place, below, here in os.walk(folder, onerror=fail, followlinks=True):
    real = os.path.realpath(place)
    if real in seen:  # a link that leads back
      below.clear()
      continue
    seen.add(real)
    below[:] = [x for x in below if x[0] != '.' and x.lower() not in _IGNORED]
    found += [pathlib.Path(place, x) for x in here if x[0] != '.']
  return sorted(found)


def is_image(path: pathlib.Path) -> bool:
  """By its name; a link that leads nowhere is an image that cannot be read."""
  return path.suffix.lower() in images.SUFFIXES


def others(
  places: Iterable[pathlib.Path], trees: Iterable[Tree]
) -> list[pathlib.Path]:
  """Images beside the classes, and files in them that are no images."""
  beside = [
    path
    for place in places
    for path in sorted(place.iterdir())
    if path.is_file() and path.name[0] != '.' and is_image(path)
  ]
  inside = [path for tree in trees for files in tree.values() for path in files]
  return beside + [path for path in inside if not is_image(path)]

"""What a saved folder must hold, hash by hash: `manifest.json`.

  leaves = hash_leaves({'model': variables})    # of the arrays, before
  files = hash_new_files(folder)                # of the files, after
  write(folder, Manifest('0_ft/3', {}, leaves, files))
  manifest = read(folder, of='0_ft/3')          # else DamagedCheckpoint
  strange = foreign(folder, manifest)           # {} or {file: why}
  wrong = check_files(folder, manifest)         # the same

Leaves are hashed as they are in memory, so that what comes back is compared
with what was meant, whatever lies between. Files are hashed as they lie on
the disk, so that damage has a name, and is found before anything parses it.
The hash is XXH3 of 128 bits: it finds accidents, not forgeries.
"""

import errno
import json
import mmap
import pathlib
import stat
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
import xxhash

from daft_jax import names, trees

PyTree = Any

NAME = 'manifest.json'

_FORMAT = 1
_BUFFER = 1 << 20
_MOST_BYTES = 1 << 26  # of a manifest; 10,000 leaves have two million
_MISSING = (FileNotFoundError, NotADirectoryError, IsADirectoryError)


class CheckpointError(ValueError):
  """Checkpoints that cannot be written or used; the message says why."""


class DamagedCheckpoint(CheckpointError):
  """What is on the disk is not what was saved.

  Attributes:
    folder: of the checkpoint.
    files: its damaged files, with what is wrong.
    leaves: the arrays that are not what they were, or cannot be read.
  """

  def __init__(
    self,
    folder: pathlib.Path,
    files: Mapping[str, str],
    leaves: Sequence[str] = (),
    fix: str = '',
  ):
    self.folder = folder
    self.files, self.leaves = dict(files), tuple(leaves)
    what = [_list([f'file {name} {why}' for name, why in self.files.items()])]
    if self.leaves:
      what += [f'these leaves are not what was saved: {_list(self.leaves)}']
    text = f'{folder} is damaged: {"; ".join(filter(None, what))}'
    super().__init__(text + (f'. To go on, {fix}' if fix else ''))

  def with_fix(self, fix: str) -> 'DamagedCheckpoint':
    """The same, and what to do about it."""
    return DamagedCheckpoint(self.folder, self.files, self.leaves, fix)


def _list(names: Sequence[str]) -> str:
  more = [f'and {len(names) - 4} more'] if len(names) > 4 else []
  return ', '.join([*names[:4], *more])


class Leaf(NamedTuple):
  """An array: its dtype, its shape and the hash of both and its bytes."""

  dtype: str
  shape: list[int]
  hash: str


class Manifest(NamedTuple):
  """What a folder holds.

  Attributes:
    of: which checkpoint it is, '0_ft/3': a mix-up is damage too.
    about: notes of the caller, JSON.
    leaves: 'item/path' -> `Leaf`; None: an empty dict.
    files: path in the folder -> size and hash.
  """

  of: str
  about: dict[str, Any]
  leaves: dict[str, Leaf | None]
  files: dict[str, tuple[int, str]]


def hash_leaf(array: Any) -> Leaf:
  """Hashes an array on the host."""
  array = np.ascontiguousarray(array).reshape(np.shape(array))
  about = str(array.dtype), list(array.shape)
  state = xxhash.xxh3_128(json.dumps(about).encode())
  # Bytes, as bfloat16 is no type that buffers know.
  state.update(memoryview(array.reshape(-1).view(np.uint8)))
  return Leaf(*about, state.hexdigest())


def hash_leaves(items: Mapping[str, PyTree]) -> dict[str, Leaf | None]:
  """Hashes host arrays: {'model/params/head/bias': Leaf(...)}."""
  found = {}
  for name, tree in items.items():
    # An empty dict has no leaf, and has to come back all the same.
    pairs, _ = jax.tree_util.tree_flatten_with_path(
      tree, is_leaf=lambda node: isinstance(node, dict) and not node
    )
    for path, leaf in pairs:
      empty = isinstance(leaf, dict)
      place = f'{name}/{trees.path_str(path)}'
      found[place] = None if empty else hash_leaf(leaf)
  return found


def hash_new_files(folder: pathlib.Path) -> dict[str, tuple[int, str]]:
  """Size and hash of all that was just written into a folder."""
  return {
    path.relative_to(folder).as_posix(): _hash_new_file(path)
    for path in sorted(folder.rglob('*'))
    if path.is_file()
  }


def write(folder: pathlib.Path, manifest: Manifest) -> None:
  """Writes the manifest of a folder that has everything else."""
  (folder / NAME).write_bytes(_encode(manifest))


def read(folder: pathlib.Path, *, of: str) -> Manifest:
  """Reads a manifest, which vouches for itself.

  Raises:
    DamagedCheckpoint: it is not there, not what was written, or of another
      checkpoint.
  """

  def damaged(why: str) -> DamagedCheckpoint:
    return DamagedCheckpoint(folder, {NAME: why})

  try:
    path = folder / NAME
    # It is read first, so `foreign` comes too late for it.
    odd = _odd(path)
    if odd:
      raise damaged(odd)
    if path.stat().st_size > _MOST_BYTES:
      raise damaged(f'has more than {_MOST_BYTES:,} bytes')
    data = path.read_bytes()
  except _MISSING:
    raise damaged(
      'is missing: it was deleted, or written by daft_jax 0.1, which had none'
    ) from None
  except OSError as error:
    raise damaged(_unreadable(error)) from None
  manifest = _decode(data)
  if manifest is None:
    raise damaged('has other bytes than were saved')
  if manifest.of != of:
    raise damaged(f'is that of {names.shown(manifest.of)}, not of {of}')
  return manifest


def foreign(folder: pathlib.Path, manifest: Manifest) -> dict[str, str]:
  """Returns what no checkpoint has, to be refused before anything is read.

  The hash vouches for no one: anybody can write a manifest. It may name what
  is outside of the folder, and a link may lead there, or to a device without
  an end.
  """
  found = {}
  for name in manifest.files:
    place = pathlib.PurePosixPath(name)
    if place.is_absolute() or '..' in place.parts or '\0' in name:
      found[names.shown(name)] = 'is outside of the folder'
  for path in sorted(folder.rglob('*')):
    why = _odd(path)
    if why:
      found[names.shown(path.relative_to(folder))] = why
  return found


def _odd(path: pathlib.Path) -> str | None:
  mode = path.lstat().st_mode
  if stat.S_ISLNK(mode):
    return 'is a link'
  if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
    return 'is a pipe or a device'
  return None


def check_files(folder: pathlib.Path, manifest: Manifest) -> dict[str, str]:
  """Returns the files that are not as they were saved, and why."""
  wrong = {}
  for name, (size, digest) in manifest.files.items():
    path, shown = folder / name, names.shown(name)
    try:
      found = path.stat().st_size
      if found != size:
        wrong[shown] = f'has {found:,} bytes, not {size:,}'
      elif _hash_file(path) != (size, digest):
        wrong[shown] = 'has other bytes than were saved'
    except _MISSING:
      wrong[shown] = 'is missing'
    except OSError as error:
      wrong[shown] = _unreadable(error)
  return wrong


def _unreadable(error: OSError) -> str:
  """What a disk says of bad sectors; anything else is no damage."""
  if error.errno == errno.EIO:
    return 'cannot be read (input/output error)'
  raise CheckpointError(f'cannot be read: {error}') from error


def _encode(manifest: Manifest) -> bytes:
  content = {'format': _FORMAT, **manifest._asdict()}
  body = json.dumps(content)
  digest = xxhash.xxh3_128_hexdigest(body.encode())
  return f'{body[:-1]}, "hash": "{digest}"}}\n'.encode()


def _decode(data: bytes) -> Manifest | None:
  """Reads what `_encode` wrote, to the byte, or nothing."""
  try:
    content = json.loads(data)
    manifest = Manifest(
      content['of'],
      content['about'],
      {k: v and Leaf(*v) for k, v in content['leaves'].items()},
      {k: (v[0], v[1]) for k, v in content['files'].items()},
    )
    whole = _encode(manifest) == data
  except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
    return None
  return manifest if whole else None


def _hash_file(path: pathlib.Path) -> tuple[int, str]:
  """The size and the hash of a file."""
  state, size = xxhash.xxh3_128(), 0
  view = memoryview(bytearray(_BUFFER))
  # Not mapped: a bad sector would end the program with SIGBUS.
  with open(path, 'rb', buffering=0) as file:
    while count := file.readinto(view):
      state.update(view[:count])
      size += count
  return size, state.hexdigest()


def _hash_new_file(path: pathlib.Path) -> tuple[int, str]:
  """The same of a file that was just written, in two thirds of the time."""
  size = path.stat().st_size
  if not size:  # That cannot be mapped.
    return size, xxhash.xxh3_128_hexdigest(b'')
  with open(path, 'rb') as file:
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as view:
      return size, xxhash.xxh3_128_hexdigest(view)

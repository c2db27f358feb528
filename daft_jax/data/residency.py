"""Where the images of a run stay: on disk, in memory, or on the accelerator.

  choice = choose('auto', needed, encoded, recipe, mesh)
  choice.residency, choice.why      # 'host', '150 MB, and 12.0 GB are free'

The batches are the same, bit for bit, so that a run may go on with another
choice; what differs is memory and speed. Of several processes each reads its
own rows of every batch, and those are others in every epoch: there it is
'stream'.
"""

import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax

from daft_jax.data import augment
from daft_jax.data.preprocess import Preprocess
from daft_jax.data.recipe import Recipe

RESIDENCIES = ('stream', 'host', 'device')

_OF_HOST = 1 / 2  # of the free memory
_OF_DEVICE = 1 / 4
_GROUP = pathlib.Path('/sys/fs/cgroup')
_WHOLE = 'random_resized_crop cuts from whole images'


class Choice(NamedTuple):
  """A residency, and the reason in a few words."""

  residency: str
  why: str

  def __str__(self) -> str:
    return f'images: {self.residency} ({self.why})'


def total(
  counts: Mapping[str, int], preprocess: Preprocess, augmentation: str
) -> int:
  """Bytes of all sets of a run, resized as their batches need it.

  Args:
    counts: set -> how many images; 'train' is augmented.
    preprocess: of tests.
    augmentation: a name of `augment.AUGMENTATIONS`.
  """
  before = augment.stored(augmentation, preprocess) or preprocess
  return 3 * sum(
    count * (before if name == 'train' else preprocess).image_size ** 2
    for name, count in counts.items()
  )


def choose(
  wanted: str, needed: int, encoded: bool, recipe: Recipe, mesh: Any
) -> Choice:
  """Takes what is asked for, or says why that cannot be.

  Args:
    wanted: one of `RESIDENCIES`, or 'auto'.
    needed: bytes, of `total`.
    encoded: whether images are files, and not in memory anyway.
    recipe: of the training images.
    mesh: the devices.

  Raises:
    ValueError: the recipe, the memory or the number of processes does not
      allow it.
  """
  whole = augment.AUGMENTATIONS[recipe.augment].places is None
  processes = jax.process_count()
  if processes > 1 and wanted != 'stream':
    if wanted == 'auto':
      return Choice('stream', f'each of {processes} processes reads its rows')
    raise ValueError(
      f'residency is {wanted!r}, for which each of {processes} processes would '
      "read and keep all images: say 'stream' or 'auto'"
    )
  free, room = host_memory(), device_memory(mesh)
  if wanted == 'device':
    if whole or not recipe.colour.off:
      what = _WHOLE if whole else 'colours are changed on the host'
      raise ValueError(
        f"residency is 'device', which crops and flips there, and {what}: say "
        "'stream' or 'auto'"
      )
    if room is not None and needed > room:
      raise ValueError(
        f"residency is 'device': {_bytes(needed)} of images do not fit into "
        f"{_bytes(room)}; say 'host', 'stream' or 'auto'"
      )
  if wanted == 'host':
    if whole and encoded:
      raise ValueError(f"residency is 'host', and {_WHOLE}: say 'stream'")
    if needed > free:
      raise ValueError(
        f"residency is 'host': {_bytes(needed)} of images, and {_bytes(free)} "
        "are free; say 'stream' or 'auto'"
      )
  if wanted != 'auto':
    return Choice(wanted, f'as config.data.residency says; {_bytes(needed)}')
  if whole and encoded:
    return Choice('stream', _WHOLE)
  plain = not whole and recipe.colour.off
  elsewhere = mesh.devices.flat[0].platform != 'cpu'
  if plain and elsewhere and room is not None and needed <= _OF_DEVICE * room:
    return Choice('device', f'{_bytes(needed)} of {_bytes(room)} there')
  if needed <= _OF_HOST * free:
    return Choice('host', f'{_bytes(needed)}, and {_bytes(free)} are free')
  return Choice('stream', f'{_bytes(needed)}, and {_bytes(free)} are free')


def host_memory() -> int:
  """Bytes that are free to this process: of the machine, or of its share."""
  free = [_meminfo()]
  for limit, used in (
    ('memory.max', 'memory.current'),
    ('memory/memory.limit_in_bytes', 'memory/memory.usage_in_bytes'),
  ):
    most, now = (_number(_GROUP / name) for name in (limit, used))
    if most is not None and now is not None:
      free.append(max(0, most - now))
  return min(free)


def device_memory(mesh: Any) -> int | None:
  """Bytes that are free on each device; None: it does not say."""
  # One of another process's devices cannot be asked.
  stats = mesh.local_devices[0].memory_stats() or {}
  if 'bytes_limit' not in stats:
    return None
  return stats['bytes_limit'] - stats.get('bytes_in_use', 0)


def _meminfo() -> int:
  path = pathlib.Path('/proc/meminfo')
  if path.is_file():
    for line in path.read_text(encoding='ascii').splitlines():
      name, _, value = line.partition(':')
      if name == 'MemAvailable':
        return int(value.split()[0]) * 1024
  return 8 * 2**30  # macOS does not say: what a laptop has


def _number(path: pathlib.Path) -> int | None:
  try:
    return int(path.read_text(encoding='ascii'))
  except (OSError, ValueError):  # 'max' is no limit
    return None


def _bytes(count: int) -> str:
  """As people read it.

  Example:
    >>> _bytes(150_528_000), _bytes(7_526_400_000)
    ('151 MB', '7.5 GB')
  """
  return f'{count / 1e9:.1f} GB' if count >= 1e9 else f'{count / 1e6:.0f} MB'

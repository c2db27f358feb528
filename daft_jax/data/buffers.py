"""Memory that worker processes write batches to, so that nothing is copied.

  buffers = Buffers()
  buffer = buffers.take(9_633_792)         # None where the system has none
  write(buffer.place, images)              # in a worker
  buffer.array(images.shape)               # in the process that took it
  buffers.give_back(buffer)

A pipe copies a batch four times, which at 224 pixels takes longer than what
eight cores need to decode it. The memory has no name in any folder, so that a
process that is killed leaves nothing behind.
"""

import concurrent.futures
import itertools
import mmap
import os
from typing import NamedTuple

import numpy as np

_IS_THERE = hasattr(os, 'memfd_create')  # Linux
_numbers = itertools.count()


class Place(NamedTuple):
  """Where other processes of the same user find a buffer, and its name.

  The path alone is not enough: its number may be that of another file by the
  time it is opened.
  """

  path: str
  name: str


class Buffer:
  """One piece of shared memory.

  Attributes:
    place: for `write`.
    size: bytes.
  """

  def __init__(self, size: int):
    self.size = size
    name = f'daft_jax-{os.getpid()}-{next(_numbers)}'
    self._file = os.memfd_create(name)
    os.ftruncate(self._file, size)
    self._memory = mmap.mmap(self._file, size)
    self.place = Place(f'/proc/{os.getpid()}/fd/{self._file}', name)

  def array(self, shape: tuple[int, ...]) -> np.ndarray:
    """What is in it, uint8; shares its memory."""
    count = int(np.prod(shape))
    return np.frombuffer(self._memory, np.uint8, count).reshape(shape)

  def close(self) -> None:
    os.close(self._file)


class Buffers:
  """Buffers of one size, used again and again."""

  def __init__(self):
    self._free: list[Buffer] = []
    self._all: list[Buffer] = []

  def take(self, size: int) -> Buffer | None:
    """A buffer that is free, or a new one; None: this system has none."""
    if not _IS_THERE or not size:
      return None
    while self._free:
      buffer = self._free.pop()
      if buffer.size >= size:
        return buffer
      self._drop(buffer)
    try:
      buffer = Buffer(size)
    except OSError:  # no memory, or too many files: a pipe does as well
      return None
    self._all.append(buffer)
    return buffer

  def give_back(
    self, buffer: Buffer | None, future: concurrent.futures.Future | None = None
  ) -> None:
    """Makes it free; what may still be written to is given up instead."""
    if buffer is None or buffer not in self._all:
      return
    if future is None or future.done():
      self._free.append(buffer)
    else:
      self._drop(buffer)

  def close(self) -> None:
    for buffer in list(self._all):
      self._drop(buffer)
    self._free.clear()

  def _drop(self, buffer: Buffer) -> None:
    self._all.remove(buffer)
    buffer.close()


def write(place: Place, images: np.ndarray) -> bool:
  """Writes images uint8 to a buffer of another process.

  Returns:
    Whether it was there: who gave it may have gone on without.
  """
  try:
    with open(place.path, 'r+b') as file:
      there = os.readlink(f'/proc/self/fd/{file.fileno()}')
      if not there.startswith(f'/memfd:{place.name} '):
        return False
      file.write(np.ascontiguousarray(images).data)
  except OSError:
    return False
  return True

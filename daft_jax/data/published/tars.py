"""Reads a tar of a stranger, one member after the other.

  for info, file in tars.members(pathlib.Path('/data/imagenet-r.tar')):
    print(info.name, file and len(file.read()))     # None: not a plain file

Nothing is extracted. `tarfile` itself has three faults that an archive of a few
megabytes can make use of: it reads a header, for example a long name, whole and
however long it says it is; it looks for every kind of compression, and xz skips
zeros to the end; and it stops before the end, where gzip compares checksums.
"""

import bz2
import contextlib
import gzip
import lzma
import math
import pathlib
import tarfile
from collections.abc import Iterator
from typing import BinaryIO

_MOST_HEADER = 1 << 20  # bytes before a member


def members(
  source: pathlib.Path | BinaryIO,
) -> Iterator[tuple[tarfile.TarInfo, BinaryIO | None]]:
  """Yields what the archive holds; a file has to be read before the next.

  Raises:
    ValueError: it is no tar, or a header of it is too long.
    tarfile.TarError, OSError, EOFError, zlib.error, lzma.LZMAError: damage.
  """
  with contextlib.ExitStack() as stack:
    if isinstance(source, pathlib.Path):
      source = stack.enter_context(_opened(source))
    source = _Source(source)
    try:
      archive = tarfile.open(fileobj=source, mode='r:')
    except tarfile.ReadError:
      raise ValueError('it is neither zip nor tar') from None
    stack.enter_context(archive)
    for info in archive:
      if info.isfile() and not info.issparse():
        source.left = math.inf
        yield info, archive.extractfile(info)
      else:
        yield info, None
      source.left = _MOST_HEADER
    # What is left, to the checksum.
    source.left = math.inf
    source.read(_MOST_HEADER)


class _Source:
  """What `tarfile` reads from: not more before a member than a header has.

  The names and sizes that may stand there have a length of their own, and are
  read whole, from an archive that unpacks to as many zeros as it likes.

  Attributes:
    left: bytes that may still be read.
  """

  def __init__(self, file: BinaryIO):
    self._file = file
    self.left: float = _MOST_HEADER

  def read(self, size: int) -> bytes:
    self.left -= size
    if self.left < 0:
      raise ValueError('a header of it is too long')
    return self._file.read(size)

  def seek(self, place: int) -> int:
    return self._file.seek(place)

  def tell(self) -> int:
    return self._file.tell()

  def seekable(self) -> bool:
    return True


def _opened(path: pathlib.Path) -> BinaryIO:
  """The tar in a file. `tarfile` would try all, and xz skips zeros for ever."""
  with path.open('rb') as file:
    start = file.read(6)
  for magic, form in (
    (b'\x1f\x8b', gzip.open),
    (b'BZh', bz2.open),
    (b'\xfd7zXZ\0', lzma.open),
  ):
    if start.startswith(magic):
      return form(path)
  return path.open('rb')

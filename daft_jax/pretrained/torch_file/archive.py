"""The zip files that PyTorch writes: stored entries, read straight from disk.

  with open('resnet50.pth', 'rb') as file:
    entries = archive.read_entries(file)
    pickle = archive.read(file, entries['resnet50/data.pkl'])

`zipfile` reads the directory; where data lies is checked here, before any of it
is read: within the file, once each, and as the header in front of it says. What
is compressed is never unpacked, so that no entry is larger than its file.

Format: APPNOTE 6.3.10, https://pkware.com/appnote.
"""

import concurrent.futures
import dataclasses
import os
import struct
import zipfile
import zlib
from collections.abc import Mapping
from typing import BinaryIO

import numpy as np

from daft_jax.unpickle import allowed

_MOST_DIRECTORY = 1 << 24  # bytes, of some 80 an entry
_SMALL = 1 << 16  # bytes that are checked sooner than a thread is told to

_HEADER = struct.Struct('<4s22xHH')  # before the data of an entry
_END_BYTES = 22
_END64_BYTES = 98  # with the records of zip64, which PyTorch always writes


@dataclasses.dataclass(frozen=True, slots=True)
class Entry:
  """Where the data of an entry lies.

  Attributes:
    name: in the zip; never used as the path of a file.
    start: of the data, in bytes from the start of the file.
    size: in bytes.
    crc: CRC-32 of the data; None where the file was saved without.
    stored: neither compressed nor encrypted.
  """

  name: str
  start: int
  size: int
  crc: int | None
  stored: bool


def read_entries(file: BinaryIO) -> dict[str, Entry]:
  """Reads the directory of a zip and checks it against the file.

  Returns:
    {name: entry}.

  Raises:
    ValueError: it is not complete, two entries have one name or overlap, or the
      directory is larger than 16 MiB.
  """
  check_directory(file)
  try:
    with zipfile.ZipFile(file) as archive:
      infos, end = archive.infolist(), archive.start_dir
  except (zipfile.BadZipFile, NotImplementedError, struct.error) as error:
    raise ValueError(f'its zip is damaged: {error}') from error
  # torch.serialization.set_crc32_options(False) leaves all of them 0.
  checked = any(info.CRC for info in infos)
  entries = {}
  for info in sorted(infos, key=lambda info: info.header_offset, reverse=True):
    start = _data_start(file, info)
    if start + info.compress_size > end:
      raise ValueError(
        f'{allowed.show(info.filename)} of its zip overlaps with what follows'
      )
    end = info.header_offset
    entries[info.filename] = Entry(
      info.filename,
      start,
      info.compress_size,
      info.CRC if checked else None,
      info.compress_type == zipfile.ZIP_STORED
      and not info.flag_bits & 1
      and info.file_size == info.compress_size,
    )
  if len(entries) < len(infos):
    raise ValueError('two entries of its zip have one name')
  return entries


def read(file: BinaryIO, entry: Entry) -> np.ndarray:
  """Reads one entry, into memory of its own.

  Returns:
    uint8 [size].

  Raises:
    ValueError: it is compressed, encrypted or damaged.
  """
  data = _fill(file, entry)
  _check(data, entry)
  return data


def read_all(
  file: BinaryIO, entries: Mapping[str, Entry]
) -> dict[str, np.ndarray]:
  """`read` for many entries, those before being checked during the next."""
  with concurrent.futures.ThreadPoolExecutor(1) as pool:
    found, checks = {}, []
    for key, entry in entries.items():
      found[key] = _fill(file, entry)
      if entry.size < _SMALL:
        _check(found[key], entry)
      else:
        checks.append(pool.submit(_check, found[key], entry))
    for check in checks:
      check.result()
  return found


def _fill(file: BinaryIO, entry: Entry) -> np.ndarray:
  if not entry.stored:
    raise ValueError(
      f'{allowed.show(entry.name)} of its zip is compressed or encrypted'
    )
  data = np.empty(entry.size, np.uint8)
  file.seek(entry.start)
  if file.readinto(memoryview(data)) != entry.size:
    raise ValueError(f'{allowed.show(entry.name)} of its zip is cut off')
  return data


def _check(data: np.ndarray, entry: Entry) -> None:
  if entry.crc not in (None, zlib.crc32(data)):
    raise ValueError(
      f'{allowed.show(entry.name)} of its zip has another CRC-32'
    )


def check_directory(file: BinaryIO) -> None:
  """Looks at how large the directory is, which `zipfile` reads at once.

  Raises:
    ValueError: it is larger than 16 MiB, or the end of the zip is not there.
  """
  size = os.fstat(file.fileno()).st_size
  if _directory_bytes(file, size) > _MOST_DIRECTORY:
    raise ValueError('the directory of its zip is too large')


def _directory_bytes(file: BinaryIO, size: int) -> int:
  """Size of the directory, by the records at the end of the file."""
  file.seek(max(0, size - _END64_BYTES))
  tail = file.read(_END64_BYTES)
  end = tail[-_END_BYTES:]
  # PyTorch writes no comment after it: it is the last in the file.
  if not end.startswith(b'PK\5\6') or end[20:] != b'\0\0':
    raise ValueError('the end of its zip is missing')
  if tail[-42:].startswith(b'PK\6\7'):
    return int.from_bytes(tail[40:48], 'little')
  return int.from_bytes(end[12:16], 'little')


def _data_start(file: BinaryIO, info: zipfile.ZipInfo) -> int:
  """Where the data starts: after a header that must agree with the entry."""
  file.seek(info.header_offset)
  header = file.read(_HEADER.size)
  if len(header) == _HEADER.size:
    magic, name_bytes, extra_bytes = _HEADER.unpack(header)
    encoding = 'utf-8' if info.flag_bits & 0x800 else 'cp437'
    name = info.orig_filename.encode(encoding)
    if magic == b'PK\3\4' and file.read(name_bytes) == name:
      return file.tell() + extra_bytes
  raise ValueError(
    f'{allowed.show(info.filename)} of its zip has another header'
  )

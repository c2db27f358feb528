"""Checks and unpacks the archives of published data sets.

  unpacking.check('/data/imagenet-r.tar', row.downloads[0])    # size, checksum
  unpacking.unpack('/data/imagenet-r.tar', row.downloads[0], '/data')

An archive is unpacked into a folder beside its place, which is then renamed: a
kill leaves nothing half. No member may be a link or lead elsewhere, and all of
them together may not be much larger than the archive, or than the disk.
"""

import hashlib
import importlib.util
import lzma
import os
import pathlib
import re
import secrets
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from daft_jax.data.published import dataset, tars

UNFINISHED = '.unpacking'  # how the names of folders end that a kill leaves
_MOST_RATIO = 30  # of the members to the archive; images hardly shrink
_SMALL = 1 << 28  # bytes that may be unpacked whatever the ratio
_FEW = 5_000  # members that there may be whatever the size of the archive
_LEAST = 256  # bytes of the archive for each one more
_CHUNK = 1 << 20
_LONGEST = 1000, 200  # characters of a path, and of one part
# A zip's directory is read at once: some 80 bytes a member.
_MOST_DIRECTORY = 1 << 26
_DIRECTORY_SHARE = 16  # the archive is that many times as large
_JUNK = ('__MACOSX', '.DS_Store')
_VAL = re.compile(r'ILSVRC2012_val_(\d{8})\.JPEG')
_WNID = re.compile(r'n\d{8}')


class _Member(NamedTuple):
  """An entry of an archive: the path of a file, parted, and how to read it.

  Folders, and what is left out, have no path: they only count.
  """

  parts: tuple[str, ...]
  size: int
  file: BinaryIO | None


_NOTHING = _Member((), 0, None)


def check(path: pathlib.Path, download: dataset.Download) -> None:
  """Compares a file with the size and the checksum that are stated for it.

  Raises:
    ValueError: it is another file, or incomplete.
  """
  size = path.stat().st_size
  if download.bytes is not None and size != download.bytes:
    raise ValueError(
      f'{path} has {size:,} bytes, not {download.bytes:,}: download it again '
      f'from {download.url}'
    )
  if not download.digest:
    return
  kind, _, stated = download.digest.partition(':')
  with path.open('rb') as file:
    found = hashlib.file_digest(file, kind).hexdigest()
  if found != stated:
    raise ValueError(
      f'{path} has {kind} {found}, not {stated}: download it again from '
      f'{download.url}'
    )


def unpack(
  path: pathlib.Path, download: dataset.Download, data_dir: pathlib.Path
) -> pathlib.Path:
  """Unpacks an archive and returns the folder that it makes.

  Raises:
    ValueError: it is no archive, is damaged, or a member is not harmless.
    OSError: the folder is there already, or the disk is full.
  """
  target = data_dir / download.makes
  if target.exists():
    raise FileExistsError(f'{target} is there already: move it away')
  target.parent.mkdir(parents=True, exist_ok=True)
  place = target.with_name(f'.{target.name}.{secrets.token_hex(4)}{UNFINISHED}')
  place.mkdir()
  try:
    _write(path, download.inside, place)
    inside = [x for x in place.iterdir() if x.name not in _JUNK]
    if not inside:
      raise ValueError(f'{path} is empty: download it again')
    # Most archives hold one folder, which may have another name.
    alone = len(inside) == 1 and inside[0].is_dir()
    alone = alone and download.inside == 'files'
    os.rename(inside[0] if alone else place, target)
  finally:
    shutil.rmtree(place, ignore_errors=True)
  return target


def _write(path: pathlib.Path, inside: str, place: pathlib.Path) -> None:
  room = shutil.disk_usage(place).free
  most = max(_SMALL, _MOST_RATIO * path.stat().st_size)
  members = _FEW + path.stat().st_size // _LEAST
  wnids = _val_classes() if inside == 'val' else []
  total = 0
  try:
    for count, member in enumerate(_members(path, inside), 1):
      if count > members:
        raise ValueError(f'it holds more than {members:,} entries')
      if not member.parts:
        continue
      total += member.size
      if total > min(most, room):
        why = 'than the disk has room for' if total > room else 'than is usual'
        raise ValueError(f'it holds more than {total:,} bytes, more {why}')
      parts = member.parts
      if inside == 'val':
        parts = (_val_class(parts[-1], wnids), parts[-1])
      out = place.joinpath(*parts)
      out.parent.mkdir(parents=True, exist_ok=True)
      with out.open('xb') as file:
        shutil.copyfileobj(member.file, file, _CHUNK)
      if out.stat().st_size != member.size:
        raise ValueError(f'{"/".join(parts)} is cut off')
  except (
    *(ValueError, EOFError, zlib.error, tarfile.TarError, zipfile.BadZipFile),
    *(FileExistsError, NotADirectoryError, IsADirectoryError),
    *(NotImplementedError, RuntimeError, OverflowError, lzma.LZMAError),
  ) as error:
    raise _damaged(path, error) from error
  except OSError as error:
    if error.errno is None:  # of gzip and bz2, not of the disk
      raise _damaged(path, error) from error
    raise


def _damaged(path: pathlib.Path, error: Exception) -> ValueError:
  why = str(error)[:300] or type(error).__name__
  return ValueError(f'{path} was not unpacked ({why}): download it again')


def _members(path: pathlib.Path, inside: str) -> Iterator[_Member]:
  """Yields the files of a zip or a tar, or of the tars in a tar."""
  if zipfile.is_zipfile(path):
    yield from _zip_members(path)
    return
  for member in _tar_members(path):
    if inside != 'classes' or not member.parts:
      yield member
      continue
    name = member.parts[-1].removesuffix('.tar')
    if not _WNID.fullmatch(name):
      raise ValueError(f'{member.parts[-1][:100]!r} is no archive of a class')
    for image in _tar_members(member.file):
      parts = (name, image.parts[-1]) if image.parts else ()
      yield image._replace(parts=parts)


def _zip_members(path: pathlib.Path) -> Iterator[_Member]:
  _check_directory(path)
  with zipfile.ZipFile(path) as archive:
    for info in archive.infolist():
      mode = info.external_attr >> 16
      if info.filename.endswith('/'):  # is_dir() needs a name
        _parts(info.filename)
        yield _NOTHING
        continue
      if stat.S_IFMT(mode) not in (0, stat.S_IFREG):
        raise ValueError(f'{info.filename[:100]!r} is a link or a device')
      parts = _parts(info.filename)
      if not parts:
        yield _NOTHING
        continue
      with archive.open(info) as file:
        yield _Member(parts, info.file_size, file)


def _check_directory(path: pathlib.Path) -> None:
  """Refuses a zip that is mostly a directory, before all of it is read."""
  size = path.stat().st_size
  with path.open('rb') as file:
    file.seek(max(0, size - (1 << 16) - 98))  # a comment, and three records
    tail = file.read()
  end = tail[tail.rfind(b'PK\5\6') :]
  found = int.from_bytes(end[12:16], 'little')
  if found == 2**32 - 1:
    end = tail[tail.rfind(b'PK\6\6') :]
    found = int.from_bytes(end[40:48], 'little')
  if found > min(_MOST_DIRECTORY, max(_CHUNK, size // _DIRECTORY_SHARE)):
    raise ValueError(f'its directory has {found:,} bytes')


def _tar_members(source: pathlib.Path | BinaryIO) -> Iterator[_Member]:
  """Members are read one after the other, none is extracted by name."""
  for info, file in tars.members(source):
    parts = _parts(info.name)
    if info.isdir() or not parts:
      yield _NOTHING
    elif file is None:
      raise ValueError(f'{info.name[:100]!r} is a link or a device')
    else:
      yield _Member(parts, info.size, file)


def _parts(name: str) -> tuple[str, ...]:
  """The path of a member, parted; () for what is left out.

  Raises:
    ValueError: it leads out of the folder, or is not a plain path.
  """
  parts = tuple(x for x in name.split('/') if x not in ('', '.'))
  wrong = name.startswith('/') or '\\' in name or '\0' in name
  if wrong or '..' in parts or any(':' in x for x in parts[:1]):
    raise ValueError(f'{name[:100]!r} leads out of its folder')
  if len(name) > _LONGEST[0] or any(len(x) > _LONGEST[1] for x in parts):
    raise ValueError(f'{name[:100]!r}... is a long name')
  if any(x in _JUNK or x.startswith('._') for x in parts):
    return ()
  return parts


def _val_classes() -> list[str]:
  """The WNIDs of ImageNet's validation images, in their order."""
  found = importlib.util.find_spec('tensorflow_datasets')
  if found is None:
    raise ValueError(
      'to sort the validation images of ImageNet into classes, pip install '
      'tensorflow-datasets, which has a list of them (TensorFlow is not needed)'
    )
  place = pathlib.Path(found.origin).parent / 'datasets' / 'imagenet2012'
  return (place / 'validation_labels.txt').read_text(encoding='utf-8').split()


def _val_class(name: str, wnids: list[str]) -> str:
  match = _VAL.fullmatch(name)
  if not match or not 1 <= int(match[1]) <= len(wnids):
    raise ValueError(f'{name[:100]!r} is no validation image of ImageNet')
  return wnids[int(match[1]) - 1]

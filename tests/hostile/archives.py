"""Hostile archives: those that write elsewhere, those that never end."""

import gzip
import io
import os
import stat
import struct
import tarfile
import zipfile

from tests.hostile import torch_files
from tests.hostile.corpus import CODES, Case, sparse

FOUND = 'download it again'
MEGABYTES_64 = 1 << 26


def tar(*members, name='x.tar', mode='w'):
  """Members are (name, data, more fields of the header)."""

  def write(folder, canary):
    with tarfile.open(folder / name, mode, format=tarfile.GNU_FORMAT) as file:
      for member, data, more in members:
        info = tarfile.TarInfo(member.replace('CANARY', str(canary.paths[0])))
        info.size = len(data)
        for key, value in more.items():
          setattr(info, key, value)
        file.addfile(info, io.BytesIO(data))

  return write


def link(to, kind=tarfile.SYMTYPE):
  """A link, and a file that would be written through it."""
  return tar(
    ('top/a', b'', {'type': kind, 'linkname': to}), ('top/a/b', b'x', {})
  )


def kind(what):
  return tar(('top/a', b'', {'type': what}))


def zipped(*members, mode=0):
  def write(folder, canary):
    with zipfile.ZipFile(folder / 'x.zip', 'w', zipfile.ZIP_DEFLATED) as file:
      for name, data in members:
        name = name.replace('CANARY', str(canary.paths[0]))
        info = zipfile.ZipInfo(name)
        info.external_attr = mode << 16
        file.writestr(info, data, zipfile.ZIP_DEFLATED)

  return write


def blocks(*parts):
  """A gzip of (bytes before, 64 MiB blocks of zeros), packed once."""
  zeros = gzip.compress(bytes(MEGABYTES_64), 1)
  return b''.join(gzip.compress(x, 1) + count * zeros for x, count in parts)


def head(name, size, kind=tarfile.REGTYPE):
  info = tarfile.TarInfo(name)
  info.size, info.type = size, kind
  return info.tobuf(tarfile.GNU_FORMAT)


def packed(*parts):
  """A tar.gz of members of zeros: (name, 64 MiB blocks, type)."""

  def write(folder, canary):
    made = ((head(n, c * MEGABYTES_64, k), c) for n, c, k in parts)
    (folder / 'x.tar.gz').write_bytes(blocks(*made, (bytes(1024), 0)))

  return write


def many(folder, canary):
  """Empty files: no bytes, but each takes an inode and a millisecond."""
  data = b''.join(head(f'top/{i}', 0) for i in range(30_000))
  (folder / 'x.tar.gz').write_bytes(gzip.compress(data, 1))


def many_folders(folder, canary):
  """The same of what is not even a file."""
  data = head('top/a', 0, tarfile.DIRTYPE) * 100_000
  (folder / 'x.tar.gz').write_bytes(gzip.compress(data, 1))


def spoilt(form):
  """A stream that breaks off within: each library has its own error."""

  def write(folder, canary):
    path = folder / f'x.tar.{form}'
    with tarfile.open(path, f'w:{form}') as file:
      info = tarfile.TarInfo('top/a')
      info.size = 1 << 20
      file.addfile(info, io.BytesIO(os.urandom(1 << 20)))
    data = bytearray(path.read_bytes())
    data[1 << 19 : (1 << 19) + 64] = bytes(64)
    path.write_bytes(data)

  return write


def many_entries(folder, canary):
  """A zip of nothing but a directory."""
  torch_files.many_entries(folder, canary)
  (folder / 'w.pth').rename(folder / 'x.zip')


def many_members(folder, canary):
  """A zip whose directory says two hundred times where one file is."""
  with zipfile.ZipFile(folder / 'x.zip', 'w', zipfile.ZIP_DEFLATED) as file:
    file.writestr('top/0000', bytes(MEGABYTES_64))
    (info,) = file.infolist()
    for i in range(200):
      other = zipfile.ZipInfo(f'top/{i + 1:04}')
      for field in ('CRC', 'compress_size', 'file_size', 'compress_type'):
        setattr(other, field, getattr(info, field))
      other.header_offset = 0
      file.filelist.append(other)


def no_name(folder, canary):
  """A zip with a member that is called nothing."""
  file = struct.pack('<4s5H3I2H', b'PK\3\4', 20, *[0] * 9)
  entry = struct.pack('<4s6H3I5H2I', b'PK\1\2', 20, 20, *[0] * 14)
  end = struct.pack('<4s4H2IH', b'PK\5\6', 0, 0, 1, 1, len(entry), len(file), 0)
  (folder / 'x.zip').write_bytes(file + entry + end)


def lying_size(folder, canary):
  """A zip that says 10 bytes of what are 64 MiB."""
  path = folder / 'x.zip'
  with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as file:
    file.writestr('top/a', bytes(MEGABYTES_64))
  size = struct.pack('<I', MEGABYTES_64)
  path.write_bytes(path.read_bytes().replace(size, struct.pack('<I', 10)))


def pax(**fields):
  """A header that overrides the name, or the size, of what follows."""

  def write(folder, canary):
    with tarfile.open(folder / 'x.tar', 'w') as file:
      info = tarfile.TarInfo('top/a')
      info.size = 1
      values = {k: v.replace('CANARY', str(canary.paths[0])) for k, v in fields}
      info.pax_headers = values
      file.addfile(info, io.BytesIO(b'x'))

  fields = fields.items()
  return write


FILE = tarfile.REGTYPE
UNPACKED = {
  'tar up': tar(('top/../../../../../CANARY', b'x', {})),
  'tar absolute': tar(('CANARY', b'x', {})),
  'tar backslash': tar(('top\\..\\..\\canary', b'x', {})),
  'tar drive': tar(('C:canary', b'x', {})),
  'tar link': link('../../..'),
  'tar link to the root': link('/'),
  'tar hard link': link('/etc/passwd', tarfile.LNKTYPE),
  'tar link within': link('b'),
  'tar device': kind(tarfile.CHRTYPE),
  'tar block device': kind(tarfile.BLKTYPE),
  'tar fifo': kind(tarfile.FIFOTYPE),
  'tar sparse': kind(tarfile.GNUTYPE_SPARSE),
  'tar folder up': tar(('../canary', b'', {'type': tarfile.DIRTYPE})),
  'tar pax path': pax(path='../../../../CANARY'),
  'tar pax size': pax(size='99999999999999'),
  'tar pax negative': pax(size='-512'),
  'tar long name': tar(('a/' * 5000 + 'b', b'x', {})),
  'tar long part': tar(('top/' + 'x' * 300, b'x', {})),
  'tar escape codes': tar((f'../{CODES}', b'x', {})),
  'tar setuid': tar(('top/a', b'x', {'mode': 0o6777}), ('../b', b'', {})),
  'tar member that is large': packed(('a', 128, FILE), ('b', 128, FILE)),
  'tar bomb': packed(*((f'top/{i}', 1, FILE) for i in range(20))),
  'tar header': packed(('a', 32, tarfile.XHDTYPE)),
  'tar header after a file': packed(
    ('a', 1, FILE), ('b', 32, tarfile.GNUTYPE_LONGNAME)
  ),
  'tar many files': many,
  'tar many folders': many_folders,
  'tar broken gzip': spoilt('gz'),
  'tar broken bz2': spoilt('bz2'),
  'tar broken xz': spoilt('xz'),
  'zip up': zipped(('top/../../../../../CANARY', b'x')),
  'zip absolute': zipped(('CANARY', b'x')),
  'zip folder up': zipped(('../canary/', b'')),
  'zip link': zipped(('top/a', b'/etc'), mode=stat.S_IFLNK | 0o777),
  'zip escape codes': zipped((f'../{CODES}', b'x')),
  'zip bomb': many_members,
  'zip many entries': many_entries,
  'zip size': lying_size,
  'zip no name': no_name,
  'zip NUL': zipped(('top/a\0/../../b', b'x'), ('../c', b'')),
  'sparse': lambda folder, _: sparse(folder / 'x.tar', 1 << 40),
}


def stated(folder, canary):
  """Under a name whose checksum is stated: not even opened."""
  UNPACKED['tar absolute'](folder, canary)
  (folder / 'x.tar').rename(folder / 'stl10_binary.tar.gz')


CASES = {
  **{
    f'unpack: {k}': Case(v, 'unpack', says=FOUND) for k, v in UNPACKED.items()
  },
  'prepare: archive': Case(stated, 'prepare', 1, 'bytes, not', ('cifar',)),
}

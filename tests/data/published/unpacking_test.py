"""Archives: sound ones become folders, hostile ones nothing at all."""

import hashlib
import io
import os
import stat
import subprocess
import sys
import tarfile
import time
import zipfile

import pytest

from daft_jax.data.published import dataset, unpacking

FILES = {'top/a/1.txt': b'one', 'top/b/2.txt': b'two' * 1000}


def download(file, makes='made', **more):
  return dataset.Download(file, 'https://example.org/x', makes, **more)


def tar(path, members, mode='w', **header):
  with tarfile.open(path, mode) as archive:
    for name, data in members.items():
      info = tarfile.TarInfo(name)
      info.size = len(data)
      for key, value in header.items():
        setattr(info, key, value)
      archive.addfile(info, io.BytesIO(data))
  return path


def zipped(path, members, kind=0):
  with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as archive:
    for name, data in members.items():
      info = zipfile.ZipInfo(name)
      info.external_attr = kind << 16
      info.compress_type = zipfile.ZIP_DEFLATED
      archive.writestr(info, data)
  return path


def contents(folder):
  return {
    path.relative_to(folder).as_posix(): path.read_bytes()
    for path in sorted(folder.rglob('*'))
    if path.is_file()
  }


@pytest.mark.parametrize('name', ['x.tar', 'x.tar.gz', 'x.tar.xz', 'x.zip'])
def test_one_folder_is_renamed(name, tmp_path):
  path = tmp_path / name
  if name == 'x.zip':
    junk = {'__MACOSX/top/._a': b'', 'top/.DS_Store': b'', 'top/a/': b''}
    zipped(path, FILES | junk)
  else:
    tar(path, FILES | {'top/._a': b''}, f'w:{name.partition("tar")[2][1:]}')
  place = unpacking.unpack(path, download(name, 'x/made'), tmp_path)
  assert place == tmp_path / 'x' / 'made'
  assert contents(place) == {'a/1.txt': b'one', 'b/2.txt': b'two' * 1000}
  assert sorted(x.name for x in tmp_path.iterdir()) == ['x', name]
  assert [x.name for x in (tmp_path / 'x').iterdir()] == ['made']


def test_many_entries_become_the_folder(tmp_path):
  path = tar(tmp_path / 'x.tar', {'./a.csv': b'1', './images/b': b'2'})
  place = unpacking.unpack(path, download('x.tar'), tmp_path)
  assert contents(place) == {'a.csv': b'1', 'images/b': b'2'}


def test_a_folder_that_is_there_is_kept(tmp_path):
  path = tar(tmp_path / 'x.tar', FILES)
  (tmp_path / 'made').mkdir()
  with pytest.raises(FileExistsError, match='is there already'):
    unpacking.unpack(path, download('x.tar'), tmp_path)
  assert contents(tmp_path / 'made') == {}


def test_tars_of_classes(tmp_path):
  members = {}
  for wnid in ('n01440764', 'n01443537'):
    inner = tar(tmp_path / 'inner.tar', {f'{wnid}_1.JPEG': wnid.encode()})
    members[f'{wnid}.tar'] = inner.read_bytes()
  inner.unlink()
  path = tar(tmp_path / 'x.tar', members)
  place = unpacking.unpack(path, download('x.tar', inside='classes'), tmp_path)
  assert contents(place) == {
    'n01440764/n01440764_1.JPEG': b'n01440764',
    'n01443537/n01443537_1.JPEG': b'n01443537',
  }


def test_validation_images_are_sorted(tmp_path):
  pytest.importorskip('tensorflow_datasets')
  names = [f'ILSVRC2012_val_{i:08}.JPEG' for i in (1, 2, 50_000)]
  path = tar(tmp_path / 'x.tar', dict.fromkeys(names, b'x'))
  place = unpacking.unpack(path, download('x.tar', inside='val'), tmp_path)
  assert list(contents(place)) == [
    'n01751748/ILSVRC2012_val_00000001.JPEG',
    'n02437616/ILSVRC2012_val_00050000.JPEG',
    'n09193705/ILSVRC2012_val_00000002.JPEG',
  ]
  path = tar(tmp_path / 'y.tar', {'ILSVRC2012_val_00050001.JPEG': b'x'})
  with pytest.raises(ValueError, match='no validation image'):
    unpacking.unpack(path, download('y.tar', 'y', inside='val'), tmp_path)


def bomb(path):
  """64 MB of zeros in 64 kB, told that this is much."""
  return zipped(path, {'top/a': bytes(1 << 26)})


def overlapping(path):
  """One member's data in a thousand entries of the directory."""
  zipped(path, {f'top/{i:04}': bytes(1 << 16) for i in range(1000)})
  return path


HOSTILE = {
  'tar: up': lambda p: tar(p, {'top/../../out': b'x'}),
  'tar: absolute': lambda p: tar(p, {'/tmp/out_of_test': b'x'}),
  'tar: backslash': lambda p: tar(p, {'top\\..\\out': b'x'}),
  'tar: drive': lambda p: tar(p, {'C:/out': b'x'}),
  'tar: link': lambda p: tar(
    p, {'top/a': b''}, type=tarfile.SYMTYPE, linkname='/etc'
  ),
  'tar: hard link': lambda p: tar(
    p, {'top/a': b''}, type=tarfile.LNKTYPE, linkname='/etc/passwd'
  ),
  'tar: device': lambda p: tar(p, {'top/a': b''}, type=tarfile.CHRTYPE),
  'tar: fifo': lambda p: tar(p, {'top/a': b''}, type=tarfile.FIFOTYPE),
  'tar: folder up': lambda p: tar(p, {'../out': b''}, type=tarfile.DIRTYPE),
  'zip: up': lambda p: zipped(p, {'top/../../out': b'x'}),
  'zip: absolute': lambda p: zipped(p, {'/tmp/out_of_test': b'x'}),
  'zip: folder up': lambda p: zipped(p, {'../out/': b''}),
  'zip: link': lambda p: zipped(p, {'top/a': b'/etc'}, stat.S_IFLNK | 0o777),
  'zip: bomb': bomb,
  'zip: many': overlapping,
  'twice': lambda p: tar(p, {'top/a': b'x', './top//a': b'y'}),
  'file and folder': lambda p: tar(p, {'top/a': b'x', 'top/a/b': b'y'}),
  'empty': lambda p: tar(p, {}),
  'no archive': lambda p: p.write_bytes(b'<html>') and p,
}


@pytest.mark.parametrize('write', HOSTILE.values(), ids=HOSTILE)
def test_hostile_archives_leave_nothing(write, tmp_path, monkeypatch):
  monkeypatch.setattr(unpacking, '_SMALL', 1 << 20)
  data_dir = tmp_path / 'data'
  data_dir.mkdir()
  path = write(tmp_path / 'x.archive')
  with pytest.raises(ValueError, match='x.archive') as error:
    unpacking.unpack(path, download('x.archive'), data_dir)
  assert 'download it again' in str(error.value)
  assert not list(data_dir.iterdir())
  assert [x.name for x in tmp_path.iterdir() if x != data_dir] == ['x.archive']
  assert not os.path.exists('/tmp/out_of_test')


@pytest.mark.parametrize('name', ['x.tar', 'x.tar.gz', 'x.zip'])
def test_truncated_archives_leave_nothing(name, tmp_path):
  data_dir = tmp_path / 'data'
  data_dir.mkdir()
  path = tmp_path / name
  files = {f'top/{i}': os.urandom(3000) for i in range(5)}
  zipped(path, files) if name == 'x.zip' else tar(
    path, files, 'w:gz' if name.endswith('gz') else 'w'
  )
  data = path.read_bytes()
  for end in (100, 5000, len(data) * 3 // 5):
    path.write_bytes(data[:end])
    with pytest.raises(ValueError, match='download it again'):
      unpacking.unpack(path, download(name), data_dir)
    assert not list(data_dir.iterdir())


def test_a_bit_flip_in_a_zip_is_seen(tmp_path):
  path = tmp_path / 'x.zip'
  with zipfile.ZipFile(path, 'w') as archive:
    archive.writestr('top/a', b'abcdef' * 100)
  data = path.read_bytes()
  path.write_bytes(data.replace(b'abcdefabc', b'abcdefabd', 1))
  with pytest.raises(ValueError, match='CRC'):
    unpacking.unpack(path, download('x.zip'), tmp_path)
  assert not (tmp_path / 'made').exists()


def test_no_room(tmp_path, monkeypatch):
  path = tar(tmp_path / 'x.tar', FILES)
  usage = unpacking.shutil.disk_usage(tmp_path)
  monkeypatch.setattr(
    unpacking.shutil, 'disk_usage', lambda _: usage._replace(free=1000)
  )
  with pytest.raises(ValueError, match='the disk has room for'):
    unpacking.unpack(path, download('x.tar'), tmp_path)


def test_a_kill_leaves_nothing_half(tmp_path):
  path = tar(tmp_path / 'x.tar', {f'top/{i}': bytes(4096) for i in range(5000)})
  program = f"""
import pathlib
from daft_jax.data.published import dataset, unpacking
print('start', flush=True)
row = dataset.Download('x.tar', '', 'made')
folder = pathlib.Path({str(tmp_path)!r})
unpacking.unpack(folder / 'x.tar', row, folder)
"""
  process = subprocess.Popen(
    [sys.executable, '-c', program], stdout=subprocess.PIPE
  )
  process.stdout.readline()
  until = time.monotonic() + 60
  while time.monotonic() < until and not list(tmp_path.glob('.made.*/top/9')):
    time.sleep(0.001)
  process.kill()
  process.wait()
  process.stdout.close()
  (left,) = tmp_path.glob(f'.*{unpacking.UNFINISHED}')
  assert 0 < len(contents(left)) < 5000
  assert not (tmp_path / 'made').exists()
  unpacking.unpack(path, download('x.tar'), tmp_path)
  assert len(contents(tmp_path / 'made')) == 5000


@pytest.mark.parametrize('kind', ['md5', 'sha256'])
def test_check(kind, tmp_path):
  path = tmp_path / 'x.tar'
  path.write_bytes(b'abc')
  digest = f'{kind}:{hashlib.new(kind, b"abc").hexdigest()}'
  unpacking.check(path, download('x.tar', bytes=3, digest=digest))
  unpacking.check(path, download('x.tar'))  # nothing is stated
  with pytest.raises(ValueError, match='has 3 bytes, not 4: download it again'):
    unpacking.check(path, download('x.tar', bytes=4, digest=digest))
  path.write_bytes(b'abd')
  with pytest.raises(ValueError, match=f'has {kind} .*https://example.org/x'):
    unpacking.check(path, download('x.tar', bytes=3, digest=digest))


def test_a_gzip_is_read_to_its_checksum(tmp_path):
  path = tar(tmp_path / 'x.tar.gz', {'top/a': os.urandom(1 << 16)}, 'w:gz')
  data = bytearray(path.read_bytes())
  data[1 << 15] ^= 1  # stored as it is, since it cannot be packed
  path.write_bytes(data)
  with pytest.raises(ValueError, match='CRC check failed'):
    unpacking.unpack(path, download('x.tar.gz'), tmp_path)
  assert not (tmp_path / 'made').exists()

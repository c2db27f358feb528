"""Checkpoint files, made by hand: sound, damaged and hostile."""

import pickle
import struct
import time
import tracemalloc
import zipfile

import numpy as np
import pytest

from daft_jax.pretrained import torch_file


class Code(bytes):
  """Opcodes that are put into a pickle as they are."""


def code(value):
  """Pickles plain values, with `Code` in any place."""
  if isinstance(value, Code):
    return value
  if isinstance(value, tuple):
    return b'(' + b''.join(map(code, value)) + b't'
  if isinstance(value, dict):
    items = (code(x) for item in value.items() for x in item)
    return b'}(' + b''.join(items) + b'u'
  return pickle.dumps(value, 2)[2:-1]  # without PROTO and STOP


def tensor(key, shape, strides, offset=0, count=None, kind='Float', more=()):
  count = int(np.prod(shape)) if count is None else count
  storage = (
    'storage',
    Code(b'ctorch\n%bStorage\n' % kind.encode()),
    key,
    'cpu',
  )
  storage = Code(code((*storage, count, *more)) + b'Q')
  args = (storage, offset, shape, strides, False, Code(b'}'))
  return Code(b'ctorch._utils\n_rebuild_tensor_v2\n' + code(args) + b'R')


def write_zip(path, tree, storages, top='top', order=b'little', **options):
  with zipfile.ZipFile(path, 'w', **options) as file:
    file.writestr(f'{top}/data.pkl', b'\x80\x02' + code(tree) + b'.')
    file.writestr(f'{top}/byteorder', order)
    for key, values in storages.items():
      file.writestr(f'{top}/data/{key}', values.tobytes())
    file.writestr(f'{top}/version', '3\n')


def write_legacy(path, tree, storages, little=True, magic=torch_file._MAGIC):
  parts = [magic, 1001, {'little_endian': little}, tree, None]
  parts = [b'\x80\x02' + code(part) + b'.' for part in parts]
  parts[-1] = pickle.dumps(list(storages), 2)
  for values in storages.values():
    parts += [values.size.to_bytes(8, 'little'), values.tobytes()]
  path.write_bytes(b''.join(parts))


A = np.arange(6, dtype=np.float32).reshape(2, 3)
B = np.array([1, -2], np.int64)
TREE = {
  'a': tensor('0', (2, 3), (3, 1)),
  'transposed': tensor('0', (3, 2), (1, 3)),
  'row': tensor('0', (3,), (1,), offset=3, count=6),
  'n': {'b': tensor('1', (2,), (1,), kind='Long'), 'epoch': 3},
}
STORAGES = {'0': A, '1': B}
WRITERS = {'zip': write_zip, 'legacy': write_legacy}


def write(kind, path, tree=TREE, storages=STORAGES, **options):
  WRITERS[kind](path, tree, storages, **options)
  return path


def check(tree):
  np.testing.assert_array_equal(tree['a'], A, strict=True)
  np.testing.assert_array_equal(tree['transposed'], A.T, strict=True)
  np.testing.assert_array_equal(tree['row'], A[1], strict=True)
  np.testing.assert_array_equal(tree['n']['b'], B, strict=True)
  assert tree['n']['epoch'] == 3


@pytest.fixture(params=WRITERS)
def kind(request):
  return request.param


@pytest.fixture
def path(tmp_path):
  return tmp_path / 'w.pth'


def test_handmade_file(kind, path):
  tree = torch_file.read_torch(write(kind, path))
  path.unlink()  # the arrays do not need it
  check(tree)
  assert np.shares_memory(tree['a'], tree['row'])


def test_a_legacy_part_of_a_storage(path):
  view = tensor('0', (2,), (2,), 1, 6, more=(('view', 2, 4),))
  write('legacy', path, {'v': view}, {'0': A})
  assert torch_file.read_torch(path)['v'].tolist() == [3.0, 5.0]
  view = tensor('0', (2,), (2,), 2, 6, more=(('view', 2, 4),))
  write('legacy', path, {'v': view}, {'0': A})
  with pytest.raises(ValueError, match='not in its storage of 4 values'):
    torch_file.read_torch(path)


VIEWS = {
  'beyond': ((2, 3), (3, 1), 1),
  'huge stride': ((2, 3), (2**61, 1), 0),
  'overflow': ((2**32, 2**32), (1, 1), 0),
  'expanded': ((2**40,), (0,), 0),
  'negative stride': ((2, 3), (-3, 1), 3),
  'negative offset': ((2, 3), (3, 1), -1),
  'negative shape': ((-2, -3), (3, 1), 0),
  'huge integer': ((2**400,), (1,), 0),
  'axes': ((1,) * 100, (1,) * 100, 0),
  'float': ((2.0, 3), (3, 1), 0),
}


@pytest.mark.parametrize('view', VIEWS.values(), ids=VIEWS)
def test_views_stay_in_their_storage(kind, path, view):
  shape, strides, offset = view
  write(kind, path, {'a': tensor('0', shape, strides, offset, 6)}, {'0': A})
  refuse(path, 'an? .*tensor')


def refuse(path, match=None, limit=2**21):
  """The file is refused in one line, soon, and at no cost of memory."""
  started = time.process_time()
  tracemalloc.start()
  try:
    with pytest.raises(ValueError, match=match) as error:
      torch_file.read_torch(path)
    assert tracemalloc.get_traced_memory()[1] < limit
  finally:
    tracemalloc.stop()
  assert time.process_time() - started < 5
  text = str(error.value)
  assert text.startswith(str(path)) and '\n' not in text and len(text) < 1000
  return text


@pytest.mark.parametrize('count', [5, 7, 2**40, 2**61, 2**62, 2**70, -1])
def test_sizes_of_storages_are_checked_first(kind, path, count):
  refuse(write(kind, path, {'a': tensor('0', (1,), (1,), 0, count)}, {'0': A}))


def test_storages_are_there_once(kind, path):
  first = tensor('0', (2, 3), (3, 1))
  refuse(write(kind, path, {'a': first}, {'1': A}))
  refuse(
    write(kind, path, {'a': first, 'b': tensor('0', (5,), (1,))}, {'0': A})
  )


@pytest.mark.parametrize('what', ['QInt8', 'ComplexFloat'])
def test_other_tensors_are_named(kind, path, what):
  write(kind, path, {'a': tensor('0', (6,), (1,), kind=what)}, {'0': A})
  assert f'torch.{what}Storage' in refuse(path, 'holds .* not read')


def test_big_endian_is_refused(path):
  refuse(write('zip', path, order=b'big'), 'big-endian')
  refuse(write('legacy', path, little=False), 'big-endian')


def test_a_hostile_pickle_runs_nothing(kind, path, tmp_path):
  system = Code(b"cposix\nsystem\n(S'touch %b'\ntR" % bytes(tmp_path / 'ran'))
  text = refuse(write(kind, path, {'a': system}), "'posix.system'.*harmful")
  assert 'not complete' not in text and list(tmp_path.iterdir()) == [path]


TREES = {
  'deep': Code(b']' * 200 + b'a' * 199),
  'cyclic': Code(b']q\x00h\x00a'),
  'doubling': Code(b']' + b'q\x00' + b'0](h\x00h\x00eq\x00' * 90),
  'class': Code(b'cargparse\nNamespace\n'),
}


@pytest.mark.parametrize('tree', TREES.values(), ids=TREES)
def test_trees_can_be_walked(kind, path, tree, monkeypatch):
  monkeypatch.setattr(torch_file, '_MOST_VALUES', 10_000)
  refuse(write(kind, path, tree, {}), 'deeper|itself')


def test_every_end_of_a_truncated_file_is_refused(kind, path):
  data = write(kind, path).read_bytes()
  cuts = np.random.default_rng(0).integers(len(data), size=40)
  for end in (*cuts, 1, 3, 5, len(data) - 1):
    path.write_bytes(data[:end])
    refuse(path)


def test_a_flipped_bit_in_a_zip_is_refused_or_without_effect(path):
  data = write('zip', path).read_bytes()
  refused = 0
  for where in np.random.default_rng(0).integers(8 * len(data), size=200):
    flip(path, data, where)
    try:
      check(torch_file.read_torch(path))
    except ValueError:
      refused += 1
  assert refused > 100


def flip(path, data, where):
  spoilt = bytearray(data)
  spoilt[where // 8] ^= 1 << where % 8
  path.write_bytes(spoilt)


def test_a_flipped_bit_in_a_legacy_file_alters_values_at_most(path):
  # It has no checksum: a flip in a weight, a key or a number is not seen.
  data = write('legacy', path).read_bytes()
  for where in np.random.default_rng(0).integers(8 * len(data), size=200):
    flip(path, data, where)
    try:
      torch_file.read_torch(path)
    except ValueError:
      pass


def test_values_of_a_zip_are_checked(path):
  data = write('zip', path).read_bytes()
  flip(path, data, 8 * data.index(A.tobytes()) + 37)
  refuse(path, "'top/data/0' of its zip has another CRC-32")
  path.write_bytes(data.replace(b'top/data/0', b'top/data/1', 1))
  refuse(path, 'has another header')


def test_a_bomb_is_not_unpacked(path):
  write('zip', path, compression=zipfile.ZIP_DEFLATED)
  refuse(path, 'compressed')
  with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as file:
    file.writestr('top/data.pkl', bytes(2**24))
  refuse(path, 'compressed')


@pytest.mark.filterwarnings('ignore:Duplicate name')
def test_names_of_a_zip(path, tmp_path):
  write('zip', path, top='..')  # no name is used as a path
  check(torch_file.read_torch(path))
  with zipfile.ZipFile(path, 'a') as file:
    file.writestr('../data/0', 'x')
  refuse(path, 'two entries')
  write('zip', path)
  with zipfile.ZipFile(path, 'a') as file:
    file.writestr('other/data.pkl', 'x')
  refuse(path, 'without one data.pkl')
  assert list(tmp_path.iterdir()) == [path]


def test_entries_of_a_zip_do_not_overlap(path):
  data = write('zip', path).read_bytes()
  directory = data.index(b'PK\1\2')
  place = data.index(b'top/data/0', directory) - 4  # where its header is
  for offset in (0, directory, 2**31):
    moved = struct.pack('<I', offset)
    path.write_bytes(data[:place] + moved + data[place + 4 :])
    refuse(path, 'of its zip|complete')
  sizes = data.index(b'top/data/0', directory) - 26
  for size in (2**10, 2**31, 2**32 - 2):
    both = struct.pack('<II', size, size)
    path.write_bytes(data[:sizes] + both + data[sizes + 8 :])
    refuse(path, 'overlaps|complete')


LOOKS = {
  'empty': (b'', 'is empty'),
  'html': (b'\n <!DOCTYPE html><p>404', 'web page'),
  'lfs': (b'version https://git-lfs.github.com/spec/v1\noid x', 'git lfs pull'),
  'text': (b'Not found\n', r'text \(10\)'),
  'bytes': (bytes(3), r'bytes \(3\)'),
  'safetensors': (b'\x20' + bytes(7) + b'{"a":', 'safetensors'),
  'tar': (b'a' * 257 + b'ustar', 'tar archive'),
  'zip': (b'PK\5\6' + bytes(18), 'without one data.pkl'),
  'pickle': (pickle.dumps({'a': [1]}), 'not one that torch.save wrote'),
}


@pytest.mark.parametrize(('data', 'match'), LOOKS.values(), ids=LOOKS)
def test_other_files_are_named(path, data, match):
  path.write_bytes(data)
  refuse(path, match)


def test_missing_file_and_directory(tmp_path):
  with pytest.raises(FileNotFoundError, match='is a directory'):
    torch_file.read_torch(tmp_path)
  with pytest.raises(FileNotFoundError, match='none.pth is no file'):
    torch_file.read_torch(tmp_path / 'none.pth')

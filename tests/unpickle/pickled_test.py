"""Pickles as data: what is read, and that nothing of a hostile one is run."""

import argparse
import ast
import collections
import io
import pathlib
import pickle
import time
import tracemalloc

import numpy as np
import pytest

from daft_jax.pretrained import torch_file
from daft_jax.pretrained.torch_file import tensors
from daft_jax.unpickle import allowed, pickled

READERS = [
  path
  for package in (torch_file, pickled)
  for path in sorted(pathlib.Path(package.__file__).parent.glob('*.py'))
]


def load(data, **options):
  return pickled.load(pickled.Stream(io.BytesIO(data), len(data)), **options)


def load_torch(data):
  """With the names of PyTorch, and storages as in a checkpoint."""
  return load(data, find=tensors.find, persistent=tensors.storage)


VALUES = {
  'None': None,
  'bools': [True, False],
  'ints': [0, 1, -1, 255, 256, 65536, -(2**31), 2**31, 2**63, -(2**200)],
  'floats': [0.0, -1.5, 1e300, float('inf')],
  'strings': ['', 'a', 'é', '\U0001f600', 'x' * 300, 'line\nbreak\\'],
  'bytes': [b'', b'a', bytes(range(256)) * 2],
  'tuples': [(), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4), ((1,), [2])],
  'dicts': [{}, {1: 2}, {'a': {'b': [1]}, ('c', 0): None, 2.5: 'x'}],
  'sets': [set(), {1, 'a'}, frozenset((2, 3))],
}


@pytest.mark.parametrize('protocol', range(6))
@pytest.mark.parametrize('value', VALUES.values(), ids=VALUES)
def test_values(value, protocol):
  loaded = load(pickle.dumps(value, protocol))
  assert loaded == value
  assert repr(loaded) == repr(value)  # types too: 1 == 1.0 == True


def test_shared_and_cyclic_values_are_so():
  value = [[]]
  value += [value[0], value]
  loaded = load(pickle.dumps(value))
  assert loaded[0] is loaded[1] and loaded[2] is loaded


@pytest.mark.parametrize('protocol', range(2, 6))
def test_classes_of_checkpoints(protocol):
  ordered = collections.OrderedDict(a=1)
  ordered._metadata = {'version': 2}
  value = {
    'ordered': ordered,
    'counter': collections.Counter('aab'),
    'path': pathlib.PurePosixPath('/a/b'),
    'scalars': [np.float64(0.1), np.float32(0.5), np.int64(-3), np.bool_(True)],
  }
  loaded = load(pickle.dumps(value, protocol))
  assert loaded == {
    'ordered': {'a': 1},
    'counter': {'a': 2, 'b': 1},
    'path': '/a/b',
    'scalars': [0.1, 0.5, -3, True],
  }
  assert {type(x) for x in loaded.values()} == {dict, str, list}
  assert [type(x) for x in loaded['scalars']] == [float, float, int, bool]


@pytest.mark.parametrize('protocol', range(2, 5))
@pytest.mark.parametrize('order', ['C', 'F'])
@pytest.mark.parametrize('dtype', ['f4', 'f8', 'f2', 'i8', 'u1', 'b1'])
def test_arrays_of_numpy(dtype, order, protocol):
  value = np.arange(6).reshape(2, 3).astype(dtype, order=order)
  loaded = load(pickle.dumps(value, protocol)).state
  assert loaded.dtype == value.dtype
  np.testing.assert_array_equal(loaded, value)


def test_a_backslash_in_a_name_is_no_warning():
  with pytest.raises(allowed.NotData, match='not data'):
    load(b'ca\\F\nb\\9\n.')  # warnings are errors here


def test_python_2_wrote_strings_and_mappings_its_way():
  data = b"ccollections\nOrderedDict\n((lp0\n(lp1\nS'a'\naU\x01baa\x85R."
  assert load(data.replace(b'((lp0', b'(lp0')) == {'a': 'b'}
  assert load(b"S'a\\nb'\n.") == 'a\nb'


def test_a_namespace_is_a_record_and_its_attributes_are_data():
  loaded = load(pickle.dumps(argparse.Namespace(lr=0.1, state=2), 2))
  assert type(loaded) is allowed.Record
  assert loaded.kind.name == 'argparse.Namespace'
  assert loaded.state == {'lr': 0.1, 'state': 2}


def test_modules_of_torchscript_are_records():
  loaded = load_torch(
    b'\x80\x02c__torch__.os\nsystem\n)\x81}X\x01\0\0\0aK\x01sb.'
  )
  assert loaded.kind.name == '__torch__.os.system'
  assert loaded.state == {'a': 1}


def test_a_stream_is_left_after_the_pickle():
  file = io.BytesIO(pickle.dumps([1]) + pickle.dumps('next') + b'rest')
  stream = pickled.Stream(file, len(file.getvalue()))
  assert pickled.load(stream) == [1]
  assert pickled.load(stream) == 'next'
  assert (file.read(), stream.left) == (b'rest', 4)


def test_every_truncation_is_refused():
  data = pickle.dumps([*VALUES.values(), np.float64(1)], 2)
  for end in range(len(data)):
    with pytest.raises(ValueError):
      load(data[:end])


T = b'ctorch._utils\n_rebuild_tensor_v2\n'
O = b'ccollections\nOrderedDict\n'  # noqa: E741
CODES = b'c_codecs\nencode\n'
DTYPE = b'cnumpy\ndtype\n(U\x02f8tR'
SCALAR = b'cnumpy.core.multiarray\nscalar\n'

# Each would run touch(PATH), or take memory or time, in one loader or another.
RUNS = {
  'os.system': b"cos\nsystem\n(S'touch PATH'\ntR.",
  'posix.system': b"cposix\nsystem\n(S'touch PATH'\ntR.",
  'subprocess': b"csubprocess\ncall\n((S'touch'\nS'PATH'\nltR.",
  'eval': b'cbuiltins\neval\n(S\'open("PATH","w")\'\ntR.',
  'exec': b'cbuiltins\nexec\n(S\'open("PATH","w")\'\ntR.',
  'open': b"cbuiltins\nopen\n(S'PATH'\nS'w'\ntR.",
  'getattr': b"cbuiltins\ngetattr\n(ccollections\nOrderedDict\nS'x'\ntR.",
  'import': b"cbuiltins\n__import__\n(S'os'\ntR.",
  'pickle.loads': b"cpickle\nloads\n(S'x'\ntR.",
  'load_from_bytes': b"ctorch.storage\n_load_from_bytes\n(S'x'\ntR.",
  'numpy runstring': b"cnumpy.testing\nrunstring\n(S'x'\n}tR.",
  'STACK_GLOBAL': b"\x8c\x02os\x8c\x06system\x93(S'touch PATH'\ntR.",
  'dotted': b"ccollections\nOrderedDict.__init__\n(S'PATH'\ntR.",
  'dotted module': b'ccollections.OrderedDict\n__init__.__globals__\n)R.',
  'no name': b'c\n\n.',
  'unicode': b'cos\xc3\xa9\nsystem\n.',
  'INST': b"(S'touch PATH'\nios\nsystem\n.",
  'OBJ': b"(cos\nsystem\nS'touch PATH'\no.",
  'EXT1': b'\x82\x01.',
  'EXT4': b'\x84\x01\0\0\0.',
  'NEWOBJ': b"cos\nsystem\n(S'touch PATH'\nt\x81.",
  'NEWOBJ_EX': b'cargparse\nNamespace\n)}\x92.',
  'PERSID': b'PPATH\n.',
  'BINPERSID': b"S'PATH'\nQ.",
  'module PERSID': b"(S'module'\nNS'PATH'\nS'x'\ntQ.",
  'allowed INST': b"(S'touch PATH'\nicollections\nOrderedDict\n.",
  'call data': b"S'PATH'\n)R.",
  'call a class': b'cargparse\nNamespace\n)R.',
  'call a storage': b'ctorch\nFloatStorage\n(I9\ntR.',
  'new of a call': O + b')\x81.',
  'new with values': b'cargparse\nNamespace\n(I1\nt\x81.',
  'arguments': O + b'I1\nR.',
  'tensor of nothing': T + b')R.',
  'tensor of a name': T + b'(cargparse\nNamespace\n(I1\nt(I1\nttR.',
  'tensor in a tensor': T + b'(' + T + b')RI0\n(I1\nt(I1\nttR.',
  'rebuild of rebuild': b'ctorch._tensor\n_rebuild_from_type_v2\n'
  b'(ctorch._tensor\n_rebuild_from_type_v2\nctorch\nTensor\n)NtR.',
  'ordered of a string': O + b"(S'ab'\ntR.",
  'ordered of a triple': O + b'((lI1\nI2\nI3\n\x87atR.',
  'encode to a codec': CODES + b"(S'PATH'\nS'zlib'\ntR.",
  'object scalar': SCALAR + b"(cnumpy\ndtype\n(U\x02O8tRS'12345678'\ntR.",
  'long scalar': SCALAR + b'(' + DTYPE + b"S'1234567890123456'\ntR.",
  'wide dtype': b'cnumpy\ndtype\n(U\x0df8,(9999999,)tR.',
  'big-endian': DTYPE + b"(I3\nS'>'\nNNNI-1\nI-1\nI0\ntb.",
  'state of a list': b']}b.',
  'state of a string': b"S'a'\n}b.",
  'namespace of a list': b'cargparse\nNamespace\n)\x81]b.',
  'list as a key': b'}]I1\ns.',
  'record as a key': b'}cargparse\nNamespace\n)\x81I1\ns.',
  'long tuple as a key': b'}(' + b'I1\n' * 20 + b'tI1\ns.',
  'deep tuple as a key': b'})' + b'\x85' * 100_000 + b'I1\ns.',
  'wide tuple as a key': b'})' + b'2\x86' * 100 + b'I1\ns.',
  'deep tuple in a set': b'\x8f()' + b'\x85' * 100_000 + b'\x90.',
  'huge integer as a key': b'}\x8a\x10' + b'\x7f' * 16 + b'I1\ns.',
  'odd items': b'}(I1\nu.',
  'underflow': b'\x86.',
  'underflow at a mark': b'I1\n(\x85.',
  'no mark': b'I1\nt.',
  'POP of nothing': b'0.',
  'DUP of nothing': b'2.',
  'PUT of nothing': b'q\0.',
  'MEMOIZE of nothing': b'\x94.',
  'GET of nothing': b'h\0.',
  'negative GET': b'g-1\n.',
  'empty': b'',
  'only STOP': b'.',
  'two values': b'I1\nI2\n.',
  'mark left': b'(I1\n.',
  'no STOP': b'I1\n',
  'unknown opcode': b'\xff.',
  'LONG4 lies': b'\x8b\xff\xff\xff\x7f1.',
  'LONG4 negative': b'\x8b\xff\xff\xff\xff1.',
  'LONG1 long': b'\x8a\xff' + b'\x7f' * 255 + b'.',
  'LONG4 long': b'\x8b\0\0\x10\0' + b'\x7f' * 2**20 + b'.',
  'INT long': b'I' + b'9' * 2**20 + b'\n.',
  'BINUNICODE lies': b'X\xff\xff\xff\xff1.',
  'BINUNICODE8 lies': b'\x8d' + (2**60).to_bytes(8, 'little') + b'1.',
  'BINBYTES8 lies': b'\x8e' + (2**60).to_bytes(8, 'little') + b'1.',
  'BYTEARRAY8 lies': b'\x96' + (2**60).to_bytes(8, 'little') + b'1.',
  'BINSTRING lies': b'T\xff\xff\xff\x7f1.',
  'no UTF-8': b'X\x01\0\0\0\xff.',
  'buffers': b'\x97.',
}


@pytest.mark.parametrize('data', RUNS.values(), ids=RUNS)
def test_hostile_pickles_are_refused_and_run_nothing(data, tmp_path):
  path = tmp_path / 'ran'
  data = data.replace(b'PATH', str(path).encode())
  started = time.process_time()
  tracemalloc.start()
  try:
    for loader in (load, load_torch):
      with pytest.raises(ValueError) as error:
        loader(data)
      assert 0 < len(str(error.value)) < 500
    assert tracemalloc.get_traced_memory()[1] < 64 * len(data) + 2**20
  finally:
    tracemalloc.stop()
  assert time.process_time() - started < 5
  assert not list(tmp_path.iterdir())


def test_what_is_refused_is_named():
  with pytest.raises(
    allowed.Refused, match="'posix.system'.*not data.*harmful"
  ):
    load(RUNS['posix.system'])
  with pytest.raises(allowed.Refused) as error:
    load(b'ca\x1b[2J' + b'x' * 3000 + b'\nb\n.')
  assert '\x1b' not in str(error.value) and len(str(error.value)) < 400


REPEATS = {
  'values': b'N' * 30_000,
  'dicts': b'}' * 30_000,
  'marks': b'(' * 30_000,
  'memo': b'N' + b'\x94' * 30_000,
  'bytes': b'(' + b'X\0\0\x01\0' + b'a' * 2**16 + b'q\0' + b"S'latin1'\nq\x01"
  b'0' + (CODES + b'h\0h\x01\x86R') * 100,
  'mappings': O
  + b'q\0(l'
  + b'I1\nI2\n\x86a' * 1000
  + b'q\x01'
  + b'h\0h\x01\x85R'
  b'0' * 100,
}


@pytest.mark.parametrize('data', REPEATS.values(), ids=REPEATS)
def test_work_is_limited(data, monkeypatch):
  monkeypatch.setattr(pickled, 'MOST_WORK', 20_000)
  with pytest.raises(ValueError, match='more than 20,000 values'):
    load(data + b'.')


def test_a_bit_flip_raises_nothing_but_value_errors():
  data = pickle.dumps([*VALUES.values(), np.float64(1), pathlib.Path('/a')], 2)
  data += pickle.dumps(np.ones(3), 2)
  rng = np.random.default_rng(0)
  for where, bit in zip(
    rng.integers(len(data), size=1000), rng.integers(8, size=1000), strict=True
  ):
    spoilt = bytearray(data)
    spoilt[where] ^= 1 << bit
    stream = pickled.Stream(io.BytesIO(spoilt), len(spoilt))
    try:
      pickled.load(stream), pickled.load(stream)
    except ValueError:
      pass


def test_all_readers_are_checked():
  names = {'allowed.py', 'archive.py', 'npy.py', 'pickled.py', 'tensors.py'}
  assert {path.name for path in READERS} == {'__init__.py', *names}


@pytest.mark.parametrize('path', READERS, ids=str)
def test_the_reader_can_run_nothing(path):
  """It imports no loader or shell, and looks nothing up by a name of a file."""
  tree = ast.parse(path.read_text(encoding='utf-8'))
  imports = {
    alias.name.split('.')[0]
    for node in ast.walk(tree)
    if isinstance(node, ast.Import)
    for alias in node.names
  }
  assert not imports & {
    *('pickle', 'marshal', 'importlib', 'subprocess', 'torch', 'jax', 'shelve')
  }
  names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
  assert not names & {'eval', 'exec', 'getattr', 'setattr', '__import__'}

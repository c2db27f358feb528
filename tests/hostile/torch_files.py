"""Hostile files of PyTorch: the zip, the older row of pickles, TorchScript."""

import gzip
import io
import os
import pickle
import struct
import tarfile
import zipfile

import numpy as np

from tests.hostile.corpus import Case, sparse
from tests.pretrained.torch_file.files_test import (
  Code,
  tensor,
  write_legacy,
  write_zip,
)

A = np.arange(6, dtype=np.float32).reshape(2, 3)


class Reduced:
  """What `pickle` itself makes of an object that calls."""

  def __init__(self, call, *args):
    self.made = call, args

  def __reduce__(self):
    return self.made


def torch(tree, form='zip'):
  """A file with a tree, which is a value or is made of the canary."""

  def write(folder, canary):
    writer = {'zip': write_zip, 'legacy': write_legacy}[form]
    value = tree(canary) if callable(tree) else tree
    writer(folder / 'w.pth', value, {'0': A})

  return write


def view(*args, form='zip', **options):
  return torch({'w': tensor('0', *args, **options)}, form)


def shell(opcodes, form='zip'):
  """Opcodes in which SHELL pushes a command, beside a sound tensor."""

  def tree(canary):
    text = b"S'%b'\n" % canary.shell.encode()
    code = Code(opcodes.replace(b'SHELL', text))
    return {'w': tensor('0', (2, 3), (3, 1)), 'x': code}

  return torch(tree, form)


def python(opcodes, form='zip'):
  """Opcodes in which PYTHON pushes an expression."""

  def tree(canary):
    text = canary.python.encode()
    text = b'X' + len(text).to_bytes(4, 'little') + text
    return Code(opcodes.replace(b'PYTHON', text))

  return torch(tree, form)


def raw(make, name='w.pth'):
  """A file of bytes, or of those that `make(canary)` returns."""

  def write(folder, canary):
    (folder / name).write_bytes(make(canary) if callable(make) else make)

  return write


def zipped(*entries, kind=zipfile.ZIP_STORED):
  def write(folder, canary):
    with zipfile.ZipFile(folder / 'w.pth', 'w', kind) as file:
      for name, data in entries:
        file.writestr(name, data)

  return write


def old_tar(folder, canary):
  """PyTorch 0.1: a tar of pickles."""
  data = b"cposix\nsystem\n(S'%b'\ntR." % canary.shell.encode()
  with tarfile.open(folder / 'w.pth', 'w') as file:
    for name in ('sys_info', 'pickle', 'storages', 'tensors'):
      info = tarfile.TarInfo(name)
      info.size = len(data)
      file.addfile(info, io.BytesIO(data))


def script(folder, canary):
  """TorchScript: its code, a module called os.system, constants that call."""
  code = f'import os\nos.system({canary.shell!r})\n'
  call = b"cposix\nsystem\n(S'%b'\ntR." % canary.shell.encode()
  state = b"}S'w'\n" + tensor('0', (2, 3), (3, 1)) + b's'
  tree = b'\x80\x02c__torch__.os\nsystem\n)\x81' + state + b'b.'
  with zipfile.ZipFile(folder / 'w.pth', 'w') as file:
    file.writestr('top/data.pkl', tree)
    file.writestr('top/code/__torch__.py', code)
    file.writestr('top/code/__torch__/os.py', code)
    file.writestr('top/constants.pkl', call)
    file.writestr('top/data/0', A.tobytes())


def many_entries(folder, canary):
  """A zip of nothing but a directory: two million entries."""
  name, count = b'aaaa.npy', 2_000_000
  record = struct.pack('<4s24xH16x', b'PK\1\2', len(name)) + name
  size = len(record) * count
  with (folder / 'w.pth').open('wb') as file:
    for _ in range(100):
      file.write(record * (count // 100))
    file.write(struct.pack('<4sQ12x4Q', b'PK\6\6', 44, count, count, size, 0))
    file.write(struct.pack('<4s4xQI', b'PK\6\7', size, 1))
    most = 2**16 - 1, 2**16 - 1, 2**32 - 1, 2**32 - 1, 0
    file.write(struct.pack('<4s4x2H2IH', b'PK\5\6', *most))


LAUGHS = b'](' + b'N' * 10 + b'eq\0'
LAUGHS += b''.join(b'0](' + b'h\0' * 10 + b'eq\0' for _ in range(30))

FILES = {
  'os.system': shell(b'cos\nsystem\n(SHELLtR'),
  'posix.system': shell(b'cposix\nsystem\n(SHELLtR', 'legacy'),
  'exec': python(b'\x8c\x08builtins\x8c\x04exec\x93(PYTHONtR'),
  'eval': python(b'c__builtin__\neval\n(PYTHONtR', 'legacy'),
  'INST': shell(b'(SHELLios\nsystem\n'),
  'OBJ': shell(b'(cos\nsystem\nSHELLo', 'legacy'),
  'NEWOBJ': shell(b'csubprocess\nPopen\n(SHELLI-1\nNNNNNI01\nI01\nt\x81'),
  'NEWOBJ_EX': shell(b"csubprocess\nPopen\n(SHELLt}S'shell'\nI01\ns\x92"),
  'EXT': torch(Code(b'\x82\1'), 'legacy'),
  '__reduce__': raw(lambda c: pickle.dumps(Reduced(os.system, c.shell), 2)),
  '__reduce__ of exec': raw(lambda c: pickle.dumps([Reduced(exec, c.python)])),
  'getattr': shell(
    b"c__builtin__\ngetattr\n(cos\n__dict__\nS'system'\ntR(SHELLtR"
  ),
  'nested load': torch(
    lambda canary: Code(
      b'ctorch.storage\n_load_from_bytes\n('
      + pickle.dumps(pickle.dumps(Reduced(os.system, canary.shell)), 2)[2:-1]
      + b'tR'
    )
  ),
  'runstring': python(b'cnumpy.testing\nrunstring\n(PYTHON}tR'),
  'partial': shell(b'cfunctools\npartial\n(cos\nsystem\nSHELLtR)R'),
  'run_path': shell(b'crunpy\nrun_path\n(SHELLtR'),
  'BUILD of a function': shell(
    b"ccollections\nOrderedDict\n}S'function'\ncos\nsystem\nsb"
  ),
  'BUILD of slots': torch(
    Code(b"cargparse\nNamespace\n)\x81(N}S'__class__'\nI1\nstb")
  ),
  'BUILD of a tensor': torch(
    Code(tensor('0', (2, 3), (3, 1)) + b"}S'shape'\n(I9\ntsb")
  ),
  'module id': shell(b"(S'module'\ncos\nsystem\nSHELLSHELLtQ", 'legacy'),
  'id of a name': torch(Code(b"(S'storage'\nS'os'\nS'0'\nS'cpu'\nI6\ntQ")),
  'key elsewhere': torch({'w': tensor('../../etc/passwd', (2, 3), (3, 1))}),
  'laughs': torch(Code(LAUGHS)),
  'tuple': torch(Code(b'(' + b'N' * 3_000_000 + b't')),
  'lists': torch(Code(b']' * 1_000_000 + b'a' * 999_999)),
  'deep tuple as a key': torch(Code(b'})' + b'\x85' * 500_000 + b'Ns')),
  'LONG4': torch(Code(b'\x8b\xff\xff\xff\x7f' + b'\1' * 64)),
  'LONG4 that is there': torch(Code(b'\x8b\0\0\0\2' + b'\x7f' * 2**25)),
  'decimal': torch(Code(b'I' + b'9' * 4_000_000 + b'\n'), 'legacy'),
  'string': torch(Code(b'\x8d' + (2**60).to_bytes(8, 'little') + b'a')),
  'memo': torch(Code(b'Nr\xff\xff\xff\xff0' * 900_000)),
  'storage size': view((2, 3), (3, 1), 0, 2**40),
  'legacy size': view((2**40,), (1,), 0, 2**40, form='legacy'),
  'offset': view((2, 3), (3, 1), 2**61, 6),
  'strides': view((2, 3), (2**61, 1), 0, 6, form='legacy'),
  'negative shape': view((-2, -3), (3, 1), 0, 6),
  'expanded': view((2**40,), (0,), 0, 6),
  'axes': view((1,) * 90, (1,) * 90, 0, 6),
  'overflow': view((2**32, 2**32), (1, 1), 0, 6),
  'dtype': view((2, 3), (3, 1), kind='Double'),
  'deflated': zipped(
    ('top/data.pkl', bytes(1 << 28)), kind=zipfile.ZIP_DEFLATED
  ),
  'two trees': zipped(('a/data.pkl', b'N.'), ('b/data.pkl', b'N.')),
  'many entries': many_entries,
  'sparse': lambda folder, _: sparse(folder / 'w.pth', 1 << 38, b'\x80\2'),
  'gzip': raw(lambda _: gzip.compress(bytes(1 << 26), 1)),
  'old tar': old_tar,
  'web page': raw(b'<script>alert(1)</script>'),
  'escape codes': torch(Code(b'c\x1b[2Jos\n\x1b]0;owned\x07\n')),
  'names of an archive': zipped(('../\x1b[2J', b''), ('..\\x', b'')),
}

# What takes two seconds, since it goes to the limit, is read once.
LONG = ('laughs', 'tuple', 'lists', 'memo', 'deep tuple as a key')
CASES = {
  **{
    f'torch: {k}': Case(v, 'weights', args=('once',) * (k in LONG))
    for k, v in FILES.items()
  },
  'torch: TorchScript': Case(script, 'weights', 0, 'none of this package'),
}

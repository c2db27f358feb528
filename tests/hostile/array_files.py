"""Hostile arrays: safetensors, npz, and folders of Orbax."""

import io
import json
import os
import struct
import zipfile

import numpy as np

from tests.hostile.corpus import CODES, Case, sparse
from tests.hostile.torch_files import A, Reduced, raw

MEGABYTES_16 = bytes(1 << 24)
BLOCKS = 72  # of them: 1.2 gigabytes


def header(data, size=None, body=b''):
  """A safetensors file, whose header may lie about its length."""
  data = data if isinstance(data, bytes) else json.dumps(data).encode()
  size = len(data) if size is None else size
  return size.to_bytes(8, 'little') + data + body


def safe(entries, **more):
  """A safetensors file of entries {name: (dtype, shape, offsets)}."""
  fields = ('dtype', 'shape', 'data_offsets')
  found = {k: dict(zip(fields, v, strict=True)) for k, v in entries.items()}
  return raw(header(found | more, body=bytes(24)), 'w.safetensors')


def headed(data, size=None):
  return raw(header(data, size, bytes(24)), 'w.safetensors')


GOOD = ('F32', [2, 3], [0, 24])
TWICE = b'"a":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]}'

SAFETENSORS = {
  'length of a header': headed({}, 2**63 + 1),
  'length beyond the file': headed({}, 2**20),
  'length of zero': headed({}, 0),
  'sparse header': lambda folder, _: sparse(
    folder / 'w.safetensors', 1 << 32, (1 << 31).to_bytes(8, 'little') + b'{'
  ),
  'long header': headed(b'{' + b' ' * 120_000_000 + b'}'),
  'deep header': headed(b'{"a":' * 100_000),
  'many entries': headed(
    b'{' + b','.join(b'"%d":0' % i for i in range(500_000)) + b'}'
  ),
  'no JSON': headed(b'{' + b'\xff' * 50),
  'overlap': safe({'a': GOOD, 'b': GOOD}),
  'beyond': safe({'a': ('F32', [2, 4], [0, 32])}),
  'backwards': safe({'a': ('F32', [2, 3], [24, 0])}),
  'gap': safe({'a': ('F32', [1], [20, 24])}),
  'width': safe({'a': ('F64', [2, 3], [0, 24])}),
  'dtype': safe({'a': ('O', [2, 3], [0, 24])}),
  'unread dtype': safe({'a': ('F8_E4M3', [24], [0, 24])}),
  'negative shape': safe({'a': ('F32', [-2, -3], [0, 24])}),
  'NaN in a shape': headed(
    TWICE.replace(b'[2,3]', b'[NaN]').join((b'{', b'}'))
  ),
  'overflow': safe({'a': ('F32', [2**32, 2**32, 2**32], [0, 24])}),
  'metadata': safe({'a': GOOD}, __metadata__={'a': {'b': 1}}),
  'escape codes': safe({CODES: GOOD}),
  'escape codes in metadata': safe(
    {'head.bias': GOOD}, __metadata__={'preprocess': CODES, CODES: CODES}
  ),
}


def npy(descr, shape, data=b'', version=b'\1\0', text=None):
  """A file of NumPy with any header."""
  fields = {'descr': descr, 'fortran_order': False, 'shape': shape}
  text = (str(fields) if text is None else text).encode()
  return b'\x93NUMPY' + version + struct.pack('<H', len(text)) + text + data


def npz(entries, file='w.npz'):
  """An npz; entries are bytes, or are made of the canary."""

  def write(folder, canary):
    with zipfile.ZipFile(folder / file, 'w', zipfile.ZIP_DEFLATED) as archive:
      for name, data in entries.items():
        archive.writestr(name, data(canary) if callable(data) else data)

  return write


def objects(canary):
  """An array of objects, whose pickle calls."""
  out = io.BytesIO()
  np.save(out, np.array([Reduced(os.system, canary.shell)], object))
  return out.getvalue()


def large(head, blocks, name='a.npy', file='w.npz'):
  """An npz with an entry that is megabytes of zeros after its head."""

  def write(folder, canary):
    options = {'compression': zipfile.ZIP_DEFLATED, 'compresslevel': 1}
    with zipfile.ZipFile(folder / file, 'w', **options) as archive:
      with archive.open(name, 'w', force_zip64=True) as entry:
        entry.write(head)
        for _ in range(blocks):
          entry.write(MEGABYTES_16)

  return write


NPZ = {
  'objects': npz({'a.npy': objects}),
  'a pickle': npz({'a.npy': lambda c: b"cos\nsystem\n(S'%b'\ntR." % b'x'}),
  'expression': npz(
    {'a.npy': lambda c: npy('f4', (), text=f'[{c.python}, __import__("os")]')}
  ),
  'size': npz({'a.npy': npy('<f4', (2**50,), bytes(64))}),
  'negative shape': npz({'a.npy': npy('<f4', (-4, -4), bytes(64))}),
  'wide dtype': npz({'a.npy': npy(f'V{2**31 - 1}', (1,), bytes(64))}),
  'deep header': npz({'a.npy': npy('f4', (), text='(' * 60_000)}),
  'dtype': npz({'a.npy': npy('(9999999,9999999)f4', (1,), bytes(64))}),
  'version': npz({'a.npy': npy('<f4', (1,), bytes(4), b'\x09\x09')}),
  'long header': large(b'\x93NUMPY\2\0' + b'\xf0\xff\xff\x7f', BLOCKS),
  'bomb': large(npy('|u1', (BLOCKS << 24,)), BLOCKS),
  'places': npz({'../../../a.npy': npy('<f4', (1,), bytes(4)), '/b.npy': b''}),
  'escape codes': npz({f'{CODES}.npy': npy('<f4', (1,), bytes(4))}),
}


def orbax(change, vouched=True):
  """A checkpoint of variables, changed by `change(place, canary)`.

  What of the change is in the manifest, it returns: leaves, or file names.
  """

  def write(folder, canary):
    from daft_jax import checkpoint
    from daft_jax.checkpoint import manifest

    place = folder / 'w'
    checkpoint.save_variables(place, {'params': {'head': {'kernel': A}}})
    leaves = manifest.read(place, of='w').leaves
    leaves |= change(place, canary) or {}
    if vouched:
      (place / manifest.NAME).unlink()
      files = manifest.hash_new_files(place)
      manifest.write(place, manifest.Manifest('w', {}, leaves, files))

  return write


def garbage(place, canary):
  for path in place.rglob('*'):
    if path.is_file():
      path.write_bytes(b'\xff' * 100)


def elsewhere(place, canary):
  """Its description says that it is a program, and lies elsewhere."""
  path = place / 'model' / '_METADATA'
  text = path.read_text().replace('np.ndarray', 'os.system')
  path.write_text(text.replace('params', '../../../etc/passwd'))


def deep(place, canary):
  (place / 'model' / '_METADATA').write_text('[' * 100_000)


def zeros(place, canary):
  """An array of four gigabytes, which are zero where nothing is stored."""
  import tensorstore

  from daft_jax.checkpoint import manifest

  spec = {
    'driver': 'zarr',
    'kvstore': f'file://{place}/model/|ocdbt:params.head.kernel/',
    'metadata': {
      **{'shape': [1 << 15, 1 << 15], 'chunks': [1 << 15, 1 << 15]},
      **{'dtype': '<f4', 'fill_value': 0.0, 'order': 'C', 'filters': None},
      **{'compressor': None, 'zarr_format': 2},
    },
  }
  tensorstore.open(spec, create=True, delete_existing=True).result()
  leaf = manifest.hash_leaf(A)._replace(shape=[1 << 15, 1 << 15])
  return {'model/params/head/kernel': leaf}


def device(place, canary):
  """A file of it never ends."""
  (path,) = place.glob('model/_METADATA')
  path.unlink()
  path.symlink_to('/dev/zero')


def lying_manifest(place, canary):
  (place / 'manifest.json').write_text('[' * 100_000)


ORBAX = {
  'nothing': lambda folder, _: (folder / 'w').mkdir(),
  'garbage': orbax(garbage),
  'unvouched garbage': orbax(garbage, vouched=False),
  'deep manifest': orbax(lying_manifest, vouched=False),
  'device': orbax(device, vouched=False),
  'elsewhere': orbax(elsewhere),
  'deep': orbax(deep),
  'zeros': orbax(zeros),
}

READ = {
  'safetensors: twice': headed(b'{' + TWICE + b',' + TWICE + b'}'),
  'safetensors: codes beside it': safe(
    {'head.bias': GOOD}, __metadata__={CODES: CODES, 'preprocess': '{}'}
  ),
  'npz: strings': npz({'a.npy': npy('<U16', (1,), bytes(64))}),
}
CASES = {
  **{f'safetensors: {k}': Case(v, 'weights') for k, v in SAFETENSORS.items()},
  **{f'npz: {k}': Case(v, 'weights') for k, v in NPZ.items()},
  **{f'orbax: {k}': Case(v, 'weights') for k, v in ORBAX.items()},
  **{k: Case(v, 'weights', 0, 'none of this') for k, v in READ.items()},
}

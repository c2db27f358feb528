"""Hostile data sets that lie in data_dir, in their publishers' layouts."""

import json
import struct

import numpy as np

from tests.fixtures import published
from tests.hostile import array_files, torch_files
from tests.hostile.corpus import CODES, Case, sparse

UNREAD = 'cannot be read'  # by `prepare`, which then ends with 1
LABELS = published.spread(10, 5)
TERABYTE = 1 << 40


def pickled(make, name='data_batch_1'):
  """CIFAR-10 of which one batch is bytes, made of the canary."""

  def write(folder, canary):
    published.write_cifar10(folder)
    path = folder / 'cifar-10-batches-py' / name
    path.write_bytes(make(canary) if callable(make) else make)

  return write


def batch(data, labels='](K\0e'):
  """The pickle of a batch whose data are opcodes."""
  return b"}(S'data'\n%bS'labels'\n%bu." % (data, labels.encode('latin-1'))


def array(shape, data, dtype=b'u1', order=b'|'):
  kind = b'cnumpy\ndtype\n(U' + bytes([len(dtype)]) + dtype + b'K\0K\1tR'
  kind += b"(K\3S'%b'\nNNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\0tb" % order
  made = (
    b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\0\x85S'b'\n"
  )
  shape = b'(' + b''.join(b'I%d\n' % n for n in shape) + b't'
  return made + b'tR(K\1' + shape + kind + b'\x89' + data + b'tb'


def call(canary):
  return b"cposix\nsystem\n(S'%b'\ntR." % canary.shell.encode()


def state(canary):
  return batch(call(canary)[:-1])


def binary(size):
  def write(folder, canary):
    published.write_cifar10(folder, form='bin')
    sparse(folder / 'cifar-10-batches-bin' / 'data_batch_1.bin', size)

  return write


def npy(make, name='cifar10.1_v6_data.npy'):
  """CIFAR-10.1 of which one file is bytes."""

  def write(folder, canary):
    published.write_cifar10_1(folder)
    (path,) = folder.rglob(name)
    path.write_bytes(make(canary) if callable(make) else make)

  return write


def long_npy(shape, header=None):
  """A file of NumPy that is mostly a hole."""

  def write(folder, canary):
    published.write_cifar10_1(folder)
    (path,) = folder.rglob('cifar10.1_v6_data.npy')
    head = header or array_files.npy('|u1', shape)
    sparse(path, len(head) + int(np.prod(shape, dtype=object)), head)

  return write


def stl(name, size):
  def write(folder, canary):
    published.write_stl10(folder)
    sparse(folder / 'stl10_binary' / name, size)

  return write


def fmow(text=None, name='rgb_metadata.csv', size=0):
  def write(folder, canary):
    published.write_fmow(folder, published.fmow_rows(1, ('USA',))[:3], 8)
    path = folder / 'fmow_v1.1' / name
    if size:
      sparse(path, size, text)
    else:
      path.write_bytes(text)

  return write


HEAD = b'split,category,country_code,timestamp\n'


def row(*fields):
  return HEAD + b','.join(fields) + b'\n'


def listed(line, size=0):
  """SENTRY's list of sketches is another."""

  def write(folder, canary):
    published.write_domainnet40(folder, 1, 8)
    path = folder / 'DomainNet' / 'txt' / 'sketch_train_mini.txt'
    data = line.replace('CANARY', str(canary.paths[0])).encode()
    sparse(path, max(size, len(data)), data)

  return write


def folder_of(name):
  def write(folder, canary):
    published.write_imagenet_shift(folder, 'imagenet-r', published.WNIDS[:1])
    place = folder / 'imagenet-r' / name
    place.mkdir()
    (place / f'{CODES.strip()}.jpg').write_bytes(b'')

  return write


def tfds(info=None, features=None, data=b''):
  """What TensorFlow Datasets is said to have prepared."""

  def write(folder, canary):
    place = folder / 'cifar10' / '3.0.2'
    place.mkdir(parents=True)
    split = {'name': 'train', 'shardLengths': ['1'], 'numBytes': '1'}
    split['filepathTemplate'] = '{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}'
    splits = [split, split | {'name': 'test'}]
    whole = {'name': 'cifar10', 'version': '3.0.2', 'splits': splits}
    whole |= {'fileFormat': 'array_record'}
    text = json.dumps(whole) if info is None else info
    (place / 'dataset_info.json').write_text(text)
    # A module beside the data: `python -m` looks where it is started.
    for spot in (folder, folder.parent, canary.paths[1].parent):
      (spot / 'hostile_module.py').write_text(canary.python)
    text = json.dumps(features) if isinstance(features, dict) else features
    (place / 'features.json').write_text(text or '{}')
    for name in ('train', 'test'):
      (place / f'cifar10-{name}.array_record-00000-of-00001').write_bytes(data)

  return write


LABEL = 'tensorflow_datasets.core.features.class_label_feature.ClassLabel'
IMAGE = 'tensorflow_datasets.core.features.image_feature.Image'
DICT = 'tensorflow_datasets.core.features.features_dict.FeaturesDict'


def feature(image=IMAGE, label=LABEL, classes='10', shape=('32', '32', '3')):
  image = {'pythonClassName': image, 'image': {'shape': {'dimensions': shape}}}
  image['image'] |= {'dtype': 'uint8', 'encodingFormat': 'png'}
  label = {'pythonClassName': label, 'classLabel': {'numClasses': classes}}
  inner = {'image': image, 'label': label}
  return {'pythonClassName': DICT, 'featuresDict': {'features': inner}}


MODULE = 'hostile_module.Image'
OLD = {'type': MODULE, 'content': {}}
NESTED = {
  'pythonClassName': DICT,
  'jsonFeature': {'json': json.dumps({'x': OLD})},
}

CIFAR = {
  'posix.system': pickled(call),
  'call in the data': pickled(state),
  'exec': pickled(
    lambda c: b"cbuiltins\nexec\n(S'%b'\ntR." % c.python.encode()
  ),
  '__reduce__': pickled(
    lambda c: torch_files.pickle.dumps(
      torch_files.Reduced(torch_files.os.system, c.shell)
    )
  ),
  'names of classes': pickled(call, 'batches.meta'),
  'names with codes': pickled(
    b"}S'label_names'\n](X\x04\0\0\0\x1b[2Jes.", 'batches.meta'
  ),
  'objects': pickled(batch(array((1,), b"S'12345678'\n", b'O8'))),
  'shape': pickled(batch(array((2**40, 3072), b"S'1'\n"))),
  'negative shape': pickled(batch(array((-1, 3072), b"S'1'\n"))),
  'labels': pickled(
    batch(array((0, 3072), b"S''\n"), '](\x8a\x20' + '\x7f' * 32)
  ),
  'long': lambda folder, canary: (
    published.write_cifar10(folder),
    sparse(folder / 'cifar-10-batches-py' / 'data_batch_1', TERABYTE),
  ),
  'values': pickled(b'(' + b'N' * 2_500_000 + b't.'),
  'binary': binary(3073 * 10_000_000),
  'npy objects': npy(array_files.objects),
  'npy pickle': npy(call),
  'npy size': npy(array_files.npy('|u1', (2**50, 32, 32, 3))),
  'npy negative': npy(array_files.npy('|u1', (-4, 32, 32, 3), bytes(3072))),
  'npy hole': long_npy((10_000_000, 32, 32, 3)),
  'npy header': long_npy(
    (2**31,), b'\x93NUMPY\2\0' + struct.pack('<I', 2**31 - 16)
  ),
  'npy deep header': npy(array_files.npy('f4', (), text='(' * 60_000)),
  'npy expression': npy(
    lambda c: array_files.npy('f4', (), text=f'[{c.python}]')
  ),
  'npy labels': npy(
    array_files.npy('<u8', (50,), b'\xff' * 400), 'cifar10.1_v6_labels.npy'
  ),
  'stl images': stl('test_X.bin', 27648 * 1_000_000),
  'stl labels': stl('test_y.bin', TERABYTE),
  'stl names': stl('class_names.txt', TERABYTE),
  'tfds text': tfds('nothing'),
  'tfds deep': tfds('{"splits":' + '[' * 100_000),
  'tfds types': tfds('{"splits": [[1], {"name": {}}, {"name": "train"}]}'),
  'tfds numbers': tfds('{"splits": [{"name": "train"}], "fileFormat": 1e999}'),
  'tfds module': tfds(features=feature(MODULE)),
  'tfds module within': tfds(features=feature(label='hostile_module.x.Y')),
  'tfds old module': tfds(features=OLD),
  'tfds nested module': tfds(features=NESTED),
  'tfds features': tfds(features='[' * 100_000),
  'tfds no features': tfds(features='{}'),
  'tfds classes': tfds(features=feature(classes='99999999999')),
  'tfds records': tfds(features=feature(), data=b'\xff' * 200_000),
  'tfds empty records': tfds(features=feature()),
}
FMOW = {
  'field': fmow(row(b'x' * 1_000_000, b'zoo', b'USA', b'2011')),
  'line': fmow(HEAD, size=4 << 30),
  'no line': fmow(b'\0', size=4 << 30),
  'countries': fmow(HEAD, 'country_code_mapping.csv', 4 << 30),
  'quotes': fmow(HEAD + b'"' * 999_999),
  'columns': fmow(HEAD + b',' * 100_000 + b'\n'),
  'formula': fmow(row(b"=cmd|'/C calc'!A0", b'zoo', b'USA', b'2011')),
  'escape codes': fmow(row(b'train', CODES.encode(), b'USA', b'2011')),
  'escape codes in the head': fmow(CODES.encode().strip() + b',' + HEAD),
  'escape codes alone': fmow(b'\x1b[2J,\x1b]0;x\x07\n'),
  'time': fmow(row(b'train', b'zoo', b'USA', b'0001-01-01T00:00:00+23:59')),
  'no time': fmow(row(b'train', b'zoo', b'USA', b'9' * 5000)),
  'bytes': fmow(bytes(range(256)) * 50),
}
LINES = {
  'up': 'sketch/../../../../etc/passwd 0\n',
  'absolute': '/etc/passwd 0\n',
  'canary': 'CANARY 0\n',
  'another domain': 'real/airplane/../x.jpg 0\n',
  'dots': 'sketch/airplane/.. 0\n',
  'backslash': 'sketch/airplane/..\\x.jpg 0\n',
  'NUL': 'sketch/airplane/a\0b.jpg 0\n',
  'escape codes': f'sketch/airplane/{CODES.strip()}.jpg 0\n',
  'label': 'sketch/airplane/a.jpg 99999999999999999999\n',
  'script': 'sketch/airplane/<script>alert(1)</script> 0\n',
}
CASES = {
  **{
    f'cifar: {k}': Case(v, 'prepare', 1, UNREAD, ('cifar',))
    for k, v in CIFAR.items()
  },
  **{
    f'fmow: {k}': Case(v, 'prepare', 1, UNREAD, ('fmow',))
    for k, v in FMOW.items()
  },
  **{
    f'list: {k}': Case(listed(v), 'prepare', 1, UNREAD, ('domainnet',))
    for k, v in LINES.items()
  },
  'list: hole': Case(
    listed('', TERABYTE), 'prepare', 1, UNREAD, ('domainnet',)
  ),
  'imagenet: folders': Case(
    folder_of(CODES.replace('/', '')), 'prepare', 1, UNREAD, ('imagenet',)
  ),
  'imagenet: surrogates': Case(
    folder_of('\udcff\udc80'), 'prepare', 1, UNREAD, ('imagenet',)
  ),
}

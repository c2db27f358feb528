"""The small data sets as published: sound, damaged and hostile files."""

import pickle

import numpy as np
import pytest

from daft_jax.data import published
from tests.fixtures import published as fixtures

LABELS = fixtures.spread(10, 5)


def expected(labels, start=0, size=32):
  return fixtures.pictures(labels, size, start)


@pytest.mark.parametrize(
  'form',
  [
    {'form': 'py', 'python': 2},
    {'form': 'py', 'python': 3, 'numpy': 1},
    {'form': 'py', 'python': 3, 'numpy': 2},
    {'form': 'bin'},
  ],
  ids=['python 2', 'numpy 1', 'numpy 2', 'binary'],
)
def test_cifar10(form, tmp_path):
  fixtures.write_cifar10(tmp_path, **form)
  for part in ('train', 'test'):
    found = published.load(f'cifar10:{part}', tmp_path)
    np.testing.assert_array_equal(found.examples.labels, LABELS)
    np.testing.assert_array_equal(found.examples.images, expected(LABELS))
  assert found.classes[:2] == ('airplane', 'automobile')
  assert found.where == str(tmp_path / f'cifar-10-batches-{form["form"]}')
  (note,) = found.notes
  assert note.startswith('cifar10:test: 50 examples') and '10,000' in note


def test_the_pickles_are_those_that_pickle_reads(tmp_path):
  """The hand-made one of Python 2 as well as those of today."""
  images = fixtures.pictures(LABELS)
  for options in ({}, {'python': 3, 'numpy': 2}):
    data = fixtures.cifar_pickle(LABELS, images, **options)
    batch = pickle.loads(data, encoding='latin1')
    assert batch['labels'] == LABELS.tolist()
    planes = batch['data'].reshape(-1, 3, 32, 32)
    np.testing.assert_array_equal(planes.transpose(0, 2, 3, 1), images)
  old = fixtures.cifar_pickle(LABELS, images, python=3, numpy=1)
  assert b'numpy.core.multiarray' in old and b'numpy._core' not in old


def test_only_some_classes(tmp_path):
  fixtures.write_cifar10(tmp_path)
  found = published.load('cifar10:train', tmp_path, only=['cat', 'truck'])
  np.testing.assert_array_equal(found.examples.labels, [3, 9] * 5)
  chosen = np.isin(LABELS, (3, 9))
  np.testing.assert_array_equal(found.examples.images, expected(LABELS)[chosen])
  assert '10,000 are published' in found.notes[0]


def batch(tmp_path):
  return tmp_path / 'cifar-10-batches-py' / 'test_batch'


def repickled(change):
  def damage(path):
    fields = pickle.loads(path.read_bytes(), encoding='latin1')
    change(fields)
    path.write_bytes(pickle.dumps(fields, 2))

  return damage


def run_code(path):
  path.write_bytes(
    b"cos\nsystem\n(S'touch %b'\ntR." % str(path.with_name('ran')).encode()
  )


def lie(path):
  """A huge array that is not there."""
  data = path.read_bytes()
  assert data.count(b'J2\x00\x00\x00J\x00\x0c\x00\x00') == 1
  path.write_bytes(
    data.replace(
      b'J2\x00\x00\x00J\x00\x0c\x00\x00', b'J\xff\xff\xff\x7fJ\x00\x0c\x00\x00'
    )
  )


@pytest.mark.parametrize(
  ('damage', 'message'),
  [
    (run_code, "'os.system', which is not data"),
    (lie, 'is not a batch of CIFAR-10'),
    (lambda path: path.write_bytes(path.read_bytes()[:-9]), 'not a batch'),
    (lambda path: path.write_bytes(b''), 'not a batch'),
    (lambda path: path.write_bytes(b'K\x01.'), 'no dict'),
    (lambda path: path.unlink(), 'has no test_batch'),
    (repickled(lambda x: x['labels'].pop()), '50 images, but 49 labels'),
    (repickled(lambda x: x['labels'].append(10)), 'label 10 at 50'),
    (repickled(lambda x: x.update(labels=['cat'])), 'no list of labels'),
    (repickled(lambda x: x.update(labels=[2**80] * 50)), 'label -1 at 0'),
    (repickled(lambda x: x.pop('data')), 'has no data'),
    (
      repickled(lambda x: x.update(data=x['data'].astype('f4'))),
      'has no data of uint8',
    ),
    (repickled(lambda x: x.update(data=x['data'][:, :3])), 'has no data'),
  ],
)
def test_damaged_pickles(damage, message, tmp_path):
  fixtures.write_cifar10(tmp_path)
  damage(batch(tmp_path))
  with pytest.raises(ValueError, match=message) as error:
    published.load('cifar10:test', tmp_path)
  assert 'cifar-10-batches-py' in str(error.value)
  assert 'again' in str(error.value)
  assert not batch(tmp_path).with_name('ran').exists()
  assert len(published.load('cifar10:train', tmp_path).examples) == 50


def test_classes_in_another_order_are_not_read(tmp_path):
  fixtures.write_cifar10(tmp_path)
  path = batch(tmp_path).with_name('batches.meta')
  path.write_bytes(path.read_bytes().replace(b'U\x03cat', b'U\x03cow'))
  with pytest.raises(ValueError, match='batches.meta does not name'):
    published.load('cifar10:test', tmp_path)


@pytest.mark.parametrize('size', [0, 1, 3072, 3074])
def test_binary_of_a_wrong_length(size, tmp_path):
  fixtures.write_cifar10(tmp_path, form='bin')
  path = tmp_path / 'cifar-10-batches-bin' / 'test_batch.bin'
  path.write_bytes(bytes(size))
  with pytest.raises(ValueError, match='test_batch.bin has .*multiple of 3073'):
    published.load('cifar10:test', tmp_path)


def test_binary_with_an_unknown_label(tmp_path):
  fixtures.write_cifar10(tmp_path, form='bin')
  path = tmp_path / 'cifar-10-batches-bin' / 'test_batch.bin'
  path.write_bytes(b'\x0a' + bytes(3072))
  with pytest.raises(ValueError, match='label 10 at 0, and labels are 0 ... 9'):
    published.load('cifar10:test', tmp_path)


@pytest.mark.parametrize('version', ['v4', 'v6'])
def test_cifar10_1(version, tmp_path):
  fixtures.write_cifar10_1(tmp_path / 'cifar10.1', version=version)
  found = published.load(f'cifar10_1:{version}', tmp_path)
  labels = fixtures.spread(10, 3)
  np.testing.assert_array_equal(found.examples.labels, labels)
  np.testing.assert_array_equal(found.examples.images, expected(labels, 90))


def lie_of_size(path):
  """A terabyte that is not there."""
  head = {'descr': '<i8', 'fortran_order': False, 'shape': (2**37,)}
  with path.open('wb') as file:
    np.lib.format.write_array_header_1_0(file, head)


class Harm:
  def __reduce__(self):
    return print, ('ran',)


@pytest.mark.parametrize(
  ('write', 'message'),
  [
    (lambda p: np.save(p, np.array([Harm()] * 30)), 'without objects'),
    (lambda p: p.write_bytes(p.read_bytes()[:-1]), 'not a whole file'),
    (lambda p: p.write_bytes(p.read_bytes() + b'x'), 'its header says'),
    (lambda p: p.write_bytes(p.read_bytes()[:40]), 'not a whole file'),
    (lambda p: p.write_bytes(b''), 'not a whole file'),
    (lambda p: np.save(p, np.zeros(29, int)), '30 images, but 29 labels'),
    (lambda p: np.save(p, np.arange(30)), 'label 10 at 10'),
    (lambda p: np.save(p, np.zeros(30)), 'not integers'),
    (lambda p: np.save(p, np.zeros((), int)), 'its header says'),
    (lambda p: np.save(p, np.zeros((30, 1), int)), 'not integers in a row'),
    (lambda p: p.unlink(), 'not cifar10.1_v6_labels.npy: add it'),
    (lie_of_size, 'not a whole file'),
  ],
)
def test_damaged_numpy_files(write, message, tmp_path, capsys):
  fixtures.write_cifar10_1(tmp_path)
  write(tmp_path / 'cifar10.1_v6_labels.npy')
  with pytest.raises(ValueError, match=message) as error:
    published.load('cifar10_1:v6', tmp_path)
  assert 'cifar10.1_v6_labels.npy' in str(error.value)
  assert not capsys.readouterr().out


def test_images_of_another_shape(tmp_path):
  fixtures.write_cifar10_1(tmp_path)
  np.save(tmp_path / 'cifar10.1_v6_data.npy', np.zeros((30, 32, 32), np.uint8))
  with pytest.raises(ValueError, match=r'not uint8 \(N, 32, 32, 3\)'):
    published.load('cifar10_1:v6', tmp_path)


@pytest.mark.parametrize('severity', [1, 3, 5])
def test_cifar10_c(severity, tmp_path):
  fixtures.write_cifar10_c(tmp_path, corruptions=['fog', 'saturate'])
  labels = fixtures.spread(10, 2)
  for name in ('fog', 'saturate'):  # one of the benchmark, one more
    found = published.load(f'cifar10_c:{name}/{severity}', tmp_path)
    np.testing.assert_array_equal(found.examples.labels, labels)
    np.testing.assert_array_equal(
      found.examples.images, expected(labels, 50) // severity
    )
  assert found.where.endswith('saturate.npy')
  with pytest.raises(ValueError, match='has no snow.npy'):
    published.load('cifar10_c:snow/1', tmp_path)


def test_only_the_block_of_a_severity_stays_in_memory(tmp_path):
  fixtures.write_cifar10_c(tmp_path, corruptions=['fog'])
  images = published.load('cifar10_c:fog/2', tmp_path).examples.images
  while images.base is not None:
    images = images.base
  assert type(images) is np.ndarray and images.nbytes == 20 * 3072


def test_severities_that_do_not_divide(tmp_path):
  fixtures.write_cifar10_c(tmp_path, corruptions=['fog'])
  path = tmp_path / 'CIFAR-10-C' / 'labels.npy'
  np.save(path, np.load(path)[:-1])
  with pytest.raises(ValueError, match='5 blocks of as many'):
    published.load('cifar10_c:fog/1', tmp_path)


def test_stl10(tmp_path):
  fixtures.write_stl10(tmp_path)
  labels = fixtures.spread(10, 3)
  found = published.load('stl10:test', tmp_path)
  np.testing.assert_array_equal(found.examples.labels, labels)
  np.testing.assert_array_equal(
    found.examples.images, expected(labels, size=96)
  )
  assert found.classes[2] == 'car' and 'frog' not in found.classes


@pytest.mark.parametrize(
  ('file', 'data', 'message'),
  [
    ('test_X.bin', bytes(27647), 'no multiple of 27648'),
    ('test_X.bin', bytes(27648), '1 images, but 30 labels'),
    ('test_y.bin', bytes(30), 'has label 0, not 1 ... 10'),
    ('test_y.bin', b'\x0b' * 30, 'label 10 at 0'),
    ('test_y.bin', b'', 'no multiple of 1'),
    ('class_names.txt', b'dog\ncat\n', 'class_names.txt does not have'),
  ],
)
def test_damaged_stl10(file, data, message, tmp_path):
  fixtures.write_stl10(tmp_path)
  (tmp_path / 'stl10_binary' / file).write_bytes(data)
  with pytest.raises(ValueError, match=message):
    published.load('stl10:test', tmp_path)


@pytest.mark.parametrize(
  'source', ['cifar10:test', 'cifar10_1:v6', 'cifar10_c:fog/1', 'stl10:test']
)
def test_missing(source, tmp_path):
  with pytest.raises(published.Missing) as error:
    published.load(source, tmp_path)
  message = str(error.value)
  assert f'{source} is not in {tmp_path}: looked for' in message
  assert 'dataset_info.json' in message
  assert f'prepare cifar --data_dir={tmp_path}' in message

"""What TensorFlow Datasets prepared, read without TensorFlow."""

import json
import multiprocessing
import os
import pickle
import subprocess
import sys

import numpy as np
import pytest

from daft_jax.data import published, records
from tests.fixtures import published as fixtures

pytest.importorskip('tensorflow_datasets')
pytest.importorskip('array_record')

from daft_jax.data.published import prepared as reader  # noqa: E402
from tests.fixtures import prepared  # noqa: E402

WNIDS = fixtures.WNIDS


def pairs(labels):
  return [(int(label), number) for number, label in enumerate(labels)]


def by_picture(found):
  """{label: set of images}, since they are stored in another order."""
  images = found.examples.images
  rows = zip(found.examples.labels.tolist(), images, strict=True)
  return {(label, image.tobytes()) for label, image in rows}


@pytest.mark.parametrize(
  ('source', 'options'),
  [
    (
      'cifar10:train',
      {
        'name': 'cifar10',
        'version': '3.0.2',
        'split': 'train',
        'names': fixtures.CIFAR,
      },
    ),
    ('cifar10_1:v6', {'name': 'cifar10_1', 'config': 'v6', 'version': '1.1.0'}),
    (
      'cifar10_c:glass_blur/2',
      {'name': 'cifar10_corrupted', 'config': 'frosted_glass_blur_2'},
    ),
    (
      'cifar10_c:elastic_transform/5',
      {'name': 'cifar10_corrupted', 'config': 'elastic_5'},
    ),
    ('cifar10_c:fog/1', {'name': 'cifar10_corrupted', 'config': 'fog_1'}),
    ('stl10:test', {'name': 'stl10', 'side': 96, 'names': fixtures.STL}),
  ],
  ids=lambda value: value if isinstance(value, str) else '',
)
def test_small_sets_are_read_into_memory(source, options, tmp_path):
  options = {'side': 32} | options
  labels = fixtures.spread(10, 2)
  where = prepared.write(tmp_path, examples=pairs(labels), **options)
  found = published.load(source, tmp_path)
  images = fixtures.pictures(labels, options['side'])
  assert by_picture(found) == {
    (label, image.tobytes())
    for label, image in zip(labels.tolist(), images, strict=True)
  }
  assert found.where == str(where)
  some = published.load(source, tmp_path, only=found.classes[2:4])
  assert sorted(some.examples.labels.tolist()) == [2, 2, 3, 3]


def test_classes_go_by_name(tmp_path):
  names = fixtures.CIFAR[::-1]
  prepared.write(
    tmp_path, 'cifar10', [(0, 0), (1, 1)], names=names, side=32, version='3.0.2'
  )
  found = published.load('cifar10:test', tmp_path)
  assert sorted(found.examples.labels.tolist()) == [8, 9]


def test_domainnet_is_filtered(tmp_path):
  names = ['zebra', *sorted(fixtures.DOMAINNET), 'axe']
  numbers = [0, 1, 40, 41, names.index('donut'), 2]
  prepared.write(
    tmp_path,
    'domainnet',
    pairs(numbers),
    config='sketch',
    split='train',
    names=names,
  )
  found = published.load('domainnet40:sketch/train', tmp_path)
  wanted = [names[x] for x in numbers if names[x] not in ('zebra', 'axe')]
  labels = found.examples.labels
  assert sorted(found.classes[x] for x in labels) == sorted(wanted)
  for row, label in enumerate(labels):
    pixels = np.asarray(records.decode(found.examples.items, row))
    number = names.index(found.classes[label])
    pictures = [
      fixtures.picture(*pair, 20)
      for pair in pairs(numbers)
      if pair[0] == number
    ]
    assert any((pixels == picture).all() for picture in pictures)


@pytest.fixture(scope='module')
def imagenet(tmp_path_factory):
  folder = tmp_path_factory.mktemp('imagenet')
  prepared.write(
    folder,
    'imagenet2012',
    pairs(np.arange(300) % 100),
    version='5.1.0',
    split='validation',
    names=WNIDS,
    form='jpeg',
    extra=True,
  )
  return folder


def test_images_stay_encoded(imagenet):
  found = published.load('imagenet:val', imagenet, only=WNIDS[3:5])
  assert sorted(found.examples.labels.tolist()) == [3, 3, 3, 4, 4, 4]
  items = found.examples.items
  stored = {
    fixtures.encoded(label, number + label, 20)
    for label in (3, 4)
    for number in (0, 100, 200)
  }
  assert {items.read(row) for row in range(6)} == stored
  assert items.name(0).endswith(f' validation[{items.rows[0]}]')


def test_what_travels_is_small(imagenet):
  found = published.load('imagenet:val', imagenet, only=WNIDS[5:9])
  some = found.examples.take(np.array([7, 5]))
  data = pickle.dumps(some.items)
  assert len(data) < 1000
  again = pickle.loads(data)
  assert again.read(0) == found.examples.items.read(7)
  assert again.read(1) == found.examples.items.read(5)
  assert again.name(1) == found.examples.items.name(5)


def read_all(items):
  return [items.read(row) for row in range(len(items))]


@pytest.mark.parametrize('method', ['spawn', 'forkserver'])
def test_other_processes_read_the_same(method, imagenet):
  items = (
    published.load('imagenet:val', imagenet).examples.take(np.arange(9)).items
  )
  with multiprocessing.get_context(method).Pool(2) as pool:
    halves = pool.map(
      read_all, [items.take(np.arange(5)), items.take(np.arange(5, 9))]
    )
  assert halves[0] + halves[1] == read_all(items)


def test_labels_are_kept_and_made_again(imagenet):
  found = published.load('imagenet:val', imagenet)
  (path,) = imagenet.rglob('daft_jax_labels_*.npy')
  stored = np.load(path)
  np.testing.assert_array_equal(stored, found.examples.labels)
  np.save(path, stored[::-1].copy())  # it is read, and not the images
  again = published.load('imagenet:val', imagenet)
  np.testing.assert_array_equal(again.examples.labels, stored[::-1])
  for data in (path.read_bytes()[:200], b'', b'\x93NUMPY'):
    path.write_bytes(data)
    again = published.load('imagenet:val', imagenet)
    np.testing.assert_array_equal(again.examples.labels, stored)
    np.testing.assert_array_equal(np.load(path), stored)
  np.save(path, stored)
  shard = next(imagenet.rglob('*validation.array_record*'))
  os.utime(shard, ns=(1, 1))  # the data set was prepared again
  published.load('imagenet:val', imagenet)
  assert len([*imagenet.rglob('daft_jax_labels_*.npy')]) == 2


def test_prepared_is_preferred(tmp_path):
  fixtures.write_stl10(tmp_path)
  assert published.load('stl10:test', tmp_path).where.endswith('stl10_binary')
  options = {'side': 96, 'names': fixtures.STL}
  for version in ('1.0.0', '1.9.0', '1.10.0'):
    prepared.write(tmp_path, 'stl10', [(1, 2)], version=version, **options)
  prepared.write(
    tmp_path, 'stl10', [(1, 2)], version='2.0.0', split='train', **options
  )
  (tmp_path / 'stl10' / '9.0.0').mkdir()
  found = published.load('stl10:test', tmp_path)
  assert found.where == str(tmp_path / 'stl10' / '1.10.0')
  assert found.examples.labels.tolist() == [1]


def rewrite(folder, change):
  path = folder / 'dataset_info.json'
  info = json.loads(path.read_text())
  change(info)
  path.write_text(json.dumps(info))


def test_tfrecord_says_how_to_prepare(tmp_path):
  """Writing tfrecord needs TensorFlow: here its description alone says so."""
  where = prepared.write(
    tmp_path, 'stl10', [(0, 0)], side=96, names=fixtures.STL
  )
  rewrite(where, lambda info: info.update(fileFormat='tfrecord'))
  with pytest.raises(ValueError, match='not prepared as array_record') as error:
    published.load('stl10:test', tmp_path)
  message = str(error.value)
  assert f"tfds.builder('stl10', data_dir='{tmp_path}'" in message
  assert "file_format='array_record').download_and_prepare()" in message
  fixtures.write_stl10(tmp_path)  # the publisher's files can be read
  assert published.load('stl10:test', tmp_path).where.endswith('stl10_binary')


@pytest.mark.parametrize('text', ['', '{', '[]', '{"splits": 1}'])
def test_a_damaged_description(text, tmp_path):
  folder = tmp_path / 'stl10' / '1.0.0'
  folder.mkdir(parents=True)
  (folder / 'dataset_info.json').write_text(text)
  with pytest.raises(ValueError, match='dataset_info.json is damaged'):
    published.load('stl10:test', tmp_path)


@pytest.mark.parametrize(
  ('options', 'message'),
  [
    ({'names': ['a', 'b'], 'side': 96}, 'has no class airplane'),
    ({'classes': 11, 'side': 96}, '11 classes without names, not 10'),
    ({'names': fixtures.STL, 'side': 32}, r'is \(32, 32\), not 96 x 96'),
  ],
)
def test_another_data_set_of_the_same_name(options, message, tmp_path):
  prepared.write(tmp_path, 'stl10', [(0, 0)], **options)
  with pytest.raises(ValueError, match=message):
    published.load('stl10:test', tmp_path)


def test_without_the_packages(tmp_path):
  prepared.write(tmp_path, 'stl10', [(0, 0)], side=96, names=fixtures.STL)
  program = f"""
import sys
sys.modules['tensorflow_datasets'] = None
from daft_jax.data import published
try:
  published.load('stl10:test', {str(tmp_path)!r})
except ModuleNotFoundError as error:
  print(error)
"""
  done = subprocess.run(
    [sys.executable, '-c', program], capture_output=True, text=True, check=True
  )
  assert 'pip install tensorflow-datasets array_record' in done.stdout


def test_tensorflow_is_not_imported(imagenet):
  program = f"""
import sys
from daft_jax.data import published
assert 'tensorflow_datasets' not in sys.modules
published.load('imagenet:val', {str(imagenet)!r})
print('tensorflow_datasets' in sys.modules, 'tensorflow' in sys.modules)
"""
  done = subprocess.run(
    [sys.executable, '-c', program], capture_output=True, text=True, check=True
  )
  assert done.stdout.split() == ['True', 'False']


def test_names_are_those_of_the_installed_catalog():
  """Names, configurations and splits: TFDS knows each of them."""
  import tensorflow_datasets as tfds

  rows = {
    prepared
    for row in published.DATASETS.values()
    for prepared in row.tfds.values()
  }
  assert len(rows) > 100
  builders = {name: tfds.builder_cls(name) for name in {x.name for x in rows}}
  for row in rows:
    configs = {config.name for config in builders[row.name].BUILDER_CONFIGS}
    assert row.config in (configs or {''})
    assert row.split in ('train', 'test', 'validation')


def test_place():
  row = published.DATASETS['cifar10_1']
  place = reader.place(row.tfds['v4'])
  assert place == 'cifar10_1/v4/<version>/dataset_info.json'

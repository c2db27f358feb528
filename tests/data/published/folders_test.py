"""ImageNet, its shifted test sets, DomainNet and the benchmarks of domains."""

import os

import numpy as np
import pytest

from daft_jax.data import domains, published, records
from tests.fixtures import published as fixtures

SOME = fixtures.WNIDS[5:300:59]


def labels_of(found):
  return found.examples.labels.tolist()


def numbers(wnids):
  return [fixtures.WNIDS.index(x) for x in wnids]


@pytest.mark.parametrize('root', ['', 'imagenet', 'ILSVRC/Data/CLS-LOC'])
def test_imagenet(root, tmp_path):
  fixtures.write_imagenet(tmp_path / root, SOME, train=2, val=1)
  found = published.load('imagenet:train', tmp_path)
  assert labels_of(found) == np.repeat(numbers(SOME), 2).tolist()
  assert found.classes == fixtures.WNIDS
  paths = found.examples.items.paths
  assert paths[2].endswith(os.path.join(SOME[1], f'{SOME[1]}_0.JPEG'))
  pixels = np.asarray(records.decode(found.examples.items, 2))
  wanted = fixtures.picture(numbers(SOME)[1], 0)
  assert (
    np.abs(pixels.astype(int).mean(0).mean(0) - wanted.mean((0, 1))).max() < 9
  )
  assert labels_of(published.load('imagenet:val', tmp_path)) == numbers(SOME)


def test_folders_of_unwanted_classes_are_not_listed(tmp_path):
  fixtures.write_imagenet(tmp_path, SOME)
  unreadable = tmp_path / 'train' / SOME[0]
  for path in unreadable.iterdir():
    path.unlink()
  unreadable.rmdir()
  unreadable.symlink_to(unreadable)  # a loop: to list it is an OSError
  found = published.load('imagenet:train', tmp_path, only=SOME[1:3])
  assert labels_of(found) == np.repeat(numbers(SOME[1:3]), 3).tolist()
  assert not found.notes


def test_counts_are_compared_with_the_published_ones(tmp_path):
  fixtures.write_imagenet(tmp_path, SOME[:2], val=50)
  assert published.load('imagenet:val', tmp_path, only=SOME[:2]).notes == ()
  (tmp_path / 'val' / SOME[0] / f'{SOME[0]}_0.JPEG').unlink()
  (note,) = published.load('imagenet:val', tmp_path, only=SOME[:2]).notes
  assert '99 examples' in note and '100 are published' in note
  notes = published.load('imagenet:train', tmp_path, only=SOME[:3]).notes
  assert notes == (
    f'imagenet:train: no image of {SOME[2]} in {tmp_path}/train',
  )
  with pytest.raises(ValueError, match='no image of the wanted classes'):
    published.load('imagenet:train', tmp_path, only=SOME[3:])


def test_what_is_no_image_is_left_out(tmp_path):
  fixtures.write_imagenet(tmp_path, SOME)
  for name in ('._x.JPEG', '.DS_Store', 'list.txt'):
    (tmp_path / 'val' / SOME[0] / name).write_bytes(b'')
  (tmp_path / 'val' / '.cache').mkdir()
  assert labels_of(published.load('imagenet:val', tmp_path)) == numbers(SOME)


def test_a_folder_that_is_no_class(tmp_path):
  fixtures.write_imagenet(tmp_path, SOME)
  (tmp_path / 'train' / 'n00000000').mkdir()
  with pytest.raises(ValueError, match='n00000000.*Move them'):
    published.load('imagenet:train', tmp_path)


def test_a_flat_val(tmp_path):
  fixtures.write_imagenet(tmp_path, SOME)
  (tmp_path / 'val').rename(tmp_path / 'gone')
  (tmp_path / 'val').mkdir()
  (tmp_path / 'val' / 'ILSVRC2012_val_00000001.JPEG').write_bytes(b'')
  with pytest.raises(ValueError, match='without class folders.*valprep.sh'):
    published.load('imagenet:val', tmp_path)


def test_a_train_folder_of_another_data_set(tmp_path):
  (tmp_path / 'train' / 'dog').mkdir(parents=True)
  fixtures.write_imagenet(tmp_path / 'imagenet', SOME)
  found = published.load('imagenet:train', tmp_path)
  assert found.where == str(tmp_path / 'imagenet' / 'train')


@pytest.mark.parametrize('part', published.DATASETS['imagenet_v2'].parts)
def test_imagenet_v2_is_in_the_order_of_numbers(part, tmp_path):
  fixtures.write_imagenet_v2(tmp_path, part, classes=12)
  found = published.load(f'imagenet_v2:{part}', tmp_path)
  assert labels_of(found) == list(range(12))
  paths = found.examples.items.paths
  assert [path.split(os.sep)[-2] for path in paths] == list(map(str, range(12)))
  found = published.load(
    f'imagenet_v2:{part}', tmp_path, only=[fixtures.WNIDS[10]]
  )
  assert labels_of(found) == [10]


@pytest.mark.parametrize(
  'name', ['imagenet-r', 'imagenet-a', 'imagenet-sketch']
)
def test_shifted_sets_have_labels_of_the_thousand(name, tmp_path):
  fixtures.write_imagenet_shift(tmp_path, name, SOME)
  (tmp_path / name / 'README.txt').write_text('')
  source = name.replace('-', '_') + ':test'
  found = published.load(source, tmp_path)
  assert labels_of(found) == numbers(SOME) and len(found.classes) == 1000
  assert 'are published' in found.notes[0]
  # How many there are of one class is not published.
  assert not published.load(source, tmp_path, only=SOME[:1]).notes


def test_two_data_sets_call_a_folder_sketch(tmp_path):
  fixtures.write_imagenet_shift(tmp_path, 'imagenet-sketch', SOME)
  (tmp_path / 'imagenet-sketch').rename(tmp_path / 'sketch')
  found = published.load('imagenet_sketch:test', tmp_path)
  assert labels_of(found) == numbers(SOME)
  fixtures.write_domainnet40(tmp_path)
  found = published.load('domainnet40:sketch/test', tmp_path)
  assert found.where == str(tmp_path / 'DomainNet' / 'sketch')


@pytest.mark.parametrize(
  'source', ['imagenet:val', 'imagenet_v2:topimages', 'imagenet_a:test']
)
def test_missing(source, tmp_path):
  with pytest.raises(published.Missing, match='prepare (imagenet|living17)'):
    published.load(source, tmp_path)


@pytest.mark.parametrize('flat', [False, True])
def test_domainnet40(flat, tmp_path):
  fixtures.write_domainnet40(tmp_path)
  if flat:  # lists and images elsewhere
    for path in sorted((tmp_path / 'DomainNet' / 'txt').iterdir()):
      path.rename(tmp_path / path.name)
    (tmp_path / 'DomainNet').rename(tmp_path / 'domain_net')
  for domain in ('sketch', 'real', 'painting', 'clipart'):
    train = published.load(f'domainnet40:{domain}/train', tmp_path)
    assert labels_of(train) == np.repeat(range(40), 2).tolist()
    test = published.load(f'domainnet40:{domain}/test', tmp_path)
    assert labels_of(test) == list(range(40))
    assert not set(train.examples.items.paths) & set(test.examples.items.paths)
    assert test.examples.items.read(39)[:2] == b'\xff\xd8'
  assert test.classes[36:] == ('butterfly', 'sheep', 'drums', 'donut')


@pytest.mark.parametrize(
  'line',
  [
    'sketch/airplane/x.jpg 1',
    'sketch/zebra/x.jpg 0',
    'real/airplane/x.jpg 0',
    'sketch/airplane/x.jpg',
    'sketch/../airplane/x.jpg 0',
    'sketch/airplane/.. 0',
    'sketch/airplane/..\\x.jpg 0',
    '/etc/passwd 0',
    'sketch/airplane/x.jpg 40',
    'sketch/airplane/x.jpg -1',
    '<html>',
  ],
)
def test_a_list_that_is_none(line, tmp_path):
  fixtures.write_domainnet40(tmp_path)
  path = tmp_path / 'DomainNet' / 'txt' / 'sketch_test_mini.txt'
  path.write_text(path.read_text() + line + '\n')
  with pytest.raises(ValueError, match='sketch_test_mini.txt:41: .*SENTRY'):
    published.load('domainnet40:sketch/test', tmp_path)


def test_a_list_that_names_a_missing_image(tmp_path):
  fixtures.write_domainnet40(tmp_path)
  folder = tmp_path / 'DomainNet' / 'sketch' / 'bee'
  for path in folder.iterdir():
    path.unlink()
  folder.rmdir()
  with pytest.raises(ValueError, match='2 images that are not in .*bee/'):
    published.load('domainnet40:sketch/train', tmp_path)
  assert published.load('domainnet40:sketch/train', tmp_path, only=['cat'])


def test_domainnet40_says_which_of_the_two_is_missing(tmp_path):
  fixtures.write_domainnet40(tmp_path)
  (tmp_path / 'DomainNet' / 'txt' / 'real_test_mini.txt').unlink()
  with pytest.raises(published.Missing, match='real_test_mini') as error:
    published.load('domainnet40:real/test', tmp_path)
  assert '<class>' not in str(error.value)


@pytest.mark.parametrize('name', domains.DOMAINS)
def test_domain_folder(name, tmp_path):
  row = domains.DOMAINS[name]
  with pytest.raises(ValueError, match=f'{name} is not in .*prepare {name}'):
    published.domain_folder(row, tmp_path)
  with pytest.raises(ValueError, match='--config.data.dir=FOLDER'):
    published.domain_folder(row, None)
  fixtures.write_suite(tmp_path, name)
  place = published.domain_folder(row, tmp_path)
  assert place == tmp_path / row.folders[0]
  assert published.domain_folder(row, str(place)) == place
  place.rename(tmp_path / row.folders[1])
  place = published.domain_folder(row, tmp_path)
  assert place == tmp_path / row.folders[1]
  first = next(iter(row.domains.values()))
  (place / first).rename(tmp_path / 'away')
  with pytest.raises(ValueError, match=f'{place} has no {first}'):
    published.domain_folder(row, tmp_path)

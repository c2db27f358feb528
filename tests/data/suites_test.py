import ast
import pathlib

import numpy as np
import pytest

from daft_jax.assemble import sets
from daft_jax.data import augment, published, sources, suites
from daft_jax.data.sources import ImageSet
from daft_jax.data.suites import SUITES

# 'tiny' is what tests add.
EMBEDDED = {
  'digits',
  'digits_swapped',
  'glyphs',
  'tiny',
}


def test_every_split_is_a_known_source():
  known = {*sources.list_sources(), *published.list_sources()}
  for suite in SUITES.values():
    splits = [suite.train, suite.id_test, *filter(None, [suite.id_val])]
    splits += [*suite.ood.values(), *suite.more_ood.values()]
    assert set(splits) <= known
    assert suite.augment in augment.AUGMENTATIONS
    assert bool(suite.id_val) == (suite.name in EMBEDDED)


def test_names_and_classes_agree():
  published_ones = {'cifar', 'domainnet', 'living17', 'entity30', 'fmow'}
  assert set(SUITES) - {'tiny'} == {
    *('digits', 'digits_swapped', 'glyphs', 'imagenet'),
    *published_ones,
  }
  for name, suite in SUITES.items():
    assert suite.name == name
    if name != 'imagenet':  # whose classes its folders name
      assert len(suite.classes) == suite.num_classes == len(set(suite.classes))
    assert not set(suite.ood) & set(suite.more_ood)


def test_labels_lie_within_the_classes():
  suite = SUITES['digits']
  for name in (suite.train, suite.id_val, suite.id_test, suite.ood['mnist']):
    images = sources.load(name, image_size=suite.image_size)
    assert set(images.labels.tolist()) == set(range(suite.num_classes))


def test_the_module_imports_no_other_part_of_the_package():
  tree = ast.parse(pathlib.Path(suites.__file__).read_text())
  imported = {
    name
    for node in ast.walk(tree)
    if isinstance(node, ast.Import | ast.ImportFrom)
    for name in [getattr(node, 'module', None) or node.names[0].name]
  }
  assert not any(name.startswith('daft_jax') for name in imported)


def test_summaries_are_of_sets_that_there_are():
  for suite in SUITES.values():
    known = {*suite.ood, *suite.more_ood}
    for name, summary in suite.summaries.items():
      assert summary.how in ('pooled', 'mean', 'worst')
      assert set(summary.sets) <= known and name not in known
      known |= {name} if summary.how == 'mean' else set()


def test_cifar():
  suite = SUITES['cifar']
  assert len(suite.more_ood) == 15 * 5
  # The map of LP-FT's code: of STL-10 to CIFAR-10, -1 is left out.
  stl = published.DATASETS['stl10'].classes
  to = [suite.class_maps['stl10'].get(name) for name in stl]
  number = {name: label for label, name in enumerate(suite.classes)}
  want = [0, 2, 1, 3, 4, 5, 7, -1, 8, 9]
  assert [number[x] if x else -1 for x in to] == want


def test_domainnet():
  suite = SUITES['domainnet']
  assert suite.classes[:3] == ('airplane', 'ambulance', 'apple')
  assert suite.classes[36:] == ('butterfly', 'sheep', 'drums', 'donut')
  counts = published.DATASETS['domainnet40'].counts
  assert counts['sketch/train'] == 5537 and counts['sketch/test'] == 2399
  ood = [counts[source.partition(':')[2]] for source in suite.ood.values()]
  assert ood == [6943, 2909, 1616] and sum(ood) == 11468
  assert suite.summaries['union'].sets == tuple(suite.ood)


# Rows of the tables of the BREEDS splits: class, source and target subclasses
# by their numbers in ImageNet.
_ROWS = {
  'living17': {
    'salamander': ({27, 29}, {26, 28}),
    'dog': ({163, 154}, {257, 157}),
    'monkey': ({377, 380}, {381, 379}),
  },
  'entity30': {
    'serpentes': ({64, 56, 57, 52}, {61, 55, 53, 62}),
    'footwear': ({502, 630, 638, 770}, {774, 615, 514, 496}),
    'fruit': ({949, 953, 955, 948}, {990, 987, 998, 988}),
  },
}


@pytest.mark.parametrize(
  ('name', 'classes', 'each'), [('living17', 17, 2), ('entity30', 30, 4)]
)
def test_breeds(name, classes, each):
  suite = SUITES[name]
  train, test, target = (
    suite.class_maps[x] for x in ('train', 'id_test', 'target')
  )
  assert train == test and not set(train) & set(target)
  assert len(train) == len(target) == classes * each
  for side in (train, target):
    found, counts = np.unique(list(side.values()), return_counts=True)
    assert set(found) == set(suite.classes) and set(counts) == {each}
  wnids = published.DATASETS['imagenet'].classes
  for wanted, sides in _ROWS[name].items():
    for side, numbers in zip((train, target), sides, strict=True):
      mine = {wnids.index(x) for x, to in side.items() if to == wanted}
      assert mine == numbers


def test_fmow():
  suite = SUITES['fmow']
  assert suite.num_classes == 62
  assert suite.summaries['worst_region'].sets == ('europe', 'africa')


def images_of(labels):
  pixels = np.zeros((len(labels), 4, 4, 3), np.uint8)
  pixels[:, 0, 0, 0] = np.arange(len(labels))
  return ImageSet(pixels, np.array(labels, np.int32))


def found(labels, classes):
  return published.Found(images_of(labels), classes, 'here')


def test_classes_are_joined_by_name():
  part = found([0, 1, 2, 1], ('ape', 'bee', 'cat'))
  joined = sets.joined(part, ('cat', 'ape', 'bee'), None, 'x')
  assert joined.labels.tolist() == [1, 2, 0, 2]
  mapped = sets.joined(part, ('x', 'y'), {'cat': 'x', 'bee': 'y'}, 'x')
  assert mapped.labels.tolist() == [1, 0, 1]
  assert mapped.images[:, 0, 0, 0].tolist() == [1, 2, 3]
  with pytest.raises(ValueError, match='1 classes that the suite does not'):
    sets.joined(part, ('cat', 'ape'), None, 'x')
  with pytest.raises(ValueError, match='no image of the classes'):
    sets.joined(part, ('x',), {'dog': 'x'}, 'x')


def test_validation_is_split_off_class_by_class():
  labels = np.repeat([0, 1, 2], [50, 30, 9])
  parts = sets.split(images_of(labels), 0.1, seed=0)
  assert np.bincount(parts['id_val'].labels).tolist() == [5, 3, 1]
  assert np.bincount(parts['train'].labels).tolist() == [45, 27, 8]
  rows = [parts[x].images[:, 0, 0, 0].tolist() for x in ('train', 'id_val')]
  assert sorted(rows[0] + rows[1]) == list(range(89))
  again = sets.split(images_of(labels), 0.1, seed=0)
  other = sets.split(images_of(labels), 0.1, seed=1)
  assert again['id_val'].images.tobytes() == parts['id_val'].images.tobytes()
  assert other['id_val'].images.tobytes() != parts['id_val'].images.tobytes()
  with pytest.raises(ValueError, match='too few to split'):
    sets.split(images_of([0, 0, 1]), 0.1, seed=0)

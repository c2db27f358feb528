import ast
import pathlib

from daft_jax.data import augment, sources, suites
from daft_jax.data.suites import SUITES


def test_every_split_is_a_known_source():
  for suite in SUITES.values():
    splits = [suite.train, suite.id_val, suite.id_test]
    splits += [*suite.ood.values(), *suite.more_ood.values()]
    assert set(splits) <= set(sources.list_sources())
    assert suite.augment in augment.AUGMENTATIONS


def test_names_and_classes_agree():
  # 'tiny' is what other tests add (conftest.py).
  assert set(SUITES) - {'tiny'} == {'digits', 'glyphs'}
  for name, suite in SUITES.items():
    assert suite.name == name
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
  assert imported == {'dataclasses', 'string'}

"""The catalog, and what `load` does for all data sets alike."""

import re

import numpy as np
import pytest

from daft_jax.data import domains, published, sources, suites
from daft_jax.data.published import catalog, checksums
from tests.fixtures import published as fixtures

ROWS = [*catalog.DATASETS.values(), *catalog.FOLDERS.values()]


def test_every_source_of_a_suite_is_known():
  known = {*published.list_sources(), *sources.list_sources()}
  for suite in suites.SUITES.values():
    if suite.name == 'tiny':  # what other tests add (conftest.py)
      continue
    used = (suite.train, suite.id_test, suite.id_val)
    used += (*suite.ood.values(), *suite.more_ood.values())
    assert {x for x in used if x} <= known, suite.name
  assert set(domains.DOMAINS) == set(catalog.FOLDERS)


@pytest.mark.parametrize('row', ROWS, ids=lambda row: row.name)
def test_row(row):
  assert set(row.counts) | set(row.tfds) | set(row.balanced) <= set(row.parts)
  assert row.licence and row.homepage.startswith('http')
  assert len(set(row.classes)) == len(row.classes)
  for part in row.balanced:
    assert row.counts[part] % len(row.classes) == 0
  for part in row.parts:  # each has something to download
    assert any(part.startswith(x.part) for x in row.downloads)
  for download in row.downloads:
    assert download.url.startswith('http') and download.file
    assert not download.makes.startswith('/') and '..' not in download.makes


@pytest.mark.parametrize(
  ('file', 'stated'), checksums.STATED.items(), ids=checksums.STATED
)
def test_checksums_are_whole_and_used(file, stated):
  size, digest = stated
  assert size is None or size > 0
  pattern = '(md5:[0-9a-f]{32}|sha256:[0-9a-f]{64}|)'
  assert re.fullmatch(pattern, digest)
  assert any(file == x.file for row in ROWS for x in row.downloads)


def test_classes_of_imagenet():
  wnids = catalog.DATASETS['imagenet'].classes
  assert len(wnids) == 1000 and list(wnids) == sorted(wnids)
  # As in the tables of BREEDS, arXiv 2008.04859.
  assert wnids[0] == 'n01440764' and wnids[999] == 'n15075141'
  for suite in ('living17', 'entity30'):
    for class_map in suites.SUITES[suite].class_maps.values():
      assert set(class_map) <= set(wnids)


def test_classes_of_imagenet_are_those_of_the_installed_tfds():
  tfds = pytest.importorskip('tensorflow_datasets')
  place = tfds.core.tfds_path('datasets/imagenet2012/labels.txt')
  assert place.read_text().split() == [*catalog.DATASETS['imagenet'].classes]


def test_checksums_are_those_of_the_installed_tfds():
  tfds = pytest.importorskip('tensorflow_datasets')
  root = tfds.core.tfds_path()
  found = set()
  for name in ('cifar10', 'cifar10_1', 'cifar10_corrupted'):
    text = (root / 'url_checksums' / f'{name}.txt').read_text()
    found |= set(re.findall(r'\s(\d+)\s([0-9a-f]{64})\s', text))
  for name in ('stl10', 'imagenet2012', 'imagenet_v2', 'imagenet_r'):
    text = (root / 'datasets' / name / 'checksums.tsv').read_text()
    found |= set(re.findall(r'\s(\d+)\s([0-9a-f]{64})\s', text))
  for name in ('imagenet_a', 'imagenet_sketch'):
    text = (root / 'datasets' / name / 'checksums.tsv').read_text()
    found |= set(re.findall(r'\s(\d+)\s([0-9a-f]{64})\s', text))
  stated = {
    (str(size), digest.removeprefix('sha256:'))
    for size, digest in checksums.STATED.values()
    if digest.startswith('sha256')
  }
  assert stated == found


def test_domains_sum_up_to_what_the_papers_say():
  total = {
    name: sum(row.counts.values()) for name, row in catalog.FOLDERS.items()
  }
  assert total == {'pacs': 9_991, 'office_home': 15_588, 'vlcs': 10_729}
  fmow = catalog.DATASETS['fmow'].counts.values()
  assert sum(fmow) == 141_696


@pytest.mark.parametrize(
  ('source', 'near'),
  [
    ('cifar10:tset', 'cifar10:test'),
    ('imagenetr:test', 'imagenet_r:test'),
    ('fmow:id_val/europa', 'fmow:id_val/europe'),
    ('cifar10_c:fog/6', 'cifar10_c:fog/1|cifar10_c:fog/5'),
  ],
)
def test_unknown_source(source, near, tmp_path):
  with pytest.raises(ValueError, match=f"Did you mean '({near})'"):
    published.load(source, tmp_path)


def test_unknown_class(tmp_path):
  with pytest.raises(ValueError, match="class of cifar10 named 'cow'"):
    published.load('cifar10:test', tmp_path, only=['cow'])


def test_data_dir(tmp_path, monkeypatch):
  with pytest.raises(ValueError, match='data_dir .*nowhere does not exist'):
    published.load('cifar10:test', tmp_path / 'nowhere')
  (tmp_path / 'file').write_text('')
  with pytest.raises(ValueError, match='data_dir .*file is a file'):
    published.load('cifar10:test', tmp_path / 'file')
  fixtures.write_cifar10(tmp_path)
  monkeypatch.setenv('HOME', str(tmp_path))
  assert len(published.load('cifar10:test', '~').examples) == 50
  with pytest.raises(ValueError, match='~nobody_is_called_so'):
    published.load('cifar10:test', '~nobody_is_called_so/data')


def test_found_is_in_the_order_of_classes(tmp_path):
  fixtures.write_cifar10(tmp_path)
  found = published.load('cifar10:test', tmp_path, only={'cat'})
  assert {found.classes[x] for x in found.examples.labels} == {'cat'}
  assert found.examples.labels.dtype == np.int32


def test_every_data_set_belongs_to_a_suite():
  for name in catalog.DATASETS:
    assert published.suite_of(name) in suites.SUITES
  with pytest.raises(ValueError, match='no suite uses x'):
    published.suite_of('x')

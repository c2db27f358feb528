"""FMoW as WILDS splits it: times, regions, rows, and damaged tables."""

import numpy as np
import pytest

from daft_jax.data import published
from tests.fixtures import published as fixtures


def row(split='train', time='2011-01-01T00:00:00Z', country='USA', name='zoo'):
  return split, name, country, time


def parts_of(tmp_path, rows):
  """Part -> the numbers of its rows."""
  fixtures.write_fmow(tmp_path, rows)
  found = {}
  for part in published.DATASETS['fmow'].parts:
    try:
      paths = published.load(f'fmow:{part}', tmp_path).examples.items.paths
    except ValueError:
      continue
    found[part] = [
      int(path.split('_')[-1].removesuffix('.png')) for path in paths
    ]
  return found


def test_times_and_official_splits(tmp_path):
  last, first = '2012-12-31T23:59:59Z', '2013-01-01T00:00:00Z'
  late, later = '2015-12-31T23:59:59Z', '2016-01-01T00:00:00Z'
  rows = [
    *(row('train', last), row('train', first), row('train', later)),
    *(row('val', last), row('val', first), row('val', late)),
    *(row('val', later), row('test', last), row('test', first)),
    *(row('test', late), row('test', later)),
    *(row('seq', last), row('seq', later)),
    # In UTC it is the year after, and the year before.
    row('val', '2012-12-31T22:00:00-03:00'),
    row('test', '2016-01-01T00:30:00+01:00'),
  ]
  found = parts_of(tmp_path, rows)
  assert {k: v for k, v in found.items() if k.endswith('all')} == {
    'train/all': [0],
    'id_val/all': [3],
    'val/all': [4, 5, 13],
    'id_test/all': [7],
    'test/all': [10],
  }


def test_regions(tmp_path):
  codes = ['USA', 'FRA', 'KEN', 'JPN', 'AUS', 'ATA', 'XXX']
  found = parts_of(tmp_path, [row(country=code) for code in codes])
  assert found == {
    'train/americas': [0],
    'train/europe': [1],
    'train/africa': [2],
    'train/asia': [3],
    'train/oceania': [4],
    'train/all': [0, 1, 2, 3, 4, 5, 6],
  }


def test_sequestered_rows_count_but_have_no_image(tmp_path):
  rows = [row('seq'), row(name='airport'), row('seq'), row(name='zoo')]
  fixtures.write_fmow(tmp_path, rows)
  found = published.load('fmow:train/all', tmp_path)
  assert found.examples.labels.tolist() == [0, 61]
  assert [found.examples.items.name(i)[-5:] for i in range(2)] == [
    '1.png',
    '3.png',
  ]
  assert found.examples.items.read(0)[:4] == b'\x89PNG'
  assert found.notes[0].startswith('fmow:train/all: 2 examples')


def test_columns_in_any_order(tmp_path):
  columns = ('timestamp', 'country_code', 'split', 'category')
  fixtures.write_fmow(tmp_path, [row(), row('val')], columns=columns)
  assert len(published.load('fmow:train/americas', tmp_path).examples) == 1


def test_only_some_classes(tmp_path):
  fixtures.write_fmow(tmp_path)
  found = published.load('fmow:id_val/europe', tmp_path, only=['barn', 'zoo'])
  assert found.examples.labels.tolist() == [6, 61]
  assert not found.notes  # no count of a region is published


def test_a_table_that_changes_is_read_again(tmp_path):
  fixtures.write_fmow(tmp_path, [row()])
  assert len(published.load('fmow:train/all', tmp_path).examples) == 1
  table = tmp_path / 'fmow_v1.1' / 'rgb_metadata.csv'
  table.write_text(table.read_text().replace('2011-', '2014-'))
  with pytest.raises(ValueError, match='no image'):
    published.load('fmow:train/all', tmp_path)


def edit(old, new):
  return lambda text: text.replace(old, new)


@pytest.mark.parametrize(
  ('change', 'message'),
  [
    (edit('country_code', 'country'), 'no column country_code'),
    (edit('zoo', 'zo'), "row 1: no category 'zo'. Did you mean 'zoo'"),
    (edit('train', 'trian'), "row 0: no split 'trian'. Did you mean 'train'"),
    (edit('2012-02-02T00:00:00Z', 'long ago'), "row 1: 'long ago' is not a"),
    (edit('2012-02-02T00:00:00Z', '2012-02-02,x'), 'row 1: 7 columns, not 6'),
    (lambda text: text[:-40], 'row 1: .* columns, not 6'),
    (lambda text: '', 'no column split, timestamp'),
    (lambda text: text + 'x' * 200_000, 'field larger than field limit'),
    (edit('2012-02-02T00:00:00Z', '0001-01-01T00:00:00+23:59'), 'not a time'),
  ],
)
def test_damaged_tables(change, message, tmp_path):
  rows = [row(name='barn'), row(time='2012-02-02T00:00:00Z')]
  fixtures.write_fmow(tmp_path, rows)
  table = tmp_path / 'fmow_v1.1' / 'rgb_metadata.csv'
  table.write_text(change(table.read_text()))
  with pytest.raises(ValueError, match=message) as error:
    published.load('fmow:train/all', tmp_path)
  assert 'rgb_metadata.csv' in str(error.value)


def test_empty_lines_do_not_count(tmp_path):
  """As in pandas, which WILDS reads the table with."""
  fixtures.write_fmow(tmp_path, [row(), row(name='barn')])
  table = tmp_path / 'fmow_v1.1' / 'rgb_metadata.csv'
  lines = table.read_text().splitlines()
  table.write_text('\n\n'.join(lines) + '\n\n')
  found = published.load('fmow:train/all', tmp_path)
  np.testing.assert_array_equal(found.examples.labels, [61, 6])


def test_missing_files(tmp_path):
  with pytest.raises(published.Missing, match='fmow_v1.1/rgb_metadata.csv'):
    published.load('fmow:train/all', tmp_path)
  fixtures.write_fmow(tmp_path, [row(), row(), row('val')])
  (tmp_path / 'fmow_v1.1' / 'images' / 'rgb_img_1.png').unlink()
  with pytest.raises(ValueError, match=r'lacks 1 images .*rgb_img_1.png'):
    published.load('fmow:train/all', tmp_path)
  assert published.load('fmow:id_val/all', tmp_path)
  (tmp_path / 'fmow_v1.1' / 'country_code_mapping.csv').unlink()
  with pytest.raises(ValueError, match='no country_code_mapping.csv'):
    published.load('fmow:train/all', tmp_path)

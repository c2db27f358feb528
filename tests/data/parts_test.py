"""Two real processes: each reads its own part, together they are one run."""

import json
import pathlib

import numpy as np
import pytest
from PIL import Image

from tests.fixtures import processes

SCRIPT = pathlib.Path(__file__).parent.parent / 'programs' / 'read_parts.py'


@pytest.fixture(scope='module')
def reports(tmp_path_factory):
  """(one process's, [two processes']) reports on 40 pictures, one damaged."""
  images, out = (tmp_path_factory.mktemp(name) for name in ('images', 'out'))
  rng = np.random.default_rng(0)
  for i in range(40):
    path = images / ('cat', 'dog')[i % 2] / f'{i}.png'
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(rng.integers(0, 256, (14, 16, 3), np.uint8)).save(path)
  (images / 'cat' / '6.png').write_bytes(b'no picture')
  for count in (1, 2):
    processes.run(count, SCRIPT, images, out)
  one, *two = (
    json.loads((out / f'{name}.json').read_text())
    for name in ('1_0', '2_0', '2_1')
  )
  return one, two


def test_the_files_are_checked_once_by_all_processes_together(reports):
  one, two = reports
  assert len(one['checked']) == 40 and len(set(one['checked'])) == 40
  assert sorted(two[0]['checked'] + two[1]['checked']) == one['checked']
  for part in two:
    assert len(part['checked']) <= 20 + 3  # at most one more a split
    for key in ('notes', 'sha256', 'labels'):
      assert part['about'][key] == one['about'][key]
  assert 'cat/6.png' in ' '.join(one['about']['notes'])


@pytest.mark.parametrize(
  ('made', 'opened'), [('train', 'trained'), ('test', 'tested')]
)
def test_each_process_reads_its_own_rows_of_each_batch(reports, made, opened):
  one, two = reports
  assert len(one[made]) == len(two[0][made]) > 1
  for whole, first, second in zip(
    one[made], two[0][made], two[1][made], strict=True
  ):
    assert len(first[0]) == len(second[0]) == 2
    assert first[0] + second[0] == whole[0]  # images, by their bits
    assert first[1] + second[1] == whole[1]  # labels
  assert sorted(two[0][opened] + two[1][opened]) == one[opened]
  assert not set(two[0][opened]) & set(two[1][opened])


def test_each_process_reads_its_part_of_a_sample_and_has_all(reports):
  one, two = reports
  assert len(one['sampled']) == 3
  assert sorted(len(part['sampled']) for part in two) == [1, 2]
  assert sorted(two[0]['sampled'] + two[1]['sampled']) == one['sampled']
  assert {part['sample'] for part in two} == {one['sample']}


def test_images_are_not_kept_by_every_process(reports):
  one, two = reports
  assert 'host' in one['about']['choice']
  for part in two:
    assert (
      'stream (each of 2 processes reads its rows)' in (part['about']['choice'])
    )
    for where in ('host', 'device'):
      assert "say 'stream' or 'auto'" in part['about'][where]

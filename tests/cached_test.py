"""Features on disk: the same bits, found again, checked, removed."""

import json
import os

import numpy as np
import pytest

import daft_jax
from daft_jax import assemble, cached, checkpoint, results, settings


@pytest.fixture
def large(monkeypatch):
  """Everything is large."""
  monkeypatch.setattr(cached, 'LARGE', 0)


@pytest.fixture
def task(tiny_config):
  return assemble.make_task(settings.check(tiny_config()), None, recorded=None)


def test_the_same_as_in_memory(task, tmp_path, monkeypatch):
  memory = cached.features(task, task.variables, seed=0, folder=tmp_path)
  assert not [*tmp_path.iterdir()] and not isinstance(
    memory.features, np.memmap
  )
  monkeypatch.setattr(cached, 'LARGE', 0)
  disk = cached.features(task, task.variables, seed=0, folder=tmp_path)
  assert isinstance(disk.features, np.memmap)
  for one, two in zip(memory, disk, strict=True):
    assert one.dtype == two.dtype and np.array_equal(one, two)


def test_found_again_where_all_is_the_same(task, tmp_path, large):
  first = cached.features(task, task.variables, seed=0, folder=tmp_path)
  (place,) = tmp_path.iterdir()
  stamp = os.stat(place / 'features.f32').st_mtime_ns
  # A head does not count, and neither does a new process's task.
  params = {**task.variables['params']}
  params['head'] = {k: x + 1 for k, x in params['head'].items()}
  other = {**task.variables, 'params': params}
  again = cached.features(task, other, seed=0, folder=tmp_path)
  assert os.stat(place / 'features.f32').st_mtime_ns == stamp
  assert np.array_equal(first.features, again.features)


def test_other_weights_seeds_and_images_have_names_of_their_own(
  task, tiny_config
):
  def moved(tree):
    return {
      **tree,
      'conv1': {'kernel': np.asarray(tree['conv1']['kernel']) * 2},
    }

  other = {**task.variables, 'params': moved(task.variables['params'])}
  smaller = assemble.make_task(
    settings.check(tiny_config(image_size=10)), None, recorded=None
  )
  names = [
    cached.fingerprint(task, task.variables, 0),
    cached.fingerprint(task, task.variables, 1),
    cached.fingerprint(task, other, 0),
    cached.fingerprint(smaller, task.variables, 0),
  ]
  assert len({*names}) == 4
  assert cached.fingerprint(task, task.variables, 0) == names[0]


@pytest.mark.parametrize('how', ['flip', 'cut', 'manifest', 'link'])
def test_damage_is_found_and_they_are_computed_anew(task, tmp_path, large, how):
  whole = cached.features(task, task.variables, seed=0, folder=tmp_path)
  expected = np.array(whole.features)
  (place,) = tmp_path.iterdir()
  file = place / 'features.f32'
  data = bytearray(file.read_bytes())
  if how == 'flip':
    data[100] ^= 1
    file.write_bytes(data)
  elif how == 'cut':
    file.write_bytes(data[:-4])
  elif how == 'manifest':
    (place / 'manifest.json').write_text('{}')
  else:
    file.unlink()
    file.symlink_to('/dev/zero')
  again = cached.features(task, task.variables, seed=0, folder=tmp_path)
  assert np.array_equal(expected, again.features)
  assert [x.name for x in tmp_path.iterdir()] == [place.name]


def test_a_run_uses_them_and_leaves_none(tiny_config, tmp_path, monkeypatch):
  config = tiny_config(methods=('lp', 'lp_ft'), epochs=1)
  daft_jax.run(config, tmp_path / 'memory')
  monkeypatch.setattr(cached, 'LARGE', 0)
  reads = []
  opened = cached._opened
  monkeypatch.setattr(
    cached, '_opened', lambda *args: reads.append(args[0]) or opened(*args)
  )
  daft_jax.run(config, tmp_path / 'disk')
  assert len(reads) == 2 and reads[0] == reads[1]  # lp writes, lp_ft reads
  one, two = (results.read(tmp_path / x) for x in ('memory', 'disk'))
  for a, b in zip(one, two, strict=True):
    same = {k: v for k, v in a.items() if k != 'seconds'}
    other = {k: v for k, v in b.items() if k != 'seconds'}
    assert json.dumps(same) == json.dumps(other)
  assert not (tmp_path / 'disk' / 'features').exists()


def test_no_room_is_said(task, tmp_path, large, monkeypatch):
  usage = cached.shutil.disk_usage(tmp_path)._replace(free=100)
  monkeypatch.setattr(cached.shutil, 'disk_usage', lambda path: usage)
  with pytest.raises(checkpoint.CheckpointError, match='Make room'):
    cached.features(task, task.variables, seed=0, folder=tmp_path)


def test_what_is_being_written_stays(tmp_path):
  (tmp_path / 'features' / 'whole').mkdir(parents=True)
  (tmp_path / 'features' / '.half.1234.saving').mkdir()
  cached.remove(tmp_path / 'features')
  assert [x.name for x in (tmp_path / 'features').iterdir()] == [
    '.half.1234.saving'
  ]
  cached.remove(tmp_path / 'nowhere')

"""Checkpoints: what is kept, and that it is what was saved."""

import os
import pathlib
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from daft_jax import checkpoint, optim, sharding, train
from daft_jax.checkpoint import manifest

OPTIMIZER = optim.Optimizer(epochs=4, steps_per_epoch=2)


def mesh():
  return sharding.make_mesh(1)


def variables(value=0.0):
  leaf = lambda *shape: np.full(shape, value, np.float32)  # noqa: E731
  return {
    'params': {'conv': {'kernel': leaf(3, 2)}, 'head': {'kernel': leaf(2, 4)}},
    'batch_stats': {'bn': {'mean': leaf(2), 'var': leaf(2)}},
  }


def state_at(epoch):
  state = train.init_state(variables(epoch), '^head/', OPTIMIZER, mesh())
  opt_state = jax.tree.map(lambda x: x + 10 * epoch, state.opt_state)
  return state._replace(step=jnp.asarray(2 * epoch), opt_state=opt_state)


def assert_same(a, b):
  jax.tree.map(np.testing.assert_array_equal, a, b)
  assert jax.tree.structure(a) == jax.tree.structure(b)


def fill(folder, accuracies):
  with checkpoint.Checkpoints(folder, mesh()) as saved:
    saved.save_start(variables(-1.0), {'C': 0.5})
    for epoch, accuracy in enumerate(accuracies, 1):
      saved.save(epoch, state_at(epoch), id_val=accuracy)


def steps(folder):
  return sorted(int(path.name) for path in folder.iterdir())


@pytest.mark.parametrize(
  ('accuracies', 'kept'),
  [
    ([0.1, 0.9, 0.3, 0.4, 0.2], [0, 2, 4, 5]),
    ([0.9, 0.9, 0.9, 0.9], [0, 1, 3, 4]),  # of equals the earlier
    ([0.1, 0.2, 0.3], [0, 2, 3]),
    ([], [0]),
  ],
)
def test_start_two_latest_and_best_are_kept(tmp_path, accuracies, kept):
  fill(tmp_path, accuracies)
  assert steps(tmp_path) == kept


def test_best_is_remembered_after_a_restart(tmp_path):
  fill(tmp_path, [0.1, 0.9, 0.3])
  with checkpoint.Checkpoints(tmp_path, mesh()) as saved:
    saved.save(4, state_at(4), id_val=0.5)
    saved.save(5, state_at(5), id_val=0.4)
  assert steps(tmp_path) == [0, 2, 4, 5]
  with checkpoint.Checkpoints(tmp_path, mesh()) as saved:
    assert_same(saved.variables(2), state_at(2).variables)


def test_restore_gives_the_latest_state(tmp_path):
  with checkpoint.Checkpoints(tmp_path, mesh()) as saved:
    assert saved.restore(state_at(0)) is None and saved.start() is None
  fill(tmp_path, [0.1, 0.9, 0.3])
  with checkpoint.Checkpoints(tmp_path, mesh()) as saved:
    found = saved.restore(state_at(0))
    assert_same(found, state_at(3))
    assert type(found) is train.TrainState
    start, notes = saved.start()
  assert_same(start, variables(-1.0))
  assert notes == {'C': 0.5}


def test_extra_state_is_carried(tmp_path):
  state = state_at(1)._replace(extra={'ema': jnp.ones(3)})
  with checkpoint.Checkpoints(tmp_path, mesh()) as saved:
    saved.save(1, state, id_val=0.5)
    found = saved.restore(state._replace(extra={'ema': jnp.zeros(3)}))
  assert_same(found, state)


def test_donating_the_state_does_not_change_what_is_being_saved(tmp_path):
  size = 500_000  # large enough that writing takes longer than the next step
  big = {
    'params': {'head': {'kernel': np.ones((size, 4), np.float32)}},
    'batch_stats': {},
  }
  state = train.init_state(big, '', OPTIMIZER, mesh())
  spoil = jax.jit(
    lambda state: jax.tree.map(lambda x: x * 0 - 5, state), donate_argnums=0
  )
  with checkpoint.Checkpoints(tmp_path, mesh()) as saved:
    saved.save(1, state, id_val=0.5)
    jax.block_until_ready(spoil(state))
    found = saved.variables(1)
  assert (np.asarray(found['params']['head']['kernel']) == 1).all()


def test_what_was_saved_on_eight_devices_is_restored_on_one(tmp_path):
  eight = sharding.make_mesh(8)
  state = train.init_state(variables(3.0), '', OPTIMIZER, eight)
  with checkpoint.Checkpoints(tmp_path, eight) as saved:
    saved.save(1, state, id_val=0.5)
  with checkpoint.Checkpoints(tmp_path, mesh()) as saved:
    found = saved.variables(1)
  assert_same(found, variables(3.0))
  kernel = found['params']['conv']['kernel']
  assert kernel.sharding.device_set == set(mesh().devices.flat)


def test_prune_leaves_the_start(tmp_path):
  fill(tmp_path, [0.1, 0.2])
  assert checkpoint.begun(tmp_path)
  checkpoint.prune(tmp_path)
  assert steps(tmp_path) == [0]
  assert not checkpoint.begun(tmp_path / 'elsewhere')


def test_variables_alone(tmp_path):
  folder = tmp_path / 'final'
  with pytest.raises(FileNotFoundError, match='no variables are saved at'):
    checkpoint.load_variables(folder, mesh())
  for value in (1.0, 2.0):  # a second time replaces the first
    checkpoint.save_variables(folder, variables(value))
  assert_same(checkpoint.load_variables(folder, mesh()), variables(2.0))


def test_relative_paths(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  fill('here', [0.1])
  checkpoint.save_variables('final', variables(1.0))
  assert steps(tmp_path / 'here') == [0, 1]
  assert_same(checkpoint.load_variables('final', mesh()), variables(1.0))


def test_what_a_kill_left_of_variables_goes_and_nothing_else(tmp_path):
  folder = tmp_path / 'final'
  checkpoint.save_variables(folder, variables(1.0))
  for left in ('.final.0a1b2c3d.saving', '.final.removing', '.other.1.saving'):
    shutil.copytree(folder, tmp_path / left)
  checkpoint.save_variables(folder, variables(2.0))
  assert sorted(os.listdir(tmp_path)) == ['.other.1.saving', 'final']


def saved_with(folder, *named):
  """Variables whose manifest, with a right hash, names other files as well."""
  checkpoint.save_variables(folder, variables(1))
  found = manifest.read(folder, of=folder.name)
  found.files.update({name: (4, '0' * 32) for name in named})
  (folder / manifest.NAME).write_bytes(manifest._encode(found))


@pytest.mark.parametrize(
  'name', ['../x', 'model/../../x', '/dev/zero', '/etc/passwd', 'a\0b', '..']
)
def test_a_manifest_names_nothing_outside(tmp_path, monkeypatch, name):
  saved_with(tmp_path / 'final', name)
  (tmp_path / 'x').write_text('abcd')
  monkeypatch.setattr(manifest, '_hash_file', None)  # Nothing is read.
  with pytest.raises(checkpoint.DamagedCheckpoint, match='outside of the fold'):
    checkpoint.load_variables(tmp_path / 'final', mesh())


@pytest.mark.parametrize('what', ['link', 'device', 'folder', 'pipe'])
@pytest.mark.parametrize(
  'name', ['strange', 'model/_METADATA', 'manifest.json']
)
def test_only_plain_files_are_read(tmp_path, what, name):
  folder = tmp_path / 'final'
  saved_with(folder)
  path = folder / name
  data = path.read_bytes() if path.exists() else b'text'
  path.unlink(missing_ok=True)
  if what == 'pipe':
    os.mkfifo(path)
  else:
    there = pathlib.Path('/dev/zero' if what == 'device' else tmp_path / 'x')
    if what == 'link':
      there.write_bytes(data)  # The right bytes, elsewhere.
    path.symlink_to(tmp_path if what == 'folder' else there)
  with pytest.raises(checkpoint.DamagedCheckpoint) as error:
    checkpoint.load_variables(folder, mesh())
  why = 'is a pipe or a device' if what == 'pipe' else 'is a link'
  assert f'file {name} {why}' in str(error.value)


def test_a_manifest_of_codes_and_of_lists_is_damage(tmp_path):
  folder = tmp_path / 'final'
  saved_with(folder, 'x\x1b[2J')
  with pytest.raises(checkpoint.DamagedCheckpoint) as error:
    checkpoint.load_variables(folder, mesh())
  assert str(error.value).isprintable()
  (folder / manifest.NAME).write_bytes(b'[' * 100_000)
  with pytest.raises(checkpoint.DamagedCheckpoint, match='other bytes'):
    checkpoint.load_variables(folder, mesh())


@pytest.mark.parametrize(
  ('before', 'after'),
  [((8, 1), (4, 2)), ((1, 1), (8, 1)), ((2, 4), (1, 1))],
)
def test_parts_come_back_where_the_new_state_has_them(tmp_path, before, after):
  rng = np.random.default_rng(0)
  start = {
    'params': {
      'conv': {'kernel': rng.normal(size=(3, 3, 64, 16)).astype(np.float32)},
      'head': {'kernel': rng.normal(size=(16, 1000)).astype(np.float32)},
    },
    'batch_stats': {'bn': {'mean': np.ones(16, np.float32)}},
  }

  def state(mesh):
    mesh, rules = sharding.make_mesh(*mesh), sharding.RULES['fsdp']
    return mesh, train.init_state(start, '', OPTIMIZER, mesh, rules)

  first, saved_state = state(before)
  moved = jax.tree.map(lambda x: x + 1, saved_state.opt_state)
  saved_state = saved_state._replace(opt_state=moved)
  with checkpoint.Checkpoints(tmp_path, first) as saved:
    saved.save_start(start, {})
    saved.save(1, saved_state, id_val=0.5)
  second, fresh = state(after)
  with checkpoint.Checkpoints(tmp_path, second) as saved:
    found = saved.restore(fresh)
  assert_same(jax.device_get(found), jax.device_get(saved_state))
  for old, new in zip(
    jax.tree.leaves(fresh), jax.tree.leaves(found), strict=True
  ):
    assert new.sharding == old.sharding
  kernel = found.params['conv']['kernel']
  parts = [x.data.nbytes for x in kernel.addressable_shards]
  assert parts == [kernel.nbytes // after[0]] * (after[0] * after[1])

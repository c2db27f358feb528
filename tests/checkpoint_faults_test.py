"""Faults of the disk: found, named, set aside; never other values."""

import contextlib
import os
import pathlib
import random
import shutil
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from daft_jax import checkpoint, optim, sharding, train
from daft_jax.checkpoint import checked, folders
from daft_jax.checkpoint import manifest as manifests

ROOT = pathlib.Path(checkpoint.__file__).parents[2]
OPTIMIZER = optim.Optimizer(epochs=4, steps_per_epoch=2)
KEPT = (0, 1, 2, 3)
DTYPES = (np.float32, jnp.bfloat16, np.int8)


def mesh():
  return sharding.make_mesh(1)


def variables(seed):
  """Leaves that lie in the index, and one that has a file of its own."""
  rng = np.random.default_rng(seed)
  leaf = lambda *shape: rng.normal(size=shape).astype(np.float32)  # noqa: E731
  return {
    'params': {'conv': {'kernel': leaf(64, 200)}, 'head': {'bias': leaf(3)}},
    'batch_stats': {'bn': {'mean': leaf(5), 'var': leaf(5)}},
  }


def state_at(epoch):
  state = train.init_state(variables(epoch), '^head/', OPTIMIZER, mesh())
  opt_state = jax.tree.map(lambda x: x + 10 * epoch, state.opt_state)
  return state._replace(step=jnp.asarray(2 * epoch), opt_state=opt_state)


def bits(tree):
  leaves = jax.tree.map(np.asarray, jax.tree.leaves(tree))
  return [(x.dtype, x.shape, x.tobytes()) for x in leaves]


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
  """A stage with all that is kept: start, best (1) and the two latest."""
  folder = tmp_path_factory.mktemp('whole') / '0_ft'
  with checkpoint.Checkpoints(folder, mesh()) as saved:
    saved.save_start(variables(0), {'C': 0.5})
    for epoch, accuracy in ((1, 0.9), (2, 0.3), (3, 0.2)):
      saved.save(epoch, state_at(epoch), id_val=accuracy)
  assert sorted(path.name for path in folder.iterdir()) == list('0123')
  return folder


@pytest.fixture(scope='module')
def expected():
  """The bits of each epoch."""
  return {epoch: bits(state_at(epoch)) for epoch in KEPT}


@pytest.fixture(scope='module')
def template():
  return state_at(0)


@pytest.fixture
def copy(whole, tmp_path):
  shutil.copytree(whole, tmp_path / '0_ft')
  return tmp_path / '0_ft'


def contents(folder):
  """{path: bytes} of a folder."""
  return {
    path.relative_to(folder).as_posix(): path.read_bytes()
    for path in sorted(folder.rglob('*'))
    if path.is_file()
  }


def change(path, data):
  """Writes another file in its place: others may share its bytes."""
  path.unlink()
  path.write_bytes(data)


def flip(rng, step, path, other):
  data = bytearray(path.read_bytes())
  for _ in range(rng.choice((1, 1, 1, 5))):
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
  change(path, bytes(data))


def truncate(rng, step, path, other):
  data = path.read_bytes()
  change(path, data[: rng.choice((0, rng.randrange(len(data))))])


def delete(rng, step, path, other):
  path.unlink()


def zero(rng, step, path, other):
  data = bytearray(path.read_bytes())
  first = rng.randrange(len(data))
  last = rng.randrange(first, len(data)) + 1
  first, last = rng.choice(((first, last), (0, len(data))))
  data[first:last] = bytes(last - first)
  change(path, bytes(data))


def append(rng, step, path, other):
  change(path, path.read_bytes() + rng.randbytes(rng.choice((1, 100))))


def swap(rng, step, path, other):
  """Two files of a step change places."""
  one, two = path.read_bytes(), other.read_bytes()
  change(path, two)
  change(other, one)


def swap_steps(rng, step, path, other):
  """A file, or all, changes places with its like of the step before."""
  before = step.with_name('2')
  if rng.random() < 0.3:
    hidden = step.with_name('hidden')
    before.rename(hidden)
    step.rename(before)
    hidden.rename(step)
    return
  twin = before / path.relative_to(step)
  if not twin.is_file():  # Orbax gives data files random names.
    twin = rng.choice([p for p in sorted(before.rglob('*')) if p.is_file()])
  swap(rng, step, path, twin)


FAULTS = (flip, truncate, delete, zero, append, swap, swap_steps)


def judge(folder, template, expected, damaged, also):
  """Uses a stage as a trial does; asserts that no other values come back.

  Args:
    damaged: steps whose bytes were changed.
    also: a step that is read besides.

  Returns:
    The errors of the steps that were set aside.
  """
  good = [step for step in KEPT if step not in damaged]
  with checkpoint.Checkpoints(folder, mesh(), on_damage=len) as saved:
    assert bits(saved.restore(template)) == expected[good[-1]]
    passed = {int(error.folder.name) for error in saved.set_aside}
    assert passed >= {step for step in damaged if step > good[-1]}
    for step in {also, *damaged}:
      if step in damaged:
        with pytest.raises(checkpoint.DamagedCheckpoint):
          saved.variables(step)
      else:
        assert bits(saved.variables(step)) == bits(variables(step))
    return {int(error.folder.name): error for error in saved.set_aside}


@pytest.mark.parametrize('block', range(10))
def test_500_random_faults_0_silent(whole, expected, template, tmp_path, block):
  folder = tmp_path / '0_ft'
  counts, touched = 0, (2, 3)
  before = {step: contents(whole / str(step)) for step in touched}
  for case in range(50 * block, 50 * block + 50):
    rng = random.Random(case)
    relink(whole, folder, touched)
    paths = [p for p in sorted((folder / '3').rglob('*')) if p.is_file()]
    path, other = rng.sample(paths, 2)
    fault = FAULTS[case % len(FAULTS)]
    fault(rng, folder / '3', path, other)
    after = {step: contents(folder / str(step)) for step in touched}
    damaged = {step for step in touched if before[step] != after[step]}
    about = f'case {case}: {fault.__name__} {path.relative_to(folder)}'
    counts += bool(damaged)
    try:
      errors = judge(folder, template, expected, damaged, case % 4)
    except BaseException as error:
      error.add_note(about)
      raise
    assert set(errors) == damaged, about
    for step, error in errors.items():
      # Nothing of it was deleted, and what is wrong has a name.
      aside = folder / 'damaged' / str(step)
      assert contents(aside) == after[step], about
      assert str(error) in aside.with_name(f'{step}.txt').read_text()
      changed = {
        name
        for name in before[step]
        if before[step][name] != after[step].get(name)
      }
      named = {manifests.NAME} if manifests.NAME in changed else changed
      assert set(error.files) == named, about
  assert counts >= 45  # Some swap equal files, or zero zeros.


def relink(whole, folder, touched):
  """Puts a stage back; files share their bytes, and are replaced to change."""
  folder.mkdir(exist_ok=True)
  for step in KEPT:
    if step in touched or not (folder / str(step)).is_dir():
      shutil.rmtree(folder / str(step), ignore_errors=True)
      shutil.copytree(
        whole / str(step), folder / str(step), copy_function=os.link
      )
  shutil.rmtree(folder / 'damaged', ignore_errors=True)


def test_a_fault_names_the_file_and_the_leaf(copy, template, expected):
  big = max((copy / '3' / 'model').rglob('*'), key=lambda p: p.stat().st_size)
  flip(random.Random(0), None, big, None)
  lines = []
  with checkpoint.Checkpoints(copy, mesh(), on_damage=lines.append) as saved:
    assert bits(saved.restore(template)) == expected[2]
    (error,) = saved.set_aside
  assert list(error.files) == [str(big.relative_to(copy / '3'))]
  assert error.leaves == ('model/params/conv/kernel',)
  (line,) = lines
  for part in ('0_ft/3 is damaged', big.name, 'params/conv/kernel', 'aside'):
    assert part in line


def test_what_was_written_wrong_is_found_by_its_leaf(copy, template, expected):
  """Every file is as it was saved, but it was not the right thing."""
  step = copy / '3'
  manifest = manifests.read(step, of='0_ft/3')
  path = 'model/params/head/bias'
  other = manifests.hash_leaf(variables(4)['params']['head']['bias'])
  (step / manifests.NAME).unlink()
  leaves = manifest.leaves | {path: other}
  manifests.write(step, manifest._replace(leaves=leaves))
  with checkpoint.Checkpoints(copy, mesh(), on_damage=len) as saved:
    assert bits(saved.restore(template)) == expected[2]
    (error,) = saved.set_aside
  assert error.leaves == (path,) and error.files == {}


def spoil(folder, *steps):
  for step in steps:
    path = folder / str(step) / 'model' / 'manifest.ocdbt'
    change(path, bytes(path.stat().st_size))


def test_without_a_good_epoch_it_begins_at_the_start_and_says_so(
  copy, template
):
  spoil(copy, 1, 2, 3)
  lines = []
  with checkpoint.Checkpoints(copy, mesh(), on_damage=lines.append) as saved:
    assert bits(saved.start()[0]) == bits(variables(0))
    assert saved.restore(template) is None
  assert len(lines) == 3
  assert sorted(p.name for p in copy.iterdir()) == ['0', 'damaged']


@pytest.mark.parametrize('fault', ['spoiled', 'deleted', 'unnamed', 'emptied'])
def test_when_all_are_bad_it_is_an_error_each_time(copy, template, fault):
  spoil(copy, 1, 2, 3)
  if fault == 'spoiled':
    spoil(copy, 0)
  elif fault == 'deleted':
    shutil.rmtree(copy / '0')
  elif fault == 'unnamed':
    (copy / '0' / manifests.NAME).unlink()
  else:
    shutil.rmtree(copy / '0')
    (copy / '0').mkdir()
  for attempt in range(2):
    with checkpoint.Checkpoints(
      copy, mesh(), on_damage=len, fix='delete it and start again'
    ) as saved:
      with pytest.raises(checkpoint.CheckpointError, match='delete it and st'):
        saved.start()
      if not attempt:
        with pytest.raises(checkpoint.CheckpointError, match='delete it and'):
          saved.restore(template)
    assert checkpoint.begun(copy)


def test_a_bad_start_stays_where_it_is_and_is_an_error(copy):
  spoil(copy, 0)
  before = contents(copy)
  with checkpoint.Checkpoints(copy, mesh()) as saved:
    with pytest.raises(checkpoint.DamagedCheckpoint, match='manifest.ocdbt'):
      saved.start()
  assert contents(copy) == before


def test_a_pause_without_its_start_is_an_error_too(tmp_path):
  with checkpoint.Checkpoints(tmp_path / '0_ft', mesh()) as saved:
    saved.save_paused(state_at(1), {})
    with pytest.raises(checkpoint.CheckpointError, match='0, the start of'):
      saved.start()


def test_after_a_damaged_best_the_epochs_from_there_are_done_again(
  copy, template, expected
):
  spoil(copy, 2)
  with checkpoint.Checkpoints(copy, mesh(), on_damage=len) as saved:
    with pytest.raises(checkpoint.DamagedCheckpoint):
      saved.variables(2)
    with pytest.raises(checkpoint.DamagedCheckpoint, match='set aside'):
      saved.variables(2)
    saved.rewind(1)
    assert bits(saved.restore(template)) == expected[1]
    for epoch in (2, 3):
      saved.save(epoch, state_at(epoch), id_val=0.1)
    assert bits(saved.variables(2)) == bits(variables(2))
  assert (copy / 'damaged' / '2').is_dir()


def test_a_second_damage_of_a_step_is_set_aside_beside_the_first(
  copy, template
):
  for _ in range(2):
    spoil(copy, 3)
    with checkpoint.Checkpoints(copy, mesh(), on_damage=len) as saved:
      saved.restore(template)
      saved.save(3, state_at(3), id_val=0.2)
  names = sorted(path.name for path in (copy / 'damaged').iterdir())
  assert names == ['3', '3-2', '3-2.txt', '3.txt']


def test_what_was_set_aside_is_never_removed(copy, template):
  spoil(copy, 3)
  with checkpoint.Checkpoints(copy, mesh(), on_damage=len) as saved:
    saved.restore(template)
  before = contents(copy / 'damaged')
  checkpoint.prune(copy, start=False)
  assert contents(copy / 'damaged') == before
  assert [path.name for path in copy.iterdir()] == ['damaged']


def test_what_a_kill_left_is_no_step(copy, template, expected):
  shutil.copytree(copy / '3', copy / '.4.0a1b.saving')
  (copy / '.4.0a1b.saving' / manifests.NAME).unlink()
  shutil.copytree(copy / '1' / 'model', copy / '.1.removing')
  with checkpoint.Checkpoints(copy, mesh()) as saved:
    assert bits(saved.restore(template)) == expected[3]
    assert saved.set_aside == []
  assert sorted(path.name for path in copy.iterdir()) == list('0123')


def test_a_state_of_another_form_is_refused_and_nothing_set_aside(copy):
  other = state_at(0)
  other = other._replace(params=other.params | {'more': jnp.zeros(3)})
  with checkpoint.Checkpoints(copy, mesh()) as saved:
    with pytest.raises(
      checkpoint.CheckpointError, match='params/more is not there in it'
    ):
      saved.restore(other)
    assert saved.set_aside == [] and (copy / '3').is_dir()


@pytest.mark.parametrize('fault', [flip, truncate, delete, zero])
def test_damaged_variables_alone(tmp_path, fault):
  folder = tmp_path / 'final'
  checkpoint.save_variables(folder, variables(1))
  path = max(folder.rglob('*'), key=lambda p: p.stat().st_size)
  fault(random.Random(1), None, path, None)
  with pytest.raises(checkpoint.DamagedCheckpoint) as error:
    checkpoint.load_variables(folder, mesh(), fix='run it again')
  text = str(error.value)
  assert 'file model/' in text and path.name in text
  assert 'model/params/conv/kernel' in text and text.endswith('run it again')


def test_variables_of_before_there_were_manifests_are_refused(tmp_path):
  (tmp_path / 'final' / 'd').mkdir(parents=True)
  (tmp_path / 'final' / 'manifest.ocdbt').write_bytes(b'0.1.0')
  with pytest.raises(checkpoint.DamagedCheckpoint, match='by daft_jax 0.1'):
    checkpoint.load_variables(tmp_path / 'final', mesh())


def test_every_dtype_and_shape_comes_back(tmp_path):
  tree = {
    'empty': {},
    'scalar': np.float32(-0.0),
    'special': np.array([np.nan, np.inf, -0.0], np.float32),
    'turned': np.arange(6, dtype=np.float32).reshape(2, 3).T,
    **{np.dtype(x).name: np.arange(4).astype(x) for x in DTYPES},
  }
  checkpoint.save_variables(tmp_path / 'final', tree)
  found = checkpoint.load_variables(tmp_path / 'final', mesh())
  assert found['empty'] == {} and bits(found) == bits(tree)


def test_a_hash_knows_dtype_shape_and_order():
  leaf = np.arange(4, dtype=np.int32)
  others = [leaf.view(np.float32), leaf.reshape(2, 2), leaf[::-1], leaf[:3]]
  assert len({manifests.hash_leaf(x).hash for x in [leaf, *others]}) == 5
  assert manifests.hash_leaf(leaf) == manifests.hash_leaf(jnp.asarray(leaf))


@contextlib.contextmanager
def tiny_disk(folder):
  """A file system of one megabyte and 250 files, where that is permitted."""
  folder.mkdir()
  options = 'size=1m,nr_inodes=250'
  command = ['mount', '-t', 'tmpfs', '-o', options, 'tmpfs', str(folder)]
  try:
    subprocess.run(command, check=True, capture_output=True, timeout=30)
  except (OSError, subprocess.CalledProcessError):
    pytest.skip('file systems cannot be mounted here')
  try:
    yield folder
  finally:
    subprocess.run(['umount', '-l', str(folder)], check=True, timeout=30)


def fill(disk, resource):
  """Leaves some space, or some names of files, but not enough."""
  found, filler = os.statvfs(disk), disk / 'filler'
  filler.mkdir()
  if resource == 'space':
    size = found.f_bavail * found.f_frsize - 20_000
    (filler / 'file').write_bytes(bytes(size))
  for number in range(found.f_favail - 12 if resource == 'names' else 0):
    (filler / str(number)).touch()


def save_in_vain(folder, limit):
  """Saves where there is no room; says what a user is told.

  In a program of its own: parts of Orbax still fail when it has returned.
  """
  program = f"""
import pathlib, resource
from tests import checkpoint_faults_test as here

resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))
try:
  with here.checkpoint.Checkpoints({str(folder)!r}, here.mesh()) as saved:
    saved.save(4, here.state_at(4), id_val=0.95)
    try:
      saved.variables(3)
    except here.checkpoint.CheckpointError as error:
      print('FIRST', error)
      saved.save(4, here.state_at(4), id_val=0.95)
except here.checkpoint.CheckpointError as error:
  print('THEN', error)
"""
  done = subprocess.run(
    [sys.executable, '-c', program],
    capture_output=True,
    text=True,
    timeout=120,
    cwd=ROOT,
  )
  assert done.returncode == 0, done.stderr
  assert 'orbax' not in done.stderr.replace('orbax-checkpoint-tmp', '')
  first, then = done.stdout.splitlines()
  assert first.startswith('FIRST') and then.startswith('THEN')
  assert '0_ft/4 cannot be saved' in first
  assert 'What was saved before is intact' in first and 'make room' in first
  return first


def assert_as_before(folder, before, template, expected):
  steps = {k: v for k, v in contents(folder).items() if k[0] != '.'}
  assert steps == before
  with checkpoint.Checkpoints(folder, mesh()) as saved:
    assert contents(folder) == before
    assert bits(saved.restore(template)) == expected[3]
    saved.save(4, state_at(4), id_val=0.1)
  with checkpoint.Checkpoints(folder, mesh()) as saved:
    assert bits(saved.restore(template)) == bits(state_at(4))
    assert bits(saved.variables(1)) == bits(variables(1))
    assert saved.set_aside == []


@pytest.mark.parametrize('resource', ['space', 'names'])
def test_a_full_disk(whole, template, expected, tmp_path, resource):
  with tiny_disk(tmp_path / 'disk') as disk:
    folder = disk / '0_ft'
    shutil.copytree(whole, folder)
    before = contents(folder)
    fill(disk, resource)
    said = save_in_vain(folder, -1)
    assert ('needs 0.1 MB' if resource == 'space' else 'No space left') in said
    shutil.rmtree(disk / 'filler')
    assert_as_before(folder, before, template, expected)


def test_a_limit_of_the_file_size(copy, template, expected):
  before = contents(copy)
  assert 'File too large' in save_in_vain(copy, 10_000)
  assert_as_before(copy, before, template, expected)


def test_folders_appear_whole_and_go_whole(tmp_path):
  folder = tmp_path / 'a'
  for text in ('one', 'two'):
    temporary = folders.begin(folder)
    (temporary / 'file').write_text(text)
    assert not folder.exists() or (folder / 'file').read_text() != text
    folders.finish(temporary, folder)
    assert (folder / 'file').read_text() == text
  folders.remove(folder)
  assert list(tmp_path.iterdir()) == []


def test_a_snapshot_outlives_what_it_is_of():
  array = jnp.arange(1000.0) + 1
  kept = checked.snapshot({'a': array})
  spoil = jax.jit(lambda x: x * 0, donate_argnums=0)
  jax.block_until_ready(spoil(array))
  np.testing.assert_array_equal(kept['a'], np.arange(1000.0) + 1)
  # Once it is gone, the array can be given away again.
  del kept
  array = jnp.arange(1000.0) + 1
  checked.snapshot({'a': array})
  place = array.unsafe_buffer_pointer()
  assert spoil(array).unsafe_buffer_pointer() == place

"""Several real processes of one run: together they are one."""

import json
import os
import pathlib
import shutil
import signal

import numpy as np
import pytest
from jax._src import clusters

from daft_jax import launch, results
from daft_jax.settings import ConfigError
from tests import kill_test
from tests.fixtures import disturbed, processes, programs

TALK = pathlib.Path(__file__).parent / 'programs' / 'talk.py'


@pytest.fixture(scope='module')
def talk():
  """What one process said by itself, and what three said together."""

  def said(count):
    # The last line; gloo has the first.
    outputs = processes.run(count, TALK)
    return [json.loads(text.splitlines()[-1]) for text in outputs]

  return said(1)[0], said(3)


def test_what_is_told_is_what_was_said(talk):
  one, reports = talk
  for report in reports:
    assert report['arrays'] == one['arrays']
    assert report['rest'] == one['rest']
    assert report['gathered'] == [[row, 5000 * row] for row in range(7)]
    assert report['after'] == 'still together'


def test_the_error_of_one_ends_all_and_is_told_once(talk):
  reports = talk[1]
  text = 'there is no image at {}'.format
  other = ['ElsewhereError', f'{text(2)} (process 2)', True]
  own = ['ValueError', text(2), True]
  assert [report['one'] for report in reports] == [other, other, own]
  for index, report in enumerate(reports):
    assert report['all'] == ['ValueError', text(index), True]
  first = [report['first'] for report in reports]
  assert first == [['ZeroDivisionError', True]] + 2 * [['ElsewhereError', True]]


def test_a_mesh_has_all_processes_and_rows_in_their_order(talk):
  for report in talk[1]:
    assert report['meshes']['(3, 1)'] == {'data': 3, 'model': 1}
    assert 'every device has to be used' in report['meshes']['(1, 1)']
    assert 'say model=1' in report['meshes']['(0, 2)']
    assert report['row'] == [0, 1, 2, 3, 4, 5]
    assert report['parts'] == [64 * 64 * 4]  # a third


@pytest.mark.parametrize(
  ('given', 'says'),
  [
    ('gpu0:1234 - -', '--num_processes and --process_id are missing: of sev'),
    ('gpu0:1234 2 -', '--process_id is missing: of several processes each'),
    ('- 2 0', '--coordinator is missing: '),
    ('gpu0 2 0', "--coordinator is 'gpu0', no HOST:PORT such as gpu0:1234"),
    ('gpu0:port 2 0', 'no HOST:PORT'),
    ('gpu0..net:1234 2 0', 'no HOST:PORT'),
    (f'{64 * "g"}:1234 2 0', 'no HOST:PORT'),
    ('gpu0:65536 2 0', 'no HOST:PORT'),
    ('gpu0:1234 two 0', "--num_processes is 'two', no number from 0 on"),
    ('gpu0:1234 2 -1', "--process_id is '-1', no number from 0 on"),
    ('gpu0:1234 2 2', '--process_id is 2, and of --num_processes=2 the last'),
    ('gpu0:1234 0 0', '--process_id is 0, and of --num_processes=0'),
  ],
)
def test_flags_that_make_no_sense(given, says):
  words = zip(launch.FLAGS, given.split(), strict=False)
  with pytest.raises(ConfigError) as caught:
    launch.place_of({name: word for name, word in words if word != '-'})
  assert says in str(caught.value)
  assert 'none of them is needed' in str(caught.value)  # and how it is right


def test_flags():
  flags = dict(zip(launch.FLAGS, ('[::1]:8', '2', '1'), strict=False))
  assert launch.place_of(flags) == ('[::1]:8', 2, 1)
  assert launch.place_of({}) is None
  alone = flags | {'--num_processes': '1', '--process_id': '0'}
  assert launch.place_of(alone) is None


@pytest.mark.parametrize('text', ['0', '-1', 'soon', '86401'])
def test_a_time_that_makes_no_sense(text):
  with pytest.raises(ConfigError, match='no number of seconds from 1 to 86400'):
    with launch.joined({'--join_timeout': text}):
      pass


SLURM = {
  'SLURM_JOB_ID': '7',
  'SLURM_STEP_NODELIST': 'gpu[1-2]',
  'SLURM_NTASKS': '2',
  'SLURM_PROCID': '0',
  'SLURM_LOCALID': '0',
}


@pytest.mark.parametrize(
  ('changed', 'place'),
  [
    ({}, ('gpu1:61447', 2, 0)),
    ({'SLURM_STEP_NUM_TASKS': '4'}, ('gpu1:61447', 4, 0)),
    ({'SLURM_STEP_NUM_TASKS': '1'}, None),  # a shell that salloc opened
    ({'SLURM_NTASKS': '1'}, None),
    ({'SLURM_STEP_NODELIST': None}, None),  # a batch script, without srun
  ],
)
def test_srun_is_told_from_other_ways_to_be_on_slurm(
  monkeypatch, changed, place
):
  for name in (*SLURM, 'SLURM_STEP_NUM_TASKS', 'JAX_COORDINATOR_PORT'):
    value = (SLURM | changed).get(name)
    if value is None:
      monkeypatch.delenv(name, raising=False)
    else:
      monkeypatch.setenv(name, value)
  assert launch._on_slurm() == place


@pytest.mark.parametrize(
  ('hosts', 'first'),
  [
    ('gpu1', 'gpu1'),
    ('gpu1,cpu[2-3]', 'gpu1'),
    ('gpu[001,007-015],host2', 'gpu001'),
    ('gpu-a[07-15]', 'gpu-a07'),
    ('10.0.0.1,10.0.0.2', '10.0.0.1'),
  ],
)
def test_the_first_host_of_slurm_is_the_one_that_jax_takes(
  monkeypatch, hosts, first
):
  monkeypatch.delenv('JAX_COORDINATOR_PORT', raising=False)
  for name, value in (SLURM | {'SLURM_STEP_NODELIST': hosts}).items():
    monkeypatch.setenv(name, value)
  place = launch._on_slurm()
  assert place == (f'{first}:61447', 2, 0)
  # JAX completes what is not given, by its own reading.
  found = clusters.ClusterEnv.auto_detect_unset_distributed_params(
    None, None, None, None, 'slurm', 10
  )
  assert found == (*place, [0])


@pytest.fixture(scope='module')
def run(tmp_path_factory):
  cache = tmp_path_factory.mktemp('cache')
  return lambda *args, **more: programs.Run(cache, *args, **more)


@pytest.fixture(scope='module')
def one(run, tmp_path_factory):
  workdir = tmp_path_factory.mktemp('one')
  run(workdir, 1).ended(0)
  return workdir


@pytest.fixture(scope='module')
def two(run, tmp_path_factory):
  workdir = tmp_path_factory.mktemp('two')
  return workdir, run(workdir, 2).ended(0, 0)


def metrics(workdir):
  (path,) = workdir.glob('trials/*/metrics.jsonl')
  lines = [json.loads(text) for text in path.read_text().splitlines()]
  assert [line['epoch'] for line in lines] == [1, 2]
  return [x[key] for x in lines for key in ('loss', 'id_val_loss')]


def assert_same_run(workdir, other):
  """To rounding, which epochs of training make larger."""
  np.testing.assert_allclose(metrics(workdir), metrics(other), rtol=1e-3)
  (line,), (wanted,) = results.read(workdir), results.read(other)
  assert line['trial'] == wanted['trial'] and line['C'] == wanted['C']
  for key in ('id_val', 'id_test', 'ood_mean'):
    assert line[key] == pytest.approx(wanted[key], abs=0.01), key
  for key in ('feature_l2', 'feature_cosine', 'id_val_loss'):
    assert line[key] == pytest.approx(wanted[key], rel=1e-3), key


def test_two_processes_find_what_one_finds(one, two):
  workdir, said = two
  assert_same_run(workdir, one)
  assert '2 x cpu of 2 processes, as data=2 x model=1' in said[0]
  assert 'batches: 20, 10 on each device, 10 by each process' in said[0]


def test_the_first_process_alone_writes_and_speaks(one, two):
  workdir, said = two

  def files(folder):
    found = (path.relative_to(folder) for path in folder.rglob('*'))
    return {str(x) for x in found if 'checkpoints/' not in str(x)}

  assert files(workdir) == files(one)
  assert not pathlib.Path('/proc/nowhere').exists()
  assert 'report: ' in said[0] and 'report: ' not in said[1]
  assert 'finetune' in said[0] and 'finetune' not in said[1]
  (lock,) = workdir.glob('trials/*/lock')
  assert json.loads(lock.read_text())['process'] != os.getpid()


def halfway(workdir, copy):
  """What a kill after the first epoch leaves."""
  shutil.copytree(workdir, copy)
  (trial,) = copy.glob('trials/*')
  (trial / 'result.json').unlink()
  (copy / 'results.jsonl').unlink()
  for path in (*trial.glob('checkpoints/*_finetune/2'), trial / 'arrays.npz'):
    shutil.rmtree(path) if path.is_dir() else path.unlink()
  shutil.rmtree(trial / 'checkpoints' / 'final')
  return copy


@pytest.mark.parametrize(
  ('before', 'after'),
  [(2, 1), (1, 4)],
)
def test_another_number_of_processes_goes_on(
  one, two, run, tmp_path, before, after
):
  workdir = halfway({1: one, 2: two[0]}[before], tmp_path / 'copy')
  said = run(workdir, after).ended(*[0] * after)
  assert 'epoch 2/2' in said[0] and 'epoch 1/2' not in said[0]
  assert f'begun on {before} x cpu' in said[0]
  assert_same_run(workdir, one)


def test_stopped_and_killed_at_different_processes_it_ends_the_same(
  two, run, tmp_path
):
  # One is told to stop: both do, and save the same step.
  stopped = run(tmp_path, 2).until('finetune: ').send(1, signal.SIGTERM)
  said = stopped.ended(143, 143, within=60)
  assert 'stopped by SIGTERM. To go on: python -m daft_jax.main' in said[0]
  assert 'Traceback' not in ''.join(said)
  # Each is killed in turn, and soon: a fast machine is done in seconds. At all
  # other moments in processes_kill_test.
  for index, place in ((1, 'restore'), (0, 'save')):
    moment = disturbed.Moment(place, index, signal.SIGKILL, 0.1)
    disturbed.disturb(run(tmp_path, 2), moment)
  run(tmp_path, 2).ended(0, 0)
  kill_test.compare(two[0], tmp_path)  # to the bit


def test_what_the_user_did_wrong_ends_all_and_is_said_once(two, run):
  """Also, processes find each other as srun starts them."""
  workdir, _ = two
  for others, wrong in (
    ({}, 'holds an experiment with other settings (epochs: 2 there, 4 now)'),
    (
      {'lrs': '0.1', 'keep': 'chosen'},
      'process 1 has other settings than process 0 (config.keep, config.lrs.0)',
    ),
    (
      {'epocs': '4'},
      'config.epocs is unknown. Did you mean config.epochs? (process 1)',
    ),
  ):
    said = run(workdir, 2, others=others, slurm=True, epochs='4').ended(2, 2)
    assert wrong in said[0]
    assert wrong not in said[1]
    assert 'Traceback' not in ''.join(said)

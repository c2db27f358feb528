"""A run that is killed again and again ends with the same bits.

SIGKILL at random moments of the real program, which runs every method: in
training, saving, conversion, probe, evaluation, restoring, between stages.
"""

import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import time

import pytest

from daft_jax import main
from daft_jax.methods import METHODS

ROOT = pathlib.Path(main.__file__).parent.parent
FIELDS = {
  **{
    'seeds': '0',
    'epochs': '2',
    'batch_size': '100',
    'image_size': '12',
    'lrs': '0.001',
  },
  **{'keep': 'all', 'mesh.data': '1', 'methods': '+'.join(METHODS)},
}
# 300 steps an epoch, so that a signal comes inside one.
SLOW = {'batch_size': '2', 'methods': 'daft'}
# Compiled programs are kept, so that a start takes three seconds, not eight.
CACHE = {'JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS': '0'}


@pytest.fixture(scope='module')
def start(tmp_path_factory):
  """Starts the program; stdout and stderr together go to a file."""
  home = tmp_path_factory.mktemp('home')
  environment = {
    **os.environ,
    **CACHE,
    'JAX_COMPILATION_CACHE_DIR': str(home / 'cache'),
  }

  def make(workdir, **more):
    fields = [f'--config.{k}={v}' for k, v in (FIELDS | more).items()]
    return subprocess.Popen(
      [
        *(sys.executable, '-m', 'daft_jax.main', f'--workdir={workdir}'),
        *(f'--config={ROOT / "configs" / "digits.py"}', *fields),
      ],
      cwd=ROOT,
      env=environment,
      stdout=subprocess.PIPE,
      stderr=subprocess.STDOUT,
      text=True,
    )

  return make


def finished(process):
  out, _ = process.communicate(timeout=600)
  assert process.returncode == 0 and 'report: ' in out, out[-3000:]
  return out


def outcome(workdir):
  """All that must not depend on when a run was killed."""
  found = {}
  for path in sorted(workdir.glob('trials/*/checkpoints/**/manifest.json')):
    name = str(path.relative_to(workdir).parent)
    found[name] = json.loads(path.read_text())['leaves']
  for path in sorted(workdir.glob('trials/*/metrics.jsonl')):
    found[str(path.relative_to(workdir))] = path.read_text()
  for path in sorted(workdir.glob('trials/*/result.json')):
    line = json.loads(path.read_text())
    del line['seconds']
    found[str(path.relative_to(workdir))] = line
  return found


def compare(whole, killed):
  first, second = outcome(whole), outcome(killed)
  assert first.keys() == second.keys()
  for name, value in first.items():
    assert second[name] == value, name


@pytest.fixture(scope='module')
def whole(start, tmp_path_factory):
  """A run that nobody disturbed, of every method."""
  workdir = tmp_path_factory.mktemp('whole')
  finished(start(workdir))
  found = outcome(workdir)
  assert len([x for x in found if x.endswith('result.json')]) == len(METHODS)
  # Parameters, statistics and the optimizer's state are among the leaves.
  names = {leaf for leaves in found.values() for leaf in leaves}
  assert any('opt_state' in name for name in names)
  return workdir


def kill_often(start, workdir, count, seed, longest):
  """Starts and kills `count` times, at moments drawn from the seed."""
  rng = random.Random(seed)
  killed = 0
  while killed < count:
    process = start(workdir)
    time.sleep(rng.uniform(0.5, longest))
    if process.poll() is not None:
      finished(process)
      break
    process.send_signal(signal.SIGKILL)
    process.communicate()
    killed += 1
  return killed


def test_twenty_kills_change_nothing(start, whole, tmp_path):
  killed = kill_often(start, tmp_path, 20, seed=0, longest=9)
  assert killed >= 15  # It may be done before the last.
  finished(start(tmp_path))
  compare(whole, tmp_path)
  # Each epoch once.
  for path in tmp_path.glob('trials/*/metrics.jsonl'):
    lines = [json.loads(text) for text in path.read_text().splitlines()]
    steps = [(line['stage'], line['epoch']) for line in lines]
    assert len(steps) == len(set(steps))


@pytest.mark.nightly
@pytest.mark.parametrize('seed', range(1, 6))
def test_two_hundred_kills_change_nothing(start, whole, tmp_path, seed):
  kill_often(start, tmp_path, 40, seed=seed, longest=12)
  finished(start(tmp_path))
  compare(whole, tmp_path)


@pytest.mark.parametrize(
  ('number', 'status'), [(signal.SIGTERM, 143), (signal.SIGINT, 130)]
)
def test_a_signal_saves_the_step_and_says_how_to_go_on(
  start, tmp_path, number, status
):
  process = start(tmp_path / 'a', **SLOW)
  log = []
  for line in process.stdout:
    log.append(line)
    if 'finetune: ' in line:
      break
  time.sleep(1)  # Of the two or more that an epoch takes.
  asked = time.monotonic()
  process.send_signal(number)
  out, _ = process.communicate(timeout=60)
  assert time.monotonic() - asked < 20
  assert process.returncode == status, out
  assert 'To go on: python -m daft_jax.main --workdir=' in out
  assert 'Traceback' not in out
  (saved,) = (tmp_path / 'a').glob('trials/*/checkpoints/*/paused')
  step = json.loads((saved / 'manifest.json').read_text())['about']['step']
  assert step > 0 and step % 300
  out = finished(start(tmp_path / 'a', **SLOW))
  assert f'goes on at step {step}' in out
  finished(start(tmp_path / 'b', **SLOW))
  compare(tmp_path / 'b', tmp_path / 'a')
  assert not saved.exists()


def test_two_processes_share_a_grid(start, whole, tmp_path):
  methods = ('lp', 'ft', 'daft', 'lp_sgd')
  both = [start(tmp_path, methods='+'.join(methods)) for _ in range(2)]
  logs = [process.communicate(timeout=600)[0] for process in both]
  assert [process.returncode for process in both] == [0, 0], logs
  found, expected = outcome(tmp_path), outcome(whole)
  assert sum(name.endswith('result.json') for name in found) == len(methods)
  for name, value in found.items():
    assert value == expected[name], name
  # No trial was run twice: each ends once in one of the logs.
  ended = [
    line.split(' | ')[0]
    for log in logs
    for line in log.splitlines()
    if ' | ID val ' in line
  ]
  assert sorted(ended) == sorted(set(ended)) and len(ended) == len(methods)
  lines = (tmp_path / 'results.jsonl').read_text().splitlines()
  assert len(lines) == len(methods)


def test_a_trial_in_use_is_refused_and_a_dead_owner_is_not(start, tmp_path):
  first = start(tmp_path, **SLOW)
  for line in first.stdout:
    if 'finetune: ' in line:
      break
  second = start(tmp_path, **SLOW)
  out, _ = second.communicate(timeout=120)
  assert second.returncode == 2
  assert f'process {first.pid}' in out and 'Traceback' not in out
  first.kill()
  first.communicate()
  third = start(tmp_path, **SLOW)
  for line in third.stdout:
    if 'finetune: ' in line:
      break
  assert third.poll() is None
  third.kill()
  third.communicate()

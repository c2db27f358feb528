"""What a run says of a repeat, and that it holds."""

import jax
import numpy as np
import pytest

import daft_jax
from daft_jax import machine, results, sharding, trees

CPU = {'platform': 'cpu', 'kind': 'cpu', 'devices': 1, 'processes': 1}
GPU = {**CPU, 'platform': 'gpu', 'kind': 'NVIDIA H100', 'devices': 8}


def test_what_a_run_computes_on():
  found = machine.describe(sharding.make_mesh(8))
  assert (found['platform'], found['devices']) == ('cpu', 8)
  assert found['mesh'] == [8, 1]
  assert found['cores'] >= 1


def test_promises(monkeypatch):
  cpu = {**CPU, 'cores': 2}
  assert machine.promise(cpu).endswith('gives the same bits')
  assert machine.promise(cpu, cpu) == machine.promise(cpu)
  other = machine.promise({**cpu, 'devices': 8}, cpu)
  assert 'begun on 1 x cpu, 2 cores' in other and 'not to the bit' in other
  split = machine.promise({**cpu, 'devices': 8, 'mesh': [4, 2]}, cpu)
  assert split.startswith('8 x cpu as 4 x 2, 2 cores; begun on 1 x cpu, 2 ')
  several = machine.promise({**cpu, 'devices': 2, 'processes': 2})
  assert several.startswith('2 x cpu of 2 processes, 2 cores: a repeat')
  eight = machine.promise({**cpu, 'devices': 8}, cpu, elastic=True)
  assert eight.endswith(
    '8 x cpu, 2 cores: a repeat on 1, 2, 4 or 8 of them gives the same bits'
  )
  cores = machine.promise({**cpu, 'cores': 4}, cpu, elastic=True)
  assert 'not to the bit' in cores
  monkeypatch.delenv('XLA_FLAGS', raising=False)
  assert 'a repeat agrees to rounding' in machine.promise(GPU)
  monkeypatch.setenv('XLA_FLAGS', '--xla_gpu_deterministic_ops=true')
  assert machine.promise(GPU).endswith('gives the same bits')


@pytest.fixture(scope='module')
def runs(tiny_config, tmp_path_factory):
  """The same run twice on one device, and once on eight."""
  found = []
  for devices in (1, 1, 8):
    workdir = tmp_path_factory.mktemp('run')
    config = tiny_config(methods=('daft',), mesh__data=devices)
    daft_jax.run(config, workdir)
    (line,) = results.read(workdir)
    _, variables, _ = daft_jax.load_run(workdir)
    found.append((line, trees.flatten(jax.device_get(variables))))
  return found


def test_a_repeat_gives_the_same_bits(runs):
  (first, leaves), (second, again), _ = runs
  for key in first.keys() - {'seconds'}:
    assert first[key] == second[key], key
  for path, leaf in leaves.items():
    assert np.asarray(leaf).tobytes() == np.asarray(again[path]).tobytes()


def test_other_devices_agree_to_rounding(runs):
  (first, leaves), _, (other, others) = runs
  assert other['id_test'] == pytest.approx(first['id_test'], abs=0.03)
  moved = [
    np.linalg.norm(leaf - others[path]) / (np.linalg.norm(leaf) + 1e-6)
    for path, leaf in leaves.items()
    if not path.startswith('params/head')
  ]
  assert 0 < max(moved) < 0.01  # Two epochs; a step agrees to 1e-5.


def test_a_run_that_goes_on_elsewhere_says_so(tiny_config, tmp_path, capsys):
  daft_jax.run(tiny_config(methods=('lp',)), tmp_path)
  assert 'gives the same bits' in capsys.readouterr().out
  daft_jax.run(tiny_config(methods=('lp',), mesh__data=2), tmp_path)
  assert 'begun on 1 x cpu' in capsys.readouterr().out

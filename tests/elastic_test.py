"""A whole elastic run, from conversion to the last table, bit by bit."""

import jax
import numpy as np
import pytest

import daft_jax
from daft_jax import models, results, trees
from daft_jax.data.preprocess import Preprocess

SIZE = 12


def run(tiny_config, workdir, devices):
  """Result lines and final variables of each method."""
  net = models.resnet.ResNet(10, (1,), stem='cifar', shortcut='pad', width=8)
  grey = (0.5, 0.5, 0.5)
  config = tiny_config(
    methods=('daft', 'lp_ft'),
    head_lrs=('auto',),
    elastic=True,
    mesh__data=devices,
  )
  daft_jax.run(
    config,
    workdir,
    model=net,
    variables=models.init_variables(net, SIZE, 0),
    preprocess=Preprocess(SIZE, grey, grey),
  )
  lines = {line['method']: line for line in results.read(workdir)}
  final = {
    method: trees.flatten(
      jax.device_get(daft_jax.load_run(workdir, method, model=net)[1])
    )
    for method in lines
  }
  return lines, final


@pytest.fixture(scope='module')
def alone(tiny_config, tmp_path_factory):
  return run(tiny_config, tmp_path_factory.mktemp('alone'), 1)


@pytest.mark.parametrize('devices', [2, 8])
def test_a_run_gives_the_same_bits(alone, tiny_config, tmp_path, devices):
  lines, final = run(tiny_config, tmp_path, devices)
  expected, variables = alone
  for method, line in expected.items():
    for key in line.keys() - {'seconds'}:
      assert lines[method][key] == line[key], (method, key)
    for path, leaf in variables[method].items():
      same = np.asarray(leaf).tobytes() == final[method][path].tobytes()
      assert same, (method, path)

"""What a run says of its devices when it begins."""

import jax
import numpy as np
import pytest

from daft_jax import arrangement, assemble, models, sharding, train
from daft_jax.data.preprocess import Preprocess
from daft_jax.optim import Optimizer
from daft_jax.settings import check

OPTIMIZER = {'momentum': 0.9}


@pytest.fixture(scope='module')
def lines(tiny_config):
  """The lines and the task of a mesh."""
  net = models.resnet.ResNet(10, (1, 1), stem='cifar', shortcut='pad', width=32)
  grey = (0.5, 0.5, 0.5)
  own = assemble.Backbone(
    net, models.init_variables(net, 8, 0), Preprocess(8, grey, grey)
  )

  def make(**fields):
    fields = {f'mesh__{key}': value for key, value in fields.items()}
    task = assemble.make_task(check(tiny_config(**fields)), own)
    return arrangement.describe(task, OPTIMIZER), task

  return make


def test_one_device(lines):
  (devices, batches, parameters), task = lines(data=1)
  assert (
    devices == '1 x cpu of 1 process, as data=1 x model=1; 7 more are not used'
  )
  assert batches == 'batches: 64; where nothing trains: 256'
  size = sum(x.nbytes for x in jax.tree.leaves(task.variables['params']))
  assert parameters == f'parameters and momenta: {2 * size / 1e6:.1f} MB'


def test_a_mesh_with_parts_of_parameters(lines, monkeypatch):
  monkeypatch.setattr(sharding, 'MANY_CLASSES', 10)
  (devices, batches, parameters), task = lines(data=4, model=2, params='fsdp')
  assert devices == '8 x cpu of 1 process, as data=4 x model=2'
  assert batches.startswith('batches: 64, 16 on each device; ')
  assert 'over data: 4 of ' in parameters
  assert parameters.endswith('; over model: head/bias and head/kernel')
  # The bytes are those of the state that a run makes.
  state = train.init_state(
    task.variables, '', Optimizer(1, 1, **OPTIMIZER), task.mesh, task.rules
  )
  first = [
    leaf.addressable_shards[0].data.nbytes
    for leaf in jax.tree.leaves((state.params, state.opt_state))
  ]
  assert f', {np.sum(first) / 1e6:.1f} MB on each device' in parameters


def test_a_model_axis_that_does_nothing_says_why(lines):
  (_, _, parameters), _ = lines(data=4, model=2)
  assert 'over data: nothing; over model: nothing (a head is' in parameters
  assert parameters.endswith('this one has 10)')

"""Convolutions in the fast order give the same, and no others are left."""

import re

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from daft_jax import models, optim, sharding, train
from daft_jax.models import resnet
from daft_jax.train import Parts
from daft_jax.train.convolutions import in_order

SIZE, CLASSES = 8, 5
FAST = 'b01f_01io->b01f'
LABELS = re.compile(r' convolution\(.*?dim_labels=([\w>-]+)')


class Inner(nn.Module):
  """What calls functions of its own: of groups, scanned, with a rule."""

  @nn.compact
  def __call__(self, x, train=False):
    del train
    x = nn.Conv(8, (3, 3), strides=2)(x)
    x = nn.Conv(8, (3, 3), feature_group_count=4)(x)
    x = jax.lax.cond(x.sum() > 1e9, jnp.zeros_like, jax.jit(nn.gelu), x)
    turn = nn.scan(
      lambda conv, x, _: (nn.silu(conv(x)), ()),
      variable_broadcast='params',
      split_rngs={'params': False},
      length=2,
    )
    return turn(nn.Conv(8, (3, 3)), x, None)[0].mean((1, 2))


def network(**more):
  return resnet.ResNet(
    CLASSES, (1, 1), stem='cifar', shortcut='pad', width=8, **more
  )


MODELS = {
  'resnet': network(),
  'remat': network(remat='stages'),
  'inner': Inner(),
}


@pytest.mark.parametrize('name', MODELS)
def test_a_gradient_in_order_is_the_gradient(name):
  model = MODELS[name]
  x = np.random.default_rng(0).normal(size=(4, SIZE, SIZE, 3))
  x = jnp.asarray(x, jnp.float32)
  variables = model.init(jax.random.key(0), x)

  def loss(params, x):
    found = model.apply({**variables, 'params': params}, x, train=False)
    return (jax.tree.leaves(found)[0] ** 2).sum()

  gradient = jax.grad(loss, argnums=(0, 1))
  wanted = jax.jit(gradient)(variables['params'], x)
  found = jax.jit(in_order(gradient))(variables['params'], x)
  assert jax.tree.structure(found) == jax.tree.structure(wanted)
  for one, two in zip(*map(jax.tree.leaves, (found, wanted)), strict=True):
    assert one.dtype == two.dtype
    scale = jnp.abs(two).max()
    np.testing.assert_allclose(one / scale, two / scale, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
  'parts', [Parts(2), Parts(elastic=True), Parts(2, elastic=True)]
)
@pytest.mark.parametrize('name', ['resnet', 'remat'])
def test_no_convolution_of_a_loop_is_slow(name, parts):
  model, mesh = MODELS[name], sharding.make_mesh(1)
  optimizer = optim.Optimizer(epochs=1, steps_per_epoch=1)
  start = models.init_variables(model, SIZE, 0)
  state = train.init_state(start, '', optimizer, mesh)
  rows = {
    'image': np.zeros((16, SIZE, SIZE, 3), np.float32),
    'label': np.zeros(16, np.int32),
  }
  rates = {'lr': np.float32(0.1), 'head_lr': np.float32(0.1)}
  layout = sharding.Layout(mesh)
  step = train.get_step(model, '', 'batch', optimizer, layout, parts)
  program = step.lower(state, sharding.shard_batch(rows, mesh), rates)
  labels = LABELS.findall(program.compile().as_text())
  # Of five: forward, to the kernel and, but for the first one, to the image.
  assert len(labels) >= 14
  assert set(labels) == {FAST}

"""What is computed twice instead of kept: same numbers in less memory."""

import jax
import numpy as np
import pytest

from daft_jax import bn, models, optim, sharding, train, trees
from daft_jax.models import clip_resnet, inverted, resnet

CLASSES, ROWS = 5, 16
OPTIMIZER = optim.Optimizer(epochs=1, steps_per_epoch=1)
PARTS = train.Parts(grad_accum_steps=2, bn_group_size=4)
MODELS = {
  'resnet': (
    resnet.ResNet(CLASSES, (2,), stem='cifar', shortcut='pad', width=8),
    16,
  ),
  'clip_resnet': (
    clip_resnet.CLIPResNet(
      CLASSES, (1,), width=8, embed_dim=8, heads=2, image_size=32
    ),
    32,
  ),
  'inverted': (
    inverted.InvertedNet(
      CLASSES,
      (inverted.Stage(1, 4, 3, 1, 8),) * 2,
      stem_width=8,
      head_width=16,
    ),
    16,
  ),
}


def batch(size):
  rng = np.random.default_rng(0)
  return {
    'image': rng.normal(size=(ROWS, size, size, 3)).astype(np.float32),
    'label': rng.integers(CLASSES, size=ROWS).astype(np.int32),
    'mask': np.arange(ROWS) < ROWS - 3,
  }


def step(model, size, how):
  """The state after a step, and the memory that the step takes."""
  mesh = sharding.make_mesh(1)
  start = models.init_variables(model, size, 0)
  state = train.init_state(start, '', OPTIMIZER, mesh)
  rates = {'lr': np.float32(0.1), 'head_lr': np.float32(0.1)}
  args = state, sharding.shard_batch(batch(size), mesh), rates
  jitted = train.get_step(model, '', 'batch', OPTIMIZER, None, how)
  compiled = jitted.lower(*args).compile()
  memory = compiled.memory_analysis().temp_size_in_bytes
  return jax.device_get(compiled(*args)[0]), memory


def assert_close(found, expected, **options):
  found, expected = trees.flatten(found), trees.flatten(expected)
  assert found.keys() == expected.keys()
  for path, leaf in expected.items():
    np.testing.assert_allclose(found[path], leaf, err_msg=path, **options)


@pytest.mark.parametrize(
  ('name', 'how'),
  [('resnet', PARTS), *((name, train.Parts()) for name in MODELS)],
)
def test_the_same_step_in_less_memory(name, how):
  model, size = MODELS[name]
  plain, most = step(model, size, how)
  found, least = step(model.clone(remat='stages'), size, how)
  # The momentum is the gradient.
  assert_close(found, plain, rtol=1e-5, atol=1e-7)
  assert least < 0.95 * most


def test_conversion_is_the_same():
  model, size = MODELS['resnet']
  variables = models.init_variables(model, size, 0)
  found, plain = (
    bn.bn_moments(each, variables, [batch(size)['image']])
    for each in (model.clone(remat='stages'), model)
  )
  assert list(found) == list(plain)
  for name, moments in plain.items():
    np.testing.assert_allclose(found[name].var, moments.var, rtol=1e-6)


def test_models_are_made_with_it():
  model = models.create_model('resnet14_cifar', CLASSES, remat='stages')
  plain = models.create_model('resnet14_cifar', CLASSES)
  assert model == plain.clone(remat='stages')
  with pytest.raises(
    ValueError, match="remat is 'blocks': say one of none, st"
  ):
    models.create_model('resnet14_cifar', CLASSES, remat='blocks')

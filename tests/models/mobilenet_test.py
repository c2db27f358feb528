"""MobileNetV2: sizes, names, shapes, dtypes; what holds for its blocks."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from daft_jax import bn, models, trees
from daft_jax.models import inverted, mobilenet
from daft_jax.pretrained import rules
from tests import parity

# name: parameters, BatchNorms, with 1000 classes: torchvision's documentation.
PUBLISHED = {'mobilenet_v2': (3_504_872, 52)}
SMALL = inverted.InvertedNet(
  5,
  (inverted.Stage(1, 1, 3, 1, 4), inverted.Stage(2, 3, 5, 2, 6)),
  stem_width=8,
  head_width=16,
)


def images(n=4, size=32, seed=0):
  rng = np.random.default_rng(seed)
  return rng.normal(0.3, 1.0, (n, size, size, 3)).astype(np.float32)


def shapes(model, size=32):
  spec = jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)
  return jax.eval_shape(model.init, jax.random.key(0), spec)


@functools.partial(jax.jit, static_argnums=(0, 3))
def apply(model, variables, x, train=False):
  mutable = ['batch_stats'] if train else []
  return model.apply(variables, x, train=train, mutable=mutable)


@pytest.mark.parametrize('name', mobilenet.MODELS)
def test_published_sizes(name):
  variables = shapes(models.create_model(name, 1000))
  parameters = sum(leaf.size for leaf in jax.tree.leaves(variables['params']))
  means = [p for p in trees.flatten(variables) if p.endswith('/mean')]
  assert (parameters, len(means)) == PUBLISHED[name]


@pytest.mark.parametrize('publisher', ['torchvision', 'timm'])
def test_names_and_shapes_are_the_published_ones(publisher):
  torch = pytest.importorskip('torch', reason='parity needs torch')
  networks = parity.torchvision().models
  with torch.device('meta'):
    if publisher == 'timm':
      timm = pytest.importorskip('timm', reason='parity needs timm')
      module = timm.create_model('mobilenetv2_100')
    else:
      module = networks.mobilenet_v2()
  state = module.state_dict().items()
  published = {key: tuple(v.shape) for key, v in state if v.ndim}
  layout = {x.name: x for x in rules.LAYOUTS['mobilenet']}[publisher]
  variables = shapes(models.create_model('mobilenet_v2', 1000))
  found = {
    rules.key(layout, path): rules.to_torch(path, np.empty(leaf.shape)).shape
    for path, leaf in trees.flatten(variables).items()
  }
  assert found == published


def test_names_in_files_without_torch():
  torchvision, timm = rules.LAYOUTS['mobilenet']
  path = 'params/block6/depthwise_bn/scale'  # the last of three in stage 3
  assert rules.key(torchvision, path) == 'features.7.conv.1.1.weight'
  assert rules.key(timm, path) == 'blocks.3.0.bn2.weight'
  path = 'params/block0/project_conv/kernel'
  assert rules.key(torchvision, path) == 'features.1.conv.1.weight'
  assert rules.key(timm, path) == 'blocks.0.0.conv_pw.weight'


def test_names():
  params = shapes(models.create_model('mobilenet_v2', 7))['params']
  blocks = {f'block{i}' for i in range(17)}
  others = {'conv_stem', 'bn_stem', 'conv_head', 'bn_head', 'head'}
  assert set(params) == blocks | others
  first = {'depthwise_conv', 'depthwise_bn', 'project_conv', 'project_bn'}
  assert set(params['block0']) == first
  assert set(params['block1']) == first | {'expand_conv', 'expand_bn'}
  assert params['block1']['depthwise_conv']['kernel'].shape == (3, 3, 1, 96)
  assert params['head']['kernel'].shape == (1280, 7)


def test_feature_shapes():
  model = models.create_model('mobilenet_v2', 11, dtype='bfloat16')
  x = jnp.zeros((2, 65, 65, 3))
  logits, features = jax.eval_shape(model.apply, shapes(model), x)
  expected = {'stem': (33, 32), 'stage1': (33, 16), 'stage2': (17, 24)}
  expected |= {'stage3': (9, 32), 'stage4': (5, 64), 'stage5': (5, 96)}
  expected |= {'stage6': (3, 160), 'stage7': (3, 320)}
  assert set(features) == {*expected, 'pre_logits'}
  for key, (side, channels) in expected.items():
    assert features[key].shape == (2, side, side, channels), key
    assert features[key].dtype == jnp.bfloat16
  assert features['pre_logits'].shape == (2, 1280)
  assert logits.shape == (2, 11)
  assert logits.dtype == features['pre_logits'].dtype == jnp.float32


def test_bfloat16_keeps_parameters_and_statistics_in_float32():
  half = SMALL.clone(dtype='bfloat16')
  variables = models.init_variables(half, 17, seed=0)
  x = images(size=17)
  (logits, features), updated = apply(half, variables, x, True)
  leaves = jax.tree.leaves([variables, updated])
  assert {leaf.dtype for leaf in leaves} == {jnp.dtype('float32')}
  assert features['stage2'].dtype == jnp.bfloat16
  assert logits.dtype == features['pre_logits'].dtype == jnp.float32
  (full, _), _ = apply(SMALL, variables, x, True)
  np.testing.assert_allclose(logits, full, atol=0.1)


def test_only_equal_shapes_have_a_shortcut():
  """Without projections, a block gives its bias and, if it may, its input."""
  options = (None, 1e-5, 'float32')
  x = images(2, 6)
  for stride, width, shortcut in ((1, 3, 1), (2, 3, 0), (1, 4, 0)):
    block = inverted.Block(2, 3, stride, width, *options)
    variables = jax.jit(block.init)(jax.random.key(0), x)
    variables['params']['project_bn']['scale'] = jnp.zeros(width)
    variables['params']['project_bn']['bias'] = jnp.full(width, -7.0)
    side = 6 // stride
    expected = shortcut * x[..., :width] - 7 if shortcut else -7.0
    y = jax.jit(block.apply)(variables, x)
    assert y.shape == (2, side, side, width)
    np.testing.assert_allclose(y, np.broadcast_to(expected, y.shape), rtol=1e-6)


def test_train_mode_is_deterministic():
  """No dropout: it would ask for a key."""
  variables = models.init_variables(SMALL, 17, seed=0)
  first, _ = apply(SMALL, variables, images(size=17), True)
  second, _ = apply(SMALL, variables, images(size=17), True)
  jax.tree.map(np.testing.assert_array_equal, first, second)


def random_variables(name, size):
  """Weights as initialised; affine maps, biases and statistics at random."""
  model = models.create_model(name, 10)
  variables = models.init_variables(model, size, seed=0)
  rng = np.random.default_rng(1)
  leaves = trees.flatten(variables)
  for path, leaf in leaves.items():
    if leaf.ndim == 1:
      leaves[path] = rng.uniform(0.5, 1.5, leaf.shape).astype(np.float32)
  return model, trees.unflatten(leaves, variables)


def test_bn_conversion_keeps_the_output():
  model, variables = random_variables('mobilenet_v2', 64)
  x = images(8, 64)
  moments = bn.bn_moments(model, variables, [x[:4], x[4:]])
  assert len(moments) == 52
  (before, _), _ = apply(model, variables, x)
  converted = bn.convert_bn(variables, moments)
  (after, _), _ = apply(model, converted, x)
  assert parity.difference(np.asarray(after), np.asarray(before)) <= 1e-5
  old = trees.flatten(variables)['batch_stats/bn_head/var']
  new = trees.flatten(converted)['batch_stats/bn_head/var']
  assert not np.allclose(old, new, rtol=0.1)


@pytest.mark.parametrize('shape', [(8, 8, 3), (2, 8, 8, 1)])
def test_wrong_images(shape):
  model = models.create_model('mobilenet_v2', 10)
  with pytest.raises(ValueError, match=r'\[B, H, W, 3\]'):
    jax.eval_shape(model.apply, shapes(model), jnp.zeros(shape))

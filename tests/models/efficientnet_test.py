"""EfficientNet-Lite: sizes, names, scaling, shapes, padding."""

import doctest
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from daft_jax import bn, models, trees
from daft_jax.models import efficientnet
from daft_jax.pretrained import matching, rules
from tests import parity

# name: parameters, BatchNorms, blocks, with 1000 classes, as timm and the
# published files have them.
PUBLISHED = {
  'efficientnet_lite0': (4_652_008, 49, 16),
  'efficientnet_lite1': (5_416_680, 64, 21),
  'efficientnet_lite2': (6_092_072, 64, 21),
}


def images(n=4, size=32, seed=0):
  rng = np.random.default_rng(seed)
  return rng.normal(0.3, 1.0, (n, size, size, 3)).astype(np.float32)


@functools.cache
def shapes(name, num_classes=1000):
  model = models.create_model(name, num_classes)
  spec = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
  return jax.eval_shape(model.init, jax.random.key(0), spec)


def first_stage():
  """Lite0 without its other stages: compiles in a second."""
  model = models.create_model('efficientnet_lite0', 3)
  return model.clone(stages=model.stages[:1], head_width=8)


@functools.partial(jax.jit, static_argnums=0)
def evaluate(model, variables, x):
  return model.apply(variables, x, train=False)


def test_every_listed_model_has_a_published_size():
  assert list(efficientnet.MODELS) == list(PUBLISHED)


@pytest.mark.parametrize('name', PUBLISHED)
def test_published_sizes(name):
  variables = shapes(name)
  parameters = sum(leaf.size for leaf in jax.tree.leaves(variables['params']))
  means = [p for p in trees.flatten(variables) if p.endswith('/mean')]
  blocks = [key for key in variables['params'] if key.startswith('block')]
  assert (parameters, len(means), len(blocks)) == PUBLISHED[name]


def names_and_shapes(name, layout):
  return {
    rules.key(layout, path): rules.to_torch(path, np.empty(leaf.shape)).shape
    for path, leaf in trees.flatten(shapes(name)).items()
  }


@pytest.mark.parametrize('name', PUBLISHED)
def test_names_and_shapes_are_those_of_timm(name):
  torch = pytest.importorskip('torch', reason='parity needs torch')
  parity.torchvision()  # which timm imports
  timm = pytest.importorskip('timm', reason='parity needs timm')
  with torch.device('meta'):
    module = timm.create_model(f'tf_{name}')
  state = module.state_dict().items()
  published = {key: tuple(v.shape) for key, v in state if v.ndim}
  _, lite0, deeper = rules.LAYOUTS['efficientnet']
  layout, other = lite0, deeper
  if name != 'efficientnet_lite0':
    layout, other = deeper, lite0
  assert names_and_shapes(name, layout) == published
  assert names_and_shapes(name, other) != published
  # Of all layouts of the family, the right one is found.
  arrays = {key: np.empty(shape) for key, shape in published.items()}
  wanted = {p: leaf.shape for p, leaf in trees.flatten(shapes(name)).items()}
  found = matching.match(arrays, wanted, rules.LAYOUTS['efficientnet'])
  assert found.fits and found.layout is layout


def test_names_in_the_published_files():
  """Keys of the files without counters: 296 and 386 with them."""
  layout = rules.LAYOUTS['efficientnet'][0]
  for name, count in zip(PUBLISHED, (247, 322, 322), strict=True):
    found = names_and_shapes(name, layout)
    assert len(found) == count
    last = PUBLISHED[name][2] - 1
    assert {
      *('_conv_stem.weight', '_bn0.running_mean', '_bn1.bias', '_fc.weight'),
      *('_blocks.0._depthwise_conv.weight', '_blocks.0._bn1.running_var'),
      *('_blocks.3._expand_conv.weight', '_blocks.3._bn0.weight'),
      *(f'_blocks.{last}._project_conv.weight', f'_blocks.{last}._bn2.bias'),
    } <= set(found)
    assert '_blocks.0._expand_conv.weight' not in found
    assert found['_blocks.3._depthwise_conv.weight'][1:] == (
      (1, 5, 5) if name == 'efficientnet_lite0' else (1, 3, 3)
    )


def test_scaling_keeps_stem_head_and_the_ends():
  lite2 = shapes('efficientnet_lite2', 7)['params']
  assert lite2['conv_stem']['kernel'].shape == (3, 3, 3, 32)
  assert lite2['conv_head']['kernel'].shape == (1, 1, 352, 1280)
  assert lite2['head']['kernel'].shape == (1280, 7)
  # Lite4 by the published rule: 16 * 1.4 = 22.4 becomes 24.
  stages = efficientnet.scaled_stages(1.4, 1.8)
  assert [s.width for s in stages] == [24, 32, 56, 112, 160, 272, 448]
  assert [s.blocks for s in stages] == [1, 4, 4, 6, 6, 8, 1]
  # 12 channels are not rounded down to 8, a third less.
  assert efficientnet.scaled_stages(0.7, 1)[0].width == 16


@pytest.mark.parametrize('name', PUBLISHED)
def test_feature_shapes(name):
  model = models.create_model(name, 11, dtype='bfloat16')
  x = jnp.zeros((2, 65, 65, 3))
  logits, features = jax.eval_shape(model.apply, shapes(name, 11), x)
  sides = (33, 33, 17, 9, 5, 5, 3, 3)
  widths = [32, *(stage.width for stage in model.stages)]
  maps = ['stem', *(f'stage{i}' for i in range(1, 8))]
  assert set(features) == {*maps, 'pre_logits'}
  for key, side, width in zip(maps, sides, widths, strict=True):
    assert features[key].shape == (2, side, side, width), key
    assert features[key].dtype == jnp.bfloat16
  assert features['pre_logits'].shape == (2, 1280)
  assert logits.shape == (2, 11)
  assert logits.dtype == features['pre_logits'].dtype == jnp.float32


def test_bfloat16_keeps_parameters_in_float32():
  model = models.create_model('efficientnet_lite0', 10, dtype='bfloat16')
  spec = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
  variables = jax.eval_shape(model.init, jax.random.key(0), spec)
  assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {
    jnp.dtype('float32')
  }


@pytest.mark.parametrize('side', [8, 9])
def test_the_stem_pads_as_tensorflow_does(side):
  """By NumPy: at an even size all of the padding is after the image."""
  model = first_stage()
  variables = models.init_variables(model, side, seed=0)
  kernel = np.asarray(variables['params']['conv_stem']['kernel'], np.float64)
  x = images(1, side)
  before = side % 2
  padded = np.pad(x, ((0, 0), (before, 1), (before, 1), (0, 0)))
  out = (side + 1) // 2
  y = np.zeros((1, out, out, 32))
  for i in range(out):
    for j in range(out):
      window = padded[:, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3]
      y[:, i, j] = np.tensordot(window, kernel, 3)
  y = np.clip(y / np.sqrt(1 + 1e-3), 0, 6)  # epsilon of TensorFlow
  _, features = evaluate(model, variables, x)
  np.testing.assert_allclose(features['stem'], y, rtol=1e-5, atol=1e-6)


def test_keep_rate_is_that_of_fine_tuning():
  model = first_stage()
  variables = models.init_variables(model, 32, seed=0)
  _, updated = jax.jit(
    functools.partial(model.apply, train=True, mutable=['batch_stats'])
  )(variables, np.zeros((2, 32, 32, 3), np.float32))
  # Without any variance, 0.9 of the old one (1) is left.
  var = updated['batch_stats']['bn_stem']['var']
  np.testing.assert_allclose(var, 0.9, rtol=1e-6)


def test_bn_conversion_keeps_the_output():
  model = models.create_model('efficientnet_lite0', 10)
  variables = models.init_variables(model, 64, seed=0)
  rng = np.random.default_rng(1)
  leaves = trees.flatten(variables)
  for path, leaf in leaves.items():
    if leaf.ndim == 1:
      leaves[path] = rng.uniform(0.5, 1.5, leaf.shape).astype(np.float32)
  variables = trees.unflatten(leaves, variables)
  x = images(8, 64)
  moments = bn.bn_moments(model, variables, [x[:4], x[4:]])
  assert len(moments) == 49
  before, _ = evaluate(model, variables, x)
  converted = bn.convert_bn(variables, moments)
  after, _ = evaluate(model, converted, x)
  assert parity.difference(np.asarray(after), np.asarray(before)) <= 1e-5
  old = trees.flatten(variables)['batch_stats/bn_head/var']
  new = trees.flatten(converted)['batch_stats/bn_head/var']
  assert not np.allclose(old, new, rtol=0.1)


def test_docstring_examples():
  result = doctest.testmod(efficientnet)
  assert result.attempted and not result.failed

"""ResNet: sizes, shapes, names, numerics of its parts, dtypes and errors."""

import doctest
import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from daft_jax import bn, models, trees
from daft_jax.models import resnet

# name: parameters, BatchNorms, with 1000 classes or, CIFAR, with 10. ImageNet:
# torchvision's documentation. CIFAR: option A, as published rounded (.27M...).
PUBLISHED = {
  'resnet18': (11_689_512, 20),
  'resnet34': (21_797_672, 36),
  'resnet50': (25_557_032, 53),
  'resnet101': (44_549_160, 104),
  'resnet152': (60_192_808, 155),
  'wide_resnet50_2': (68_883_240, 53),
  'resnext50_32x4d': (25_028_904, 53),
  'resnet14_cifar': (172_506, 13),
  'resnet20_cifar': (269_722, 19),
  'resnet32_cifar': (464_154, 31),
  'resnet44_cifar': (658_586, 43),
  'resnet56_cifar': (853_018, 55),
  'resnet110_cifar': (1_727_962, 109),
}
SMALL = resnet.ResNet(5, (1, 1), width=8)
SMALL_BOTTLENECK = resnet.ResNet(5, (1, 2), bottleneck=True, width=4)
SMALL_CIFAR = resnet.ResNet(5, (1, 1, 1), stem='cifar', shortcut='pad', width=4)


def images(n=4, size=32, seed=0):
  rng = np.random.default_rng(seed)
  return rng.normal(0.3, 1.0, (n, size, size, 3)).astype(np.float32)


def shapes(model, size=32):
  spec = jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)
  return jax.eval_shape(model.init, jax.random.key(0), spec)


@functools.partial(jax.jit, static_argnums=0)
def evaluate(model, variables, x):
  return model.apply(variables, x, train=False)


@functools.partial(jax.jit, static_argnums=0)
def train(model, variables, x):
  return model.apply(variables, x, train=True, mutable=['batch_stats'])


@functools.cache
def init(model, size=16):
  return models.init_variables(model, size, seed=0)


@pytest.mark.parametrize('name', PUBLISHED)
def test_published_sizes(name):
  model = models.create_model(name, 10 if 'cifar' in name else 1000)
  variables = shapes(model)
  parameters = sum(leaf.size for leaf in jax.tree.leaves(variables['params']))
  means = [p for p in trees.flatten(variables) if p.endswith('/mean')]
  assert (parameters, len(means)) == PUBLISHED[name]


def test_every_listed_model_has_a_published_size():
  assert list(resnet.MODELS) == list(PUBLISHED)


# Multiply-adds at 224 pixels, in 10^9: torchvision's documentation.
MACS = {
  'resnet18': 1.814,
  'resnet50': 4.089,
  'resnet152': 11.514,
  'wide_resnet50_2': 11.398,
  'resnext50_32x4d': 4.230,
}


@pytest.mark.parametrize('name', MACS)
def test_published_multiply_adds(name):
  total = 0

  def count(next_fun, args, kwargs, context):
    nonlocal total
    y, module = next_fun(*args, **kwargs), context.module
    if isinstance(module, nn.Conv):
      inputs = args[0].shape[-1] // module.feature_group_count
      total += y.size * inputs * np.prod(module.kernel_size)
    elif isinstance(module, nn.Dense):
      total += y.size * args[0].shape[-1]
    return y

  with nn.intercept_methods(count):
    shapes(models.create_model(name, 1000), 224)
  assert total / 1e9 == pytest.approx(MACS[name], rel=0.01)


def test_names_of_a_bottleneck():
  params = shapes(models.create_model('resnet50', 7))['params']
  assert set(params['layer2_0']) == {
    *('conv1', 'bn1', 'conv2', 'bn2', 'conv3', 'bn3'),
    *('downsample_conv', 'downsample_bn'),
  }
  assert 'downsample_conv' in params['layer1_0']  # 64 to 256 channels
  assert 'downsample_conv' not in params['layer1_1']
  assert params['head']['kernel'].shape == (2048, 7)
  assert {'conv1', 'bn1', 'layer4_2', 'head'} < set(params)
  assert 'layer4_3' not in params


def test_names_of_a_basic_block():
  params = shapes(models.create_model('resnet18', 7))['params']
  assert set(params['layer1_0']) == {'conv1', 'bn1', 'conv2', 'bn2'}
  assert 'downsample_conv' in params['layer2_0']
  cifar = shapes(models.create_model('resnet14_cifar', 7))['params']
  assert set(cifar['layer2_0']) == {'conv1', 'bn1', 'conv2', 'bn2'}


@pytest.mark.parametrize(
  ('name', 'size', 'expected'),
  [
    ('resnet18', 64, [(16, 64), (16, 64), (8, 128), (4, 256), (2, 512)]),
    ('resnet50', 65, [(17, 64), (17, 256), (9, 512), (5, 1024), (3, 2048)]),
    ('resnet20_cifar', 32, [(32, 16), (32, 16), (16, 32), (8, 64)]),
    ('resnet20_cifar', 33, [(33, 16), (33, 16), (17, 32), (9, 64)]),
  ],
)
def test_feature_shapes(name, size, expected):
  model = models.create_model(name, 11, dtype='bfloat16')
  x = jnp.zeros((2, size, size, 3))
  logits, features = jax.eval_shape(model.apply, shapes(model), x)
  maps = ['stem', *(f'stage{i}' for i in range(1, len(expected)))]
  assert set(features) == {*maps, 'pre_logits'}
  for key, (side, channels) in zip(maps, expected, strict=True):
    assert features[key].shape == (2, side, side, channels), key
    assert features[key].dtype == jnp.bfloat16
  assert features['pre_logits'].shape == (2, expected[-1][1])
  assert logits.shape == (2, 11)
  assert logits.dtype == features['pre_logits'].dtype == jnp.float32


@pytest.mark.parametrize('model', [SMALL, SMALL_BOTTLENECK, SMALL_CIFAR])
def test_eval_is_deterministic_and_per_image(model):
  variables = init(model)
  x = images(size=16)
  logits, features = evaluate(model, variables, x)
  again, _ = evaluate(model, variables, x)
  np.testing.assert_array_equal(logits, again)
  others = np.concatenate([x[:1], 9 * x[1:]])
  single, _ = evaluate(model, variables, others)
  np.testing.assert_allclose(single[0], logits[0], rtol=1e-5, atol=1e-6)
  head = variables['params']['head']
  np.testing.assert_allclose(
    features['pre_logits'] @ head['kernel'] + head['bias'],
    logits,
    rtol=1e-4,
    atol=1e-5,
  )
  last = features[f'stage{len(model.stage_sizes)}']
  np.testing.assert_allclose(
    last.mean((1, 2)), features['pre_logits'], rtol=1e-5, atol=1e-6
  )


def test_bfloat16_keeps_parameters_and_statistics_in_float32():
  half = SMALL.clone(dtype='bfloat16')
  variables = init(half)
  x = images(size=16)
  (logits, features), updated = train(half, variables, x)
  assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {
    jnp.dtype('float32')
  }
  assert {leaf.dtype for leaf in jax.tree.leaves(updated)} == {
    jnp.dtype('float32')
  }
  assert features['stage2'].dtype == jnp.bfloat16
  assert logits.dtype == features['pre_logits'].dtype == jnp.float32
  (full, _), _ = train(SMALL, variables, x)
  np.testing.assert_allclose(logits, full, atol=0.1)


def test_train_mode_updates_statistics_of_the_padded_strided_stem():
  """conv1 by NumPy alone: pad 3, stride 2, then Flax's 0.9 / 0.1 update."""
  variables = init(SMALL)
  x = images(2, 33)
  _, updated = train(SMALL, variables, x)
  kernel = np.asarray(variables['params']['conv1']['kernel'], np.float64)
  padded = np.pad(x.astype(np.float64), ((0, 0), (3, 3), (3, 3), (0, 0)))
  y = np.zeros((2, 17, 17, 8))
  for i in range(17):
    for j in range(17):
      window = padded[:, 2 * i : 2 * i + 7, 2 * j : 2 * j + 7]
      y[:, i, j] = np.tensordot(window, kernel, 3)
  stats = updated['batch_stats']['bn1']
  np.testing.assert_allclose(
    stats['mean'], 0.1 * y.mean((0, 1, 2)), rtol=1e-4, atol=1e-6
  )
  np.testing.assert_allclose(
    stats['var'], 0.9 + 0.1 * y.var((0, 1, 2)), rtol=1e-5
  )
  before, after = variables['batch_stats'], updated['batch_stats']
  for path, leaf in trees.flatten(before).items():
    assert not np.array_equal(leaf, trees.flatten(after)[path]), path


def test_bottleneck_strides_its_3x3_convolution():
  block = resnet.Block(4, 2, True, 'projection', 'float32')
  x = jnp.ones((1, 9, 9, 8))
  variables = jax.eval_shape(block.init, jax.random.key(0), x)
  apply = functools.partial(
    block.apply, capture_intermediates=True, mutable=['intermediates']
  )
  _, state = jax.eval_shape(apply, variables, x)
  sides = {
    name: state['intermediates'][name]['__call__'][0].shape[1]
    for name in ('conv1', 'conv2', 'conv3', 'downsample_conv')
  }
  assert sides == {'conv1': 9, 'conv2': 5, 'conv3': 5, 'downsample_conv': 5}


def test_option_a_shortcut_subsamples_and_pads_both_sides():
  block = resnet.Block(8, 2, False, 'pad', 'float32')
  x = images(2, 7)[..., [0, 1, 2, 0]]
  variables = block.init(jax.random.key(0), x)
  assert set(variables['params']) == {'conv1', 'bn1', 'conv2', 'bn2'}
  variables['params']['bn2']['scale'] = jnp.zeros(8)  # only the shortcut
  y = np.asarray(block.apply(variables, x))
  assert y.shape == (2, 4, 4, 8)
  np.testing.assert_array_equal(y[..., 2:6], np.maximum(x[:, ::2, ::2], 0))
  assert not y[..., :2].any() and not y[..., 6:].any()


def test_initial_values():
  model = models.create_model('resnet14_cifar', 100)
  variables = models.init_variables(model, 24, seed=3)
  kernel = variables['params']['layer3_1']['conv2']['kernel']
  assert kernel.std() == pytest.approx((2 / (9 * 64)) ** 0.5, rel=0.02)
  # A normal cut at two deviations has none beyond 2.3 of what remains.
  assert abs(kernel).max() > 3 * kernel.std()
  for leaf in variables['params']['head'].values():
    assert 0.9 / 8 < abs(leaf).max() <= 1 / 8
    assert leaf.min() < 0 < leaf.max()
  assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {
    jnp.dtype('float32')
  }
  same = models.init_variables(model, 24, seed=3)
  other = models.init_variables(model, 24, seed=4)
  jax.tree.map(np.testing.assert_array_equal, variables, same)
  assert not np.array_equal(
    kernel, other['params']['layer3_1']['conv2']['kernel']
  )


def test_equal_models_share_a_compilation():
  traces = []

  @functools.partial(jax.jit, static_argnums=0)
  def count(model, x):
    traces.append(model)
    return x

  for _ in range(2):
    count(models.create_model('resnet50', 7), 1.0)
  count(models.create_model('resnet50', 8), 1.0)
  assert len(traces) == 2


def test_errors_say_what_to_type():
  with pytest.raises(ValueError, match="Did you mean 'resnet50'.*resnet18"):
    models.create_model('resnet_50', 10)
  with pytest.raises(ValueError, match='float32, bfloat16'):
    models.create_model('resnet18', 10, dtype='half')
  with pytest.raises(ValueError, match='1 or more'):
    models.create_model('resnet18', 0)


@pytest.mark.parametrize(
  ('x', 'message'),
  [
    (np.zeros((8, 8, 3), np.float32), r'\[B, H, W, 3\]'),
    (np.zeros((2, 3, 8, 8), np.float32), 'channels last'),
    (np.zeros((2, 8, 8, 1), np.float32), 'grey'),
    (np.zeros((2, 8, 8, 3), np.uint8), 'preprocessing'),
  ],
)
def test_wrong_images(x, message):
  model = models.create_model('resnet14_cifar', 10)
  with pytest.raises(ValueError, match=message):
    jax.eval_shape(model.apply, shapes(model), x)


def test_a_model_is_seen_through_interceptors():
  """BatchNorm conversion and masks rely on it."""
  seen = []

  def record(next_fun, args, kwargs, context):
    if isinstance(context.module, nn.BatchNorm):
      seen.append('/'.join(context.module.path))
    return next_fun(*args, **kwargs)

  variables = shapes(SMALL_BOTTLENECK)
  with nn.intercept_methods(record):
    jax.eval_shape(SMALL_BOTTLENECK.apply, variables, images())
  means = trees.flatten(variables['batch_stats'])
  assert sorted(seen) == sorted(
    path.removesuffix('/mean') for path in means if path.endswith('/mean')
  )


def test_docstring_examples():
  result = doctest.testmod(models)
  assert result.attempted and not result.failed


@pytest.mark.parametrize('name', ['resnet18', 'resnext50_32x4d'])
def test_conversion_keeps_the_function(name):
  model = models.create_model(name, 10)
  variables = init(model, 64)
  rng = np.random.default_rng(0)
  stats = jax.tree_util.tree_map_with_path(
    lambda path, leaf: (
      rng.uniform(0.5, 2, leaf.shape).astype(np.float32)
      if path[-1].key == 'var'
      else rng.normal(size=leaf.shape).astype(np.float32)
    ),
    variables['batch_stats'],
  )
  variables = {**variables, 'batch_stats': stats}
  x = images(8, 64)
  moments = bn.bn_moments(model, variables, [x[:5], x[5:]])
  before, _ = evaluate(model, variables, x)
  after, _ = evaluate(model, bn.convert_bn(variables, moments), x)
  assert np.abs(after - before).max() <= 1e-5 * np.abs(before).max()

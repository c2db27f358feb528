"""CLIP's ResNets: sizes, names, shapes, positions, dtypes and errors."""

import doctest
import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from daft_jax import bn, models, trees
from daft_jax.models import clip_resnet
from daft_jax.pretrained import rules
from tests import parity
from tests.cases import clip_resnet as cases

# name: parameters without the head, BatchNorms, as open_clip has them.
PUBLISHED = {
  'clip_resnet50': (38_316_896, 55),
  'clip_resnet101': (56_259_936, 106),
}
SMALL = clip_resnet.CLIPResNet(
  num_classes=5,
  stage_sizes=(1, 1, 2, 1),
  width=4,
  embed_dim=6,
  heads=4,
  image_size=64,
)


def images(n=3, size=64, seed=0):
  rng = np.random.default_rng(seed)
  return rng.normal(0.3, 1.0, (n, size, size, 3)).astype(np.float32)


def shapes(model, size=64):
  spec = jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)
  return jax.eval_shape(model.init, jax.random.key(0), spec)


def torch_tower(name):
  """The published network of open_clip, without memory for its weights."""
  torch = pytest.importorskip('torch', reason='parity needs torch')
  with torch.device('meta'):
    return cases.tower(models.create_model(name, 5))


@functools.partial(jax.jit, static_argnums=(0, 3))
def apply(model, variables, x, train=False):
  mutable = ['batch_stats'] if train else []
  return model.apply(variables, x, train=train, mutable=mutable)


@functools.cache
def random_variables():
  """SMALL with random affine maps, biases and statistics."""
  rng = np.random.default_rng(1)
  variables = models.init_variables(SMALL, 64, seed=0)
  leaves = trees.flatten(variables)
  for path, leaf in leaves.items():
    if leaf.ndim == 1:
      leaves[path] = rng.uniform(0.5, 1.5, leaf.shape).astype(np.float32)
  return trees.unflatten(leaves, variables)


@pytest.mark.parametrize('name', PUBLISHED)
def test_published_sizes(name):
  variables = shapes(models.create_model(name, 1000))
  params = dict(variables['params'])
  del params['head']
  means = [p for p in trees.flatten(variables) if p.endswith('/mean')]
  found = sum(leaf.size for leaf in jax.tree.leaves(params)), len(means)
  assert found == PUBLISHED[name]


@pytest.mark.parametrize('name', PUBLISHED)
def test_open_clip_agrees_about_sizes(name):
  module = torch_tower(name)
  parameters = {k: v for k, v in module.named_parameters() if 'head' not in k}
  norms = [k for k, _ in module.named_buffers() if k.endswith('running_mean')]
  found = sum(value.numel() for value in parameters.values()), len(norms)
  assert found == PUBLISHED[name]


@pytest.mark.parametrize('name', PUBLISHED)
def test_open_clip_agrees_about_keys_and_shapes(name):
  found = {}
  for path, leaf in trees.flatten(shapes(models.create_model(name, 5))).items():
    empty = np.broadcast_to(np.float32(0), leaf.shape)
    shape = rules.to_torch(path, empty).shape
    found[rules.key(cases.OPENAI, path)] = shape
  state = torch_tower(name).state_dict()
  assert found == {k: tuple(v.shape) for k, v in state.items() if v.ndim}


def test_names():
  params = shapes(models.create_model('clip_resnet50', 7))['params']
  stem = {f'{kind}{i}' for kind in ('conv', 'bn') for i in (1, 2, 3)}
  assert {*stem, 'layer4_2', 'attnpool', 'head'} < set(params)
  assert 'layer4_3' not in params
  assert set(params['layer1_0']) == {*stem, 'downsample_conv', 'downsample_bn'}
  assert set(params['layer1_1']) == stem
  projections = {'q_proj', 'k_proj', 'v_proj', 'c_proj'}
  pool = params['attnpool']
  assert set(pool) == {'positional_embedding', *projections}
  assert all(set(pool[name]) == {'kernel', 'bias'} for name in projections)
  assert pool['positional_embedding'].shape == (50, 2048)
  assert params['head']['kernel'].shape == (1024, 7)


@pytest.mark.parametrize(
  ('path', 'key'),
  [
    ('params/conv3/kernel', 'conv3.weight'),
    ('batch_stats/bn2/var', 'bn2.running_var'),
    ('params/layer1_0/conv3/kernel', 'layer1.0.conv3.weight'),
    ('params/layer1_0/downsample_conv/kernel', 'layer1.0.downsample.0.weight'),
    ('params/layer3_22/bn1/scale', 'layer3.22.bn1.weight'),
    ('params/layer2_0/downsample_bn/bias', 'layer2.0.downsample.1.bias'),
    ('params/attnpool/positional_embedding', 'attnpool.positional_embedding'),
    ('params/attnpool/q_proj/kernel', 'attnpool.q_proj.weight'),
    ('params/attnpool/c_proj/bias', 'attnpool.c_proj.bias'),
    ('params/head/kernel', 'head.weight'),
  ],
)
def test_names_in_a_file(path, key):
  assert rules.key(cases.OPENAI, path) == key
  assert not re.match(cases.OPENAI.skip, key)


@pytest.mark.parametrize(
  'key',
  [
    'transformer.resblocks.0.attn.in_proj_weight',
    'token_embedding.weight',
    'positional_embedding',
    'ln_final.bias',
    'text_projection',
    'logit_scale',
    'input_resolution',
    'context_length',
    'vocab_size',
  ],
)
def test_the_text_tower_is_skipped(key):
  assert re.match(cases.OPENAI.skip, key)


@pytest.mark.parametrize(
  ('name', 'size', 'sides', 'depth'),
  [
    ('clip_resnet50', (224, 224), [(56, 56), (28, 28), (14, 14), (7, 7)], 1024),
    ('clip_resnet101', (95, 66), [(24, 16), (12, 8), (6, 4), (3, 2)], 512),
    ('clip_resnet50', (31, 33), [(8, 8), (4, 4), (2, 2), (1, 1)], 1024),
  ],
)
def test_feature_shapes(name, size, sides, depth):
  model = models.create_model(name, 11, dtype='bfloat16')
  x = jnp.zeros((2, *size, 3))
  logits, features = jax.eval_shape(model.apply, shapes(model), x)
  expected = {'stem': (2, *sides[0], 64)} | {
    f'stage{i}': (2, *side, 128 * 2**i) for i, side in enumerate(sides, 1)
  }
  maps = {k: v for k, v in features.items() if k != 'pre_logits'}
  assert {k: v.shape for k, v in maps.items()} == expected
  assert {v.dtype for v in maps.values()} == {jnp.dtype('bfloat16')}
  assert features['pre_logits'].shape == (2, depth)
  assert logits.shape == (2, 11)
  assert logits.dtype == features['pre_logits'].dtype == jnp.float32


def test_eval_is_per_image_and_the_head_is_last():
  variables = random_variables()
  x = images()
  (logits, features), _ = apply(SMALL, variables, x)
  others = np.concatenate([x[:1], 9 * x[1:]])
  (single, _), _ = apply(SMALL, variables, others)
  np.testing.assert_allclose(single[0], logits[0], rtol=1e-5, atol=1e-6)
  head = variables['params']['head']
  np.testing.assert_allclose(
    features['pre_logits'] @ head['kernel'] + head['bias'],
    logits,
    rtol=1e-4,
    atol=1e-5,
  )
  norms = np.linalg.norm(features['pre_logits'], axis=1)
  assert not np.allclose(norms, 1)


def plain_attention(params, x, heads):
  """The attention pool as it is usually written: every token has q, k, v."""
  x = x.reshape(len(x), -1, x.shape[-1])
  x = np.concatenate([x.mean(1, keepdims=True), x], axis=1)
  x = x + params['positional_embedding']
  q, k, v = (
    (x @ params[name]['kernel'] + params[name]['bias']).reshape(
      *x.shape[:2], heads, -1
    )
    for name in ('q_proj', 'k_proj', 'v_proj')
  )
  scores = np.einsum('bqhd,bkhd->bhqk', q, k) / q.shape[-1] ** 0.5
  weights = np.exp(scores - scores.max(-1, keepdims=True))
  weights /= weights.sum(-1, keepdims=True)
  y = np.einsum('bhqk,bkhd->bqhd', weights, v).reshape(x.shape)
  return (y @ params['c_proj']['kernel'] + params['c_proj']['bias'])[:, 0]


@pytest.mark.parametrize('heads', [1, 4])
def test_attention_pool(heads):
  rng = np.random.default_rng(0)
  x = rng.normal(size=(3, 2, 2, 16)).astype(np.float32)
  pool = clip_resnet.AttentionPool(6, heads, 2, 'float32')
  variables = pool.init(jax.random.key(0), x)
  variables = jax.tree.map(
    lambda leaf: rng.normal(size=leaf.shape).astype(np.float32), variables
  )
  found = pool.apply(variables, x)
  expected = plain_attention(variables['params'], x.astype(np.float64), heads)
  assert parity.difference(np.asarray(found), expected) <= 1e-5


def test_the_bias_of_the_keys_has_no_gradient():
  variables = random_variables()

  @jax.jit
  def grad(params):
    def loss(params):
      logits, _ = SMALL.apply({**variables, 'params': params}, images())
      return jnp.sum(logits**2)

    return jax.grad(loss)(params)

  leaves = trees.flatten(grad(variables['params']))
  zero = {path for path, leaf in leaves.items() if not np.any(leaf)}
  assert zero == {'attnpool/k_proj/bias'}


def test_positions_on_their_own_grid_are_unchanged():
  positions = images(1, 10, seed=3).reshape(50, 6)
  found = clip_resnet.resize_positions(positions, 7, (7, 7))
  np.testing.assert_array_equal(found, positions)


@pytest.mark.parametrize('grid', [(14, 14), (3, 4), (9, 6), (1, 1)])
def test_positions_are_resized_as_pytorch_does(grid):
  torch = pytest.importorskip('torch', reason='parity needs torch')
  positions = images(1, 10, seed=3).reshape(50, 6)
  found = clip_resnet.resize_positions(jnp.asarray(positions), 7, grid)
  np.testing.assert_array_equal(found[0], positions[0])
  squares = positions[1:].reshape(1, 7, 7, 6).transpose(0, 3, 1, 2).copy()
  resized = torch.nn.functional.interpolate(
    torch.from_numpy(squares), grid, mode='bicubic', antialias=True
  )
  expected = resized.numpy().transpose(0, 2, 3, 1).reshape(-1, 6)
  np.testing.assert_allclose(found[1:], expected, rtol=1e-4, atol=1e-5)


def test_rows_and_columns_of_positions_keep_their_places():
  rows, columns = np.meshgrid(np.arange(8.0), np.arange(8.0), indexing='ij')
  squares = np.stack([rows, columns], axis=-1).reshape(64, 2)
  positions = jnp.asarray(np.concatenate([[[9, 9]], squares]), jnp.float32)
  found = clip_resnet.resize_positions(positions, 8, (4, 2))[1:]
  found = found.reshape(4, 2, 2)
  assert np.ptp(found[..., 0], axis=1).max() < 1e-5  # rows: same in a row
  assert np.ptp(found[..., 1], axis=0).max() < 1e-5
  np.testing.assert_allclose(found[:, 0, 0].mean(), 3.5, rtol=1e-5)
  assert np.all(np.diff(found[:, 0, 0]) > 1) and found[0, 1, 1] > 4


def test_other_image_sizes_resize_the_positions():
  """A 3 x 3 grid gives what a model with the resized embedding gives."""
  variables = random_variables()
  x = images(size=96)
  (_, features), _ = apply(SMALL, variables, x)
  pool = variables['params']['attnpool']
  resized = clip_resnet.resize_positions(
    pool['positional_embedding'], 2, (3, 3)
  )
  leaves = trees.flatten(variables)
  path = 'params/attnpool/positional_embedding'
  native = SMALL.clone(image_size=96)
  leaves[path] = resized
  other = trees.unflatten(leaves, shapes(native))
  (_, expected), _ = apply(native, other, x)
  np.testing.assert_allclose(
    features['pre_logits'], expected['pre_logits'], rtol=1e-5, atol=1e-6
  )
  assert shapes(SMALL, 96) == shapes(SMALL, 64)


def test_bfloat16_keeps_parameters_and_statistics_in_float32():
  half, x = SMALL.clone(dtype='bfloat16'), images()
  train = functools.partial(half.apply, train=True, mutable=['batch_stats'])
  _, updated = jax.eval_shape(train, shapes(half), x)
  for tree in (shapes(half), updated):
    assert {leaf.dtype for leaf in jax.tree.leaves(tree)} == {
      jnp.dtype('float32')
    }
  (logits, features), _ = apply(half, random_variables(), x)
  assert features['stage4'].dtype == jnp.bfloat16
  assert logits.dtype == features['pre_logits'].dtype == jnp.float32
  (full, _), _ = apply(SMALL, random_variables(), x)
  assert parity.difference(np.asarray(logits), np.asarray(full)) < 0.02


def test_train_mode_updates_all_statistics():
  variables = random_variables()
  _, updated = apply(SMALL, variables, images(), True)
  after = trees.flatten(updated['batch_stats'])
  before = trees.flatten(variables['batch_stats'])
  assert before.keys() == after.keys()
  for path, leaf in before.items():
    assert not np.array_equal(leaf, after[path]), path


def test_conversion_keeps_the_eval_output():
  variables = random_variables()
  moments = bn.bn_moments(SMALL, variables, [images(seed=1), images(seed=2)])
  assert len(moments) == 3 + 5 * 3 + 4
  converted = bn.convert_bn(variables, moments)
  (before, _), _ = apply(SMALL, variables, images())
  (after, _), _ = apply(SMALL, converted, images())
  assert parity.difference(np.asarray(after), np.asarray(before)) <= 1e-5
  mean = 'batch_stats/layer4_0/downsample_bn/mean'
  found, given = trees.flatten(converted)[mean], trees.flatten(variables)[mean]
  assert not np.allclose(found, given)


def test_initial_values():
  pool = models.init_variables(SMALL, 64, seed=0)['params']['attnpool']
  for name in ('q_proj', 'k_proj', 'v_proj', 'c_proj'):
    deviation = 128**-0.5
    assert pool[name]['kernel'].std() == pytest.approx(deviation, rel=0.1)
    assert not np.any(pool[name]['bias'])
  assert pool['positional_embedding'].std() == pytest.approx(128**-0.5, rel=0.1)


@pytest.mark.parametrize(
  ('x', 'message'),
  [
    (np.zeros((2, 3, 64, 64), np.float32), 'channels last'),
    (np.zeros((2, 64, 64, 3), np.uint8), 'preprocessing'),
    (np.zeros((2, 64, 30, 3), np.float32), '64 x 30 pixels.*31 or more'),
  ],
)
def test_wrong_images(x, message):
  with pytest.raises(ValueError, match=message):
    jax.eval_shape(SMALL.apply, shapes(SMALL), x)


def test_an_embedding_without_positions():
  with pytest.raises(ValueError, match='image_size is 31.*32 or more'):
    shapes(SMALL.clone(image_size=31))


def test_docstring_examples():
  result = doctest.testmod(clip_resnet)
  assert result.attempted and not result.failed

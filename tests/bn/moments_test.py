"""The pass that records BatchNorm inputs: what it sees and how exactly."""

import functools
import logging
import socket
import subprocess
import sys
from typing import Any

import flax
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from daft_jax import bn

Norm = functools.partial(nn.BatchNorm, momentum=0.9, use_fast_variance=False)


def normal(*shape: int, seed: int = 0, mean: float = 0.0) -> np.ndarray:
  noise = np.random.default_rng(seed).normal(size=shape)
  return (noise + mean).astype(np.float32)


def init(model: nn.Module, x: Any, **kwargs: Any) -> dict[str, Any]:
  """Random variables; only shapes are computed, as compiling takes longer."""
  shapes = jax.eval_shape(
    functools.partial(model.init, **kwargs), jax.random.key(0), x
  )
  rng = np.random.default_rng(7)

  def fill(path, leaf):
    kind = path[-1].key
    if kind in ('var', 'scale', 'sigma'):
      value = rng.uniform(0.5, 2, leaf.shape)
    else:
      value = rng.normal(size=leaf.shape) * (0.3 if kind == 'kernel' else 1)
    return jnp.asarray(value, leaf.dtype)

  kept = {name: shapes[name] for name in ('params', 'batch_stats')}
  return jax.tree_util.tree_map_with_path(fill, kept)


def check(found: bn.BNMoments, x: Any, rtol: float = 2e-6) -> None:
  """Compares with float64 moments over all axes but the last."""
  x = np.asarray(x, np.float64).reshape(-1, np.shape(x)[-1])
  std = x.std(0) + 1e-6
  assert np.abs((found.mean - x.mean(0)) / std).max() <= 5 * rtol
  np.testing.assert_allclose(found.var, x.var(0), rtol=rtol)
  assert found.count == len(x)
  assert found.mean.dtype == found.var.dtype == np.float64


class Block(nn.Module):
  width: int = 6
  dtype: Any = None

  @nn.compact
  def __call__(self, x, train=False):
    x = nn.Conv(self.width, (3, 3), dtype=self.dtype, name='conv')(x)
    x = Norm(
      use_running_average=not train,
      epsilon=1e-3,
      dtype=self.dtype,
      name='bn',
    )(x)
    return nn.relu(x)


class Net(nn.Module):
  """Nested and repeated modules; `seen` tells what the last BN was given."""

  dtype: Any = None
  block: Any = Block

  @nn.compact
  def __call__(self, x, train=False):
    for name in ('a', 'b'):
      x = self.block(dtype=self.dtype, name=name)(x, train)
    x = nn.Dense(5, dtype=self.dtype)(x.mean((1, 2)))
    self.sow('intermediates', 'seen', x)
    return Norm(use_running_average=not train, name='last')(x)


def seen(model, variables, x):
  apply = functools.partial(model.apply, mutable='intermediates')
  return jax.jit(apply)(variables, x)[1]['intermediates']['seen'][0]


def test_pooled_moments_of_nested_repeated_modules():
  model, x = Net(), normal(20, 8, 8, 3)
  variables = flax.core.freeze(init(model, x))
  found = bn.bn_moments(model, variables, [x[:8], x[8:16], x[16:]])
  assert list(found) == ['a/bn', 'b/bn', 'last']
  check(found['last'], seen(model, variables, x))
  conv = variables['params']['a']['conv']
  check(found['a/bn'], nn.Conv(6, (3, 3)).apply({'params': conv}, x))
  assert found['a/bn'].epsilon == 1e-3 and found['last'].epsilon == 1e-5


def test_pooled_does_not_depend_on_batch_size_order_or_padding():
  model, x = Net(), normal(20, 8, 8, 3)
  variables = init(model, x)
  whole = bn.bn_moments(model, variables, [x])
  order = np.random.default_rng(1).permutation(20)
  padded = np.concatenate([x[15:], np.full((10, 8, 8, 3), np.nan, x.dtype)])
  middle = np.arange(15) % 3 != 1  # masked rows that are not at the end
  ways = {
    'batches of 7': [x[i : i + 7] for i in range(0, 20, 7)],
    'batches of 1': list(x[:, None]),
    'other order': [x[order][:9], x[order][9:]],
    'padded with NaN': [
      {'image': x[:15], 'mask': np.ones(15, bool), 'label': None},
      {'image': padded, 'mask': np.arange(15) < 5},
    ],
    'first row masked': [
      {'image': x[:15], 'mask': ~middle},
      {'image': x[:15], 'mask': middle},
      x[15:],
    ],
    'JAX arrays': [jnp.asarray(x[:16]), jnp.asarray(x[16:])],
    'an all-masked batch': [{'image': x}, {'image': x, 'mask': np.zeros(20)}],
  }
  for way, batches in ways.items():
    found = bn.bn_moments(model, variables, iter(batches))
    for path, expected in whole.items():
      message = f'{way}, {path}'
      assert found[path].count == expected.count, message
      for key in ('mean', 'var'):
        np.testing.assert_allclose(
          getattr(found[path], key),
          getattr(expected, key),
          rtol=3e-6,
          atol=1e-6,
          err_msg=message,
        )


@pytest.mark.parametrize('estimator', ['pooled', 'batch_mean'])
def test_a_far_mean_cancels_nothing(estimator):
  model, x = nn.BatchNorm(use_running_average=True), normal(8, 40, 40, 4)
  x[0] -= 3  # the first example is unlike the others
  x += 1000
  variables = model.init(jax.random.key(0), x)
  found = bn.bn_moments(model, variables, [x], estimator=estimator)['']
  exact = x.astype(np.float64).reshape(-1, 4)
  ddof = int(estimator == 'batch_mean')
  np.testing.assert_allclose(found.var, exact.var(0, ddof=ddof), rtol=3e-6)
  np.testing.assert_allclose(found.mean, exact.mean(0), rtol=2e-7)
  if estimator == 'pooled':
    # Between batches too, where the float32 means of the batches have lost
    # three digits: an error in proportion to mean / std, not to its square.
    halves = [x[:1], x[1:]]
    found = bn.bn_moments(model, variables, halves)['']
    np.testing.assert_allclose(found.var, exact.var(0), rtol=1e-4)


def test_batch_mean_weighs_batches_equally_and_is_unbiased():
  model, x = Net(), normal(20, 8, 8, 3)
  variables = init(model, x)
  batches = [x[:8], x[8:16], x[16:]]
  found = bn.bn_moments(model, variables, batches, estimator='batch_mean')
  inputs = [np.float64(seen(model, variables, b)) for b in batches]
  np.testing.assert_allclose(
    found['last'].mean, np.mean([i.mean(0) for i in inputs], 0), atol=1e-6
  )
  np.testing.assert_allclose(
    found['last'].var,
    np.mean([i.var(0, ddof=1) for i in inputs], 0),
    rtol=1e-5,
  )
  masked = [*batches, {'image': x[:8], 'mask': np.zeros(8, bool)}]
  again = bn.bn_moments(model, variables, masked, estimator='batch_mean')
  np.testing.assert_array_equal(again['last'].mean, found['last'].mean)


def test_batch_mean_of_single_values_is_an_error():
  model, x = Net(), normal(5, 8, 8, 3)
  with pytest.raises(ValueError, match="'last' got a batch with a single"):
    bn.bn_moments(model, init(model, x), [x[:4], x[4:]], estimator='batch_mean')


def test_batch_mean_leaves_out_batches_without_a_value():
  class Masked(nn.Module):
    @nn.compact
    def __call__(self, x):
      mask = ~jnp.isnan(x)  # an example without a value for a channel
      return Norm(use_running_average=True, name='bn')(x, mask=mask)

  x = normal(12, 5, 2, mean=3.0)
  x[:4, :, 1] = np.nan  # in the whole first batch
  model = Masked()
  found = bn.bn_moments(
    model, init(model, x), [x[:4], x[4:8], x[8:]], estimator='batch_mean'
  )['bn']
  parts = np.float64(x[4:, :, 1].reshape(2, 20))
  assert found.count.tolist() == [60, 40]
  np.testing.assert_allclose(found.mean[1], parts.mean(), rtol=1e-6)
  np.testing.assert_allclose(
    found.var[1], parts.var(1, ddof=1).mean(), rtol=1e-5
  )


class Shared(nn.Module):
  @nn.compact
  def __call__(self, x, y):
    norm = Norm(use_running_average=True, name='bn')
    return norm(x), norm(y)


def test_a_shared_norm_pools_its_calls():
  x, y = normal(4, 6, 3), normal(4, 5, 7, 3, seed=1, mean=4.0)
  variables = init(Shared(), x, y=y)
  found = bn.bn_moments(Shared(), variables, [x], y=y)['bn']
  check(found, np.concatenate([x.reshape(-1, 3), y.reshape(-1, 3)]))


@pytest.mark.parametrize(
  'shape, axis',
  [((9, 4), -1), ((9, 5, 4), 2), ((2, 3, 4, 5, 4), -1), ((9, 4, 5, 6), 1)],
)
def test_input_rank_and_axis(shape, axis):
  model, x = Norm(use_running_average=True, axis=axis), normal(*shape, mean=2)
  found = bn.bn_moments(model, model.init(jax.random.key(0), x), [x, x[:1]])['']
  check(found, np.moveaxis(np.concatenate([x, x[:1]]), axis, -1))


def test_several_feature_axes():
  model, x = Norm(use_running_average=True, axis=(1, 3)), normal(4, 3, 6, 5)
  found = bn.bn_moments(model, model.init(jax.random.key(0), x), [x])['']
  np.testing.assert_allclose(found.mean, x.mean((0, 2)), atol=1e-6)
  np.testing.assert_allclose(found.var, x.var((0, 2)), rtol=1e-5)


def test_bf16_model_is_reduced_in_float32():
  model, x = Net(dtype=jnp.bfloat16), normal(20, 8, 8, 3)
  x *= np.arange(20, dtype=np.float32)[:, None, None, None]  # so they differ
  variables = init(model, x)
  found = bn.bn_moments(model, variables, [x[:16], x[16:]])
  inputs = [seen(model, variables, b) for b in (x[:16], x[16:])]
  assert inputs[0].dtype == jnp.bfloat16
  # The model itself rounds to 8 bits, and not the same way twice.
  check(found['last'], np.concatenate(inputs), rtol=2e-2)
  half = Norm(use_running_average=True)
  z = jnp.asarray(normal(64, 30, 30, 2, mean=3), jnp.bfloat16)
  check(bn.bn_moments(half, half.init(jax.random.key(0), z), [z])[''], z)


@pytest.mark.parametrize('lift', [nn.remat, nn.jit])
def test_remat_and_jit(lift):
  block = functools.partial(lift, static_argnums=(2,))(Block)
  model, x = Net(block=block), normal(8, 6, 6, 3)
  plain = Net()
  variables = init(plain, x)
  expected = bn.bn_moments(plain, variables, [x[:6], x[6:]])
  found = bn.bn_moments(model, variables, [x[:6], x[6:]])
  for path in expected:
    np.testing.assert_allclose(found[path].mean, expected[path].mean, atol=1e-6)
    np.testing.assert_allclose(found[path].var, expected[path].var, rtol=1e-5)
    assert found[path].epsilon == expected[path].epsilon


def test_jitted_blocks_that_two_models_share():
  """JAX keeps the block's trace, which must not bring back the old mask."""

  class Twice(Net):  # another model around blocks of the same shapes
    @nn.compact
    def __call__(self, x, train=False):
      return super().__call__(x, train) * 2

  block = functools.partial(nn.jit, static_argnums=(2,))(Block)
  x = normal(8, 6, 6, 3)
  variables = init(Net(), x)
  for model, count in ((Net(block=block), 3), (Twice(block=block), 5)):
    batch = {'image': x, 'mask': np.arange(8) < count}
    found = bn.bn_moments(model, variables, [batch])
    expected = bn.bn_moments(Net(), variables, [x[:count]])
    for path in expected:
      assert found[path].count == expected[path].count
      np.testing.assert_allclose(found[path].var, expected[path].var, rtol=1e-5)


def test_cond_records_the_branch_that_ran():
  class Either(nn.Module):
    def setup(self):
      self.bn = Norm(use_running_average=True, epsilon=0.5)

    def __call__(self, x, double=False):
      if self.is_initializing():
        return self.bn(x)
      return nn.cond(
        double, lambda m, x: m.bn(2 * x), lambda m, x: m.bn(x), self, x
      )

  model, x = Either(), normal(8, 4)
  variables = init(model, x)
  for double in (False, True):
    found = bn.bn_moments(model, variables, [x], double=jnp.array(double))['bn']
    check(found, x * (1 + double))
    assert found.epsilon == 0.5


class Layer(nn.Module):
  @nn.compact
  def __call__(self, x, _):
    self.sow('intermediates', 'seen', x)
    y = Norm(use_running_average=True, epsilon=1e-3, name='bn')(x)
    return nn.relu(nn.Dense(4)(y)) + x, None


class Scanned(nn.Module):
  axes: Any = None  # of batch_stats; None: carried, one layer for all steps

  @nn.compact
  def __call__(self, x):
    stacked = self.axes is not None
    axes = {'intermediates': 0}
    if stacked:
      axes |= {'params': 0, 'batch_stats': self.axes}
    scan = nn.scan(
      Layer,
      variable_axes=axes,
      variable_broadcast=False if stacked else 'params',
      variable_carry=False if stacked else 'batch_stats',
      split_rngs={'params': stacked},
      length=3,
    )
    return scan(name='layers')(x, None)[0]


@pytest.mark.parametrize('axes', [0, 1])
def test_scan_stacks_the_record_as_the_statistics(axes):
  model, x = Scanned(axes=axes), normal(8, 5, 4)
  variables = init(model, x)
  found = bn.bn_moments(model, variables, [x[:6], x[6:]])['layers/bn']
  _, state = model.apply(variables, x, mutable='intermediates')
  inputs = np.float64(state['intermediates']['layers']['seen'][0])
  assert inputs.shape == (3, 8, 5, 4)
  mean, var = inputs.mean((1, 2)), inputs.var((1, 2))
  if axes == 1:
    mean, var = mean.T, var.T
  np.testing.assert_allclose(found.mean, mean, atol=2e-6)
  np.testing.assert_allclose(found.var, var, rtol=1e-5)
  assert found.count == 40 and found.epsilon == 1e-3


def test_scan_with_carried_statistics_pools_the_steps():
  model, x = Scanned(), normal(8, 5, 4)
  layer = Layer().init(jax.random.key(0), x, None)
  variables = {c: {'layers': layer[c]} for c in ('params', 'batch_stats')}
  found = bn.bn_moments(model, variables, [x[:6], x[6:]])['layers/bn']
  _, state = model.apply(variables, x, mutable=['intermediates', 'batch_stats'])
  inputs = state['intermediates']['layers']['seen'][0]
  assert inputs.shape == (3, 8, 5, 4)
  check(found, inputs, rtol=1e-5)


class Mapped(nn.Module):
  @nn.compact
  def __call__(self, x):  # [B, T, C], one layer for each T
    lift = nn.vmap(
      Norm,
      in_axes=1,
      out_axes=1,
      variable_axes={'params': 0, 'batch_stats': 0},
      split_rngs={'params': True},
    )
    return lift(use_running_average=True, name='bn')(x)


def test_vmap():
  x = normal(8, 5, 4)
  found = bn.bn_moments(Mapped(), init(Mapped(), x), [x[:6], x[6:]])['bn']
  np.testing.assert_allclose(found.mean, x.mean(0), atol=1e-6)
  np.testing.assert_allclose(found.var, x.var(0), rtol=1e-5)
  assert found.count == 8


def make_model(switch: str, how: str) -> nn.Module:
  """A model whose call takes `switch`."""
  scope: dict[str, Any] = {'nn': nn, 'Norm': Norm}
  code = (
    'class Model(nn.Module):\n'
    '  @nn.compact\n'
    f'  def __call__(self, x, {switch}):\n'
    f'    return Norm(use_running_average={how})(x)\n'
  )
  exec(code, scope)
  return scope['Model']()


@pytest.mark.parametrize(
  'switch, how',
  [
    ('train', 'not train'),
    ('*, training=True', 'not training'),
    ('is_training', 'not is_training'),
    ('use_running_average', 'use_running_average'),
    ('deterministic=False', 'deterministic'),
  ],
)
def test_eval_mode_is_filled_in_by_the_signature(switch, how):
  model, x = make_model(switch, how), normal(8, 4)
  name = switch.removeprefix('*, ').split('=')[0]
  on = name in ('use_running_average', 'deterministic')
  variables = model.init(jax.random.key(0), x, **{name: on})
  check(bn.bn_moments(model, variables, [x])['BatchNorm_0'], x)
  with pytest.raises(ValueError, match="'BatchNorm_0' runs on batch stat"):
    bn.bn_moments(model, variables, [x], **{name: not on})


def test_further_arguments_of_apply():
  class Encoder(nn.Module):
    @nn.compact
    def encode(self, x, rate, *, train):
      x = nn.Dropout(rate, deterministic=False)(x)
      return Norm(use_running_average=not train, name='bn')(x)

  model, x = Encoder(), np.ones((100, 4), np.float32)
  variables = model.init(
    {'params': jax.random.key(0), 'dropout': jax.random.key(1)},
    x,
    0.5,
    train=False,
    method='encode',
  )
  for method in ('encode', Encoder.encode):
    found = bn.bn_moments(
      model,
      variables,
      [x],
      method=method,
      rate=0.5,
      rngs={'dropout': jax.random.key(2)},
    )
    assert 0.5 < found['bn'].var.min() < 1.5  # dropout was on


def test_a_subclass_is_recorded_once_and_with_its_true_input():
  class Doubling(nn.BatchNorm):
    def __call__(self, x, use_running_average=None, *, mask=None):
      return super().__call__(2 * x, use_running_average, mask=mask)

  model, x = Doubling(use_running_average=True), normal(8, 4)
  found = bn.bn_moments(model, model.init(jax.random.key(0), x), [x])['']
  check(found, 2 * x)


def test_the_models_own_mask_is_honoured():
  class Masked(nn.Module):
    @nn.compact
    def __call__(self, x, mask):
      return Norm(use_running_average=True, name='bn')(x, mask=mask)

  model, x = Masked(), normal(8, 5, 4)
  mask = np.random.default_rng(1).random((8, 5, 1)) < 0.6
  variables = model.init(jax.random.key(0), x, mask)
  found = bn.bn_moments(model, variables, [x], mask=mask)['bn']
  check(found, x[mask[..., 0]])
  rows = np.arange(8) < 5
  batch = {'image': x, 'mask': rows}
  found = bn.bn_moments(model, variables, [batch], mask=mask)['bn']
  check(found, x[mask[..., 0] & rows[:, None]])
  channels = np.arange(4) < 2
  found = bn.bn_moments(model, variables, [x], mask=mask | channels)['bn']
  assert found.count.tolist() == [40, 40, mask.sum(), mask.sum()]
  with pytest.raises(ValueError, match="'bn' has channels that no value"):
    bn.bn_moments(model, variables, [x], mask=channels)


class Flat(nn.Module):
  """Mixes examples: axis 0 of the BatchNorm input is not the batch."""

  @nn.compact
  def __call__(self, x):
    y = x.reshape(-1, x.shape[-1])
    return Norm(use_running_average=True, name='bn')(y)


def test_mixed_rows_run_unmasked_and_refuse_masked_rows():
  x = normal(10, 6, 4)
  variables = init(Flat(), x)
  found = bn.bn_moments(Flat(), variables, [x[:4], x[4:8], x[8:]])
  check(found['bn'], x)
  batch = {'image': x, 'mask': np.arange(10) < 9}
  with pytest.raises(ValueError, match="'bn' cannot ignore masked rows"):
    bn.bn_moments(Flat(), variables, [batch])
  first = Norm(use_running_average=True, axis=0)
  y = normal(4, 6)
  stats = first.init(jax.random.key(0), y)
  check(bn.bn_moments(first, stats, [y])[''], y.T)
  with pytest.raises(ValueError, match='cannot ignore masked rows'):
    bn.bn_moments(first, stats, [{'image': y, 'mask': np.arange(4) < 3}])


class TimeFirst(nn.Module):
  """Axis 0 of the BatchNorm input is the time."""

  @nn.compact
  def __call__(self, x):
    return Norm(use_running_average=True, name='bn')(x.swapaxes(0, 1))


def test_rows_that_only_look_like_examples_are_an_error_or_harmless():
  x = normal(20, 8, 4)
  variables = init(TimeFirst(), x)
  # Told apart by the length; then batches as long as the time, unmasked.
  for batches in ([x[:12], x[12:]], [x[:8], x[8:16]]):
    found = bn.bn_moments(TimeFirst(), variables, batches)
    check(found['bn'], np.concatenate(batches))
  with pytest.raises(ValueError, match="'bn' has moments that are not finite"):
    bn.bn_moments(TimeFirst(), variables, [x[:8], x[8:12]])
  with (
    jax.debug_nans(True),
    pytest.raises(ValueError, match="'bn' has moments"),
  ):
    bn.bn_moments(TimeFirst(), variables, [x[:8], x[8:12]])


def test_masked_rows_do_not_trip_debug_nans():
  model, x = Norm(use_running_average=True), normal(12, 4)
  variables = model.init(jax.random.key(0), x)
  with jax.debug_nans(True):
    check(bn.bn_moments(model, variables, [x[:8], x[8:]])[''], x)


class Counter(logging.Handler):
  def __init__(self):
    super().__init__()
    self.names = []

  def emit(self, record):
    if record.getMessage().startswith('Compiling jit(step)'):
      self.names.append(record.getMessage())


@pytest.fixture
def compilations():
  logger, handler = logging.getLogger('jax._src.interpreters.pxla'), Counter()
  logger.addHandler(handler)
  with jax.log_compiles():
    yield handler.names
  logger.removeHandler(handler)


def test_one_compilation_and_none_on_a_second_call(compilations):
  x = normal(20, 7, 9, 3)  # in no other test
  variables = init(Net(), x)
  bn.bn_moments(Net(), variables, [x[:8], x[8:16], x[16:]])
  assert len(compilations) == 1
  shorter = [x[:8], {'image': x[:8], 'mask': np.arange(8) < 2}, x[:1]]
  bn.bn_moments(Net(), variables, shorter, estimator='pooled')
  assert len(compilations) == 1
  bn.bn_moments(Net(dtype=jnp.bfloat16), variables, [x[:8]])
  assert len(compilations) == 2


def test_a_model_that_is_not_hashable_works():
  class Listed(nn.Module):
    table: Any

    @nn.compact
    def __call__(self, x):
      return Norm(use_running_average=True, name='bn')(x * self.table)

  model, x = Listed(np.float32(2) * np.ones(4, np.float32)), normal(8, 4)
  check(bn.bn_moments(model, init(model, x), [x])['bn'], 2 * x)


def test_spectral_norm_shares_the_collection():
  class Spectral(nn.Module):
    @nn.compact
    def __call__(self, x, train=False):
      x = nn.SpectralNorm(nn.Dense(4))(x, update_stats=train)
      return Norm(use_running_average=not train, name='bn')(x)

  model, x = Spectral(), normal(8, 4)
  variables = init(model, x)
  assert len(variables['batch_stats']) == 2
  assert list(bn.bn_moments(model, variables, [x])) == ['bn']


def test_eight_devices_agree_with_one():
  mesh = jax.make_mesh(
    (8,), ('data',), axis_types=(jax.sharding.AxisType.Auto,)
  )
  spec = jax.sharding.PartitionSpec
  data = jax.sharding.NamedSharding(mesh, spec('data'))
  everywhere = jax.sharding.NamedSharding(mesh, spec())
  model, x = Net(), normal(20, 8, 8, 3) + np.arange(20.0)[:, None, None, None]
  x = x.astype(np.float32)
  variables = init(model, x)
  one = bn.bn_moments(model, variables, [x[:16], x[16:]])
  spread = jax.device_put(variables, everywhere)
  last = {
    'image': jax.device_put(np.pad(x[16:], ((0, 12),) + ((0, 0),) * 3), data),
    'mask': jax.device_put(np.arange(16) < 4, data),
  }
  first = jax.device_put(x[:16], data)
  for batches in ([first, last], [first, jnp.asarray(x[16:])]):
    eight = bn.bn_moments(model, spread, batches)
    for path in one:
      np.testing.assert_allclose(eight[path].mean, one[path].mean, atol=1e-5)
      np.testing.assert_allclose(eight[path].var, one[path].var, rtol=1e-5)
      assert eight[path].count == one[path].count


TWO_PROCESSES = """
import sys
import jax
port, index = sys.argv[1], int(sys.argv[2])
jax.config.update('jax_platforms', 'cpu')
jax.config.update('jax_num_cpu_devices', 1)
jax.distributed.initialize(
  coordinator_address=f'127.0.0.1:{port}', num_processes=2, process_id=index
)
import flax.linen as nn
import numpy as np
from daft_jax import bn, sharding
x = np.random.default_rng(0).normal(3, 2, (6, 5)).astype(np.float32)
model = nn.BatchNorm(use_running_average=True)
variables = model.init(jax.random.key(0), x)
mesh = sharding.make_mesh()
rows = np.s_[2 * index : 2 * index + 2]
padded = np.concatenate([x[4:], 9 * x[:2]])  # 2 rows that count in process 0
batches = [
  sharding.shard_batch({'image': image[rows], 'mask': mask[rows]}, mesh)
  for image, mask in ((x[:4], np.ones(4, bool)), (padded, np.arange(4) < 2))
]
variables = sharding.replicate(variables, mesh)
found = bn.bn_moments(model, variables, batches)['']
np.testing.assert_allclose(found.mean, x.mean(0), rtol=1e-5)
np.testing.assert_allclose(found.var, x.var(0), rtol=1e-5)
after = bn.convert_bn(variables, {'': found})
np.testing.assert_allclose(after['params']['bias'], (x.mean(0)), rtol=1e-4)
print('moments of', found.count)
jax.distributed.shutdown()
"""


def test_two_processes_agree():
  with socket.socket() as free:
    free.bind(('127.0.0.1', 0))
    port = str(free.getsockname()[1])
  running = [
    subprocess.Popen(
      [sys.executable, '-c', TWO_PROCESSES, port, str(index)],
      stdout=subprocess.PIPE,
      stderr=subprocess.STDOUT,
      text=True,
    )
    for index in range(2)
  ]
  try:
    outputs = [process.communicate(timeout=120)[0] for process in running]
  finally:
    for process in running:
      process.kill()
  for process, output in zip(running, outputs, strict=True):
    assert process.returncode == 0, output
    assert 'moments of 6' in output


def test_epsilon_is_not_rounded():
  model, x = Norm(use_running_average=True, epsilon=0.1), normal(4, 3)
  variables = model.init(jax.random.key(0), x)
  found = bn.bn_moments(model, variables, [x])['']
  assert found.epsilon == 0.1 and type(found.epsilon) is float


def test_variables_are_not_changed():
  model, x = Net(), normal(4, 8, 8, 3)
  variables = init(model, x)
  before = jax.tree.map(np.array, variables)
  bn.bn_moments(model, variables, [x])
  assert jax.tree.structure(variables) == jax.tree.structure(before)
  jax.tree.map(np.testing.assert_array_equal, variables, before)


class Partly(nn.Module):
  @nn.compact
  def __call__(self, x, both=False):
    y = Norm(use_running_average=True, name='used')(x)
    return Norm(use_running_average=True, name='idle')(y) if both else y


@pytest.mark.parametrize(
  'batches, kwargs, message',
  [
    ([], {'both': True}, 'batches is empty'),
    ([np.ones((4, 3))], {}, "not called in this pass.*'idle'"),
    ([{'label': 1}], {}, "a batch has no 'image', only 'label'"),
    ([(1, 2)], {}, 'a batch is a tuple'),
    ([{'image': np.ones((4, 3)), 'mask': np.ones(3)}], {}, 'one bool for'),
    (
      [{'image': np.ones((4, 3)), 'mask': np.zeros(4)}],
      {'both': True},
      'every row is masked',
    ),
    ([np.ones((4, 3))], {'estimator': 'median'}, "choose one of 'pooled'"),
  ],
)
def test_errors_say_what_to_do(batches, kwargs, message):
  variables = Partly().init(jax.random.key(0), np.ones((4, 3)), both=True)
  with pytest.raises(ValueError, match=message):
    bn.bn_moments(Partly(), variables, batches, **kwargs)


def test_errors_about_the_model():
  x = np.ones((4, 3), np.float32)
  dense = nn.Dense(2)
  with pytest.raises(ValueError, match='holds no BatchNorm'):
    bn.bn_moments(dense, dense.init(jax.random.key(0), x), [x])
  variables = Partly().init(jax.random.key(0), x)
  with pytest.raises(ValueError, match="'idle' is called but has no stat"):
    bn.bn_moments(Partly(), variables, [x], both=True)
  stats = {'a/b': {'mean': x[0], 'var': x[0]}}
  with pytest.raises(ValueError, match="'a/b' in batch_stats has a '/'"):
    bn.bn_moments(Partly(), {'batch_stats': stats}, [x])

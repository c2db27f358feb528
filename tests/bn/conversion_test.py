"""convert_bn, replace_bn and batch_mask."""

import doctest
import functools
from typing import Any

import flax
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from daft_jax import bn
from daft_jax.bn import conversion, reductions

Norm = functools.partial(nn.BatchNorm, momentum=0.9, use_fast_variance=False)


class Net(nn.Module):
  widths: tuple[int, ...] = (8, 8, 12)
  dtype: Any = None

  @nn.compact
  def __call__(self, x, train=False):
    for i, width in enumerate(self.widths):
      x = nn.Conv(width, (3, 3), dtype=self.dtype, name=f'conv{i}')(x)
      y = Norm(
        use_running_average=not train,
        epsilon=10.0**-i * 1e-3,
        dtype=self.dtype,
        name=f'bn{i}',
      )(x)
      self.sow('intermediates', f'out{i}', y)
      x = nn.relu(y)
    return nn.Dense(5, name='head')(x.mean((1, 2)))


def images(n: int = 16, size: int = 8) -> np.ndarray:
  rng = np.random.default_rng(0)
  x = rng.normal(2.0, 3.0, size=(n, size, size, 3))
  return x.astype(np.float32)


@functools.cache
def variables_of(model: nn.Module) -> dict[str, Any]:
  """Random statistics, scales (also negative) and biases."""
  # Only shapes are computed, as compiling takes longer.
  variables = jax.eval_shape(model.init, jax.random.key(0), images(2))
  variables = {c: variables[c] for c in ('params', 'batch_stats')}
  rng = np.random.default_rng(1)

  def fill(path, leaf):
    kind = path[-1].key
    if kind == 'var':
      value = rng.uniform(0.2, 3, leaf.shape)
    else:
      value = rng.normal(size=leaf.shape) * (0.3 if kind == 'kernel' else 1)
    return jnp.asarray(value, leaf.dtype)

  return jax.tree_util.tree_map_with_path(fill, variables)


@functools.partial(jax.jit, static_argnums=0)
def evaluate(model: nn.Module, variables: Any, x: Any) -> jax.Array:
  return model.apply(variables, x)


@functools.partial(jax.jit, static_argnums=0)
def train(model: nn.Module, variables: Any, x: Any) -> tuple[jax.Array, Any]:
  return model.apply(variables, x, train=True, mutable=['batch_stats'])


def difference(a: Any, b: Any) -> float:
  a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
  return np.abs(a - b).max() / np.abs(a).max()


def test_eval_output_is_kept_in_float32():
  model, x = Net(), images()
  before = variables_of(model)
  after = bn.convert_bn(before, bn.bn_moments(model, before, [x[:9], x[9:]]))
  assert (
    difference(evaluate(model, before, x), evaluate(model, after, x)) <= 1e-5
  )
  scale = [v['params']['bn1']['scale'] for v in (before, after)]
  assert difference(*scale) > 0.1  # something did change


def test_train_mode_equals_eval_mode_on_the_batch_of_the_moments():
  model, x = Net(), images()
  before = variables_of(model)
  after = bn.convert_bn(before, bn.bn_moments(model, before, [x]))
  evaluated = evaluate(model, after, x)
  trained, state = train(model, after, x)
  assert difference(evaluated, trained) <= 1e-5
  plain, _ = train(model, before, x)
  assert difference(evaluated, plain) > 0.1
  # The statistics already are where training would take them.
  for name in ('bn0', 'bn1', 'bn2'):
    assert (
      difference(
        state['batch_stats'][name]['var'], after['batch_stats'][name]['var']
      )
      <= 1e-5
    )


def test_against_the_moments_of_the_output():
  """With u the output: bias' = E[u], scale'^2 = V[u] + e scale^2/(var + e)."""
  model, x = Net(), images()
  before = variables_of(model)
  after = bn.convert_bn(before, bn.bn_moments(model, before, [x[:7], x[7:]]))
  _, state = jax.jit(functools.partial(model.apply, mutable='intermediates'))(
    before, x
  )
  for i in range(3):
    name = f'bn{i}'
    u = np.float64(state['intermediates'][f'out{i}'][0]).reshape(
      -1, 8 + 4 * (i == 2)
    )
    old = jax.tree.map(np.float64, before['params'][name])
    var = np.float64(before['batch_stats'][name]['var'])
    epsilon = 10.0**-i * 1e-3
    scale = np.sign(old['scale']) * np.sqrt(
      u.var(0) + epsilon * old['scale'] ** 2 / (var + epsilon)
    )
    new = after['params'][name]
    np.testing.assert_allclose(new['bias'], u.mean(0), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(new['scale'], scale, rtol=1e-5)


def test_structure_dtypes_places_and_other_leaves_are_kept():
  model = Net()
  plain = variables_of(model)
  moments = bn.bn_moments(model, plain, [images()])
  mesh = jax.make_mesh(
    (8,), ('data',), axis_types=(jax.sharding.AxisType.Auto,)
  )
  everywhere = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
  kinds = {
    'jax': plain,
    'numpy': jax.tree.map(np.asarray, plain),
    'frozen': flax.core.freeze(plain),
    'replicated': jax.device_put(plain, everywhere),
    'bf16': jax.tree.map(lambda a: a.astype(jnp.bfloat16), plain),
    'more': {**plain, 'cache': {'seen': np.zeros(2)}},
  }
  for kind, before in kinds.items():
    copy = jax.tree.map(np.array, before)
    after = bn.convert_bn(before, moments)
    assert jax.tree.structure(after) == jax.tree.structure(before), kind
    jax.tree.map(np.testing.assert_array_equal, before, copy)
    for old, new in zip(
      jax.tree.leaves(before), jax.tree.leaves(after), strict=True
    ):
      assert (new.shape, new.dtype) == (old.shape, old.dtype), kind
      assert isinstance(new, np.ndarray) == isinstance(old, np.ndarray), kind
      if isinstance(old, jax.Array):
        assert new.sharding == old.sharding, kind
        assert new.committed == old.committed, kind
    head = after['params']['head']['kernel']
    assert head is before['params']['head']['kernel'], kind
    bn1 = after['batch_stats']['bn1']['mean']
    rtol = 1e-2 if kind == 'bf16' else 1e-6
    np.testing.assert_allclose(
      np.float64(bn1), moments['bn1'].mean, rtol=rtol, err_msg=kind
    )


def test_rounding_of_the_statistics_is_made_up_for():
  """float16 statistics are coarse; the function hardly moves all the same."""
  model = Norm(use_running_average=True)
  x = (np.random.default_rng(0).normal(size=(512, 4)) + 700).astype(np.float32)
  before = model.init(jax.random.key(0), x)
  before['batch_stats']['mean'] = before['batch_stats']['mean'] + 690
  before['batch_stats'] = jax.tree.map(np.float16, before['batch_stats'])
  moments = bn.bn_moments(model, before, [x])
  after = bn.convert_bn(before, moments)
  rounded = np.abs(after['batch_stats']['mean'] - moments[''].mean).max()
  assert rounded > 0.01
  # Flax would compute in float16 too; these are the stored values in float32.
  outputs = [
    model.apply(jax.tree.map(np.float32, v), x) for v in (before, after)
  ]
  assert difference(*outputs) <= 1e-5


def test_replace_keeps_scale_and_bias():
  model, x = Net(), images()
  before = variables_of(model)
  moments = bn.bn_moments(model, before, [x])
  after = bn.replace_bn(before, moments)
  for a, b in zip(
    jax.tree.leaves(before['params']),
    jax.tree.leaves(after['params']),
    strict=True,
  ):
    assert a is b
  for name, found in moments.items():
    stats = after['batch_stats'][name]
    np.testing.assert_array_equal(stats['mean'], np.float32(found.mean))
    np.testing.assert_array_equal(stats['var'], np.float32(found.var))
  assert difference(evaluate(model, before, x), evaluate(model, after, x)) > 0.1


def changed(moments, **fields):
  return {**moments, 'bn1': moments['bn1']._replace(**fields)}


@pytest.mark.parametrize(
  'change, message',
  [
    (lambda m: {'bn0': m['bn0'], 'x': m['bn1']}, r"'bn1', 'bn2'.*'x'"),
    (lambda m: changed(m, mean=np.zeros(3)), r"'bn1'.*mean.*\(3,\).*\(8,\)"),
    (
      lambda m: changed(m, mean=np.where(np.arange(8) % 3, 0, np.nan)),
      r"'bn1': mean .* channels \[0, 3, 6\]",
    ),
    (
      lambda m: changed(m, var=np.where(np.arange(8) == 5, np.inf, 1)),
      r"'bn1': var .* channels \[5\]",
    ),
    (
      lambda m: changed(m, var=np.where(np.arange(8) == 5, -1, 1)),
      r"'bn1': var .* negative in channels \[5\]",
    ),
    (
      lambda m: changed(m, var=np.zeros(8), epsilon=0.0),
      r"'bn1': var \+ epsilon of the new",
    ),
    (
      lambda m: changed(m, mean=np.full(8, 1e300)),
      r'bn1/\w+. in float32 is not',
    ),
  ],
)
def test_moments_that_do_not_fit_are_named(change, message):
  model = Net()
  variables = variables_of(model)
  moments = bn.bn_moments(model, variables, [images()])
  with pytest.raises(ValueError, match=message):
    bn.convert_bn(variables, change(moments))


def test_images_with_nan_are_named():
  model, x = Net(), images()
  x[3, 2, 2, 1] = np.nan
  variables = variables_of(model)
  moments = bn.bn_moments(model, variables, [x[:8], x[8:]])
  with pytest.raises(ValueError, match=r"'bn0': mean .* channels \[0, 1, 2"):
    bn.convert_bn(variables, moments)


def test_stored_statistics_that_cannot_be_converted_are_named():
  model = Norm(use_running_average=True, epsilon=0.0)
  x = images()
  variables = model.init(jax.random.key(0), x)
  moments = bn.bn_moments(model, variables, [x])
  for value, message in ((0.0, r'var \+ epsilon'), (np.nan, 'stored var')):
    stats = {**variables['batch_stats'], 'var': np.full(3, value)}
    with pytest.raises(ValueError, match=message):
      bn.convert_bn({**variables, 'batch_stats': stats}, moments)


@pytest.mark.parametrize('lacking', ['scale', 'bias'])
def test_a_norm_without_scale_or_bias_is_named(lacking):
  class Bare(nn.Module):
    @nn.compact
    def __call__(self, x):
      use = {f'use_{lacking}': False}
      return Norm(use_running_average=True, name='bare', **use)(x)

  variables = Bare().init(jax.random.key(0), images())
  moments = bn.bn_moments(Bare(), variables, [images()])
  with pytest.raises(ValueError, match=f"'bare' has no {lacking}"):
    bn.convert_bn(variables, moments)
  replaced = bn.replace_bn(variables, moments)['batch_stats']['bare']
  np.testing.assert_allclose(replaced['mean'], moments['bare'].mean, rtol=1e-6)


def test_a_scale_of_other_shape_than_the_statistics_is_named():
  class Step(nn.Module):
    @nn.compact
    def __call__(self, x, _):
      return 2 * Norm(use_running_average=True, name='bn')(x), None

  class Steps(nn.Module):  # one scale, statistics of each step
    @nn.compact
    def __call__(self, x):
      scan = nn.scan(
        Step,
        variable_axes={'batch_stats': 0},
        variable_broadcast='params',
        split_rngs={'params': False},
        length=2,
      )
      return scan(name='steps')(x, None)[0]

  variables = Steps().init(jax.random.key(0), images())
  moments = bn.bn_moments(Steps(), variables, [images()])
  with pytest.raises(ValueError, match=r"'steps/bn' .* \(3,\) .* \(2, 3\)"):
    bn.convert_bn(variables, moments)
  wrong = {'steps/bn': moments['steps/bn']._replace(var=-np.eye(2, 3))}
  with pytest.raises(ValueError, match=r'negative in channels \[\[0, 0\], \[1'):
    bn.replace_bn(variables, wrong)


def test_masked_training_step_equals_the_unpadded_one():
  model, x = Net(), images(6)
  variables = variables_of(model)

  def loss_fn(params, x, mask):
    with bn.batch_mask(mask):
      logits, state = model.apply(
        {**variables, 'params': params}, x, train=True, mutable=['batch_stats']
      )
    kept = jnp.where(mask[:, None], logits, 0)
    return jnp.sum(kept**2), (logits, state)

  step = jax.jit(jax.value_and_grad(loss_fn, has_aux=True))
  padded = np.concatenate([x[:2], np.full_like(x[:3], 1e3), x[2:]])
  mask = np.array([1, 1, 0, 0, 0, 1, 1, 1, 1], bool)
  (loss, (logits, state)), grad = step(variables['params'], padded, mask)
  true = np.ones(6, bool)
  (loss_x, (logits_x, state_x)), grad_x = step(variables['params'], x, true)
  plain, plain_state = train(model, variables, x)
  close = functools.partial(np.testing.assert_allclose, rtol=2e-5, atol=2e-5)
  close(loss, loss_x)
  close(logits[mask], logits_x)
  close(logits_x, plain)
  jax.tree.map(close, state, state_x)
  jax.tree.map(close, state['batch_stats'], plain_state['batch_stats'])
  top = max(np.abs(g).max() for g in jax.tree.leaves(grad_x))
  jax.tree.map(lambda a, b: close(a / top, b / top), grad, grad_x)


def test_batch_mask_keeps_the_models_mask_and_leaves_eval_mode_alone():
  class Masked(nn.Module):
    @nn.compact
    def __call__(self, x, mask, train=True):
      return Norm(use_running_average=not train, name='bn')(x, mask=mask)

  x = images(4)[:, 0]
  own = np.arange(8)[None, :, None] < 5
  rows = np.array([True, True, False, True])
  variables = Masked().init(jax.random.key(0), x, own)
  with bn.batch_mask(rows):
    y, _ = Masked().apply(variables, x, own, mutable=['batch_stats'])
    z = Masked().apply(variables, x, own, train=False)
  kept = y[rows][:, :5].reshape(-1, 3)
  np.testing.assert_allclose(kept.mean(0), 0, atol=1e-6)
  np.testing.assert_allclose(kept.var(0), 1, rtol=1e-4)
  np.testing.assert_array_equal(z, Masked().apply(variables, x, own, False))


@pytest.mark.parametrize('axis, shape', [(-1, (12, 3)), (0, (4, 3))])
def test_batch_mask_names_a_layer_it_cannot_mask(axis, shape):
  model = Norm(use_running_average=False, axis=axis)
  variables = model.init(jax.random.key(0), np.ones(shape))
  with bn.batch_mask(np.ones(4, bool)):
    with pytest.raises(ValueError, match='cannot ignore padded rows'):
      model.apply(variables, np.ones(shape), mutable=['batch_stats'])


@pytest.mark.parametrize('module', [bn, conversion])
def test_the_examples_of_the_docstrings_run(module):
  found = doctest.testmod(module, optionflags=doctest.NORMALIZE_WHITESPACE)
  assert found.attempted > 0 and found.failed == 0


def test_the_synopsis_runs():
  scope: dict[str, Any] = {}
  text = bn.__doc__.split('editing it:\n')[1].split('\nMethod:')[0]
  exec('\n'.join(line[2:] for line in text.splitlines()), scope)
  before = scope['Net']().init(jax.random.key(0), scope['images'][0])
  outputs = [
    scope['Net']().apply(v, scope['images'][0])
    for v in (before, scope['variables'])
  ]
  assert difference(*outputs) <= 1e-5


def test_chan_merges_as_one_pass_and_empty_parts_change_nothing():
  x = np.random.default_rng(0).normal(1e3, 1, size=50)
  parts = [
    (float(len(p)), p.mean(), ((p - p.mean()) ** 2).sum())
    for p in (x[:7], x[7:30], x[30:])
  ]
  total = tuple(np.float64(0) for _ in range(3))
  for part in (*parts, (0.0, np.float64(5), np.float64(0))):
    total = reductions.chan(total, tuple(map(np.float64, part)))
  np.testing.assert_allclose(total[1], x.mean(), rtol=1e-14)
  np.testing.assert_allclose(total[2] / total[0], x.var(), rtol=1e-12)

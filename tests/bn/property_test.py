"""Conversion keeps the function: 200 random nets with float64 leaves."""

import functools

import flax.linen as nn
import jax
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from daft_jax import bn

# jax 0.7 has it under jax.experimental only.
if hasattr(jax, 'enable_x64'):
  _enable_x64 = jax.enable_x64
else:  # jax 0.7
  from jax.experimental import enable_x64 as _enable_x64


class Net(nn.Module):
  epsilon: float

  @nn.compact
  def __call__(self, x):
    for i, width in enumerate((4, 6)):
      x = nn.Conv(width, (3, 3), param_dtype=np.float64, name=f'conv{i}')(x)
      x = nn.BatchNorm(
        use_running_average=True,
        epsilon=self.epsilon,
        param_dtype=np.float64,
        name=f'bn{i}',
      )(x)
      x = nn.relu(x)
    return nn.Dense(3, param_dtype=np.float64, name='head')(x.mean((1, 2)))


@functools.cache
def evaluate(epsilon):
  return jax.jit(Net(epsilon).apply)


def random_net(seed, dead, near_zero):
  """Variables with negative and zero scales, dead channels, tiny variances."""
  rng = np.random.default_rng(seed)
  params, stats, before = {}, {}, 3
  for i, width in enumerate((4, 6)):
    kernel = rng.normal(size=(3, 3, before, width)) * 0.3
    # A dead channel gives a constant: its variance is exactly zero.
    kernel[..., rng.random(width) < dead] = 0
    params[f'conv{i}'] = {'kernel': kernel, 'bias': rng.normal(size=width)}
    scale = rng.normal(size=width) * 10.0 ** rng.uniform(-2, 1, size=width)
    scale[rng.random(width) < 0.2] = 0
    params[f'bn{i}'] = {'scale': scale, 'bias': rng.normal(size=width)}
    var = rng.uniform(0.1, 4, size=width)
    tiny = rng.random(width) < near_zero
    var[tiny] = 10.0 ** rng.uniform(-12, -4, size=tiny.sum())
    var[rng.random(width) < near_zero / 4] = 0
    stats[f'bn{i}'] = {'mean': rng.normal(size=width), 'var': var}
    before = width
  params['head'] = {'kernel': rng.normal(size=(6, 3)), 'bias': np.zeros(3)}
  return {'params': params, 'batch_stats': stats}, rng


@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(
  seed=st.integers(0, 2**32 - 1),
  epsilon=st.sampled_from([1e-3, 1e-5]),
  dead=st.sampled_from([0.0, 0.3]),
  near_zero=st.sampled_from([0.0, 0.3]),
  offset=st.sampled_from([0.0, 10.0]),
)
def test_eval_output_is_kept_to_1e_10(seed, epsilon, dead, near_zero, offset):
  with _enable_x64(True):
    before, rng = random_net(seed, dead, near_zero)
    x = rng.normal(size=(6, 5, 5, 3)) + offset
    moments = bn.bn_moments(Net(epsilon), before, [x[:4], x[4:]])
    after = bn.convert_bn(before, moments)
    assert all(leaf.dtype == np.float64 for leaf in jax.tree.leaves(after))
    old, new = (np.asarray(evaluate(epsilon)(v, x)) for v in (before, after))
  assert old.dtype == np.float64
  assert np.abs(old - new).max() <= 1e-10 * np.abs(old).max()

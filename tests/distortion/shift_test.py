"""How far new data are from the statistics of BatchNorm."""

import flax.linen as nn
import jax
import numpy as np
import pytest

from daft_jax import bn, distortion


class Net(nn.Module):
  @nn.compact
  def __call__(self, x, train=False):
    x = nn.BatchNorm(use_running_average=not train, name='first')(x)
    return nn.BatchNorm(use_running_average=not train, name='second')(x)


def test_shift_is_that_of_the_inputs():
  rng = np.random.default_rng(0)
  x = (3 + 2 * rng.normal(size=(50, 4))).astype(np.float32)
  variables = jax.tree.map(np.array, Net().init(jax.random.key(0), x))
  variables['batch_stats']['first']['mean'] += np.arange(4, dtype=np.float32)
  moments = bn.bn_moments(Net(), variables, [x])
  found = distortion.bn_shift(variables, moments)
  assert list(found) == ['first', 'second']
  jumps = np.abs(x.mean(0) - np.arange(4)) / np.sqrt(1 + 1e-5)
  assert found['first'].mean == pytest.approx(jumps.mean(), rel=1e-5)
  ratios = np.sqrt((x.var(0) + 1e-5) / (1 + 1e-5))
  want = np.exp(np.log(ratios).mean())
  assert found['first'].std_ratio == pytest.approx(want, rel=1e-5)


def test_after_conversion_there_is_none():
  x = np.random.default_rng(1).normal(size=(50, 4)).astype(np.float32)
  variables = Net().init(jax.random.key(0), x)
  moments = bn.bn_moments(Net(), variables, [x])
  found = distortion.bn_shift(bn.convert_bn(variables, moments), moments)
  for shift in found.values():
    assert shift == pytest.approx((0, 1), abs=1e-6)


def test_a_model_that_is_a_batchnorm():
  model = nn.BatchNorm(use_running_average=True)
  x = np.full((4, 2), 2, np.float32)
  variables = model.init(jax.random.key(0), x)
  found = distortion.bn_shift(variables, bn.bn_moments(model, variables, [x]))
  assert found[''].mean == pytest.approx(2, rel=1e-4)

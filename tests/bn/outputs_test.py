"""The outputs of BatchNorms and stages, against a direct computation."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from daft_jax import models, sharding
from daft_jax.bn import outputs


class Net(nn.Module):
  @nn.compact
  def __call__(self, x, train=False):
    features = {}
    x = nn.BatchNorm(use_running_average=not train, name='zeta')(x)
    features['first'] = nn.relu(x)
    x = nn.Dense(5, name='dense')(features['first'])
    features['dense'] = x
    x = nn.BatchNorm(use_running_average=not train, name='alpha')(x)
    features['pre_logits'] = x.mean((1, 2))
    features['attention'] = jnp.ones((7, 7))
    return features['pre_logits'], features


class Layer(nn.Module):
  @nn.compact
  def __call__(self, x, _):
    x = nn.Dense(4)(x)
    return nn.BatchNorm(use_running_average=True, name='bn')(x), None


class Scanned(nn.Module):
  @nn.compact
  def __call__(self, x, train=False):
    scan = nn.scan(
      Layer,
      variable_axes={'params': 0, 'batch_stats': 0},
      split_rngs={'params': True},
      length=3,
    )
    x = scan(name='layers')(x, None)[0]
    return x, {'pre_logits': x}


def images(count=6, width=4):
  return np.random.default_rng(0).normal(size=(count, 3, 3, width))


def started(model, x):
  """Variables whose statistics are not the initial ones."""
  variables = model.init(jax.random.key(0), x)
  rng = np.random.default_rng(1)
  stats = jax.tree.map(
    lambda leaf: jnp.asarray(rng.uniform(0.5, 2, leaf.shape), leaf.dtype),
    variables['batch_stats'],
  )
  return {**variables, 'batch_stats': stats}


def test_outputs_are_the_models_in_the_order_of_the_forward_pass():
  x = images().astype(np.float32)
  variables = started(Net(), x)
  found = outputs.unpack(outputs.get_step(Net())(variables, x))
  assert list(found) == ['zeta', 'first', 'dense', 'alpha', 'pre_logits']
  _, features = Net().apply(variables, x)
  for name in ('first', 'dense'):
    want = features[name].mean((1, 2))
    np.testing.assert_allclose(found[name], want, rtol=1e-5, atol=1e-6)
  stats = variables['batch_stats']['zeta']
  want = (x - stats['mean']) / np.sqrt(stats['var'] + 1e-5)
  np.testing.assert_allclose(found['zeta'], want.mean((1, 2)), 1e-4, 1e-5)
  np.testing.assert_allclose(found['alpha'], found['pre_logits'], 1e-5, 1e-6)


def test_the_layers_of_a_scan_come_out_one_by_one():
  x = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
  variables = started(Scanned(), x)
  found = outputs.unpack(outputs.get_step(Scanned())(variables, x))
  norms = [name for name in found if name.startswith('layers/bn')]
  assert norms == [f'layers/bn[{i}]' for i in range(3)]
  np.testing.assert_allclose(found[norms[-1]], found['pre_logits'], 1e-5)
  assert np.abs(found[norms[0]] - found[norms[1]]).max() > 0.1


def test_a_model_without_batchnorm_has_its_stages():
  class Plain(nn.Module):
    @nn.compact
    def __call__(self, x, train=False):
      x = nn.Dense(3)(x)
      return x, {'pre_logits': x.mean((1, 2))}

  x = images()
  variables = Plain().init(jax.random.key(0), x)
  found = outputs.unpack(outputs.get_step(Plain())(variables, x))
  assert list(found) == ['pre_logits']


@pytest.mark.parametrize('name', ['resnet14_cifar', 'mobilenet_v2'])
def test_variables_are_arguments_and_devices_do_not_matter(name):
  model = models.create_model(name, 3)
  x = np.random.default_rng(0).normal(size=(8, 24, 24, 3)).astype(np.float32)
  variables = models.init_variables(model, 24, 0)
  step = outputs.get_step(model)
  found = outputs.unpack(step(variables, x))
  assert len(found) > len(variables['batch_stats']) > 0
  mesh = sharding.make_mesh(8)
  shared = outputs.unpack(
    step(sharding.replicate(variables, mesh), sharding.shard_batch(x, mesh))
  )
  for key, value in found.items():
    scale = np.abs(value).max()
    np.testing.assert_allclose(shared[key], value, rtol=1e-4, atol=1e-5 * scale)

"""The rate of a head by its features: formula, scale, and what diverges."""

import json
import types

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from daft_jax import experiment, head_rate, models, optim, sharding, train
from daft_jax.methods import METHODS

MOMENTUM = {'momentum': 0.9}
DAFT = METHODS['daft'][0]


@pytest.mark.parametrize('momentum', [0.0, 0.5, 0.9])
@pytest.mark.parametrize('nesterov', [False, True])
def test_sgd_on_a_quadratic_is_stable_up_to_the_rate_and_not_beyond(
  momentum, nesterov
):
  curvature = 7.0
  optimizer = optim.Optimizer(1, 1, momentum=momentum, nesterov=nesterov)
  # A softmax's curvature is at most half of that of its features.
  rate = head_rate.largest(
    2 * curvature, {'momentum': momentum, 'nesterov': nesterov}
  )
  tx = optim.make_tx(optimizer)

  def end(rate):
    w = jnp.array(1.0)
    state = tx.init(w)
    for _ in range(400):
      update, state = tx.update(curvature * w, state, w)
      w = w - rate * update
    return abs(float(w))

  assert end(0.97 * rate) < 1
  assert not end(1.03 * rate) < 1  # it may be nan


class Scaled(nn.Module):
  """A network whose features are `scale` times as large."""

  backbone: nn.Module
  scale: float

  @nn.compact
  def __call__(self, x, train=False):
    _, features = self.backbone(x, train=train)
    features = self.scale * features['pre_logits']
    return nn.Dense(3, name='head')(features), {'pre_logits': features}


class Net(nn.Module):
  """Two convolutions; no product of the package."""

  @nn.compact
  def __call__(self, x, train=False):
    for width in (8, 16):
      x = nn.Conv(width, (3, 3), strides=2, use_bias=False)(x)
      x = nn.relu(nn.BatchNorm(use_running_average=not train)(x))
    return None, {'pre_logits': x.mean((1, 2))}


BACKBONES = {
  'resnet14_cifar': lambda: models.create_model('resnet14_cifar', 3),
  'mobilenet_v2': lambda: models.create_model('mobilenet_v2', 3),
  'own': Net,
}


def task_of(model, count=32):
  """A task of one training batch: classes are tints."""
  rng = np.random.default_rng(0)
  labels = np.arange(count) % 3
  images = rng.normal(size=(count, 16, 16, 3)).astype(np.float32)
  images[np.arange(count), :, :, labels] += 2
  batch = {'image': images, 'label': labels.astype(np.int32)}
  return types.SimpleNamespace(
    model=model,
    mesh=sharding.make_mesh(1),
    batch_size=count,
    parts=train.Parts(),
    step_batches=lambda seed, epoch, first=0: iter([batch] * 6),
  )


def losses_of(backbone, scale):
  model = Scaled(backbone, scale)
  task = task_of(model)
  image = jnp.zeros((1, 16, 16, 3))
  variables = dict(jax.jit(model.init)(jax.random.key(0), image))
  zeros = jax.tree.map(jnp.zeros_like, variables['params']['head'])
  variables['params'] = {**variables['params'], 'head': zeros}
  found = head_rate.curvature(task, DAFT, variables, seed=0)
  rates = head_rate.rates(found, MOMENTUM)
  optimizer = optim.Optimizer(2, 6)
  epochs = train.fit(
    model,
    train.init_state(variables, DAFT.trainable, optimizer, task.mesh),
    lambda epoch, first: task.step_batches(0, epoch, first),
    trainable=DAFT.trainable,
    norm=DAFT.norm,
    optimizer=optimizer,
    lr=0.01,
    head_lr=rates['kernel'],
    head_bias_lr=rates['bias'],
    mesh=task.mesh,
  )
  return [epoch.metrics['loss'] for epoch in epochs], rates


@pytest.mark.parametrize('name', BACKBONES)
def test_the_same_setting_trains_at_any_scale_of_the_features(name):
  backbone = BACKBONES[name]()
  want, rates = losses_of(backbone, 1.0)
  assert want[1] < min(want[0], np.log(3))
  for scale in (2.0**-7, 2.0**7):  # not to be rounded
    losses, scaled = losses_of(backbone, scale)
    np.testing.assert_allclose(losses, want, rtol=1e-2)
    assert scaled['kernel'] == pytest.approx(rates['kernel'] / scale**2, 1e-2)
    assert scaled['bias'] == rates['bias']


def test_the_curvature_is_the_largest_eigenvalue_of_the_second_moment():
  model = Scaled(Net(), 1.0)
  task = task_of(model)
  variables = model.init(jax.random.key(0), jnp.zeros((1, 16, 16, 3)))
  images = next(task.step_batches(0, 0))['image']
  for stage, on in ((DAFT, True), (METHODS['lp_sgd'][0], False)):
    (_, features), _ = model.apply(
      variables, images, train=on, mutable=['batch_stats']
    )
    f = np.asarray(features['pre_logits'], np.float64)
    want = np.linalg.norm(f, 2) ** 2 / len(f)
    found = head_rate.curvature(task, stage, variables, seed=0)
    assert found == pytest.approx(want, rel=1e-5)


def test_a_run_records_the_rates_and_names_a_head_that_diverges(
  tiny_config, tmp_path, capsys
):
  config = tiny_config(
    methods=('lp_sgd',), head_lrs=('auto', 1000.0), optimizer__momentum=0.5
  )
  found = experiment.run(config, tmp_path)
  printed = capsys.readouterr().out
  assert 'the head diverges. Its rate, 1000, is above' in printed
  assert 'try --config.head_lrs=auto' in printed
  lines = [
    json.loads(text)
    for text in (tmp_path / 'results.jsonl').read_text().splitlines()
  ]
  rates = {line['head_lr']: line.get('head_rates') for line in lines}
  assert rates[1000.0] is None
  assert rates['auto']['bias'] == pytest.approx(3.0)
  assert 0 < rates['auto']['kernel'] < 1
  assert found['lp_sgd']['head_lr'] in ('auto', 1000.0)
  assert 'auto' in (tmp_path / 'report.md').read_text()

"""A batch in parts: what is added up is what the whole batch gives."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from daft_jax import models, optim, sharding, train, trees
from daft_jax.data import mixing
from daft_jax.train import Parts, gradient
from tests.train_test import assert_close

SIZE, CLASSES, ROWS = 8, 5, 32
OPTIMIZER = optim.Optimizer(epochs=2, steps_per_epoch=3)
CLOSE = {'rtol': 2e-4, 'atol': 2e-6}


@functools.cache
def net():
  return models.resnet.ResNet(
    CLASSES, (1,), stem='cifar', shortcut='pad', width=8
  )


@functools.cache
def start():
  """With statistics that are not those of new BatchNorms."""
  variables = jax.tree.map(np.array, models.init_variables(net(), SIZE, 0))
  rng = np.random.default_rng(0)
  for path, leaf in trees.flatten(variables['batch_stats']).items():
    low = 0.5 if path.endswith('var') else -0.3
    leaf[:] = rng.uniform(low, low + 1, leaf.shape)
  return variables


def batch(real=ROWS, mixed=False):
  """ROWS rows, of which those past `real` are padding; None: no mask."""
  masked, real = real is not None, ROWS if real is None else real
  rng = np.random.default_rng(real)
  found = {
    'image': rng.normal(size=(ROWS, SIZE, SIZE, 3)).astype(np.float32),
    'label': rng.integers(CLASSES, size=ROWS).astype(np.int32),
  }
  found['image'] += 0.2 * np.arange(ROWS)[:, None, None, None] / ROWS
  if masked:
    found['image'][real:] = 0
    found['mask'] = np.arange(ROWS) < real
  if mixed:
    how = mixing.Mixing(mixup=0.5)
    found |= mixing.draw(
      how, real, SIZE, batch_size=ROWS, seed=0, epoch=0, step=0
    )
  return found


@functools.cache
def jitted(how, norm, mesh):
  compute = functools.partial(gradient.gradients, net(), norm, how, mesh=mesh)
  return jax.jit(compute)


def gradients(how, norm, data, devices=1):
  mesh = sharding.make_mesh(devices)
  variables = sharding.replicate(start(), mesh)
  trained, frozen = trees.split(variables['params'], '')
  given = trained, frozen, variables['batch_stats']
  data = sharding.shard_batch(data, mesh)
  return jax.device_get(jitted(how, norm, mesh)(given, data))


@jax.jit
def direct(variables, image, label, count):
  """Loss, gradient and new statistics of rows without padding."""

  def loss_fn(params):
    (logits, _), updated = net().apply(
      {**variables, 'params': params},
      image,
      train=True,
      mutable=['batch_stats'],
    )
    log_probs = jax.nn.log_softmax(logits)
    loss = -jnp.take_along_axis(log_probs, label[:, None], 1).sum()
    return loss / count, updated['batch_stats']

  (_, stats), grads = jax.value_and_grad(loss_fn, has_aux=True)(
    variables['params']
  )
  return grads, stats


def added(data, groups):
  """What groups of rows give, one at a time, added up."""
  real = data.get('mask', np.ones(ROWS, bool))
  count = real.sum()
  total = None
  for rows in groups:
    rows = np.asarray([i for i in rows if real[i]], int)
    if not len(rows):
      continue
    grads, stats = direct(
      start(), data['image'][rows], data['label'][rows], count
    )
    share = len(rows) / count
    new = grads, jax.tree.map(lambda x, share=share: x * share, stats)
    total = new if total is None else jax.tree.map(jnp.add, total, new)
  return jax.device_get(total)


# 4 micro-batches: full, of 8 and 7, of 1 and 0 examples.
@pytest.mark.parametrize(
  ('real', 'mixed'), [(ROWS, False), (30, False), (3, False), (30, True)]
)
def test_micro_batches_on_running_statistics_are_the_whole_batch(real, mixed):
  data = batch(real, mixed)
  whole = gradients(Parts(), 'running', data)
  found = gradients(Parts(4), 'running', data)
  assert_close(found.grads, whole.grads, rtol=2e-5, atol=2e-7)
  assert_close(found.sums, whole.sums, rtol=1e-6)
  assert found.batch_stats == ()


@pytest.mark.parametrize('real', [None, ROWS, 30, 3])
def test_micro_batches_are_normalised_by_their_own_statistics(real):
  data = batch(real)
  found = gradients(Parts(4), 'batch', data)
  grads, stats = added(data, [range(i, ROWS, 4) for i in range(4)])
  assert_close(found.grads, grads, **CLOSE)
  assert_close(found.batch_stats, stats, **CLOSE)
  assert int(found.sums['count']) == (ROWS if real is None else real)
  # Not by those of the whole, so that the comparison means something.
  whole = gradients(Parts(), 'batch', data)
  moved = np.abs(whole.grads['conv1']['kernel'] - grads['conv1']['kernel'])
  assert moved.max() > 1e-3


# Groups of 4 rows: 8 of the whole batch, 2 of each of 4 micro-batches; of 30
# examples one has 2, of 3 all but one have none.
@pytest.mark.parametrize('real', [None, 30, 3])
@pytest.mark.parametrize('steps', [1, 4])
def test_groups_are_normalised_by_their_own_statistics(steps, real):
  data = batch(real)
  found = gradients(Parts(steps, bn_group_size=4), 'batch', data)
  rows = np.arange(ROWS).reshape(-1, steps).T.reshape(-1, 4)
  grads, stats = added(data, rows)
  assert_close(found.grads, grads, **CLOSE)
  assert_close(found.batch_stats, stats, **CLOSE)


def test_groups_are_nothing_on_running_statistics():
  data = batch(30)
  whole = gradients(Parts(), 'running', data)
  found = gradients(Parts(bn_group_size=4), 'running', data)
  assert_close(found, whole, rtol=0, atol=0)


@pytest.mark.parametrize('steps', [1, 2])
def test_virtual_shards_are_groups_of_an_eighth(steps):
  data = batch(30)
  found = gradients(Parts(steps, elastic=True), 'batch', data, devices=2)
  shards = np.arange(ROWS).reshape(8, -1, steps)
  grads, stats = added(data, shards.swapaxes(1, 2).reshape(8 * steps, -1))
  assert_close(found.grads, grads, **CLOSE)
  assert_close(found.batch_stats, stats, **CLOSE)
  assert int(found.sums['count']) == 30


def test_a_group_of_all_rows_is_the_whole_batch():
  data = batch(30)
  whole = gradients(Parts(), 'batch', data)
  assert_close(gradients(Parts(1, ROWS), 'batch', data), whole, **CLOSE)


@pytest.mark.parametrize(
  ('how', 'rows'),
  [
    (Parts(1, 4), range(4)),
    (Parts(4, 4), range(0, 16, 4)),
    (Parts(2, elastic=True), (0, 2)),
  ],
)
def test_features_are_those_of_the_groups(how, rows):
  data, rows = batch(30), np.array(rows)
  compute = functools.partial(gradient.features, net(), 'batch', how)
  mesh = sharding.make_mesh(1)
  found = np.asarray(jax.jit(lambda *x: compute(*x, mesh))(start(), data))
  (_, alone), _ = net().apply(
    start(), data['image'][rows], train=True, mutable=['batch_stats']
  )
  np.testing.assert_allclose(found[rows], alone['pre_logits'], **CLOSE)


def test_a_batch_of_padding_is_refused_in_parts_too():
  found = gradients(Parts(4), 'batch', batch(0))
  assert not np.isfinite(found.batch_stats['bn1']['mean']).any()


@pytest.mark.parametrize(
  ('how', 'norm'),
  [
    (Parts(4), 'batch'),
    (Parts(4), 'running'),
    (Parts(1, 8), 'batch'),
    (Parts(2, 4), 'batch'),
  ],
)
def test_parts_agree_on_four_devices(how, norm):
  data = batch(30)
  one, four = (gradients(how, norm, data, n) for n in (1, 4))
  assert_close(four, one, **CLOSE)


def compiled(how, data, norm='batch', devices=1):
  mesh = sharding.make_mesh(devices)
  state = train.init_state(start(), '', OPTIMIZER, mesh)
  layout = sharding.Layout(mesh)
  step = train.get_step(net(), '', norm, OPTIMIZER, layout, how)
  rates = {'lr': np.float32(0.1), 'head_lr': np.float32(0.1)}
  data = sharding.shard_batch(data, mesh)
  return step.lower(state, data, rates, np.int32(0)).compile()


def test_micro_batches_take_less_memory_and_move_no_images():
  whole, four = (compiled(Parts(n), batch(30), devices=2) for n in (1, 4))
  peaks = [x.memory_analysis().temp_size_in_bytes for x in (whole, four)]
  assert peaks[1] < 0.5 * peaks[0]
  for moved in ('all-gather', 'all-to-all', 'collective-permute'):
    assert moved not in four.as_text()


def fit(how, norm, data):
  mesh = sharding.make_mesh(1)
  optimizer = optim.Optimizer(epochs=1, steps_per_epoch=len(data))
  (at,) = train.fit(
    net(),
    train.init_state(start(), '', optimizer, mesh),
    lambda epoch, first: data,
    trainable='',
    norm=norm,
    optimizer=optimizer,
    lr=0.05,
    head_lr=0.1,
    mesh=mesh,
    parts=how,
  )
  return jax.device_get(at.state), at.sums


def test_steps_in_parts_train_as_whole_ones():
  data = [batch(30), batch(3)]
  (whole, sums), (found, others) = (
    fit(Parts(n), 'running', data) for n in (1, 4)
  )
  assert_close(found.params, whole.params, **CLOSE)
  assert_close(sums, others, rtol=1e-5)
  for path, leaf in trees.flatten(start()['batch_stats']).items():
    after = trees.flatten(found.batch_stats)[path]
    assert np.asarray(after).tobytes() == leaf.tobytes(), path

"""Training that stops inside an epoch: told to, or by numbers gone bad."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from daft_jax import models, optim, sharding, train, trees

SIZE, CLASSES, STEPS = 8, 5, 6
OPTIMIZER = optim.Optimizer(epochs=2, steps_per_epoch=STEPS)


@functools.cache
def net():
  return models.resnet.ResNet(
    CLASSES, (1,), stem='cifar', shortcut='pad', width=8
  )


class Rooted(nn.Module):
  """Its gradient at an image of zeros is infinite, its loss is not."""

  @nn.compact
  def __call__(self, x, train=False):
    x = nn.BatchNorm(use_running_average=not train)(x)
    x = nn.Conv(4, (1, 1), use_bias=False)(x)
    features = jnp.sqrt(jnp.square(x).mean((1, 2)))
    return nn.Dense(CLASSES, name='head')(features), {'pre_logits': features}


def batch(number, bad=None):
  rng = np.random.default_rng(number)
  image = rng.normal(size=(8, SIZE, SIZE, 3)).astype(np.float32)
  if bad is not None:
    image[3, 2, 1, 0] = bad
  label = rng.integers(CLASSES, size=8).astype(np.int32)
  return {'image': image, 'label': label}


def batches(bad=(), value=np.nan):
  """Steps of both epochs; those in `bad`, counted from 0, hold the value."""

  def epoch(number, first):
    for step in range(number * STEPS + first, (number + 1) * STEPS):
      yield batch(step, value if step in bad else None)

  return epoch


@pytest.fixture(scope='module')
def mesh():
  return sharding.make_mesh(1)


@pytest.fixture(scope='module')
def start():
  return models.init_variables(net(), SIZE, 0)


def fit(start, mesh, feed, state=None, **more):
  state = state or train.init_state(start, '', OPTIMIZER, mesh)
  return train.fit(
    net(),
    state,
    feed,
    trainable='',
    norm='batch',
    optimizer=OPTIMIZER,
    lr=0.05,
    head_lr=0.1,
    mesh=mesh,
    **more,
  )


def bits(tree):
  return {
    path: np.asarray(leaf).tobytes()
    for path, leaf in trees.flatten(jax.device_get(tree)).items()
  }


def assert_same(a, b):
  assert int(a.step) == int(b.step)
  assert bits(a.variables) == bits(b.variables)
  first, second = (jax.tree.leaves(x.opt_state) for x in (a, b))
  for x, y in zip(first, second, strict=True):
    assert np.asarray(x).tobytes() == np.asarray(y).tobytes()


@pytest.fixture(scope='module')
def whole(start, mesh):
  return [
    (jax.device_get(epoch.state), epoch.sums)
    for epoch in fit(start, mesh, batches())
  ]


def paused_after(steps):
  left = [steps]

  def on_step(rows):
    left[0] -= 1

  return {'on_step': on_step, 'pause': lambda: left[0] <= 0}


@pytest.mark.parametrize('steps', [1, 3, STEPS - 1, STEPS, STEPS + 2])
def test_a_pause_and_a_restart_change_no_bit(start, mesh, whole, steps):
  *_, at = fit(start, mesh, batches(), **paused_after(steps))
  assert not at.whole and int(at.state.step) == steps
  assert at.number == 1 + (steps - 1) // STEPS
  # What a checkpoint keeps.
  state = sharding.replicate(jax.device_get(at.state), mesh)
  sums = {key: np.array(value) for key, value in at.sums.items()}
  if steps == STEPS:  # The epoch is done but for its evaluation.
    assert_same(jax.device_get(state), whole[0][0])
    (first,) = [
      e
      for e in fit(
        start, mesh, batches(), sums=sums, state=state, pause=lambda: True
      )
      if e.whole
    ]
    assert first.number == 1 and first.metrics['count'] == 8 * STEPS
    state = sharding.replicate(jax.device_get(at.state), mesh)
  rest = list(fit(start, mesh, batches(), state=state, sums=sums))
  for epoch, (state, sums) in zip(
    reversed(rest), reversed(whole), strict=False
  ):
    assert epoch.whole
    if epoch is rest[-1]:
      assert_same(jax.device_get(epoch.state), state)
    assert bits(epoch.sums) == bits(sums)


@pytest.mark.parametrize(
  ('step', 'value'),
  [(0, np.nan), (2, np.inf), (STEPS - 1, np.nan), (STEPS + 1, np.inf)],
)
def test_it_stops_before_the_step_that_is_bad(start, mesh, whole, step, value):
  feed = batches(bad=(step,), value=value)
  with pytest.raises(train.NonFiniteError, match='is not finite at') as error:
    list(fit(start, mesh, feed))
  at = error.value.at
  assert int(at.state.step) == step and at.number == 1 + step // STEPS
  *_, good = [None, *fit(start, mesh, batches(), **paused_after(max(step, 1)))]
  if step:
    assert_same(jax.device_get(at.state), jax.device_get(good.state))
  else:
    assert bits(at.state.variables) == bits(start)


def test_bad_batches_are_left_out_and_counted(start, mesh):
  (first, second) = fit(start, mesh, batches(bad=(1, 4, 7)), skip=True)
  assert first.sums['skipped'] == 2 and second.sums['skipped'] == 1
  assert first.metrics['count'] == 8 * (STEPS - 2)
  assert int(second.state.step) == 2 * STEPS
  for leaf in jax.tree.leaves(jax.device_get(second.state)):
    assert np.isfinite(leaf).all()
  # As if those steps had not been: rates are constant within an epoch.
  state = train.init_state(start, '', OPTIMIZER, mesh)
  step = train.get_step(net(), '', 'batch', OPTIMIZER)
  rates = {'lr': np.float32(0.05), 'head_lr': np.float32(0.1)}
  for number in range(2 * STEPS):
    if number in (1, 4, 7):
      state = state._replace(step=state.step + 1)
      continue
    put = sharding.shard_batch(batch(number), mesh)
    state, _ = step(state, put, rates)
  assert_same(jax.device_get(state), jax.device_get(second.state))


def test_an_infinite_gradient_of_a_finite_loss(mesh):
  model = Rooted()
  images = np.zeros((8, SIZE, SIZE, 3), np.float32)
  variables = model.init(jax.random.key(0), images)
  optimizer = optim.Optimizer(epochs=1, steps_per_epoch=1)
  data = {'image': images, 'label': np.zeros(8, np.int32)}
  with pytest.raises(train.NonFiniteError, match='gradient is not finite'):
    list(
      train.fit(
        model,
        train.init_state(variables, '', optimizer, mesh),
        lambda epoch, first: [data],
        trainable='',
        norm='batch',
        optimizer=optimizer,
        lr=0.1,
        head_lr=0.1,
        mesh=mesh,
      )
    )


def test_a_stage_compiles_one_step(start, mesh):
  train.get_step.cache_clear()
  list(fit(start, mesh, batches()))
  layout = sharding.Layout(mesh)
  step = train.get_step(net(), '', 'batch', OPTIMIZER, layout, train.Parts())
  assert step._cache_size() == 1


@pytest.mark.parametrize('norm', ['batch', 'running'])
def test_bf16_never_holds_statistics(norm, mesh):
  model = models.create_model('resnet14_cifar', CLASSES, dtype='bfloat16')
  variables = models.init_variables(model, 16, 0)
  state = train.init_state(variables, '', OPTIMIZER, mesh)
  step = train.get_step(model, '', norm, OPTIMIZER)
  rates = {'lr': np.float32(0.05), 'head_lr': np.float32(0.1)}
  state, _ = step(state, sharding.shard_batch(batch(0), mesh), rates)
  for path, leaf in trees.flatten(state.variables).items():
    assert leaf.dtype == np.float32, path
  for leaf in jax.tree.leaves(state.opt_state):
    assert leaf.dtype in (np.float32, np.int32)

"""Training: the step, the loop, what must not move."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from daft_jax import models, optim, sharding, train, trainable, trees
from daft_jax.methods import METHODS

SIZE, CLASSES = 16, 5
OPTIMIZER = optim.Optimizer(epochs=2, steps_per_epoch=3)


@functools.cache
def net():
  return models.resnet.ResNet(
    CLASSES, (1, 1), stem='cifar', shortcut='pad', width=8
  )


@functools.cache
def start():
  variables = models.init_variables(net(), SIZE, 0)
  return jax.tree.map(np.asarray, variables)


def batch(rows=16, seed=0, padded=0):
  rng = np.random.default_rng(seed)
  found = {
    'image': rng.normal(size=(rows, SIZE, SIZE, 3)).astype(np.float32),
    'label': rng.integers(CLASSES, size=rows).astype(np.int32),
  }
  if padded:
    found = {
      'image': np.pad(found['image'], ((0, padded),) + ((0, 0),) * 3),
      'label': np.pad(found['label'], (0, padded)),
      'mask': np.arange(rows + padded) < rows,
    }
  return found


def run(
  batches,
  *,
  trainable='',
  norm='batch',
  devices=1,
  model=1,
  rules=None,
  lr=0.05,
  head_lr=0.1,
):
  """Runs the jitted step over batches; returns the state on the host."""
  mesh = sharding.make_mesh(devices, model)
  state = train.init_state(start(), trainable, OPTIMIZER, mesh, rules or ())
  layout = () if rules is None else (sharding.Layout(mesh, rules),)
  step = train.get_step(net(), trainable, norm, OPTIMIZER, *layout)
  rates = {'lr': np.float32(lr), 'head_lr': np.float32(head_lr)}
  for one in batches:
    state, _ = step(state, sharding.shard_batch(one, mesh), rates)
  return jax.device_get(state)


def assert_close(a, b, **options):
  a, b = trees.flatten(a), trees.flatten(b)
  assert a.keys() == b.keys()
  for path in a:
    np.testing.assert_allclose(a[path], b[path], err_msg=path, **options)


STAGES = {
  f'{method}/{stage.name}': stage
  for method, stages in METHODS.items()
  for stage in stages
  if stage.solver == 'sgd'
}


@pytest.mark.parametrize('name', STAGES)
def test_what_does_not_train_is_bit_identical(name):
  stage = STAGES[name]
  state = run(
    [batch(seed=s) for s in range(2)],
    trainable=stage.trainable,
    norm=stage.norm,
  )
  before, after = trees.flatten(start()), trees.flatten(state.variables)
  trains = trees.flatten(
    {'params': trees.split(start()['params'], stage.trainable)[0]}
  )
  for path, leaf in before.items():
    moves = path in trains or (
      path.startswith('batch_stats') and stage.norm == 'batch'
    )
    same = leaf.tobytes() == np.asarray(after[path]).tobytes()
    assert same is not moves, path
  trainable.check_frozen(start(), state.variables, stage.trainable, stage.norm)


def test_check_frozen_names_what_moved():
  moved = jax.tree.map(np.copy, start())
  moved['params']['conv1']['kernel'][0, 0, 0, 0] += 1e-7
  moved['batch_stats']['bn1']['mean'][0] += 1e-7
  with pytest.raises(AssertionError, match='params/conv1/kernel'):
    trainable.check_frozen(start(), moved, '^head/', 'batch')
  with pytest.raises(AssertionError, match='batch_stats/bn1/mean'):
    trainable.check_frozen(start(), moved, '', 'running')
  trainable.check_frozen(start(), moved, '', 'batch')


def flops(fn, *args):
  return jax.jit(fn).lower(*args).compile().cost_analysis()['flops']


def test_a_probe_step_costs_at_most_1_3_forward_passes():
  data = batch()
  rates = {'lr': np.float32(0.1), 'head_lr': np.float32(0.1)}

  def cost(trainable, norm):
    state = train.init_state(
      start(), trainable, OPTIMIZER, sharding.make_mesh(1)
    )
    step = functools.partial(
      train.train_step, net(), trainable, norm, OPTIMIZER
    )
    return flops(step, state, data, rates)

  forward = flops(
    lambda v, x: net().apply(v, x, train=False)[0], start(), data['image']
  )
  assert cost('^head/', 'running') <= 1.3 * forward
  assert cost('', 'batch') > 2 * forward  # so the comparison means something


def test_padding_changes_nothing():
  plain = run([batch(11, seed=s) for s in range(3)])
  padded = run([batch(11, seed=s, padded=5) for s in range(3)])
  assert_close(plain, padded, rtol=2e-4, atol=2e-6)


def test_one_and_eight_devices_agree():
  data = [batch(16, seed=s) for s in range(3)]
  assert_close(run(data), run(data, devices=8), rtol=1e-4, atol=2e-6)


@pytest.mark.parametrize(
  ('devices', 'model'), [(1, 1), (2, 1), (4, 1), (8, 1), (2, 2), (4, 2)]
)
def test_split_parameters_change_nothing(monkeypatch, devices, model):
  monkeypatch.setattr(sharding, '_SMALL', 64)
  monkeypatch.setattr(sharding, 'MANY_CLASSES', CLASSES)
  data = [batch(16, seed=s) for s in range(3)]
  rules = sharding.RULES['fsdp']
  found = run(data, devices=devices, model=model, rules=rules)
  assert_close(run(data), found, rtol=1e-4, atol=2e-6)


@pytest.mark.parametrize('parts', [2, 4, 8])
def test_split_parameters_and_momenta_stay_split(monkeypatch, parts):
  monkeypatch.setattr(sharding, '_SMALL', 64)
  rules, mesh = sharding.RULES['fsdp'], sharding.make_mesh(parts)
  layout = sharding.Layout(mesh, rules)
  state = train.init_state(start(), '', OPTIMIZER, mesh, rules)
  rates = {'lr': np.float32(0.1), 'head_lr': np.float32(0.1)}
  step = train.get_step(net(), '', 'batch', OPTIMIZER, layout)
  compiled = []
  for seed in range(2):
    data = sharding.shard_batch(batch(seed=seed), mesh)
    state, _ = step(state, data, rates)
    compiled.append(step._cache_size())
  assert compiled[0] == compiled[1]  # the state comes out as it went in
  for path, leaf in trees.flatten((state.params, state.opt_state)).items():
    kernel = path.endswith('kernel')
    held = {x.data.nbytes for x in leaf.addressable_shards}
    assert held == {leaf.nbytes // parts if kernel else leaf.nbytes}, path


def test_a_padded_batch_agrees_on_eight_devices():
  data = [batch(11, padded=5)]
  assert_close(run(data), run(data, devices=8), rtol=1e-4, atol=2e-6)


def test_rates_seeds_and_methods_share_one_compiled_step():
  step = train.get_step(net(), '', 'batch', OPTIMIZER)
  assert step is train.get_step(net(), '', 'batch', OPTIMIZER)
  before = step._cache_size()
  for lr, seed in ((0.1, 0), (0.2, 1), (0.3, 2)):
    run([batch(7, seed=seed, padded=1)], lr=lr, head_lr=2 * lr)
  assert step._cache_size() == before + 1


def test_the_state_before_is_donated_and_start_is_not():
  mesh = sharding.make_mesh(1)
  state = train.init_state(start(), '', OPTIMIZER, mesh)
  step = train.get_step(net(), '', 'batch', OPTIMIZER)
  rates = {'lr': np.float32(0.1), 'head_lr': np.float32(0.1)}
  kept = jax.tree.map(np.copy, start())
  after, _ = step(state, sharding.shard_batch(batch(), mesh), rates)
  jax.block_until_ready(after)
  assert state.params['conv1']['kernel'].is_deleted()
  assert_close(kept, start(), rtol=0, atol=0)


def batches_of(counts):
  """An epoch's batches for `fit`, counted."""

  def epoch(number, first=0):
    counts.append(number)
    return iter([batch(seed=10 * number + s) for s in range(first, 3)])

  return epoch


def fit(state=None, optimizer=OPTIMIZER, counts=None, on_step=lambda n: None):
  mesh = sharding.make_mesh(1)
  if state is None:
    state = train.init_state(start(), '', optimizer, mesh)
  return train.fit(
    net(),
    state,
    batches_of([] if counts is None else counts),
    trainable='',
    norm='batch',
    optimizer=optimizer,
    lr=0.05,
    head_lr=0.1,
    mesh=mesh,
    on_step=on_step,
  )


def test_fit_goes_on_where_the_state_is_with_the_same_bits():
  whole = [jax.device_get(epoch.state) for epoch in fit()]
  assert [int(state.step) for state in whole] == [3, 6]
  counts = []
  middle = sharding.replicate(whole[0], sharding.make_mesh(1))
  (rest,) = fit(middle, counts=counts)
  assert counts == [1] and rest.number == 2
  assert_close(jax.device_get(rest.state), whole[1], rtol=0, atol=0)


def test_fit_reports_metrics_and_steps():
  rows = []
  found = [(e.number, e.metrics) for e in fit(on_step=rows.append)]
  assert [number for number, _ in found] == [1, 2]
  assert rows == [16] * 6
  assert all(metrics['count'] == 48 for _, metrics in found)
  assert found[1][1]['loss'] < found[0][1]['loss'] * 1.5


def test_training_learns():
  optimizer = optim.Optimizer(epochs=20, steps_per_epoch=1)
  mesh = sharding.make_mesh(1)
  data = batch(16)
  data['image'] += data['label'][:, None, None, None]
  losses = [
    epoch.metrics['loss']
    for epoch in train.fit(
      net(),
      train.init_state(start(), '', optimizer, mesh),
      lambda number, first: [data],
      trainable='',
      norm='batch',
      optimizer=optimizer,
      lr=0.05,
      head_lr=0.05,
      mesh=mesh,
    )
  ]
  assert losses[-1] < 0.6 * losses[0]


def test_describe():
  line = trainable.describe(start(), '', 'batch')
  count = sum(x.size for x in jax.tree.leaves(start()['params']))
  assert line.startswith(f'trains {count:,} of {count:,} parameters (all); ')
  assert line.endswith('statistics of 5 BatchNorms move')
  line = trainable.describe(start(), '^head/', 'running')
  assert line == (
    f'trains 85 of {count:,} parameters (head); no statistics move'
  )


def test_momentum_exists_only_for_what_trains():
  mesh = sharding.make_mesh(1)
  state = train.init_state(start(), '^head/', OPTIMIZER, mesh)
  shapes = sorted(leaf.shape for leaf in jax.tree.leaves(state.opt_state))
  assert shapes == [(5,), (16, 5)]
  assert jnp.issubdtype(state.step.dtype, jnp.integer)

"""Optimizers: torch's rules, the protocol's schedule, traced rates."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from daft_jax import optim


def run(optimizer, params, gradients, *, lr=0.1, head_lr=0.1):
  """Applies gradients one after the other; returns all parameters seen."""
  tx = optim.make_tx(optimizer)
  state, seen = tx.init(params), []

  @jax.jit
  def one(params, state, grads, number):
    updates, state = tx.update(grads, state, params)
    stepped = optim.step(
      optimizer, params, updates, number, lr=lr, head_lr=head_lr
    )
    return stepped, state

  for number, grads in enumerate(gradients):
    params, state = one(params, state, grads, number)
    seen.append(params)
  return seen


def problem(steps=12, seed=0):
  rng = np.random.default_rng(seed)

  def draw():
    return {
      'conv': jnp.asarray(rng.normal(size=5), jnp.float32),
      'head': {'kernel': jnp.asarray(rng.normal(size=3), jnp.float32)},
    }

  return draw(), [draw() for _ in range(steps)]


def norm(tree):
  return float(sum((leaf**2).sum() for leaf in jax.tree.leaves(tree)) ** 0.5)


def test_cosine_changes_once_an_epoch():
  optimizer = optim.Optimizer(epochs=5, steps_per_epoch=3)
  found = [float(optim.lr_factor(optimizer, step)) for step in range(15)]
  expected = [(1 + math.cos(math.pi * (s // 3) / 5)) / 2 for s in range(15)]
  np.testing.assert_allclose(found, expected, atol=1e-6)


def test_warmup_is_linear_and_the_cosine_follows():
  optimizer = optim.Optimizer(epochs=6, steps_per_epoch=4, warmup_epochs=2)
  found = [float(optim.lr_factor(optimizer, step)) for step in range(24)]
  np.testing.assert_allclose(found[:8], np.arange(1, 9) / 8, atol=1e-6)
  after = [(1 + math.cos(math.pi * e / 4)) / 2 for e in range(4)]
  np.testing.assert_allclose(found[8:], np.repeat(after, 4), atol=1e-6)


@pytest.mark.parametrize('nesterov', [False, True])
@pytest.mark.parametrize('weight_decay', [0.0, 0.1])
def test_sgd_is_the_rule_of_torch(nesterov, weight_decay):
  params, gradients = problem()
  optimizer = optim.Optimizer(
    4, 3, nesterov=nesterov, weight_decay=weight_decay
  )
  seen = run(optimizer, params, gradients, lr=0.1, head_lr=0.5)
  # torch.optim.SGD: g += wd p; v = .9 v + g; p -= lr (g + .9 v or v).
  for get, rate in (
    (lambda t: t['conv'], 0.1),
    (lambda t: t['head']['kernel'], 0.5),
  ):
    p, v = np.asarray(get(params), np.float64), 0.0
    for number, grads in enumerate(gradients):
      factor = (1 + math.cos(math.pi * (number // 3) / 4)) / 2
      g = np.asarray(get(grads), np.float64) + weight_decay * p
      v = 0.9 * v + g
      p = p - rate * factor * (g + 0.9 * v if nesterov else v)
      np.testing.assert_allclose(get(seen[number]), p, atol=1e-6)


def test_adamw_is_optax_adamw():
  params, gradients = problem()
  optimizer = optim.Optimizer(1, 100, name='adamw', weight_decay=0.2)
  seen = run(optimizer, params, gradients, lr=0.01, head_lr=0.01)
  tx = optax.adamw(0.01, weight_decay=0.2)
  state = tx.init(params)
  for number, grads in enumerate(gradients):
    updates, state = tx.update(grads, state, params)
    params = optax.apply_updates(params, updates)
    jax.tree.map(
      lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6),
      seen[number],
      params,
    )


def test_clipping_bounds_the_norm_of_everything_that_trains():
  params, gradients = problem(steps=1)
  optimizer = optim.Optimizer(1, 1, momentum=0.0, clip_norm=0.5)
  (after,) = run(optimizer, params, gradients, lr=1.0, head_lr=1.0)
  moved = jax.tree.map(lambda a, b: a - b, after, params)
  assert norm(gradients[0]) > 0.5
  np.testing.assert_allclose(norm(moved), 0.5, rtol=1e-5)


def test_what_does_not_train_has_no_state():
  params = {'conv': None, 'head': {'kernel': jnp.ones(3)}}
  tx = optim.make_tx(optim.Optimizer(1, 1))
  assert [leaf.shape for leaf in jax.tree.leaves(tx.init(params))] == [(3,)]


def test_unknown_optimizer():
  with pytest.raises(ValueError, match="'lion' is unknown: say one of sgd"):
    optim.Optimizer(1, 1, name='lion')

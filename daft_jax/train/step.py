"""One training step: a pure function of a state, a batch and rates.

state = init_state(start, stage.trainable, optimizer, mesh)
step = get_step(model, stage.trainable, stage.norm, optimizer)
state, sums = step(state, batch, rates)
"""

import contextlib
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from daft_jax import bn, metrics, optim, sharding, trees
from daft_jax.data import mixing

PyTree = Any
Batch = dict[str, Any]


class TrainState(NamedTuple):
  """All that is carried from step to step, and saved.

  Attributes:
    step: int32 [], steps done.
    params: all parameters, those that do not train among them.
    batch_stats: running statistics of every BatchNorm.
    opt_state: of the optax transform, for the parameters that train.
    extra: what else a method carries; none does so far.
  """

  step: jax.Array
  params: PyTree
  batch_stats: PyTree
  opt_state: PyTree
  extra: PyTree = ()

  @property
  def variables(self) -> PyTree:
    """What `model.apply` takes."""
    return {'params': self.params, 'batch_stats': self.batch_stats}


def init_state(
  start: PyTree,
  trainable: str,
  optimizer: optim.Optimizer,
  mesh: Any,
  rules: sharding.Rules = (),
) -> TrainState:
  """A copy of `start` with a fresh optimizer state, on every device.

  Where `rules` split a parameter, its momentum is split likewise.
  """
  layout = sharding.Layout(mesh, rules)
  params = layout.place(start['params'])
  batch_stats = sharding.replicate(start['batch_stats'], mesh)
  tx = optim.make_tx(optimizer)

  def init(params: PyTree) -> tuple[jax.Array, PyTree]:
    return jnp.zeros((), jnp.int32), tx.init(trees.split(params, trainable)[0])

  where = layout.shardings(jax.eval_shape(init, params))
  step, opt_state = jax.jit(init, out_shardings=where)(params)
  return TrainState(step, params, batch_stats, opt_state)


def train_step(
  model: Any,
  trainable: str,
  norm: str,
  optimizer: optim.Optimizer,
  state: TrainState,
  batch: Batch,
  rates: dict[str, Any],
  before: jax.Array | None = None,
) -> tuple[TrainState, dict[str, jax.Array]]:
  """One update by the mean cross entropy of a batch.

  Gradients are taken of what trains and of nothing else, so that a probe's
  step costs little more than a forward pass.

  Where the loss, a gradient or a new statistic is not finite, nothing is
  updated: such numbers never reach the state. With `before`, neither is the
  step counted, and the steps that follow do nothing either.

  Args:
    model: linen module that returns logits and features.
    trainable: regular expression of the parameters that train.
    norm: 'batch' or 'running', see `methods.Stage`.
    optimizer: all of the optimizer but the rates.
    state: the state before.
    batch: 'image' [B, H, W, 3], 'label' int32 [B] and, where some rows are
      padding, 'mask' bool [B]: they count nowhere, nor in BatchNorm. With what
      `mixing.draw` gives, images and labels are mixed by it.
    rates: see `optim.step`.
    before: 'bad' of the step before, to stop for good; None: go on without the
      batch.

  Returns:
    The state after, and the batch's `metrics.batch_sums`, of zeros where
    nothing was updated, with 'bad', int32 []: 0, or 1 for the loss, 2 for a
    gradient or statistic, 3 for a step before.
  """
  trained, frozen = trees.split(state.params, trainable)
  mask = batch.get('mask')
  masked = bn.batch_mask(mask) if mask is not None else contextlib.nullcontext()
  mixed = 'partner' in batch
  image = mixing.mix(batch['image'], batch) if mixed else batch['image']

  def loss_fn(trained: PyTree) -> tuple[jax.Array, Any]:
    variables = {
      'params': trees.merge(trained, frozen),
      'batch_stats': state.batch_stats,
    }
    if norm == 'batch':
      with masked:
        (logits, _), updated = model.apply(
          variables, image, train=True, mutable=['batch_stats']
        )
      batch_stats = updated['batch_stats']
    else:
      logits, _ = model.apply(variables, image, train=False)
      batch_stats = state.batch_stats
    rows = jnp.ones(len(logits), bool) if mask is None else mask
    sums = metrics.batch_sums(logits, batch['label'], rows)
    if mixed:
      sums['loss'] = _mixed_loss(logits, batch, rows)
    # At least 1: a batch of nothing but padding has loss 0.
    loss = sums['loss'] / jnp.maximum(sums['count'], 1)
    return loss, (batch_stats, sums)

  (loss, aux), grads = jax.value_and_grad(loss_fn, has_aux=True)(trained)
  batch_stats, sums = aux
  bad = _bad(loss, (grads, batch_stats), before)
  tx = optim.make_tx(optimizer)
  updates, opt_state = tx.update(grads, state.opt_state, trained)
  trained = optim.step(optimizer, trained, updates, state.step, **rates)
  params = trees.merge(trained, frozen)
  after = TrainState(
    state.step + 1, params, batch_stats, opt_state, state.extra
  )
  good = bad == 0
  after, sums = jax.tree.map(
    lambda new, old: jnp.where(good, new, old),
    (after, sums),
    (state, jax.tree.map(jnp.zeros_like, sums)),
  )
  if before is None:
    after = after._replace(step=state.step + 1)
  return after, {**sums, 'bad': bad}


def _bad(loss: jax.Array, tree: PyTree, before: jax.Array | None) -> jax.Array:
  """Which of the reasons not to update there is; see `train_step`."""
  finite = [jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(tree)]
  bad = jnp.where(jnp.stack(finite).all(), 0, 2)
  bad = jnp.where(jnp.isfinite(loss), bad, 1)
  if before is not None:
    bad = jnp.where(before > 0, 3, bad)
  return bad.astype(jnp.int32)


def _mixed_loss(logits: jax.Array, batch: Batch, rows: jax.Array) -> jax.Array:
  """The sum over the rows that count, of the loss to both labels."""
  logits = jnp.where(rows[:, None], logits, 0)
  label = batch['label']
  own, partner = (
    metrics.cross_entropy(logits, x) for x in (label, label[batch['partner']])
  )
  losses = mixing.mixed_loss(own, partner, batch['lam'])
  return jnp.where(rows, losses, 0).sum()


@functools.lru_cache(maxsize=32)
def get_step(
  model: Any,
  trainable: str,
  norm: str,
  optimizer: optim.Optimizer,
  layout: sharding.Layout | None = None,
) -> Callable[..., tuple[TrainState, dict[str, jax.Array]]]:
  """The jitted `train_step`; the same one, compiled once, for equal arguments.

  The state it is called with is donated: use the one it returns.

  Args:
    model, trainable, norm, optimizer: see `train_step`.
    layout: where the state lies, before and after; None: as XLA finds best.
  """
  step = functools.partial(train_step, model, trainable, norm, optimizer)
  if layout is None:
    return jax.jit(step, donate_argnums=0)
  used, everywhere = layout.gathered(), sharding.Layout(layout.mesh)

  def laid_out(state: TrainState, *args: Any) -> Any:
    before = state._replace(params=used.constrain(state.params))
    after, sums = step(before, *args)
    # Statistics have no rule.
    return layout.constrain(after), everywhere.constrain(sums)

  return jax.jit(laid_out, donate_argnums=0)

"""One training step: a pure function of a state, a batch and rates.

state = init_state(start, stage.trainable, optimizer, mesh)
step = get_step(model, stage.trainable, stage.norm, optimizer)
state, sums = step(state, batch, rates)
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from daft_jax import optim, sharding, shards, trees
from daft_jax.train.gradient import Found, gradients
from daft_jax.train.parts import WHOLE, Parts

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
  *,
  parts: Parts = WHOLE,
  mesh: Any = None,
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
    parts: in which the batch is computed.
    mesh: that of the batch.

  Returns:
    The state after, and the batch's `metrics.batch_sums`, of zeros where
    nothing was updated, with 'bad', int32 []: 0, or 1 for the loss, 2 for a
    gradient or statistic, 3 for a step before.
  """
  trained, frozen = trees.split(state.params, trainable)
  variables = trained, frozen, state.batch_stats
  found = gradients(model, norm, parts, variables, batch, mesh)
  finish = functools.partial(_finish, trainable, norm, optimizer)
  if parts.elastic:
    finish = shards.apart(finish, state.step)
  return finish(state, found, rates, before)


def _finish(
  trainable: str,
  norm: str,
  optimizer: optim.Optimizer,
  state: TrainState,
  found: Found,
  rates: dict[str, Any],
  before: jax.Array | None,
) -> tuple[TrainState, dict[str, jax.Array]]:
  """The update, once the gradient is there."""
  trained, frozen = trees.split(state.params, trainable)
  batch_stats = found.batch_stats if norm == 'batch' else state.batch_stats
  sums = found.sums
  loss = sums['loss'] / jnp.maximum(sums['count'], 1)
  bad = _bad(loss, (found.grads, batch_stats), before)
  tx = optim.make_tx(optimizer)
  updates, opt_state = tx.update(found.grads, state.opt_state, trained)
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


def _compiler_options(parts: Parts, platform: str) -> dict[str, str] | None:
  name = 'xla_disable_hlo_passes'
  passes = [shards.COMPILER_OPTIONS[name]] if parts.elastic else []
  if platform == 'cpu':
    # It takes away the barriers that keep what is recomputed apart from what it
    # was computed as first; it would then be computed once, and kept.
    passes.append('cse_barrier_expander')
  return {name: ','.join(passes)} if passes else None


@functools.lru_cache(maxsize=32)
def get_step(
  model: Any,
  trainable: str,
  norm: str,
  optimizer: optim.Optimizer,
  layout: sharding.Layout | None = None,
  parts: Parts = WHOLE,
) -> Callable[..., tuple[TrainState, dict[str, jax.Array]]]:
  """The jitted `train_step`; the same one, compiled once, for equal arguments.

  The state it is called with is donated: use the one it returns.

  Args:
    model, trainable, norm, optimizer: see `train_step`.
    layout: where the state lies, before and after; None: as XLA finds best.
    parts: see `train_step`.
  """
  step = functools.partial(
    *(train_step, model, trainable, norm, optimizer),
    parts=parts,
    mesh=layout and layout.mesh,
  )
  options = {
    'donate_argnums': 0,
    'compiler_options': _compiler_options(parts, jax.default_backend()),
  }
  if layout is None:
    return jax.jit(step, **options)
  used, everywhere = layout.gathered(), sharding.Layout(layout.mesh)

  def laid_out(state: TrainState, *args: Any) -> Any:
    before = state._replace(params=used.constrain(state.params))
    after, sums = step(before, *args)
    # Statistics have no rule.
    return layout.constrain(after), everywhere.constrain(sums)

  return jax.jit(laid_out, **options)

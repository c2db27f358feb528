"""Training: one pure step, one loop.

  state = init_state(start, stage.trainable, optimizer, mesh)
  step = get_step(model, stage.trainable, stage.norm, optimizer)
  state, sums = step(state, batch, rates)

`start`, the variables a stage starts from, are never donated or changed: what
a run is compared with later (distortion, frozen parts) refers to them.
"""

import contextlib
import functools
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

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


class Epoch(NamedTuple):
  """One epoch of `fit`: its number from 1, the state, training metrics."""

  number: int
  state: TrainState
  metrics: dict[str, Any]


def init_state(
  start: PyTree, trainable: str, optimizer: optim.Optimizer, mesh: Any
) -> TrainState:
  """A copy of `start` with a fresh optimizer state, on every device."""
  start = sharding.replicate(start, mesh)
  tx = optim.make_tx(optimizer)

  def init(params: PyTree) -> tuple[jax.Array, PyTree]:
    return jnp.zeros((), jnp.int32), tx.init(trees.split(params, trainable)[0])

  everywhere = sharding.replicated(mesh)
  step, opt_state = jax.jit(init, out_shardings=everywhere)(start['params'])
  return TrainState(step, start['params'], start['batch_stats'], opt_state)


def train_step(
  model: Any,
  trainable: str,
  norm: str,
  optimizer: optim.Optimizer,
  state: TrainState,
  batch: Batch,
  rates: dict[str, Any],
) -> tuple[TrainState, dict[str, jax.Array]]:
  """One update by the mean cross entropy of a batch.

  Gradients are taken of what trains and of nothing else, so that a probe's
  step costs little more than a forward pass.

  Args:
    model: linen module that returns logits and features.
    trainable: regular expression of the parameters that train.
    norm: 'batch' or 'running', see `methods.Stage`.
    optimizer: all of the optimizer but the rates.
    state: the state before.
    batch: 'image' [B, H, W, 3], 'label' int32 [B] and, where some rows are
      padding, 'mask' bool [B]: they count nowhere, nor in BatchNorm. With what
      `mixing.draw` gives, images and labels are mixed by it.
    rates: 'lr' and 'head_lr', float32 [].

  Returns:
    The state after, and the batch's `metrics.batch_sums`.
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

  grads, (batch_stats, sums) = jax.grad(loss_fn, has_aux=True)(trained)
  tx = optim.make_tx(optimizer)
  updates, opt_state = tx.update(grads, state.opt_state, trained)
  trained = optim.step(optimizer, trained, updates, state.step, **rates)
  params = trees.merge(trained, frozen)
  after = TrainState(
    state.step + 1, params, batch_stats, opt_state, state.extra
  )
  return after, sums


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
  model: Any, trainable: str, norm: str, optimizer: optim.Optimizer
) -> Callable[..., tuple[TrainState, dict[str, jax.Array]]]:
  """The jitted `train_step`; the same one, compiled once, for equal arguments.

  The state it is called with is donated: use the one it returns.
  """
  step = functools.partial(train_step, model, trainable, norm, optimizer)
  return jax.jit(step, donate_argnums=0)


def fit(
  model: Any,
  state: TrainState,
  batches: Callable[[int], Iterable[Batch]],
  *,
  trainable: str,
  norm: str,
  optimizer: optim.Optimizer,
  lr: float,
  head_lr: float,
  mesh: Any,
  on_step: Callable[[int], None] = lambda rows: None,
) -> Iterator[Epoch]:
  """Trains epoch by epoch; the caller evaluates and saves in between.

  Continues where `state` is, at the beginning of an epoch.

  Args:
    model: linen module that returns logits and features.
    state: from `init_state`, or restored; donated.
    batches: epoch (from 0) -> its batches of arrays, all of one shape.
    trainable, norm, optimizer: see `train_step`.
    lr: of everything but the head.
    head_lr: of the head.
    mesh: from `sharding.make_mesh`; the batch size is a multiple of its size.
    on_step: called after every step that was started, with the batch's rows.

  Yields:
    An `Epoch` after each epoch. Its state is donated by the next one: take a
    copy of what is to outlive it.
  """
  step = get_step(model, trainable, norm, optimizer)
  rates = {'lr': np.float32(lr), 'head_lr': np.float32(head_lr)}
  done = int(state.step) // optimizer.steps_per_epoch
  for epoch in range(done, optimizer.epochs):
    sums = []
    for batch in batches(epoch):
      state, new = step(state, sharding.shard_batch(batch, mesh), rates)
      sums.append(new)
      on_step(len(batch['label']))
    total = functools.reduce(metrics.add, jax.device_get(sums), {})
    yield Epoch(epoch + 1, state, metrics.summarize(total))


def describe(start: PyTree, trainable: str, norm: str) -> str:
  """One line: which parameters train and which statistics move.

  Example:
    >>> params = {'conv': np.zeros((3, 2)), 'head': np.zeros(4)}
    >>> describe({'params': params, 'batch_stats': {}}, '^head', 'running')
    'trains 4 of 10 parameters (head); no statistics move'
  """
  trained, frozen = (
    trees.flatten(part) for part in trees.split(start['params'], trainable)
  )
  count, rest = (sum(x.size for x in p.values()) for p in (trained, frozen))
  tops = list(dict.fromkeys(path.split('/')[0] for path in trained))
  what = 'all' if not frozen else ', '.join(tops) or 'none'
  layers = len(trees.flatten(start['batch_stats'])) // 2
  moves = f'statistics of {layers} BatchNorms move' if layers else ''
  if norm != 'batch' or not layers:
    moves = 'no statistics move'
  return f'trains {count:,} of {count + rest:,} parameters ({what}); {moves}'


def check_frozen(start: PyTree, end: PyTree, trainable: str, norm: str) -> None:
  """Asserts that what must not change is bit-identical.

  Raises:
    AssertionError: naming the leaves that changed.
  """
  pairs = [(trees.split(v['params'], trainable)[1]) for v in (start, end)]
  before, after = (trees.flatten({'params': part}) for part in pairs)
  if norm != 'batch':
    before |= trees.flatten({'batch_stats': start['batch_stats']})
    after |= trees.flatten({'batch_stats': end['batch_stats']})
  changed = [
    path
    for path, leaf in before.items()
    if np.asarray(leaf).tobytes() != np.asarray(after[path]).tobytes()
  ]
  if changed:
    raise AssertionError(
      f'changed though it must not train: {", ".join(changed[:8])}. This is a '
      'fault of daft_jax: please report it with the config.'
    )

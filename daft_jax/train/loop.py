"""The loop around the step: epochs, and where they stop.

for at in fit(model, state, batches, ...):
  at.number, at.state, at.metrics
"""

import collections
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np

from daft_jax import metrics, optim, sharding
from daft_jax.train.parts import WHOLE, Parts
from daft_jax.train.step import Batch, TrainState, get_step

_BEHIND = 4  # steps whose sums are still on the device


class Epoch(NamedTuple):
  """Where `fit` is: after an epoch, or inside one when it was told to pause.

  Attributes:
    number: of the epoch, from 1.
    state: after it, or after its last step so far.
    sums: `metrics.batch_sums` of the epoch so far, on the host.
    whole: whether the epoch is done.
  """

  number: int
  state: TrainState
  sums: dict[str, Any]
  whole: bool = True

  @property
  def metrics(self) -> dict[str, Any]:
    """`metrics.summarize` of the epoch so far."""
    return metrics.summarize(self.sums)


class NonFiniteError(ArithmeticError):
  """A loss or a gradient that is not finite; training stopped before it.

  Attributes:
    at: where `fit` was: the state is the one before that step.
    what: 'loss' or 'gradient'.
    largest_head_lr: up to which the head is stable, where that is known.
  """

  def __init__(self, at: Epoch, what: str):
    super().__init__(f'the {what} is not finite at step {int(at.state.step)}')
    self.at, self.what = at, what
    self.largest_head_lr: float | None = None


def fit(
  model: Any,
  state: TrainState,
  batches: Callable[[int, int], Iterable[Batch]],
  *,
  trainable: str,
  norm: str,
  optimizer: optim.Optimizer,
  lr: float,
  head_lr: float,
  head_bias_lr: float | None = None,
  mesh: Any,
  rules: sharding.Rules = (),
  parts: Parts = WHOLE,
  sums: dict[str, Any] | None = None,
  skip: bool = False,
  on_step: Callable[[int], None] = lambda rows: None,
  pause: Callable[[], bool] = lambda: False,
) -> Iterator[Epoch]:
  """Trains on from `state`, epoch by epoch; the caller evaluates and saves.

  Args:
    model: linen module that returns logits and features.
    state: from `init_state`, or restored; donated.
    batches: (epoch from 0, first step of it) -> its batches from there on, all
      of one shape.
    trainable, norm, optimizer: see `train_step`.
    lr, head_lr, head_bias_lr: see `optim.step`.
    mesh: from `sharding.make_mesh`; its 'data' divides the batch size.
    rules: as of `init_state`.
    parts: in which each batch is computed.
    sums: of the steps of the epoch that were done before.
    skip: leave batches out whose loss or gradient is not finite; their number
      is `sums['skipped']`.
    on_step: called after every step that was started, with the batch's rows.
    pause: asked after every step; True: yields what there is, and ends.

  Yields:
    An `Epoch` after each epoch. Its state is donated by the next one: take a
    copy of what is to outlive it.

  Raises:
    NonFiniteError: unless `skip`, with the state before that step.
  """
  layout = sharding.Layout(mesh, rules)
  step = get_step(model, trainable, norm, optimizer, layout, parts)
  rates = {'lr': np.float32(lr), 'head_lr': np.float32(head_lr)}
  rates['head_bias_lr'] = np.float32(head_bias_lr or head_lr)
  done, first = divmod(int(state.step), optimizer.steps_per_epoch)
  # Where the step leaves it, or the step would be compiled twice.
  bad = None if skip else sharding.replicate(np.int32(0), mesh)
  if sums and not first:  # It was paused after the last step of an epoch.
    yield Epoch(done, state, sums)
    sums = None
  for epoch in range(done, optimizer.epochs):
    at = Epoch(epoch + 1, state, sums or {}, whole=False)
    waiting: collections.deque[Any] = collections.deque()
    for batch in batches(epoch, first):
      state, new = step(state, sharding.shard_batch(batch, mesh), rates, bad)
      sharding.settle(new)
      bad = bad if skip else new['bad']
      waiting.append(new)
      on_step(len(batch['label']))
      stop = pause()  # Once: what is yielded has the sums of all its steps.
      # Fetched some steps later, so that the device never waits for the host.
      while len(waiting) > (0 if stop else _BEHIND):
        at = _counted(at._replace(state=state), waiting.popleft(), skip)
      if stop:
        yield at._replace(state=state)
        return
    while waiting:
      at = _counted(at._replace(state=state), waiting.popleft(), skip)
    yield at._replace(state=state, whole=True)
    first, sums = 0, None


def _counted(at: Epoch, new: dict[str, jax.Array], skip: bool) -> Epoch:
  """Adds the sums of a step, or raises what it found."""
  new = jax.device_get(new)
  bad = int(new.pop('bad'))
  if bad and not skip:
    raise NonFiniteError(at, 'loss' if bad == 1 else 'gradient')
  new['skipped'] = np.int32(bad > 0)
  return at._replace(sums=metrics.add(at.sums, new))

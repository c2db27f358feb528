"""Optimizers and schedules, with learning rates that are arguments.

  optimizer = optim.Optimizer(epochs=10, steps_per_epoch=10)
  tx = optim.make_tx(optimizer)                 # an optax transform, no rate
  opt_state = tx.init(params)
  updates, opt_state = tx.update(grads, opt_state, params)
  params = optim.step(optimizer, params, updates, step, lr=0.01, head_lr=1.0)

Rates stay out of the optax transform, so that they can be traced: trials that
differ in nothing but their rates run the same compiled step.
"""

import dataclasses
import math
import re
from typing import Any

import jax
import jax.numpy as jnp
import optax

from daft_jax import trees

PyTree = Any
Scalar = jax.Array | float

NAMES = ('sgd', 'adamw')


@dataclasses.dataclass(frozen=True)
class Optimizer:
  """All of an optimizer but its learning rates.

  Attributes:
    epochs: length of the schedule.
    steps_per_epoch: steps in one epoch.
    name: 'sgd' or 'adamw'.
    momentum: of SGD; of AdamW the first-moment rate (beta 1).
    nesterov: of SGD, look-ahead momentum.
    weight_decay: SGD adds it times the parameter to the gradient, as
      torch.optim.SGD does; AdamW decays apart from the gradient.
    warmup_epochs: the rate grows linearly from 0, step by step, this long.
    clip_norm: largest global norm of the gradient of what trains; 0: off.

  Raises:
    ValueError: an unknown name.
  """

  epochs: int
  steps_per_epoch: int
  name: str = 'sgd'
  momentum: float = 0.9
  nesterov: bool = False
  weight_decay: float = 0.0
  warmup_epochs: float = 0.0
  clip_norm: float = 0.0

  def __post_init__(self):
    if self.name not in NAMES:
      raise ValueError(
        f'optimizer {self.name!r} is unknown: say one of {", ".join(NAMES)}'
      )


def make_tx(optimizer: Optimizer) -> optax.GradientTransformation:
  """The direction to go against: clipping, weight decay, momentum or Adam.

  In the order of torch.optim: weight decay goes into SGD's momentum.
  """
  decay = optax.add_decayed_weights(optimizer.weight_decay)
  parts = []
  if optimizer.clip_norm:
    parts.append(optax.clip_by_global_norm(optimizer.clip_norm))
  if optimizer.name == 'adamw':
    parts += [optax.scale_by_adam(b1=optimizer.momentum), decay]
  else:
    parts += [decay, optax.trace(optimizer.momentum, optimizer.nesterov)]
  return optax.chain(*parts)


def lr_factor(optimizer: Optimizer, step: Scalar) -> jax.Array:
  """What both rates are multiplied with at a step, in [0, 1].

  A cosine that changes once an epoch, as in the protocol; e is the epoch:

    factor = (1 + cos(pi e / epochs)) / 2

  and, with a warm-up of w epochs, (step + 1) / (w steps_per_epoch) until it
  reaches 1, then the cosine over the epochs that are left.

  Example:
    >>> optimizer = Optimizer(epochs=4, steps_per_epoch=10)
    >>> [round(float(lr_factor(optimizer, s)), 3) for s in (0, 9, 10, 39)]
    [1.0, 1.0, 0.854, 0.146]
  """
  epoch = step // optimizer.steps_per_epoch
  warm = optimizer.warmup_epochs
  left = max(optimizer.epochs - warm, 1)
  done = jnp.clip((epoch - warm) / left, 0, 1)
  cosine = (1 + jnp.cos(math.pi * done)) / 2
  if not warm:
    return cosine
  linear = (step + 1) / (warm * optimizer.steps_per_epoch)
  return jnp.minimum(linear, cosine)


def step(
  optimizer: Optimizer,
  params: PyTree,
  updates: PyTree,
  step: Scalar,
  *,
  lr: Scalar,
  head_lr: Scalar,
  head_bias_lr: Scalar | None = None,
  head: str = '^head/',
) -> PyTree:
  """Goes against `updates`: p - rate * factor * u.

  The rate is `head_lr` where `head` finds the path, else `lr`; a head's bias
  may have one of its own. Leaves that are None (they do not train) stay None.
  """
  factor = lr_factor(optimizer, step)
  is_head = re.compile(head).search
  bias_lr = head_lr if head_bias_lr is None else head_bias_lr

  def rate(path: str, _: Any) -> Any:
    if not is_head(path):
      return lr * factor
    return (bias_lr if path.endswith('/bias') else head_lr) * factor

  rates = trees.map_with_path(rate, params)
  return jax.tree.map(lambda p, u, r: p - r * u, params, updates, rates)

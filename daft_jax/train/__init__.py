"""Training: one pure step, one loop.

  state = init_state(start, stage.trainable, optimizer, mesh)
  step = get_step(model, stage.trainable, stage.norm, optimizer)
  state, sums = step(state, batch, rates)

`start`, the variables a stage starts from, are never donated or changed: what
a run is compared with later (distortion, frozen parts) refers to them.

step  what is computed of one batch
loop  epoch after epoch
"""

from daft_jax.train.loop import Epoch, NonFiniteError, fit
from daft_jax.train.step import TrainState, get_step, init_state, train_step

__all__ = (
  'Epoch',
  'NonFiniteError',
  'TrainState',
  'fit',
  'get_step',
  'init_state',
  'train_step',
)

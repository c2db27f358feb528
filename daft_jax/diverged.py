"""A trial that diverged: what the user is told, and its line of results.

except train.NonFiniteError as error:
  out.line(advice(point, error))
  return line(task, error)
"""

import math
from typing import Any

from daft_jax import head_rate, measure, train
from daft_jax.task import Task


def advice(point: Any, error: train.NonFiniteError) -> str:
  """What diverged, and what to try: the head is named where it is the head."""
  largest = error.largest_head_lr
  if largest is not None and point.head_lr not in (None, head_rate.AUTO):
    if point.head_lr > largest:
      return (
        f'the head diverged: {error}, in epoch {error.at.number}. '
        f'{head_rate.too_fast(point.head_lr, largest)}. The step before is kept'
      )
  rates = [
    f'{name} ({value if value == head_rate.AUTO else f"{value:g}"})'
    for name, value in (('lr', point.lr), ('head_lr', point.head_lr))
    if value is not None
  ]
  return (
    f'diverged: {error}, in epoch {error.at.number}. Lower '
    f'{" or ".join(rates)}, tenfold say; --config.nonfinite=skip leaves such '
    'batches out. The step before is kept'
  )


def line(task: Task, error: train.NonFiniteError) -> dict[str, Any]:
  """The result line of a trial that ended so: nothing was measured."""
  at = error.at
  return {
    **{'C': None, 'epoch': None, 'id_val': math.nan},
    **measure.nothing(task),
    'diverged': {
      'what': error.what,
      'epoch': at.number,
      'step': int(at.state.step),
    },
  }

"""A trial that diverged: what the user is told, and its line of results.

except train.NonFiniteError as error:
  out.line(advice(point, error))
  return line(task, error)
"""

import math
from typing import Any

from daft_jax import train
from daft_jax.task import Task


def advice(point: Any, error: train.NonFiniteError) -> str:
  rates = [
    f'{name} ({value:g})'
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
  nothing = ('id_val', 'id_test', 'ood_mean', 'feature_l2', 'feature_cosine')
  return {
    **{'C': None, 'epoch': None},
    **dict.fromkeys(nothing, math.nan),
    'ood': dict.fromkeys(task.ood, math.nan),
    'summaries': {},
    'metrics': {},
    'diverged': {
      'what': error.what,
      'epoch': at.number,
      'step': int(at.state.step),
    },
  }

"""Points of a grid: what a trial is, before it is run.

point = Point('daft', seed=0, lr=0.01, head_lr=1.0)
trial_name(shared, point)         # 'b1946ac92492', the folder of its files
"""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from daft_jax.methods import METHODS
from daft_jax.task import Task

# Work of one training image, in evaluated images: forward and twice backward.
TRAIN_COST = 3


class Point(NamedTuple):
  """A point of the grid; a rate the method does not have is None.

  A rung of a search has epochs of its own, and is tested on nothing.
  """

  method: str
  seed: int
  lr: float | None
  head_lr: float | str | None
  rung: int | None = None

  def __str__(self) -> str:
    rates = {'lr': self.lr, 'head lr': self.head_lr}
    given = [
      f'{k} {v}' if isinstance(v, str) else f'{k} {v:g}'
      for k, v in rates.items()
      if v is not None
    ]
    if self.rung:
      given.append(f'{self.rung} epoch{"s" * (self.rung > 1)}')
    return ', '.join([self.method, f'seed {self.seed}', *given])

  @property
  def fields(self) -> dict[str, Any]:
    """As its result line has them; `rung` only where it is one."""
    return {k: v for k, v in self._asdict().items() if k != 'rung' or v}


@dataclasses.dataclass(frozen=True)
class Options:
  """How trials are run, the same for all of an experiment.

  Attributes:
    epochs: of every stage that trains by gradients.
    bn_estimator: 'pooled' or 'batch_mean'.
    optimizer: fields of `optim.Optimizer` but epochs and steps.
    nonfinite: 'stop' or 'skip', where a loss or gradient is not finite.
  """

  epochs: int
  bn_estimator: str
  optimizer: Mapping[str, Any]
  nonfinite: str = 'stop'


def trial_name(settings: Mapping[str, Any], point: Point) -> str:
  """The folder of a trial: 12 hex digits of its settings' hash.

  Args:
    settings: all that trials of this experiment share and depend on.
    point: what they differ in. The rows of its method count as settings too.
  """
  rows = [dataclasses.asdict(stage) for stage in METHODS[point.method]]
  what = {**settings, **point.fields, 'stages': rows}
  text = json.dumps(what, sort_keys=True)
  return hashlib.sha256(text.encode()).hexdigest()[:12]


def cost(task: Task, point: Point, epochs: int) -> int:
  """How much work a trial is, in images evaluated; for the progress bar."""
  train_images, val = len(task.sets['train']), len(task.sets['id_val'])
  epochs = point.rung or epochs
  tests = () if point.rung else task.tests
  total = sum(len(task.sets[name]) for name in tests)
  for stage in METHODS[point.method]:
    total += train_images if stage.bn != 'keep' else 0
    if stage.solver == 'sgd':
      total += epochs * (TRAIN_COST * train_images + val)
    else:
      total += train_images + val
  return total

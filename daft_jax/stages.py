"""One stage of a method: what it starts from, and its two solvers.

start = prepare(task, stage, variables, seed=0, estimator='pooled')
found = SOLVERS[stage.solver](job)
found.variables, found.notes         # {'id_val': .97, 'epoch': 8}
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from daft_jax import bn, evaluate, models, optim, probe, sharding, train
from daft_jax.checkpoint import Checkpoints
from daft_jax.methods import Stage
from daft_jax.task import Task

PyTree = Any


class Found(NamedTuple):
  """What a stage ends with: chosen variables, and notes about the choice."""

  variables: PyTree
  notes: dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Job:
  """One stage to be solved.

  Attributes:
    task: the data.
    stage: the row.
    start: variables to start from, prepared.
    seed: of the order and the augmentation.
    lr: of the backbone, or None where it does not train.
    head_lr: of the head; None: that of the backbone.
    epochs: how long to train.
    optimizer: fields of `optim.Optimizer`.
    saved: the stage's checkpoints, which may hold a part of the work.
    on_step: called with the number of images of each step.
    on_epoch: called with the metrics of each epoch, before it is saved.
    epochs_before: metrics of the epochs that were done before a restart.
  """

  task: Task
  stage: Stage
  start: PyTree
  seed: int
  lr: float | None
  head_lr: float | None
  epochs: int
  optimizer: Mapping[str, Any]
  saved: Checkpoints
  on_step: Callable[[int], None]
  on_epoch: Callable[[dict[str, Any]], None]
  epochs_before: Callable[[int], list[dict[str, Any]]]


def prepare(
  task: Task, stage: Stage, variables: PyTree, *, seed: int, estimator: str
) -> PyTree:
  """Gives variables the head and the BatchNorms a stage starts from.

  The order: a random head, new statistics by the training images as they are
  augmented in the first epoch, then the zeros of a zero head.
  """
  if stage.head == 'random':
    size = task.preprocess.image_size
    head = models.init_variables(task.model, size, seed)['params']['head']
    variables = _with_head(variables, head)
  if stage.bn != 'keep':
    size = task.eval_batch_size if estimator == 'pooled' else task.batch_size
    batches = task.train_batches(seed, 0, batch_size=size)
    moments = bn.bn_moments(
      task.model,
      evaluate.on_mesh(variables, task.mesh),
      (sharding.shard_batch(batch, task.mesh) for batch in batches),
      estimator=estimator,
    )
    change = bn.convert_bn if stage.bn == 'convert' else bn.replace_bn
    variables = change(variables, moments)
  if stage.head == 'zero':
    zeros = jax.tree.map(np.zeros_like, variables['params']['head'])
    variables = _with_head(variables, zeros)
  return variables


def _with_head(variables: PyTree, head: PyTree) -> PyTree:
  return {**variables, 'params': {**variables['params'], 'head': head}}


def solve_logreg(job: Job) -> Found:
  """Logistic regression on eval-mode features, one augmented pass."""
  task = job.task
  batches = task.train_batches(job.seed, 0, batch_size=task.eval_batch_size)
  seen = evaluate.evaluate(task.model, job.start, batches, task.mesh)
  val = task.evaluate(job.start, 'id_val')
  found = probe.fit_probe(
    seen.features,
    seen.labels,
    val.features,
    val.labels,
    num_classes=task.num_classes,
  )
  head = {'kernel': found.kernel, 'bias': found.bias}
  variables = _with_head(job.start, head)
  return Found(variables, {'C': found.C, 'id_val': found.id_val})


def solve_sgd(job: Job) -> Found:
  """Trains epoch by epoch; the epoch of best ID validation is chosen."""
  task, stage = job.task, job.stage
  optimizer = optim.Optimizer(
    job.epochs,
    task.steps_per_epoch,
    **job.optimizer,
  )
  state = train.init_state(job.start, stage.trainable, optimizer, task.mesh)
  restored = job.saved.restore(state)
  state = state if restored is None else restored
  history = job.epochs_before(int(state.step) // task.steps_per_epoch)
  for epoch in train.fit(
    task.model,
    state,
    lambda epoch: task.step_batches(job.seed, epoch),
    trainable=stage.trainable,
    norm=stage.norm,
    optimizer=optimizer,
    lr=job.lr or 0.0,
    head_lr=job.head_lr or job.lr,
    mesh=task.mesh,
    on_step=job.on_step,
  ):
    number, state, seen = epoch
    val = task.evaluate(state.variables, 'id_val').metrics
    history.append(
      {
        'epoch': number,
        'loss': seen['loss'],
        'accuracy': seen['accuracy'],
        'id_val': val['accuracy'],
        'id_val_loss': val['loss'],
      }
    )
    # First the line, then the checkpoint: a checkpoint never lacks its line.
    job.on_epoch(history[-1])
    job.saved.save(number, state, id_val=val['accuracy'])
  train.check_frozen(job.start, state.variables, stage.trainable, stage.norm)
  # max takes the first, so of equal epochs the earlier.
  best = max(history, key=lambda line: line['id_val'])
  variables = job.saved.variables(best['epoch'])
  return Found(variables, {'id_val': best['id_val'], 'epoch': best['epoch']})


SOLVERS: dict[str, Callable[[Job], Found]] = {
  'logreg': solve_logreg,
  'sgd': solve_sgd,
}

"""One stage of a method: what it starts from, and its two solvers.

start = prepare(task, stage, variables, seed=0, estimator='pooled')
found = SOLVERS[stage.solver](job)
found.variables, found.notes         # {'id_val': .97, 'epoch': 8}
"""

import dataclasses
import functools
import math
import pathlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from daft_jax import (
  bn,
  cached,
  evaluate,
  head_rate,
  models,
  optim,
  probe,
  processes,
  signals,
  train,
  trainable,
)
from daft_jax.checkpoint import Checkpoints, DamagedCheckpoint
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
    head_bias_lr: of its bias; None: that of the head.
    epochs: how long to train.
    optimizer: fields of `optim.Optimizer`.
    saved: the stage's checkpoints, which may hold a part of the work.
    on_step: called with the number of images of each step.
    on_epoch: called with the metrics of each epoch, before it is saved.
    epochs_before: metrics of the epochs that were done before a restart.
    say: prints a line.
    scratch: folder for large features.
    skip: whether batches are left out whose loss is not finite.
  """

  task: Task
  stage: Stage
  start: PyTree
  seed: int
  lr: float | None
  head_lr: float | None
  head_bias_lr: float | None
  epochs: int
  optimizer: Mapping[str, Any]
  saved: Checkpoints
  on_step: Callable[[int], None]
  on_epoch: Callable[[dict[str, Any]], None]
  epochs_before: Callable[[int], list[dict[str, Any]]]
  say: Callable[[str], None]
  scratch: pathlib.Path
  skip: bool = False


def prepare(
  task: Task, stage: Stage, variables: PyTree, *, seed: int, estimator: str
) -> PyTree:
  """Gives variables the head and the BatchNorms a stage starts from.

  The order: a random head, new statistics by the training images as they are
  augmented in the first epoch, then the zeros of a zero head.
  """
  if stage.head == 'random':
    size = task.preprocess.image_size
    head = processes.from_first(
      lambda: models.init_variables(task.model, size, seed)['params']['head']
    )
    variables = _with_head(variables, head)
  if stage.bn != 'keep':
    moments = task.bn_moments(variables, seed=seed, estimator=estimator)
    change = bn.convert_bn if stage.bn == 'convert' else bn.replace_bn
    variables = change(variables, moments)
  if stage.head == 'zero':
    zeros = jax.tree.map(np.zeros_like, variables['params']['head'])
    variables = _with_head(variables, zeros)
  return variables


def _with_head(variables: PyTree, head: PyTree) -> PyTree:
  return {**variables, 'params': {**variables['params'], 'head': head}}


def solve_logreg(job: Job) -> Found:
  """Logistic regression on eval-mode features, one augmented pass.

  All devices share the rows; of an elastic run the first one has all.
  """
  task, alone = job.task, job.task.parts.elastic
  seen = cached.features(task, job.start, seed=job.seed, folder=job.scratch)
  val = task.evaluate(job.start, 'id_val', whole=alone)

  def fit() -> dict[str, Any]:
    found = probe.fit_probe(
      seen.features,
      seen.labels,
      val.features,
      val.labels[val.rows],
      num_classes=task.num_classes,
      mesh=None if alone or task.mesh.size == 1 else task.mesh,
    )
    return found._asdict()

  # All of them fit, or one for all; the last digits depend on the processor.
  found = processes.from_first(fit if alone else functools.partial(dict, fit()))
  head = {'kernel': found['kernel'], 'bias': found['bias']}
  notes = {name: found[name] for name in ('C', 'id_val')}
  return Found(_with_head(job.start, head), notes)


def solve_sgd(job: Job) -> Found:
  """Trains epoch by epoch; the epoch of best ID validation is chosen.

  If its variables are damaged when they are wanted, no others are returned:
  the epochs from the last good one before it are trained again, to the same
  bits.

  Raises:
    CheckpointError: it is damaged once more, or cannot be saved.
  """
  best = _best(_train(job))
  try:
    variables = job.saved.variables(best['epoch'])
  except DamagedCheckpoint:
    job.saved.rewind(best['epoch'] - 1)
    best = _best(_train(job))
    variables = job.saved.variables(best['epoch'])
  notes = {name: best[name] for name in ('id_val', 'id_val_loss', 'epoch')}
  return Found(variables, notes)


def _best(history: list[dict[str, Any]]) -> dict[str, Any]:
  # max takes the first, so of equal epochs the earlier.
  return max(history, key=lambda line: line['id_val'])


def _train(job: Job) -> list[dict[str, Any]]:
  """Trains what is not saved; returns the metrics of all epochs.

  Raises:
    signals.Stopped: a signal has come; the step it came at is saved.
    train.NonFiniteError: likewise; the step before that one is saved.
  """
  task, stage = job.task, job.stage
  optimizer = optim.Optimizer(
    job.epochs,
    task.steps_per_epoch,
    **job.optimizer,
  )
  state, sums = _begun(job, optimizer)
  history = job.epochs_before(_epochs_done(state, sums, task.steps_per_epoch))
  fit = train.fit(
    task.model,
    state,
    lambda epoch, first: task.step_batches(job.seed, epoch, first),
    trainable=stage.trainable,
    norm=stage.norm,
    optimizer=optimizer,
    lr=job.lr or 0.0,
    head_lr=job.head_lr or job.lr,
    head_bias_lr=job.head_bias_lr,
    mesh=task.mesh,
    rules=task.rules,
    parts=task.parts,
    sums=sums,
    skip=job.skip,
    on_step=job.on_step,
    pause=signals.requested,
  )
  try:
    for at in fit:
      if not at.whole:
        _save_paused(job, at)
        signals.check()
      state = at.state
      val = task.evaluate(state.variables, 'id_val').metrics
      history.append(_line(at, val))
      _check_head(job, history[-1])
      # First the line, then the checkpoint: a checkpoint never lacks its line.
      job.on_epoch(history[-1])
      job.saved.save(at.number, state, id_val=val['accuracy'])
  except train.NonFiniteError as error:
    _save_paused(job, error.at)
    error.largest_head_lr = _largest_head_lr(job)
    raise
  end = evaluate.on_mesh(state.variables, task.mesh)
  trainable.check_frozen(job.start, end, stage.trainable, stage.norm)
  return history


def _line(at: train.Epoch, val: dict[str, Any]) -> dict[str, Any]:
  """What the log says of an epoch."""
  seen, skipped = at.metrics, int(at.sums['skipped'])
  return {
    'epoch': at.number,
    'loss': seen['loss'],
    'accuracy': seen['accuracy'],
    'id_val': val['accuracy'],
    'id_val_loss': val['loss'],
    **({'skipped': skipped} if skipped else {}),
  }


def _check_head(job: Job, line: dict[str, Any]) -> None:
  """Says so where a head does worse than the zeros it began with."""
  zeros = math.log(job.task.num_classes)
  if job.stage.head != 'zero' or line['epoch'] > 1 or line['loss'] <= zeros:
    return
  say = (
    f'loss {line["loss"]:.2f} in epoch 1, and a head of zeros has {zeros:.2f}'
  )
  largest = _largest_head_lr(job)
  if largest is not None and (job.head_lr or 0) > largest:
    say += f': the head diverges. {head_rate.too_fast(job.head_lr, largest)}'
  job.say(say)


def _largest_head_lr(job: Job) -> float | None:
  if job.stage.head_lr != 'own' or job.optimizer.get('name', 'sgd') != 'sgd':
    return None
  found = head_rate.curvature(job.task, job.stage, job.start, seed=job.seed)
  return head_rate.largest(found, job.optimizer)


def _begun(
  job: Job, optimizer: optim.Optimizer
) -> tuple[train.TrainState, dict[str, np.ndarray] | None]:
  """The state to go on from, and the sums of the epoch it is in."""
  fresh = train.init_state(
    job.start,
    job.stage.trainable,
    optimizer,
    job.task.mesh,
    job.task.rules,
  )
  state = job.saved.restore(fresh)
  paused = job.saved.paused(fresh)
  step = -1 if state is None else int(state.step)
  # `restore` may have fallen back behind an epoch that was damaged.
  if paused is not None and int(paused[0].step) > step:
    state, about = paused
    job.say(f'goes on at step {about["step"]}')
    return state, {key: np.asarray(x) for key, x in about['sums'].items()}
  return (fresh if state is None else state), None


def _epochs_done(state: train.TrainState, sums: Any, steps: int) -> int:
  """Of which there is a line; paused after its last step, there is none."""
  step = int(state.step)
  return (step - 1) // steps if sums else step // steps


def _save_paused(job: Job, at: train.Epoch) -> None:
  sums = {key: np.asarray(value).tolist() for key, value in at.sums.items()}
  job.saved.save_paused(at.state, {'sums': sums})


SOLVERS: dict[str, Callable[[Job], Found]] = {
  'logreg': solve_logreg,
  'sgd': solve_sgd,
}

"""One trial: a method, a seed and its learning rates, from start to line.

  point = Point('daft', seed=0, lr=0.01, head_lr=1.0)
  line = run_trial(task, point, options, folder, writer)

Its folder, `trials/<name>`, holds:

  result.json      the result line; written last, so it says "finished"
  metrics.jsonl    a line an epoch, equal bit for bit whenever it is run again
  timings.jsonl    seconds
  arrays.npz       what moved, image by image and layer by layer; reliability
  checkpoints/     a folder a stage, and `final`, the chosen variables
"""

import contextlib
import dataclasses
import io
import pathlib
import shutil
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from daft_jax import (
  cached,
  checkpoint,
  diverged,
  head_rate,
  logs,
  measure,
  processes,
  results,
  stages,
  train,
  trainable,
  writer,
)
from daft_jax.methods import METHODS, Stage
from daft_jax.points import TRAIN_COST, Options, Point, cost
from daft_jax.task import Task

ARRAYS = 'arrays.npz'

# What stages note and the result line holds.
_NOTED = ('C', 'epoch', 'id_val', 'id_val_loss', 'head_rates')


def run_trial(
  task: Task,
  point: Point,
  options: Options,
  folder: pathlib.Path,
  out: writer.Writer,
) -> dict[str, Any]:
  """Runs a trial, or what is left of it; returns its result line.

  The caller adds names, config and versions, and writes `result.json`. What
  was killed continues after its last saved epoch, with the same bits.
  """
  processes.from_first(lambda: folder.mkdir(parents=True, exist_ok=True))
  log = logs.TrialLog(folder)
  count = _Counter(out, cost(task, point, options.epochs))
  if point.rung:
    options = dataclasses.replace(options, epochs=point.rung)
  line = {'trial': folder.name, **point.fields}
  try:
    variables, start, notes = _run_stages(task, point, options, log, count)
  except train.NonFiniteError as error:
    out.line(f'{point} | {diverged.advice(point, error)}')
    return {**line, **diverged.line(task, error), 'seconds': log.seconds()}
  kept = {name: notes[name] for name in _NOTED if name in notes}
  line |= {'C': None, 'epoch': None, **kept}
  if point.rung:
    count.finish()
    return {**line, **measure.nothing(task), 'seconds': log.seconds()}
  measured = measure.measure(task, variables, start)
  processes.from_first(lambda: _save_arrays(folder / ARRAYS, measured.arrays))
  checkpoint.save_variables(folder / 'checkpoints' / 'final', variables)
  count.finish()
  log.lap('evaluate')
  return {**line, **measured.line, 'seconds': log.seconds()}


def _run_stages(
  task: Task,
  point: Point,
  options: Options,
  log: logs.TrialLog,
  count: '_Counter',
) -> tuple[Any, Any, dict[str, Any]]:
  """Runs the stages, or what is left of them.

  Returns:
    The chosen variables, what the last stage began with, and its notes.
  """
  folder, out = log.folder, count.out
  rows = METHODS[point.method]
  notes: dict[str, Any] = {}
  variables = start = task.variables
  first = processes.from_first(lambda: _first(folder, rows))
  for index in range(first, len(rows)):
    stage = rows[index]
    where = _stage_folder(folder, index, stage)
    with checkpoint.Checkpoints(
      where, task.mesh, on_damage=out.line, fix=_fix(folder)
    ) as saved:
      found = saved.start()
      if found is None:
        seed, estimator = point.seed, options.bn_estimator
        start = stages.prepare(
          task, stage, variables, seed=seed, estimator=estimator
        )
        notes = notes | _head_rates(task, stage, start, point, options)
        saved.save_start(start, notes)
        log.lap('prepare')
      else:
        start, notes = found
      out.line(f'{point} | {stage.name}: {_describe(stage, start, notes)}')
      job = _job(task, stage, start, point, options, saved, log, count, notes)
      before = task.feed.waited, task.feed.elapsed
      variables, new = stages.SOLVERS[stage.solver](job)
      trainable.check_frozen(start, variables, stage.trainable, stage.norm)
      notes = {**notes, **new}
    stall = _stall(task, before)
    if stall:
      out.line(f'{point} | {stage.name}: {stall}')
    log.lap(stage.name, stall=stall)
  return variables, start, notes


def prune(folder: pathlib.Path, *, chosen: bool) -> None:
  """Removes checkpoints that a finished trial does not need any more.

  Of a chosen trial, its final variables and the start of each stage stay; of
  any other, nothing. What was set aside as damaged stays of both.
  """
  home = folder / 'checkpoints'
  for stage in home.glob('[0-9]*_*'):
    checkpoint.prune(stage, start=chosen)
  if not chosen:
    shutil.rmtree(home / 'final', ignore_errors=True)
    with contextlib.suppress(OSError):  # What was set aside is there.
      home.rmdir()


def _fix(folder: pathlib.Path) -> str:
  return f'delete {folder} and run the same command again'


def _stage_folder(
  folder: pathlib.Path, index: int, stage: Stage
) -> pathlib.Path:
  return folder / 'checkpoints' / f'{index}_{stage.name}'


def _first(folder: pathlib.Path, rows: tuple[Stage, ...]) -> int:
  """The stage to begin with: the last one of which anything was saved."""
  for index in reversed(range(1, len(rows))):
    if checkpoint.begun(_stage_folder(folder, index, rows[index])):
      return index
  return 0


def _stall(task: Task, before: tuple[float, float]) -> str:
  """How long training waited for images since then."""
  waited, elapsed = (
    now - then
    for now, then in zip(
      (task.feed.waited, task.feed.elapsed), before, strict=True
    )
  )
  if not elapsed:
    return ''
  share = 100 * waited / elapsed
  return f'waited for images {waited:.1f} of {elapsed:.1f} s ({share:.0f} %)'


def _describe(stage: Stage, start: Any, notes: Mapping[str, Any]) -> str:
  did = {
    'convert': 'BatchNorm converted, ',
    'replace': 'BatchNorm statistics replaced, ',
    'keep': '',
  }[stage.bn]
  head = '' if stage.head == 'keep' else f'{stage.head} head, '
  if 'head_rates' in notes:
    head += f'its rate {notes["head_rates"]["kernel"]:.2g}, '
  return did + head + trainable.describe(start, stage.trainable, stage.norm)


def _head_rates(
  task: Task, stage: Stage, start: Any, point: Point, options: Options
) -> dict[str, Any]:
  """What 'auto' stands for, saved with the start so that it stays."""
  if point.head_lr != head_rate.AUTO or stage.head_lr != 'own':
    return {}
  found = head_rate.curvature(task, stage, start, seed=point.seed)
  return {'head_rates': head_rate.rates(found, options.optimizer)}


def _job(
  task, stage, start, point, options, saved, log, count, notes
) -> stages.Job:
  def on_epoch(line: dict[str, Any]) -> None:
    count.add(len(task.sets['id_val']))
    log.metrics({'stage': stage.name, **line})
    images = len(task.sets['train'])
    log.lap(f'{stage.name} epoch {line["epoch"]}', images=images)
    count.out.progress(
      f'{point.method} {point.seed}  epoch {line["epoch"]}/{options.epochs}'
      f'  loss {line["loss"]:.3f}  id_val {line["id_val"]:.3f}'
    )

  head_lr = point.head_lr if stage.head_lr == 'own' else point.lr
  bias_lr = None
  if head_lr == head_rate.AUTO:
    head_lr, bias_lr = (notes['head_rates'][x] for x in ('kernel', 'bias'))
  return stages.Job(
    task=task,
    stage=stage,
    start=start,
    seed=point.seed,
    lr=point.lr,
    head_lr=head_lr,
    head_bias_lr=bias_lr,
    epochs=options.epochs,
    optimizer=options.optimizer,
    saved=saved,
    on_step=lambda rows: count.add(TRAIN_COST * rows * jax.process_count()),
    on_epoch=on_epoch,
    epochs_before=lambda epoch: log.rewind(stage.name, epoch),
    say=lambda text: count.out.line(f'{point} | {stage.name}: {text}'),
    scratch=log.folder.parent.parent / cached.FOLDER,
    skip=options.nonfinite == 'skip',
  )


class _Counter:
  """Counts a trial's work, never beyond what it was said to cost."""

  def __init__(self, out: writer.Writer, total: int):
    self.out, self._left = out, total

  def add(self, units: int) -> None:
    units = min(units, self._left)
    self._left -= units
    self.out.advance(units)

  def finish(self) -> None:
    self.add(self._left)


def _save_arrays(path: pathlib.Path, arrays: dict[str, np.ndarray]) -> None:
  buffer = io.BytesIO()
  np.savez_compressed(buffer, **arrays)
  results.atomic_write(path, buffer.getvalue())

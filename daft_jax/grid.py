"""The trials of an experiment that are not finished, one after the other.

  lines = run(config, workdir, task, shared)

Several processes may share a workdir, on one host or several: each takes the
trials that no other has, and goes on with those whose process ended. Whoever
ends last writes the report that has all of them.
"""

import pathlib
from collections.abc import Mapping
from typing import Any

from daft_jax import locks, provenance, results, signals, trial, writer
from daft_jax.methods import uses_head_lr, uses_lr
from daft_jax.settings import ConfigError
from daft_jax.task import Task


def points(config: Mapping[str, Any]) -> list[trial.Point]:
  """All points, seed by seed, so that every method is seen early.

  A rate that a method does not have is None and makes no further points.
  """
  return [
    trial.Point(method, seed, lr, head_lr)
    for seed in config['seeds']
    for method in config['methods']
    for lr in (config['lrs'] if uses_lr(method) else (None,))
    for head_lr in (config['head_lrs'] if uses_head_lr(method) else (None,))
  ]


def run(
  config: Mapping[str, Any],
  workdir: pathlib.Path,
  task: Task,
  shared: dict[str, Any],
) -> None:
  """Runs the trials that are neither finished nor run by another process.

  Raises:
    ConfigError: all that are left are run by others.
  """
  names = {trial.trial_name(shared, point): point for point in points(config)}
  folders = {name: workdir / 'trials' / name for name in names}
  todo = [name for name in names if not _is_finished(folders[name])]
  options = trial.Options(
    config['epochs'],
    config['bn_estimator'],
    config['optimizer'],
    config['nonfinite'],
  )
  work = [trial.cost(task, names[name].method, options.epochs) for name in todo]
  taken: dict[str, str] = {}
  with writer.Writer(sum(work)) as out:
    out.line(
      f'{task.suite}, {task.backbone} ({task.weights}): {len(names)} trials, '
      f'{len(names) - len(todo)} finished before; {workdir}'
    )
    for name in todo:
      signals.check()
      folders[name].mkdir(parents=True, exist_ok=True)
      with locks.held(folders[name] / locks.NAME) as owner:
        if owner is not None:
          taken[name] = owner
        # Another process may have done it since.
        elif not _is_finished(folders[name]):
          one = names[name]
          line = _run_one(one, folders[name], task, options, shared, out)
          if config['keep'] == 'chosen' and 'diverged' not in line:
            trial.prune(folders[name], chosen=True)
    others = ', '.join(dict.fromkeys(taken.values()))
    if taken and len(taken) == len(todo):
      raise ConfigError(
        f'all {len(taken)} trials that are left in {workdir} are being run: '
        f'{others}. Wait until it is done, or give another --workdir'
      )
    if taken:
      out.line(f'{len(taken)} trials are being run elsewhere: {others}')


def _is_finished(folder: pathlib.Path) -> bool:
  return (folder / 'result.json').is_file()


def _run_one(
  point: trial.Point,
  folder: pathlib.Path,
  task: Task,
  options: trial.Options,
  shared: dict[str, Any],
  out: writer.Writer,
) -> results.Line:
  line = trial.run_trial(task, point, options, folder, out)
  line |= {
    'suite': task.suite,
    'backbone': task.backbone,
    'weights': task.weights,
    'config': shared,
    'versions': provenance.versions(),
  }
  results.write_line(folder.parent.parent, line)
  if 'diverged' not in line:
    out.line(_finished(point, line))
  return line


def prune(workdir: pathlib.Path, lines: list[results.Line]) -> None:
  """Removes the checkpoints of rates that were not chosen.

  Of trials that diverged the last good step stays.
  """
  chosen = {
    line['trial']
    for choice in results.choose(lines).values()
    for line in choice.lines
  }
  for line in lines:
    if line.get('diverged'):
      continue
    folder = workdir / 'trials' / line['trial']
    trial.prune(folder, chosen=line['trial'] in chosen)


def _finished(point: trial.Point, line: Mapping[str, Any]) -> str:
  ood = ', '.join(f'{k} {100 * v:.1f}' for k, v in line['ood'].items())
  return (
    f'{point} | ID val {100 * line["id_val"]:.1f}, '
    f'test {100 * line["id_test"]:.1f}; OOD {ood}; '
    f'feature L2 {line["feature_l2"]:.2f}; {line["seconds"]:.1f} s'
  )

"""An experiment: a grid of trials, methods x seeds x learning rates.

  import daft_jax
  from configs import digits

  report = daft_jax.run(digits.get_config(), '/tmp/digits')
  report['daft']['id_test'], report['daft']['ood']['mnist']
  model, variables, preprocess = daft_jax.load_run('/tmp/digits', 'daft')

Finished trials are not run again, so the same command continues a run that was
killed, and a grid may grow. The files of a workdir are described in `trial`
and `results`.
"""

import contextlib
import pathlib
import statistics
from collections.abc import Mapping
from typing import Any

from daft_jax import (
  assemble,
  checkpoint,
  further,
  models,
  provenance,
  report,
  results,
  sharding,
  trial,
  writer,
)
from daft_jax.data.preprocess import Preprocess
from daft_jax.methods import uses_head_lr, uses_lr
from daft_jax.settings import check
from daft_jax.task import Task

PyTree = Any


def run(
  config: Any,
  workdir: results.PathLike,
  *,
  model: Any = None,
  variables: PyTree = None,
  preprocess: Preprocess | None = None,
) -> dict[str, dict[str, Any]]:
  """Runs what is not finished of an experiment; writes the report.

  Args:
    config: a ConfigDict, or nested dict, as of `configs/digits.py`.
    workdir: folder of everything that is written; made if needed.
    model: a linen module of one's own in place of config.backbone:
      `apply(variables, images, train=...)` returns logits and a dict with
      'pre_logits', and its classifier is `params/head`.
    variables: its pretrained {'params', 'batch_stats'}; never changed.
    preprocess: what it expects; default: the suite's size, mean and std 0.5.

  Returns:
    For each method, at the learning rates that ID validation chose, the means
    over seeds: 'lr', 'head_lr', 'id_val', 'id_test', 'ood' (name -> accuracy),
    'summaries' (of several OOD sets, likewise), 'ood_mean', 'feature_l2',
    'feature_cosine', 'seconds'.

  Raises:
    ConfigError: a field of the config, named, or a workdir that holds an
      experiment with other settings.
  """
  config = check(config)
  workdir = pathlib.Path(workdir).resolve()
  own = None
  if model is not None:
    own = assemble.Backbone(model, variables, preprocess)
  recorded = provenance.recorded_residency(workdir)
  task = assemble.make_task(config, own, recorded=recorded)
  for note in task.notes:
    # File names may hold what a terminal cannot show.
    print(note.encode(errors='backslashreplace').decode(), flush=True)
  shared = provenance.shared_settings(config, task)
  provenance.open_workdir(workdir, config, task, shared)
  with contextlib.closing(task.feed):
    if config['eval_only']:
      lines = results.read(workdir)
      further.evaluate_further(workdir, task, lines)
    else:
      lines = _run_grid(config, workdir, task, shared)
  report.write_report(workdir)
  return {
    method: _means(choice) for method, choice in results.choose(lines).items()
  }


def grid(config: Mapping[str, Any]) -> list[trial.Point]:
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


def load_run(
  workdir: results.PathLike, method: str | None = None, *, model: Any = None
) -> tuple[Any, PyTree, Preprocess]:
  """Loads the chosen trial of a method.

  Args:
    workdir: of a run.
    method: default: the one with the highest ID validation accuracy.
    model: the linen module, where `run` was given one.

  Returns:
    The model, its variables on the first device, and the preprocessing:
    `model.apply(variables, preprocess(images), train=False)`. Of several seeds
    it is the one of highest ID validation accuracy.

  Raises:
    results.ResultsError: not a workdir, or damaged files.
    ValueError: no finished trial of the method, or its checkpoint was removed.
  """
  workdir = pathlib.Path(workdir).resolve()
  about = results.read_experiment(workdir)
  line = choose_line(workdir, method)
  folder = workdir / 'trials' / line['trial']
  try:
    variables = checkpoint.load_variables(
      folder / 'checkpoints' / 'final', sharding.make_mesh(1)
    )
  except FileNotFoundError:
    raise ValueError(
      f'the checkpoint of {folder} was removed, as it was not the chosen one '
      'when its run ended: delete this folder and run the same command again'
    ) from None
  if model is None:
    if about['backbone'] not in models.list_models():
      raise ValueError(
        f'{workdir} was run with a model of your own ({about["backbone"]}): '
        'pass it as model='
      )
    model = models.create_model(
      about['backbone'], about['num_classes'], dtype=about['config']['dtype']
    )
  return model, variables, Preprocess(**about['preprocess'])


def choose_line(
  workdir: results.PathLike, method: str | None = None
) -> results.Line:
  """The result line of the trial that `load_run` loads."""
  chosen = results.choose(results.read(workdir))
  if not chosen:
    raise ValueError(f'{workdir} has no finished trial that did not diverge')
  if method is None:
    method = max(chosen, key=lambda name: results.mean_id_val(chosen[name]))
  if method not in chosen:
    raise ValueError(
      f'{workdir} has no finished trial of {method!r} that did not diverge; '
      f'there is: {", ".join(chosen)}'
    )
  return max(chosen[method].lines, key=lambda line: line['id_val'])


def _run_grid(
  config: Mapping[str, Any],
  workdir: pathlib.Path,
  task: Task,
  shared: dict[str, Any],
) -> list[results.Line]:
  """Runs the trials that are not finished; returns all lines."""
  options = trial.Options(
    config['epochs'], config['bn_estimator'], config['optimizer']
  )
  points = {trial.trial_name(shared, point): point for point in grid(config)}
  folders = {name: workdir / 'trials' / name for name in points}
  todo = [n for n in points if not (folders[n] / 'result.json').is_file()]
  work = [
    trial.cost(task, points[name].method, options.epochs) for name in todo
  ]
  versions = provenance.versions()
  with writer.Writer(sum(work)) as out:
    out.line(
      f'{task.suite}, {task.backbone} ({task.weights}): {len(points)} trials, '
      f'{len(points) - len(todo)} finished before; {workdir}'
    )
    for name in todo:
      point = points[name]
      line = trial.run_trial(task, point, options, folders[name], out)
      line |= {
        'suite': task.suite,
        'backbone': task.backbone,
        'weights': task.weights,
        'config': shared,
        'versions': versions,
      }
      results.write_line(workdir, line)
      out.line(_finished(point, line))
      if config['keep'] == 'chosen':
        trial.prune(folders[name], chosen=True)
  lines = results.derive(workdir)
  if config['keep'] == 'chosen':
    _prune(workdir, lines)
  print(report.console_table(lines))
  print(f'report: {workdir / "report.md"}')
  return lines


def _prune(workdir: pathlib.Path, lines: list[results.Line]) -> None:
  """Removes the checkpoints of rates that were not chosen."""
  chosen = {
    line['trial']
    for choice in results.choose(lines).values()
    for line in choice.lines
  }
  for line in lines:
    folder = workdir / 'trials' / line['trial']
    trial.prune(folder, chosen=line['trial'] in chosen)


def _finished(point: trial.Point, line: Mapping[str, Any]) -> str:
  ood = ', '.join(f'{k} {100 * v:.1f}' for k, v in line['ood'].items())
  return (
    f'{point} | ID val {100 * line["id_val"]:.1f}, '
    f'test {100 * line["id_test"]:.1f}; OOD {ood}; '
    f'feature L2 {line["feature_l2"]:.2f}; {line["seconds"]:.1f} s'
  )


def _means(choice: results.Choice) -> dict[str, Any]:
  """The chosen rates and the means over seeds."""
  lines = choice.lines
  means = {
    name: statistics.fmean(line[name] for line in lines)
    for name in ('id_val', 'id_test', 'ood_mean')
    + ('feature_l2', 'feature_cosine', 'seconds')
  }
  ood = {
    name: statistics.fmean(line['ood'][name] for line in lines)
    for name in lines[0]['ood']
  }
  summaries = {
    name: statistics.fmean(line['summaries'][name] for line in lines)
    for name in lines[0].get('summaries', {})
  }
  rates = {'lr': choice.lr, 'head_lr': choice.head_lr}
  return {**rates, **means, 'ood': ood, 'summaries': summaries}

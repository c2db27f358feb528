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
  alike,
  arrangement,
  assemble,
  cached,
  checkpoint,
  further,
  grid,
  locks,
  models,
  processes,
  provenance,
  report,
  results,
  sharding,
)
from daft_jax.data.preprocess import Preprocess, stated
from daft_jax.settings import check

PyTree = Any


def run(
  config: Any,
  workdir: results.PathLike,
  *,
  model: Any = None,
  variables: PyTree = None,
  preprocess: Preprocess | None = None,
  command: str = '',
) -> dict[str, dict[str, Any] | None]:
  """Runs what is not finished of an experiment; writes the report.

  Args:
    config: a ConfigDict, or nested dict, as of `configs/digits.py`.
    workdir: folder of everything that is written; made if needed.
    model: a linen module of one's own in place of config.backbone:
      `apply(variables, images, train=...)` returns logits and a dict with
      'pre_logits', and its classifier is `params/head`.
    variables: its pretrained {'params', 'batch_stats'}; never changed.
    preprocess: what it expects; default: the suite's size, mean and std 0.5.
    command: what was typed, for the record.

  Returns:
    For each method, at the rates that ID validation chose, the means over
    seeds: 'lr', 'head_lr', 'id_val', 'id_test', 'ood' (name -> accuracy),
    'summaries' (of several OOD sets, likewise), 'ood_mean', 'feature_l2',
    'feature_cosine', 'seconds'. None where every trial diverged.

  Raises:
    ConfigError: a field of the config, named, or a workdir that holds an
      experiment with other settings.
  """
  with processes.together():
    config = check(config)
  workdir = pathlib.Path(workdir).resolve()
  own = None
  if model is not None:
    own = assemble.Backbone(model, variables, preprocess)
  alike.check_config(config)
  with processes.together():
    recorded = processes.from_first(
      lambda: provenance.recorded_residency(workdir)
    )
    task = assemble.make_task(config, own, recorded=recorded)
    shared = provenance.shared_settings(config, task)
  alike.check_read(shared)
  for note in (*task.notes, *arrangement.describe(task, config['optimizer'])):
    _say(note)
  _say(
    processes.from_first(
      lambda: provenance.open_workdir(workdir, config, task, shared, command)
    )
  )
  if alone := locks.local(workdir):
    _say(
      f'{workdir}: {alone}, so no other host sees its locks: one run at once'
    )
  with contextlib.closing(task.feed):
    if config['eval_only']:
      lines = processes.from_first(lambda: results.read(workdir))
      further.evaluate_further(workdir, task, lines)
    else:
      grid.run(config, workdir, task, shared)
  cached.remove_own()
  lines = processes.from_first(lambda: _finish(config, workdir))
  chosen = results.choose(lines)
  methods = dict.fromkeys(line['method'] for line in lines)
  return {
    method: _means(chosen[method]) if method in chosen else None
    for method in methods
  }


def _finish(config: Mapping[str, Any], workdir: pathlib.Path) -> list[Any]:
  """Puts the results together; returns their lines."""
  # Of several runs the last one sees all results.
  with locks.held(workdir / locks.NAME, wait=True):
    lines = results.derive(workdir)
    cached.remove(workdir / cached.FOLDER)
    if config['keep'] == 'chosen':
      grid.prune(workdir, lines)
    report.write_report(workdir)
  print(report.console_table(lines))
  print(f'report: {workdir / "report.html"}')
  return lines


def _say(text: str) -> None:
  """Prints a line, in one of several processes."""
  if processes.is_first():
    # File names may hold what a terminal cannot show.
    print(text.encode(errors='backslashreplace').decode(), flush=True)


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
    ValueError: no finished trial of the method, or its checkpoint was removed
      or is damaged (`checkpoint.DamagedCheckpoint`).
  """
  workdir = pathlib.Path(workdir).resolve()
  about = results.read_experiment(workdir)
  preprocess = stated(about.get('preprocess'))
  if preprocess is None or 'num_classes' not in about:
    raise results.ResultsError(
      f'{workdir}/{results.EXPERIMENT}: damaged (it does not say what the '
      'model is given); delete it and run the same command again, which writes '
      'it anew'
    )
  line = choose_line(workdir, method)
  folder = workdir / 'trials' / line['trial']
  try:
    variables = checkpoint.load_variables(
      folder / 'checkpoints' / 'final',
      sharding.one_device(),
      fix=f'delete {folder} and run the same command again',
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
    dtype = (about.get('config') or {}).get('dtype', 'float32')
    model = models.create_model(
      about['backbone'], about['num_classes'], dtype=dtype
    )
  return model, variables, preprocess


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

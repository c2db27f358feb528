"""A finished run tested on more: config.eval_only writes `eval.jsonl`.

evaluate_further(workdir, task, results.read(workdir))
"""

import pathlib
from typing import Any

from daft_jax import checkpoint, measure, processes, results
from daft_jax.report import collect
from daft_jax.task import Task


def evaluate_further(
  workdir: pathlib.Path, task: Task, lines: list[results.Line]
) -> None:
  """Evaluates the chosen trials on the task's OOD sets: `eval.jsonl`.

  Set by set, so that features of one alone are in memory: there may be 75.
  """
  chosen = {
    line['trial']: line
    for choice in results.choose(lines).values()
    for line in choice.lines
  }
  variables = {
    name: checkpoint.load_variables(
      workdir / 'trials' / name / 'checkpoints' / 'final',
      task.mesh,
      fix=f'delete {workdir / "trials" / name} and run the same command again',
    )
    for name in chosen
  }
  metrics: dict[str, dict[str, Any]] = {name: {} for name in chosen}
  for ood in task.ood:
    for name in chosen:
      metrics[name][ood] = measure.test(task, variables[name], ood)[0]
    task.forget(ood)
    shown = (
      f'{line["method"]} {100 * metrics[name][ood]["accuracy"]:.1f}'
      for name, line in chosen.items()
    )
    if processes.is_first():
      print(f'{ood} | {", ".join(shown)}', flush=True)
  counts = {name: len(task.sets[name]) for name in task.ood}
  found = []
  for name, line in chosen.items():
    ood = {key: value['accuracy'] for key, value in metrics[name].items()}
    found.append(
      {
        **{'trial': name, 'method': line['method'], 'seed': line['seed']},
        **{'suite': task.suite, 'ood': ood, 'metrics': metrics[name]},
        'summaries': measure.summarize(ood, counts, task.summaries),
      }
    )
  processes.from_first(lambda: _write_eval(workdir, found))


def _write_eval(workdir: pathlib.Path, further: list[dict[str, Any]]) -> None:
  """Adds lines to `eval.jsonl`; new sets join, known ones are replaced."""
  merged = {line['trial']: line for line in collect.read_eval(workdir)}
  for line in further:
    old = merged.get(line['trial'], {})
    both = {
      key: old.get(key, {}) | line[key]
      for key in ('ood', 'summaries', 'metrics')
    }
    merged[line['trial']] = line | both
  text = ''.join(results.dumps(line) + '\n' for line in merged.values())
  results.atomic_write(workdir / 'eval.jsonl', text)

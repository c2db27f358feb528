"""What a trial is measured by, at its chosen variables.

measured = measure(task, variables, start)
measured.line['id_test'], measured.line['ood']['mnist']
measured.arrays['id_test/l2_counts']
"""

import math
import statistics
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from daft_jax import distortion, evaluate
from daft_jax.data.suites import Summary
from daft_jax.task import Task

PyTree = Any

# Features that are kept: of id_test and three OOD sets, before and after, each
# in float16, which together is what one of them has in float32.
_SAMPLED_SETS = 4
_SAMPLED_BYTES = 2_000_000


class Measured(NamedTuple):
  """Fields of the result line, and arrays for the figures."""

  line: dict[str, Any]
  arrays: dict[str, np.ndarray]


def measure(task: Task, variables: PyTree, start: PyTree) -> Measured:
  """Evaluates a trial's variables on every test set.

  Feature distortion is measured against the pretrained model, per image, on
  each set; `feature_l2` and `feature_cosine` of the line are the means over
  the ID test images. Parameters are compared with `start`, after conversion,
  which moves them without changing the function (`parameter_l2`), and with the
  pretrained ones (`parameter_l2_pretrained`). Arrays have, layer by layer, how
  far outputs moved on a sample of each set, how far the training images are
  from the pretrained statistics (`bn_shift`), and features of a sample of the
  first sets, before and after, to look at.
  """
  found, arrays = {}, {}
  for name in task.tests:
    found[name], more = test(task, variables, name)
    arrays |= {f'{name}/{key}': value for key, value in more.items()}
    arrays |= _layers(task, variables, name)
  ood = {name: found[name]['accuracy'] for name in task.ood}
  counts = {name: len(task.sets[name]) for name in task.ood}
  line = {
    'id_test': found['id_test']['accuracy'],
    'ood': ood,
    'ood_mean': statistics.fmean(ood.values()) if ood else None,
    'summaries': summarize(ood, counts, task.summaries),
    'feature_l2': found['id_test']['feature_l2'],
    'feature_cosine': found['id_test']['feature_cosine'],
    'parameter_l2': distortion.parameter_distance(variables, start),
    'parameter_l2_pretrained': distortion.parameter_distance(
      variables, task.variables
    ),
    'metrics': found,
  }
  return Measured(line, arrays | _shift(task))


def _layers(task: Task, variables: PyTree, name: str) -> dict[str, np.ndarray]:
  """How far the outputs of each layer moved, on a sample of a set."""
  moved = distortion.compare_layers(
    task.layers(variables, name), task.reference_layers(name)
  )
  return _columns(f'{name}/layers/', moved) if moved else {}


def _shift(task: Task) -> dict[str, np.ndarray]:
  """The same for every trial of a task; beside the others, it is found."""
  if not task.moments:  # A model without BatchNorm.
    return {}
  found = distortion.bn_shift(task.variables, task.moments)
  return _columns('bn_shift/', found)


def _columns(prefix: str, rows: Mapping[str, Any]) -> dict[str, np.ndarray]:
  """Rows of records by their names as arrays, one a field."""
  fields = next(iter(rows.values()))._fields
  columns = {
    f'{prefix}{field}': np.array([getattr(row, field) for row in rows.values()])
    for field in fields
  }
  return {f'{prefix}layer': np.array([*rows]), **columns}


def nothing(task: Task) -> dict[str, Any]:
  """The fields of a line where nothing was measured: nan."""
  names = ('id_test', 'ood_mean', 'feature_l2', 'feature_cosine')
  return {
    **dict.fromkeys(names, math.nan),
    'ood': dict.fromkeys(task.ood, math.nan),
    'summaries': {},
    'metrics': {},
  }


def summarize(
  ood: Mapping[str, float],
  counts: Mapping[str, int],
  summaries: Mapping[str, Summary],
) -> dict[str, float]:
  """One number of several sets, for those summaries of which all are there.

  Args:
    ood: set -> accuracy.
    counts: set -> how many images it has.
    summaries: see `data.suites.Summary`; those of others come after them.

  Example:
    >>> summarize(
    ...   {'real': 0.5, 'clipart': 0.8},
    ...   {'real': 200, 'clipart': 100},
    ...   {'union': Summary('pooled', ('real', 'clipart'))},
    ... )
    {'union': 0.6}
  """
  found: dict[str, float] = {}
  for name, row in summaries.items():
    values = {**ood, **found}
    if not set(row.sets) <= set(values):
      continue
    each = [values[member] for member in row.sets]
    if row.how == 'pooled':
      # Counts, not a weighted mean of rounded shares.
      right = sum(round(ood[x] * counts[x]) for x in row.sets)
      found[name] = right / sum(counts[x] for x in row.sets)
    else:
      found[name] = {'mean': statistics.fmean, 'worst': min}[row.how](each)
  return found


def test(
  task: Task, variables: PyTree, name: str
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
  """Metrics and arrays of one set."""
  found = task.evaluate(variables, name)
  reference = task.reference(name)
  both = distortion.feature_distortion(found.features, reference)
  both = evaluate.of_all(found.rows, np.stack(both, axis=1))
  values = dict(zip(('l2', 'cosine'), both.T, strict=True))
  metrics = dict(found.metrics)
  arrays = {
    key: found.sums[key]
    for key in ('class_count', 'class_correct')
    + ('bin_count', 'bin_confidence', 'bin_correct')
  }
  for key, each in values.items():
    metrics[f'feature_{key}'] = float(each.mean())
    metrics[f'feature_{key}_std'] = float(each.std())
    counts, edges = distortion.histogram(each)
    arrays |= {f'{key}_counts': counts, f'{key}_edges': edges}
  return metrics, arrays | _sample(task, name, found)


def _sample(
  task: Task, name: str, found: evaluate.Evaluation
) -> dict[str, np.ndarray]:
  """Features of some images, for PCA and t-SNE."""
  sets = task.tests[:_SAMPLED_SETS]
  if name not in sets:
    return {}
  rows = task.sample_rows(name)
  each = found.features.itemsize * found.features.shape[1] * len(sets)
  count = min(len(rows), max(1, _SAMPLED_BYTES // each))
  rows = rows[np.linspace(0, len(rows) - 1, count).astype(int)]
  features, reference = (
    evaluate.of_all(found.rows, x, rows).astype(np.float16)
    for x in (found.features, task.reference(name))
  )
  return {
    'sample/features': features,
    'sample/reference': reference,
    'sample/label': found.labels[rows],
  }

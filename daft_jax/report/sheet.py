"""The numbers of a report as CSV: a row for every trial and set.

  text = sheet.csv_text(collect.collect(['/tmp/digits']))

  pandas.read_csv('report.csv').groupby(['method', 'set']).accuracy.mean()

Unlike the tables it has every trial, not only the chosen ones, and numbers to
the last digit. A cell is empty where there is no number. Standard library only.
"""

import csv
import io
import math
from collections.abc import Iterator
from typing import Any

from daft_jax import results
from daft_jax.report import collect

_TRIAL = ('suite', 'backbone', 'weights', 'method', 'seed', 'lr', 'head_lr')
_TRIAL += ('C', 'epoch', 'seconds')
_METRICS = ('loss', 'ece', 'feature_l2', 'feature_l2_std')
_METRICS += ('feature_cosine', 'feature_cosine_std')
HEADER = (*_TRIAL, 'trial', 'chosen', 'kind', 'set', 'accuracy', *_METRICS)


def csv_text(found: collect.Collected) -> str:
  """Returns CSV with the columns `HEADER`.

  `chosen` is 'yes' for the trials that the tables show. `kind` is 'id', 'ood',
  'summary' (one number of several OOD sets) or 'further' (evaluated later).
  Text that a spreadsheet would take for a formula has an apostrophe before it.
  """
  chosen = {x['trial'] for c in found.choices.values() for x in c.lines}
  known = {line['trial']: line for line in found.lines}
  file = io.StringIO()
  writer = csv.writer(file, lineterminator='\n')
  writer.writerow(HEADER)
  for line in found.lines:
    for kind, name, accuracy in _sets(line):
      _write(writer, line, line, kind, name, accuracy, chosen)
  for line in found.further:
    if line['trial'] in known:
      for name, accuracy in line['ood'].items():
        trial = known[line['trial']]
        _write(writer, trial, line, 'further', name, accuracy, chosen)
  return file.getvalue()


def _sets(line: results.Line) -> Iterator[tuple[str, str, float]]:
  yield 'id', 'id_val', line['id_val']
  yield 'id', 'id_test', line['id_test']
  for kind, field in (('ood', 'ood'), ('summary', 'summaries')):
    for name, accuracy in line.get(field, {}).items():
      yield kind, name, accuracy


def _write(writer, trial, line, kind, name, accuracy, chosen) -> None:
  """One row; `line` has the metrics of the set, `trial` all else."""
  metrics = line.get('metrics', {}).get(name, {})
  row = [trial[field] for field in _TRIAL]
  row += [trial['trial'], 'yes' if trial['trial'] in chosen else 'no']
  row += [kind, name, accuracy, *(metrics.get(x) for x in _METRICS)]
  writer.writerow([cell(value) for value in row])


def cell(value: Any) -> Any:
  """A value for CSV: nothing for nan, and text that stays text.

  Example:
    >>> cell('=1+1'), cell('daft'), cell(-0.5)
    ("'=1+1", 'daft', -0.5)
  """
  if value is None or (isinstance(value, float) and math.isnan(value)):
    return ''
  # Spreadsheets look past spaces.
  if isinstance(value, str) and value.lstrip().startswith(
    ('=', '+', '-', '@', '|', '%')
  ):
    return f"'{value}"
  return value

"""How long the chosen trials took, and what they waited for.

parts = speed.section(collected, rows)
"""

import math
import re
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from daft_jax import results
from daft_jax.report import blocks, collect, epochs, summary, tables

_EPOCH = re.compile(r'.* epoch (-?\d+)', re.DOTALL)
_WAITED = re.compile(r'waited for images (\d+\.\d) of (\d+\.\d) s')
_ABOUT = """\
Seconds of the chosen trials, mean over seeds: of the first epoch, which
compiles; of another, the median; and images a second in these. An epoch is
training, validation and saving; waited is the share of training that waited for
images; rest is what is not of the other columns, as is a probe."""


class Times(NamedTuple):
  """Seconds of one trial; nan where there are none."""

  prepare: float
  first: float
  epoch: float
  images: float  # a second
  waited: float  # share of training
  rest: float
  evaluate: float


def section(
  found: collect.Collected, rows: Sequence[summary.Row]
) -> list[blocks.Block]:
  """The section of a report; [] where no trial has a log of it.

  Raises:
    results.ResultsError: a log is damaged.
  """
  body = []
  for row in rows:
    each = [
      times(laps)
      for line in row.choice.lines
      if (laps := epochs.laps(found.folders[line['trial']]))
    ]
    if each:
      means = Times(*map(_mean, zip(*each, strict=True)))
      body.append([row.method, *_cells(means)])
  if not body:
    return []
  header = ['method', 'prepare', 'first epoch', 'epoch', 'images/s', 'waited']
  header += ['rest', 'evaluate']
  about = [_ABOUT.replace('\n', ' ')]
  if places := machines(found.experiments.values()):
    about.append(f' Run on: {"; ".join(places)}.')
  return [
    blocks.Heading(2, ['Time']),
    blocks.Paragraph(about),
    blocks.Table(header, body, {}, left=1),
  ]


def times(laps: Sequence[results.Line]) -> Times:
  """What the laps of a trial add up to.

  Example:
    >>> times([{'what': 'sgd epoch 1', 'seconds': 3.0}]).first
    3.0
  """
  sums = {'prepare': 0.0, 'evaluate': 0.0, 'rest': 0.0}
  first, later, speeds, waits = [], [], [], []
  for lap in laps:
    what, seconds = lap.get('what', ''), lap['seconds']
    epoch = _EPOCH.fullmatch(what)
    if not epoch:
      sums[what if what in sums else 'rest'] += seconds
    elif epoch[1] == '1':
      first.append(seconds)
    else:
      later.append(seconds)
      if lap.get('images') and seconds > 0:
        speeds.append(lap['images'] / seconds)
    if waited := _WAITED.match(lap.get('stall') or ''):
      waits.append([float(x) for x in waited.groups()])
  waited, trained = map(sum, zip(*waits, strict=True)) if waits else (0, 0)
  return Times(
    sums['prepare'],
    first[-1] if first else math.nan,
    statistics.median(later) if later else math.nan,
    statistics.median(speeds) if speeds else math.nan,
    waited / trained if trained else math.nan,
    sums['rest'],
    sums['evaluate'],
  )


def machines(experiments: Iterable[Mapping[str, Any]]) -> list[str]:
  """Where workdirs were run, in words.

  Example:
    >>> machines([{'machine': {'kind': 'cpu', 'devices': 1, 'cores': 2}}])
    ['cpu, devices 1, cores 2']
  """
  found = []
  for experiment in experiments:
    machine = experiment.get('machine', {})
    kind = machine.get('kind')
    words = [kind] if isinstance(kind, str) else []
    words += [
      f'{name} {machine[name]}'
      for name in ('devices', 'processes', 'cores')
      if type(machine.get(name)) is int and abs(machine[name]) < 1e9
    ]
    found.append(', '.join(words))
  return [text for text in dict.fromkeys(found) if text]


def _mean(values: Iterable[float]) -> float:
  """Of the seeds that have one."""
  finite = [x for x in values if math.isfinite(x)]
  return statistics.fmean(finite) if finite else math.nan


def _cells(found: Times) -> list[str]:
  cells = [tables.number(x, 1) for x in found]
  cells[3] = tables.number(found.images, 0)
  if math.isfinite(found.waited):
    cells[4] = f'{100 * found.waited:.0f} %'
  return cells

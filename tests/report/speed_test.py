"""How long trials took, by their logs."""

import json
import math

import pytest

from daft_jax import report
from daft_jax.report import speed
from tests.report.workdirs import section, write_workdir

LAPS = [
  {'what': 'prepare', 'seconds': 1.0},
  {'what': 'lp epoch 1', 'seconds': 9.0, 'images': 100},
  {'what': 'lp epoch 2', 'seconds': 2.0, 'images': 100},
  {'what': 'lp', 'seconds': 0.5, 'stall': 'waited for images 1.0 of 8.0 s (1)'},
  {'what': 'prepare', 'seconds': 2.0},
  {'what': 'ft epoch 1', 'seconds': 8.0, 'images': 100},
  {'what': 'ft epoch 2', 'seconds': 4.0, 'images': 100},
  {'what': 'ft epoch 3', 'seconds': 5.0},
  {'what': 'ft', 'seconds': 0.5, 'stall': 'waited for images 1.0 of 2.0 s (2)'},
  {'what': 'evaluate', 'seconds': 3.0},
]


def test_laps_are_added_up():
  found = speed.times(LAPS)
  assert found == speed.Times(3.0, 8.0, 4.0, 37.5, 0.2, 1.0, 3.0)


def test_of_no_epochs_nothing_is_said():
  found = speed.times([{'seconds': 2.0}, {'what': 'ft epoch 2', 'seconds': 0}])
  assert found.rest == 2.0 and found.epoch == 0
  assert all(map(math.isnan, (found.first, found.images, found.waited)))


def test_the_report_has_means_over_seeds(tmp_path):
  workdir = write_workdir(tmp_path / 'one', ('lp', 'ft'))
  path = workdir / 'experiment.json'
  machine = {'kind': '<b>', 'devices': 8, 'cores': True}
  path.write_text(
    json.dumps(json.loads(path.read_text()) | {'machine': machine})
  )
  lines = section(report.write_report(workdir).read_text(), 'Time')
  assert '| lp | 0.2 | – | – | – | – | 0.0 | 1.5 |' in lines
  assert '| ft | 0.2 | 3.0 | 2.0 | 500 | 10 % | 0.1 | 1.5 |' in lines
  assert lines[1].endswith('Run on: &lt;b>, devices 8.')
  for log in workdir.glob('trials/*/timings.jsonl'):
    log.unlink()
  assert '## Time' not in report.write_report(workdir).read_text()


@pytest.mark.parametrize('machine', [{}, {'kind': 5, 'devices': 10**400}])
def test_machines_that_say_nothing(machine):
  assert speed.machines([{}, {'machine': machine}]) == []

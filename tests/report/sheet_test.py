"""report.csv: every trial and set, and nothing a spreadsheet would run."""

import csv
import json

import pytest

from daft_jax import report
from daft_jax.report import collect, sheet
from tests.report.workdirs import write_eval, write_workdir


def rows_of(workdir):
  report.write_report(workdir)
  with open(workdir / 'report.csv', encoding='utf-8', newline='') as file:
    return list(csv.DictReader(file))


def test_a_row_for_every_trial_and_set(tmp_path):
  ood = ('real', 'clip,"art"')
  workdir = write_workdir(
    tmp_path / 'one', ('lp', 'ft'), ood=ood, summaries={'union': ood}
  )
  write_eval(workdir, ('usps',), {})
  found, rows = collect.collect([workdir]), rows_of(workdir)
  assert tuple(rows[0]) == sheet.HEADER
  chosen = {x['trial'] for c in found.choices.values() for x in c.lines}
  assert len(chosen) < len(found.lines)
  assert len(rows) == 5 * len(found.lines) + len(chosen)
  for line in found.lines:
    mine = {r['set']: r for r in rows if r['trial'] == line['trial']}
    assert {r['chosen'] for r in mine.values()} == {
      'yes' if line['trial'] in chosen else 'no'
    }
    assert float(mine['id_test']['accuracy']) == line['id_test']
    assert float(mine['union']['accuracy']) == line['summaries']['union']
    for name in ood:
      assert float(mine[name]['accuracy']) == line['ood'][name]
      assert float(mine[name]['ece']) == line['metrics'][name]['ece']
    assert (mine['real']['lr'] == '') == (line['method'] == 'lp')
    assert ('usps' in mine) == (line['trial'] in chosen)


def test_nan_is_empty(tmp_path):
  workdir = write_workdir(tmp_path / 'one', ('lp',), seeds=(0,))
  (path,) = workdir.glob('trials/*/result.json')
  path.write_text(json.dumps(json.loads(path.read_text()) | {'id_test': None}))
  found = {row['set']: row['accuracy'] for row in rows_of(workdir)}
  assert found['id_test'] == '' and found['mnist'] != ''


@pytest.mark.parametrize(
  'name', ["=cmd|' /C calc'!A0", '+1', '-rf', '@SUM(A1)', ' =1', '|x', '%0']
)
def test_a_name_is_no_formula(tmp_path, name):
  workdir = write_workdir(tmp_path / 'one', ('ft',), seeds=(0,), ood=(name,))
  names = {row['set'] for row in rows_of(workdir)}
  assert f"'{name}" in names and name not in names

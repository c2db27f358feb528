"""Accuracies by class: the worst, and how they differ from a baseline."""

import json

import numpy as np
import pytest

from daft_jax import report
from daft_jax.report import classes, collect, summary
from tests.report.workdirs import section, write_workdir


def rewrite(workdir, method, **arrays):
  """Replaces arrays of all trials of a method."""
  found = collect.collect([workdir])
  for line in found.lines:
    if line['method'] == method:
      path = found.folders[line['trial']] / 'arrays.npz'
      with np.load(path) as file:
        old = dict(file)
      np.savez(path, **{**old, **arrays})


@pytest.fixture
def workdir(tmp_path):
  """Two methods, two OOD sets, whose classes are these."""
  workdir = write_workdir(tmp_path / 'one', ('ft', 'daft'), ood=('a', 'b'))
  few = np.array([20, 20, 3] + [50] * 7)
  for method, right in (('ft', [10, 20, 0]), ('daft', [15, 18, 3])):
    correct = np.array(right + [45] * 7)
    arrays = {}
    for name in ('id_test', 'a', 'b'):
      arrays[f'{name}/class_count'] = few
      arrays[f'{name}/class_correct'] = correct
    rewrite(workdir, method, **arrays)
  return workdir


def test_accuracies_are_those_of_all_seeds_and_sets(workdir):
  found = collect.collect([workdir])
  id_test, ood = classes.read(found)
  assert (id_test.title, ood.title) == ('ID test', 'OOD')
  assert list(id_test.images[:3]) == [20, 20, 3]
  assert list(ood.images[:3]) == [40, 40, 6]  # of two sets
  for part in (id_test, ood):
    np.testing.assert_allclose(part.accuracy['ft'][:4], [0.5, 1, np.nan, 0.9])
    np.testing.assert_allclose(
      part.accuracy['daft'][:4], [0.75, 0.9, np.nan, 0.9]
    )


def test_the_report_says_who_won_and_lost(workdir):
  lines = section(report.write_report(workdir).read_text(), 'Classes')
  row = (
    '- `daft`, ID test: 1 of 9 classes higher, 1 lower; from -10.0 (`1`) to '
    '+25.0 (`0`)'
  )
  assert row in lines and row.replace('ID test', 'OOD') in lines
  assert any('against `ft`.' in line for line in lines)
  header = '| method | worst class, ID test | accuracy | worst class, OOD |'
  assert [x for x in lines if x.startswith(header)]
  rows = summary.summarize(collect.collect([workdir]).lines)
  worst = {x.method: min(x.ood, key=lambda k, x=x: x.ood[k].mean) for x in rows}
  for method in ('ft', 'daft'):
    cells = ('0', '50.0') if method == 'ft' else ('0', '75.0')
    (line,) = [x for x in lines if x.startswith(f'| {method} | ')]
    assert line.startswith(f'| {method} | {cells[0]} | {cells[1]} | ')
    assert f' | {worst[method]} | ' in line
  assert '| 0 | 20 | 50.0 | +25.0 |' in lines
  assert '| 2 | 3 | – | – |' in lines


def test_the_baseline_is_plain_fine_tuning_where_it_is(tmp_path):
  for methods, baseline in (
    (('lp', 'ft', 'daft'), 'ft'),
    (('lp', 'daft'), 'lp'),
    (('lp_ft', 'daft'), 'lp_ft'),
  ):
    workdir = write_workdir(tmp_path / baseline, methods, seeds=(0,))
    text = '\n'.join(
      section(report.write_report(workdir).read_text(), 'Classes')
    )
    assert f'in points, against `{baseline}`.' in text
    assert f'- `{baseline}`, ' not in text and '- `daft`, OOD' in text


def test_one_method_is_not_compared(tmp_path):
  workdir = write_workdir(tmp_path / 'one', ('ft',), seeds=(0,))
  text = report.write_report(workdir).read_text()
  assert 'worst class' in text and 'in points, against' not in text


def test_of_many_classes_those_that_differ_most_are_shown():
  rng = np.random.default_rng(0)
  before, after = rng.uniform(size=(2, 1000))
  part = classes.Part('OOD', np.full(1000, 50), {'ft': before, 'daft': after})
  change = 100 * (after - before)
  table = classes.change_table(
    part, 'ft', {'daft': change}, [*map(str, range(1000))]
  )
  shown = [int(row[0]) for row in table.body]
  assert len(shown) == 100 and shown == sorted(shown)
  rest = np.delete(np.abs(change), shown)
  assert np.abs(change)[shown].min() >= rest.max()


def test_names_of_classes(workdir):
  path = workdir / 'experiment.json'
  value = json.loads(path.read_text())
  names = [f'<b>{i}' for i in range(10)]
  path.write_text(json.dumps(value | {'classes': names}))
  found = collect.collect([workdir])
  assert classes.class_names(found.experiments.values(), 10) == names
  assert '+25.0 (`<b>0`)' in report.write_report(workdir).read_text()
  # Of another number of classes, they are not theirs.
  assert classes.class_names(found.experiments.values(), 2) == ['0', '1']
  path.write_text(json.dumps(value | {'classes': None}))
  found = collect.collect([workdir])
  assert classes.class_names(found.experiments.values(), 3)[2] == '2'


def test_nothing_is_said_where_nothing_was_counted(tmp_path):
  workdir = write_workdir(tmp_path / 'one', ('ft',), seeds=(0,))
  for path in workdir.glob('trials/*/arrays.npz'):
    path.unlink()
  assert '## Classes' not in report.write_report(workdir).read_text()

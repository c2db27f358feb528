"""Numbers of others beside ours, where the suite is theirs."""

import json

import pytest

from daft_jax import report, results
from daft_jax.data import suites
from daft_jax.pretrained import registry
from daft_jax.report import published, summary
from tests.report.workdirs import section, write_workdir


def of_suite(folder, suite, ood, methods=('lp', 'ft', 'lp_ft'), weights=''):
  workdir = write_workdir(folder / suite, methods, ood=ood)
  for path in workdir.glob('trials/*/result.json'):
    line = json.loads(path.read_text()) | {'suite': suite}
    line['weights'] = weights or line['weights']
    path.write_text(json.dumps(line))
  return workdir


@pytest.mark.parametrize('name', published.LP_FT)
def test_rows_are_of_suites_and_weights_of_this_package(name):
  suite, row = suites.SUITES[name], published.LP_FT[name]
  known = {'ID test', published._UNKNOWN, *suite.ood}
  assert set(row.sets) <= known and 'ID test' in row.sets
  assert row.weights in registry.PRETRAINED
  for values in row.sets.values():
    assert len(values) == len(published._METHODS)


def test_numbers_are_beside_each_other(tmp_path):
  workdir = of_suite(tmp_path, 'cifar', ('stl10', 'cifar10_1'))
  lines = section(report.write_report(workdir).read_text(), 'Published numbers')
  rows = {x.method: x for x in summary.summarize(results.read(workdir))}
  for name, method, theirs, ours in (
    ('ID test', 'lp_ft', '97.5 ± 0.1', rows['lp_ft'].id_test),
    ('stl10', 'lp', '85.1 ± 0.2', rows['lp'].ood['stl10']),
    ('cifar10_1', 'ft', '92.3 ± 0.4', rows['ft'].ood['cifar10_1']),
  ):
    here = f'{100 * ours.mean:.1f} ± {100 * ours.half:.1f}'
    cells = [name, method, theirs, here]
    assert f'| {" | ".join(cells)} |'.replace('_', r'\_') in lines
  about = lines[1]
  assert 'arXiv 2202.10054' in about and 'MoCo v2' in about
  assert 'start from `resnet14_cifar.glyphs`, so that' in about
  assert 'better' not in '\n'.join(lines)


def test_the_same_weights_are_not_excused(tmp_path):
  weights = published.LP_FT['living17'].weights
  workdir = of_suite(tmp_path, 'living17', ('target',), weights=weights)
  text = report.write_report(workdir).read_text()
  assert 'not of the same thing' not in text
  assert '| target | lp\\_ft | 82.6 ± 0.3 | ' in text


@pytest.mark.parametrize(
  ('suite', 'ood', 'row'),
  [
    (
      'domainnet',
      ('real', 'painting', 'clipart'),
      '| OOD, averaged | lp\\_ft | 80.7 ± 0.9 | – |',
    ),
    ('fmow', ('europe', 'africa'), '| OOD, averaged | ft | 32.0 ± 3.5 | – |'),
  ],
)
def test_what_is_averaged_in_an_unknown_way_has_nothing_beside_it(
  tmp_path, suite, ood, row
):
  workdir = of_suite(tmp_path, suite, ood)
  lines = section(report.write_report(workdir).read_text(), 'Published numbers')
  assert row in lines and 'is not known' in lines[1]


def test_methods_that_were_not_run_are_dashes(tmp_path):
  workdir = of_suite(tmp_path, 'living17', ('target',), ('lp', 'daft'))
  lines = section(report.write_report(workdir).read_text(), 'Published numbers')
  assert '| ID test | ft | 97.1 ± 0.2 | – |' in lines
  assert not [line for line in lines if 'daft' in line]


@pytest.mark.parametrize(
  ('suite', 'methods'), [('digits', ('ft',)), ('cifar', ('daft',))]
)
def test_of_other_suites_and_methods_nothing_is_said(tmp_path, suite, methods):
  workdir = of_suite(tmp_path, suite, ('mnist',), methods)
  assert '## Published' not in report.write_report(workdir).read_text()

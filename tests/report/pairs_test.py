"""Pairs of methods: what is said of them, and how often that is wrong."""

import math

import numpy as np
import pytest

from daft_jax import report, results
from daft_jax.report import blocks, pairs, summary
from daft_jax.report.formats import markdown
from tests.report.workdirs import write_workdir


def written(found):
  """The lines of what is said, as Markdown."""
  return markdown.render([blocks.Bullets(pairs.findings(found))]).splitlines()


def by_seed(values):
  return dict(enumerate(values))


def test_the_interval_is_students_up_to_the_draws():
  rng = np.random.default_rng(0)
  for n in (3, 5, 12, 60):
    first, second = rng.normal(size=(2, n))
    found = pairs.difference(by_seed(first), by_seed(second))
    values = first - second
    quantile = {3: 2.920, 5: 2.132, 12: 1.796, 60: 1.645}[n]
    half = quantile * values.std(ddof=1) / n**0.5
    assert found.mean == pytest.approx(values.mean())
    assert found.high - found.mean == pytest.approx(half, rel=0.05)
    assert found.mean - found.low == pytest.approx(half, rel=0.05)


@pytest.mark.parametrize('n', [3, 5])
def test_nine_in_ten_intervals_hold_the_truth(n):
  rng = np.random.default_rng(1)
  zeros = by_seed(np.zeros(n))
  wrong = [
    pairs.difference(by_seed(rng.normal(size=n)), zeros).sign != 0
    for _ in range(400)
  ]
  assert 0.05 < np.mean(wrong) < 0.15


def test_only_common_seeds_that_did_not_diverge_count():
  first = {0: 0.5, 1: 0.7, 2: 0.9, 3: math.nan, 5: 0.1}
  second = {0: 0.4, 1: 0.5, 2: 0.6, 3: 0.6, 4: 0.6}
  found = pairs.difference(first, second)
  assert found.n == 3 and found.mean == pytest.approx(0.2)


@pytest.mark.parametrize(
  ('first', 'second'),
  [
    ([0.5], [0.4]),
    ([0.5, 0.6], [0.4, 0.4]),
    ([0.5, 0.6, 0.7], [0.4, 0.5, 0.6]),  # all differences are equal
    ([math.nan] * 3, [0.4] * 3),
    ([], []),
  ],
)
def test_nothing_is_said_of_too_little(first, second):
  found = pairs.difference(by_seed(first), by_seed(second))
  assert math.isnan(found.low) and math.isnan(found.high) and not found.sign


def test_better_is_said_either_way_round():
  yes = pairs.Difference(0.05, 0.02, 0.08, 5)
  no = pairs.Difference(0.05, -0.02, 0.08, 5)
  less = pairs.Difference(-0.05, -0.08, -0.02, 5)
  assert pairs.findings([pairs.Pair('a', 'b', no, no)]) == []
  said = written([pairs.Pair('a', 'b', yes, less)])
  assert said == [
    '- `a` is better on ID test than `b` by 5.0 (2.0 to 8.0)',
    '- `b` is better on OOD than `a` by 5.0 (2.0 to 8.0)',
  ]
  three = [pairs.Pair('a', 'b', no, less), pairs.Pair('a', 'c', yes, yes)]
  assert written([*three, pairs.Pair('b', 'c', yes, yes)]) == [
    '- `a` is better on ID test than `c` by 5.0 (2.0 to 8.0)',
    '- `b` is better on ID test than `c` by 5.0 (2.0 to 8.0)',
    '- `b` is better on OOD than `a` by 5.0 (2.0 to 8.0), '
    '`c` by 5.0 (2.0 to 8.0)',
    '- `a` is better on OOD than `c` by 5.0 (2.0 to 8.0)',
  ]


def test_the_report_compares_in_pairs_where_there_are_seeds(tmp_path):
  workdir = write_workdir(tmp_path / 'five', seeds=range(5))
  text = report.write_report(workdir).read_text()
  rows = summary.summarize(results.read(workdir))
  found = pairs.compare(rows)
  assert len(found) == 10
  section = text.partition('## In pairs')[2].partition('\n## ')[0]
  for line in written(found):
    assert line in section
  assert section.count(' is better on ') == len(pairs.findings(found)) > 0
  assert '| method | minus |' in section
  workdir = write_workdir(tmp_path / 'two', seeds=range(2))
  assert '## In pairs' not in report.write_report(workdir).read_text()

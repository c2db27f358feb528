"""Reports of a workdir that looks like a real one, made from its files."""

import json
import os
import pathlib
import re
import subprocess
import sys

import numpy as np
import pytest

from daft_jax import report, results
from daft_jax.report import (
  __main__,
  collect,
  figures,
  histograms,
  summary,
  tables,
)
from daft_jax.report.figures import look, render, scatter
from daft_jax.report.formats import markdown
from tests.report.workdirs import METHODS, write_trial, write_workdir

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture(scope='module')
def workdir(tmp_path_factory):
  return write_workdir(tmp_path_factory.mktemp('runs') / 'digits')


@pytest.fixture(scope='module')
def written(workdir):
  path = report.write_report([workdir])
  return path.read_text()


def run(*arguments):
  """Runs the command; returns status, stdout, stderr."""
  environment = os.environ | {'PYTHONPATH': str(ROOT), 'PYTHONUTF8': '1'}
  done = subprocess.run(
    [sys.executable, '-m', 'daft_jax.report', *map(str, arguments)],
    capture_output=True,
    encoding='utf-8',
    env=environment,
  )
  return done.returncode, done.stdout, done.stderr


def png_size(path):
  data = pathlib.Path(path).read_bytes()
  assert data[:8] == b'\x89PNG\r\n\x1a\n'
  return int.from_bytes(data[16:20]), int.from_bytes(data[20:24])


def edit(workdir, method, **fields):
  """Changes fields of all results of a method."""
  for path in workdir.glob('trials/*/result.json'):
    line = json.loads(path.read_text())
    if line['method'] == method:
      path.write_text(json.dumps(line | fields))


def test_report_shows_the_means_of_the_chosen_trials(workdir, written):
  lines = results.read(workdir)
  for method, choice in results.choose(lines).items():
    name = method.replace('_', r'\_')
    rows = [r for r in written.split('\n') if r.startswith(f'| {name} | ')]
    mean = np.mean([line['id_test'] for line in choice.lines])
    std = np.std([line['id_test'] for line in choice.lines], ddof=1)
    half = 6.314 * std / 2**0.5  # Student's t of two seeds
    assert f'{100 * mean:.1f} ± {100 * half:.1f}' in rows[0]


def test_report_marks_best_and_second(workdir, written):
  rows = summary.summarize(results.read(workdir))
  order = sorted(rows, key=lambda row: -row.ood['mnist'].mean)
  best, second = (100 * row.ood['mnist'].mean for row in order[:2])
  assert f'**{best:.1f} ± ' in written
  assert f'<ins>{second:.1f} ± ' in written
  assert f'- Highest OOD mnist accuracy: `{order[0].method}` (' in written


def test_report_links_figures_that_exist(workdir, written):
  links = re.findall(r'!\[.+?\]\((.+?)\)', written)
  assert links == [drawing.file for drawing in figures.FIGURES]
  for link in links:
    width, height = png_size(workdir / link)
    assert width > 1000 and height > 400


def test_report_says_how_and_from_what(written):
  assert '18 finished trials of 5 methods' in written
  assert 'highest mean ID validation' in written
  assert 'jax 0.10.2' in written and '"epochs": 10' in written
  assert re.search(r'\| id\\_test \| ft \| .*\d \(\d', written)
  assert str(ROOT) not in written


def test_report_is_the_same_every_time(workdir, written, tmp_path):
  path = report.write_report(str(workdir), tmp_path / 'a' / 'b')
  assert path == tmp_path / 'a' / 'b' / 'report.md'
  assert path.read_text() == written
  for name in ('ood_against_id.png', 'feature_distortion.png'):
    assert (path.parent / name).read_bytes() == (workdir / name).read_bytes()


def test_workdirs_are_put_together(tmp_path):
  one = write_workdir(tmp_path / 'one', ('ft', 'daft'), seeds=(0,))
  two = write_workdir(tmp_path / 'two', ('daft',), seeds=(1,), epochs=20)
  text = report.write_report([one, two]).read_text()
  assert (one / 'report.md').is_file()
  assert '6 finished trials of 2 methods' in text
  assert 'not all have the same number of seeds' in text
  assert 'The workdirs differ in `epochs` (10, 20).' in text
  # The same workdir twice, or a copy of it, adds nothing.
  assert len(collect.collect([one, one, two]).lines) == 6


def test_a_single_method_and_seed_is_not_compared(tmp_path):
  workdir = write_workdir(tmp_path / 'one', ('ft',), seeds=(0,))
  text = report.write_report(workdir).read_text()
  assert '±' not in text
  marks = re.findall(r'\| (?:\*\*|<ins>)|Highest', text)  # of a table
  assert marks == []


def test_a_gap_within_the_interval_is_said(workdir, written):
  rows = summary.summarize(results.read(workdir))
  for column in summary.columns(rows)[:3]:
    first, second = summary.ranked(rows, column)
    if len(first) == len(second) == 1:
      a, b = column.get(first[0]), column.get(second[0])
      said = f'- Highest {column.title} accuracy: `{first[0].method}`'
      (text,) = [x for x in written.split('\n') if x.startswith(said)]
      within = a.mean - b.mean <= max(a.half, b.half)
      assert ('within the 90 % interval' in text) == within


def test_diverged_methods_are_named(tmp_path):
  workdir = write_workdir(tmp_path / 'one', ('lp', 'ft'), seeds=(0,))
  edit(workdir, 'ft', id_val=None, id_test=None, ood_mean=None)
  lines = results.read(workdir)
  assert (
    '`ft`: every trial diverged' in report.write_report(workdir).read_text()
  )
  assert 'ft: every trial diverged' in report.console_table(lines)
  edit(workdir, 'lp', id_val=None)
  assert 'every trial diverged' in report.write_report(workdir).read_text()


def test_several_ood_sets(tmp_path):
  ood = ('real', 'paint_ing', 'clip|art')
  workdir = write_workdir(tmp_path / 'one', ('ft', 'daft'), ood=ood)
  text = report.write_report(workdir).read_text()
  assert '| OOD real | OOD paint\\_ing | OOD clip\\|art | OOD mean |' in text
  assert 'OOD mean' in report.console_table(results.read(workdir))


def test_further_ood_sets(tmp_path):
  workdir = write_workdir(tmp_path / 'one', ('ft', 'daft'))
  assert '## Further OOD sets' not in report.write_report(workdir).read_text()
  chosen = results.choose(results.read(workdir))['daft'].lines
  found = [
    {'trial': chosen[0]['trial'], 'ood': {'usps': 0.1}},
    {'trial': chosen[0]['trial'], 'ood': {'usps': 0.5}},  # again, later
    {'trial': chosen[1]['trial'], 'ood': {'usps': 0.6, 'svhn': None}},
    {'trial': 'f' * 12, 'ood': {'usps': 0.9}},  # of another rate
  ]
  (workdir / 'eval.jsonl').write_text(
    ''.join(
      json.dumps({'method': 'daft', 'seed': 0, 'suite': 'digits'} | x) + '\n'
      for x in found
    )
  )
  text = report.write_report(workdir).read_text()
  assert '| method | seeds | usps | svhn | mean |' in text
  assert '| daft | 2 | 55.0 ± 31.6 | – | – |' in text
  assert 'Left out: 1 trial that' in text
  with open(workdir / 'eval.jsonl', 'a') as file:
    file.write('{"trial": "a", "method": "ft"}\n')
  with pytest.raises(results.ResultsError, match=r"eval\.jsonl:5: field 'ood'"):
    report.write_report(workdir)


def test_results_jsonl_alone_is_enough(workdir, tmp_path):
  results.derive(workdir)
  for name in ('experiment.json', 'results.jsonl'):
    (tmp_path / name).write_bytes((workdir / name).read_bytes())
  text = report.write_report(tmp_path).read_text()
  assert '18 finished trials' in text
  assert 'No histograms of feature distortion' in text
  assert not (tmp_path / 'feature_distortion.png').exists()


@pytest.mark.parametrize('sets', [1, 7])
def test_console_table_fits(tmp_path, sets):
  ood = tuple(f'distribution_{i}' for i in range(sets))
  lines = []
  for method in ('ft', 'lp_ft', 'daft'):
    name = 'daft_no_conversion' if method == 'ft' else method
    for seed in range(3):
      rates = (0.000003, 0.03)
      line = write_trial(tmp_path, method, seed, rates, 1, ood=ood)
      lines.append(results.check(line | {'method': name}, 'here'))
  text = report.console_table(lines)
  assert max(map(len, text.split('\n'))) <= 100
  rows = text.split('\n')[2:]
  names = ['daft_no_conversion', 'lp_ft', 'daft']
  assert [row.split()[0] for row in rows[:3]] == names
  said = ['± is the 90 % interval of the mean over seeds (Student t)']
  assert rows[3:] == (said if '±' in ''.join(rows[:3]) else [])
  assert ('OOD mean' in text) == (sets == 7)


def test_console_table_without_lines():
  assert report.console_table([]) == 'no finished trials'


def test_equal_means_share_a_place(tmp_path):
  lines = [
    write_trial(tmp_path, method, 0, (0.01, None), 1)
    | {'id_val': id_val, 'id_test': id_val}
    for method, id_val in (('ft', 0.90004), ('lp_ft', 0.9), ('daft', 0.8))
  ]
  table = tables.summary_table(summary.summarize(lines))
  column = table.header.index('ID test')
  marks = [table.marks.get((row, column)) for row in range(3)]
  assert marks == ['best', 'best', 'second']


@pytest.mark.parametrize('shifted', [True, False])
def test_every_rate_says_what_it_gives_out_of_distribution(tmp_path, shifted):
  lines = []
  for lr, quality in ((0.01, 0.9), (0.1, 1), (1.0, 1)):
    for seed in (0, 1):
      line = write_trial(tmp_path, 'ft', seed, (lr, None), quality)
      if lr == 1 and seed:
        line |= {'id_val': None, 'ood_mean': None}  # as where it diverged
      if not shifted:
        line |= {'ood': {}, 'ood_mean': None}
      lines.append(results.check(line, 'here'))
  table = tables.rates_table(lines)
  assert [row[-1] for row in table.body] == ['', 'chosen', 'not compared']
  assert ('OOD' in table.header) == shifted
  if shifted:
    column = [row[table.header.index('OOD')] for row in table.body]
    for first, found in zip((0, 2), column[:2], strict=True):
      mean = np.mean([line['ood_mean'] for line in lines[first : first + 2]])
      assert found.startswith(f'{100 * mean:.1f} ± ')
    assert column[2] == tables.MISSING


def test_rebinning_keeps_counts_and_means():
  values = np.random.default_rng(0).gamma(5, 2, 10_000)
  parts = [
    histograms.Histogram(*np.histogram(part, 100))
    for part in (values[:3000], values[3000:])
  ]
  counts, edges = histograms.pool(parts)
  assert counts.sum() == pytest.approx(10_000)
  centres = (edges[1:] + edges[:-1]) / 2
  mean = (counts * centres).sum() / counts.sum()
  assert mean == pytest.approx(values.mean(), rel=5e-3)
  median = histograms.Histogram(counts, edges).quantile(0.5)
  assert median == pytest.approx(np.median(values), rel=0.02)


def test_seeds_are_pooled_with_different_edges(workdir):
  lines = results.read(workdir)
  folders = {x['trial']: workdir / 'trials' / x['trial'] for x in lines}
  choices = results.choose(lines)
  found = histograms.read(choices, folders)
  assert list(found) == list(METHODS)
  assert found['daft']['l2']['id_test'].counts.sum() == pytest.approx(1600)
  assert found['daft']['l2']['mnist'].counts.sum() == pytest.approx(10_000)


def test_damaged_arrays_are_named(tmp_path):
  workdir = write_workdir(tmp_path / 'one', ('ft',), seeds=(0,))
  for path in workdir.glob('trials/*/arrays.npz'):
    path.write_bytes(path.read_bytes()[:2000])
  with pytest.raises(results.ResultsError, match=r'arrays\.npz: damaged'):
    report.write_report(workdir)


def test_styles_differ_and_do_not_depend_on_the_others():
  methods = [*look.STYLES, 'mine', 'yours']
  styles = look.styles(methods)
  assert len({style.colour for style in styles.values()}) == len(methods)
  assert len({style.marker for style in styles.values()}) == len(methods)
  assert look.styles(['daft'])['daft'] == styles['daft']


@pytest.mark.parametrize(
  ('others', 'several', 'expected'),
  [
    (False, False, []),
    (False, True, ['one seed', 'mean, 90 % interval']),
    (True, False, ['other rate', 'chosen rate']),
    (
      *(True, True),
      ['other rate', 'chosen rate, one seed', 'mean, 90 % interval'],
    ),
  ],
)
def test_the_legend_names_what_is_drawn(others, several, expected):
  figure, _ = look.new(4, 3, 1, 1)
  scatter._legend(figure, look.styles(['ft']), others, several, False)
  texts = [text.get_text() for text in figure.legends[0].get_texts()]
  assert texts == ['ft', *([' '] if expected else []), *expected]


def test_the_diagonal_and_a_far_trial(workdir):
  lines = results.read(workdir)
  choices = results.choose(lines)
  found = collect.collect([workdir])
  plain = render.png(scatter.draw(found))
  far = [
    line | {'id_test': 0.1, 'ood_mean': 0.1}
    if line not in choices['ft'].lines and line['method'] == 'ft'
    else line
    for line in lines
  ]
  assert render.png(scatter.draw(found._replace(lines=far))) != plain
  trials = {line['trial']: (line['id_test'], line['ood_mean']) for line in far}
  points = {name: (100 * x, 100 * y) for name, (x, y) in trials.items()}
  chosen = {x['trial'] for c in choices.values() for x in c.lines}
  hidden = set(points) - scatter._near(points, chosen)
  assert {points[name] for name in hidden} == {(10, 10)}


def test_command_prints_the_table_and_imports_no_jax(workdir, tmp_path):
  code = (
    'import runpy, sys\n'
    f'sys.argv = ["report", {str(workdir)!r}, "--output", {str(tmp_path)!r}]\n'
    'try:\n'
    '  runpy.run_module("daft_jax.report", run_name="__main__")\n'
    'except SystemExit as end:\n'
    '  print("status", end.code)\n'
    'for name in ("jax", "flax", "matplotlib.pyplot", "matplotlib.figure"):\n'
    '  print(name, name in sys.modules)\n'
  )
  environment = os.environ | {'PYTHONPATH': str(ROOT), 'PYTHONUTF8': '1'}
  done = subprocess.run(
    [sys.executable, '-c', code],
    capture_output=True,
    encoding='utf-8',
    env=environment,
  )
  assert done.stderr == ''
  table = report.console_table(results.read(workdir))
  assert done.stdout.startswith(table)
  assert done.stdout.split('\n')[-6:-1] == [
    'status 0',
    'jax False',
    'flax False',
    'matplotlib.pyplot False',
    'matplotlib.figure True',
  ]
  assert (tmp_path / 'report.md').is_file()


def test_command_errors_are_one_line_and_status_2(tmp_path):
  (tmp_path / 'empty').mkdir()
  status, out, error = run(tmp_path / 'empty')
  assert (status, out) == (2, '')
  assert 'is not a workdir' in error and error.count('\n') == 1


def test_no_finished_trials(tmp_path, capsys):
  workdir = write_workdir(tmp_path / 'one', ())
  assert __main__.main([str(workdir)]) == 2
  error = capsys.readouterr().err
  assert 'no finished trials in' in error and error.count('\n') == 1


@pytest.mark.parametrize('field', ['suite', 'backbone', 'weights'])
def test_what_does_not_belong_together(tmp_path, capsys, field):
  one = write_workdir(tmp_path / 'one', ('lp',), seeds=(0,))
  two = write_workdir(tmp_path / 'two', ('ft',), seeds=(0,))
  edit(two, 'ft', **{field: 'another'})
  assert __main__.main([str(one), str(two)]) == 2
  error = capsys.readouterr().err
  assert f"{field} 'another'" in error and error.count('\n') == 1


def test_same_rates_with_other_settings(tmp_path, capsys):
  one = write_workdir(tmp_path / 'one', ('lp',), seeds=(0,))
  two = write_workdir(tmp_path / 'two', ('lp',), seeds=(0,))
  (folder,) = (two / 'trials').iterdir()
  folder.rename(folder.with_name('0' * 12))
  edit(two, 'lp', trial='0' * 12)
  assert __main__.main([str(one), str(two)]) == 2
  assert 'both lp, seed 0' in capsys.readouterr().err


def test_damaged_result_is_named(tmp_path, capsys):
  workdir = write_workdir(tmp_path / 'one', ('lp',), seeds=(0,))
  (path,) = workdir.glob('trials/*/result.json')
  path.write_text(path.read_text()[:-20])
  assert __main__.main([str(workdir)]) == 2
  error = capsys.readouterr().err
  assert f'{path}: damaged' in error and 'delete' in error


@pytest.mark.parametrize(
  ('text', 'code', 'escaped'),
  [
    ('daft', '`daft`', 'daft'),
    ('a_b', '`a_b`', r'a\_b'),
    ('`a`', '`` `a` ``', r'\`a\`'),
    ('a``b`', '``` a``b` ```', r'a\`\`b\`'),
    ('a\\', '`a\\`', r'a\\'),
    ('<b>&lt;', '`<b>&lt;`', '&lt;b>&amp;lt;'),
    ('a|b', '`a|b`', r'a\|b'),
    ('https://x', '`https://x`', 'https&#58;//x'),
    ('a\x1b\n b', r'`a\x1b b`', r'a\x1b b'),
  ],
)
def test_names_are_shown_as_they_are(text, code, escaped):
  assert markdown.code(text) == code
  assert markdown.escape(text) == escaped

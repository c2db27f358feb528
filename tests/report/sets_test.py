"""Reports with several OOD sets, or very many, and their summaries."""

import json
import math
import re

import numpy as np
import pytest

from daft_jax import report, results
from daft_jax.report import collect, sets, summary, tables
from daft_jax.report.formats import terminal
from tests.report import workdirs
from tests.report.workdirs import section

REGIONS = ('europe', 'africa')
SUMMARIES = {'union': REGIONS, 'worst_region': ('africa',)}
METHODS = ('ft', 'lp_ft', 'daft')
FOG = tuple(f'fog_{i}' for i in range(1, 6))
NOISE = tuple(f'noise_{i}' for i in range(1, 6))


def header(lines):
  """The cells of the header of every table in some lines."""
  rows = [i for i, line in enumerate(lines) if line.startswith('| :--')]
  return [lines[i - 1].strip('| ').split(' | ') for i in rows]


def row_of(lines, name):
  (found,) = [line for line in lines if line.startswith(f'| {name} |')]
  return found.strip('| ').split(' | ')[1:]


def group(method='ft', seeds=1, mean=0.5, summaries=None, **ood):
  """A group of one accuracy for every set, all seeds alike."""
  stats = (
    {name: summary.stat([x] * seeds) for name, x in values.items()}
    for values in (ood, summaries or {})
  )
  ood, summaries = stats
  return sets.Group(method, seeds, ood, summary.stat([mean]), summaries)


@pytest.fixture(scope='module')
def regions(tmp_path_factory):
  return workdirs.write_workdir(
    tmp_path_factory.mktemp('runs') / 'fmow',
    METHODS,
    ood=REGIONS,
    summaries=SUMMARIES,
  )


@pytest.fixture(scope='module')
def corrupted(tmp_path_factory):
  """A workdir with 75 further sets, and its report."""
  folder = tmp_path_factory.mktemp('runs') / 'cifar'
  workdir = workdirs.write_workdir(folder, METHODS)
  workdirs.write_eval(workdir, workdirs.CORRUPTED, workdirs.MEANS)
  return workdir, report.write_report(workdir).read_text()


def test_summaries_are_columns_after_the_sets(regions):
  text = report.write_report(regions).read_text()
  lines = section(text, 'Results')
  (columns,) = header(lines)
  assert columns[6:11] == [
    *('OOD europe', 'OOD africa', 'OOD mean'),
    *('OOD union', r'OOD worst\_region'),
  ]
  chosen = results.choose(results.read(regions))['daft'].lines
  worst = [100 * line['summaries']['worst_region'] for line in chosen]
  cell = row_of(lines, 'daft')[columns.index(r'OOD worst\_region') - 1]
  value = f'{np.mean(worst):.1f} ± {summary.stat(worst).half:.1f}'
  assert cell == f'**{value}**'
  assert f'- Highest OOD worst\\_region accuracy: `daft` ({value})' in text
  assert '`union` and `worst_region`: of several sets together' in text
  assert 'OOD mean is over the 2 OOD sets.' in text
  assert '## OOD sets' not in text


def test_summaries_are_not_in_the_mean(regions):
  for row in summary.summarize(results.read(regions)):
    means = [row.ood[name].mean for name in REGIONS]
    assert row.ood_mean.mean == pytest.approx(np.mean(means))
    assert sets.trained([row])[0].mean == row.ood_mean


def test_a_summary_that_one_seed_lacks_is_a_dash(regions):
  lines = results.read(regions)
  one = results.choose(lines)['ft'].lines[0]
  lines = [x | {'summaries': {}} if x is one else x for x in lines]
  rows = summary.summarize(lines)
  assert math.isnan(rows[0].summaries['union'].mean)
  table = tables.summary_table(rows)
  column = table.header.index('OOD union')
  assert table.body[0][column] == tables.MISSING
  assert (0, column) not in table.marks and (2, column) in table.marks


def test_lines_of_before_summaries_are_read(tmp_path):
  workdir = workdirs.write_workdir(tmp_path / 'old', ('ft',), ood=REGIONS)
  for path in workdir.glob('trials/*/result.json'):
    line = json.loads(path.read_text())
    del line['summaries']
    path.write_text(json.dumps(line))
  text = report.write_report(workdir).read_text()
  (columns,) = header(section(text, 'Results'))
  assert columns[6:9] == ['OOD europe', 'OOD africa', 'OOD mean']
  assert 'of several sets together' not in text


def test_many_further_sets_are_rows_below_their_summaries(corrupted):
  workdir, text = corrupted
  lines = section(text, 'Further OOD sets')
  end = lines.index('<details>')
  shown, every = lines[:end], lines[end:]
  assert header(shown) == [['set', 'ft', r'lp\_ft', 'daft']] == header(every)
  names = [line.split(' | ')[0][2:].replace('\\', '') for line in shown]
  start = names.index('seeds') + 1
  assert names[start : start + 16] == [*workdirs.CORRUPTIONS, 'corruptions']
  assert not [name for name in names if re.search(r'_\d$', name)]
  found = [line.split(' | ')[0][2:].replace('\\', '') for line in every]
  start = found.index('seeds') + 1
  assert found[start : start + 76] == [*workdirs.CORRUPTED, 'mean']
  assert row_of(every, 'mean') == row_of(shown, 'corruptions')
  assert row_of(shown, 'seeds') == ['2', '2', '2']
  trials = {
    x['trial'] for x in results.choose(results.read(workdir))['ft'].lines
  }
  fog = [
    100 * x['summaries']['fog']
    for x in collect.read_eval(workdir)
    if x['trial'] in trials
  ]
  value = f'{np.mean(fog):.1f} ± {summary.stat(fog).half:.1f}'
  assert row_of(shown, 'fog')[0].strip('*').startswith(value)


def test_turned_tables_mark_along_the_rows():
  many = {f's{i}': 0.1 * i for i in range(9)}
  groups = [
    group('ft', **many),
    group('daft', **{name: x + 0.1 for name, x in many.items()}),
    group('lp', **{name: 0 for name in many}),
  ]
  table = sets.table(groups)
  assert table.header == ['set', 'ft', 'daft', 'lp']
  assert [row[0] for row in table.body] == ['seeds', *many, 'mean']
  for index, row in enumerate(table.body[1:-1], 1):
    assert table.marks[index, 2] == 'best', row
    assert table.marks[index, 1] == 'second', row
  assert (0, 1) not in table.marks
  few = [x._replace(ood=dict(list(x.ood.items())[:8])) for x in groups]
  table = sets.table([x._replace(mean=x.ood['s0']) for x in few])
  assert table.header == ['method', 'seeds', *list(many)[:8], 'mean']


def test_fewer_seeds_are_not_ranked_with_more():
  one, two = group('ft', 2, a=0.5, b=0.5), group('daft', 2, a=0.4, b=0.4)
  one = one._replace(ood=one.ood | {'a': summary.stat([0.9])})
  table = sets.table([one, two])
  column = table.header.index('a')
  assert not [place for place in table.marks if place[1] == column]
  assert table.marks[0, column + 1] == 'best'


def test_sets_without_a_summary_stay():
  accuracies = dict.fromkeys((*FOG, *NOISE, 'usps', 'snow_1'), 0.5)
  means = {'fog': 0.5, 'noise': 0.5, 'all': 0.5}
  groups = [group('ft', summaries=means, **accuracies)]
  assert summary.shown(groups) == (['usps', 'snow_1'], list(means))
  assert sets.hidden(groups)
  assert summary.overall(groups) == ['all']
  # Here one method knows of fog_3 alone, which its summary does not say.
  part = group('daft', summaries={'noise': 0.5}, fog_3=0.4, noise_1=0.5)
  names = ['fog_3', 'usps', 'snow_1']
  assert summary.shown([*groups, part]) == (names, list(means))
  # Nor does a summary that is nan, or that fewer seeds have.
  for values in ([math.nan, 0.5], [0.5]):
    part = group('daft', seeds=2, fog_3=0.4)
    part = part._replace(summaries={'fog': summary.stat(values)})
    assert summary.shown([*groups, part])[0] == names
  # Up to eight sets are all shown.
  few = group('ft', summaries=means, **dict.fromkeys((*FOG, 'usps'), 0.5))
  assert summary.shown([few]) == ([*FOG, 'usps'], list(means))
  assert not sets.hidden([few])


def test_a_part_of_the_corruptions_is_shown(tmp_path):
  """No summary was computed of those, so all are rows."""
  workdir = workdirs.write_workdir(tmp_path / 'one', ('ft', 'daft'))
  some = workdirs.CORRUPTED[:4] + workdirs.CORRUPTED[5:12]
  workdirs.write_eval(workdir, some, {}, without=('summaries',))
  lines = section(report.write_report(workdir).read_text(), 'Further OOD sets')
  assert '<details>' not in lines
  assert len([x for x in lines if x.startswith('| ')]) == 2 + 1 + 11 + 1


def test_few_further_sets_and_a_summary_are_columns(tmp_path):
  workdir = workdirs.write_workdir(tmp_path / 'one', ('ft', 'daft'))
  workdirs.write_eval(workdir, REGIONS, {'union_2013': REGIONS})
  lines = section(report.write_report(workdir).read_text(), 'Further OOD sets')
  names = ['method', 'seeds', 'europe', 'africa', 'mean', r'union\_2013']
  assert header(lines) == [names]


@pytest.mark.parametrize(
  ('ood', 'means', 'columns', 'tabled', 'folded'),
  [
    # So many that the summaries by name are for the second table as well.
    (
      *(workdirs.CORRUPTED, workdirs.MEANS, ['mean', 'corruptions']),
      *([*workdirs.CORRUPTIONS, 'corruptions'], workdirs.CORRUPTED),
    ),
    # Summaries and the rest are few enough for the final table.
    (
      *((*FOG, *NOISE, 'usps'), {'fog': FOG, 'noise': NOISE}),
      *(['usps', 'mean', 'fog', 'noise'], [], (*FOG, *NOISE, 'usps')),
    ),
    # Nothing stands for them.
    (
      *(tuple('abcdefghi'), {'union': ('a', 'b')}, ['mean', 'union']),
      *([*'abcdefghi', 'mean', 'union'], ()),
    ),
  ],
)
def test_many_sets_of_every_trial(
  tmp_path, ood, means, columns, tabled, folded
):
  workdir = workdirs.write_workdir(
    tmp_path / 'one', ('ft', 'daft'), ood=ood, summaries=means, images=100
  )
  text = report.write_report(workdir).read_text().replace('\\_', '_')
  (found,) = header(section(text, 'Results'))
  assert [x[4:] for x in found if x.startswith('OOD ')] == columns
  *before, last = '\n'.join(section(text, 'OOD sets')).split('<details>')
  before, last = (before[0], last) if before else (last, '')

  def names(part):
    rows = re.findall(r'^\| (\w+) \| .*\d', part, re.MULTILINE)
    return [name for name in rows if name != 'seeds']

  assert names(before) == tabled
  assert names(last) == ([*folded, 'mean'] if folded else [])
  assert f'OOD mean is over the {len(ood)} OOD sets.' in text
  # Every metric of every set is there, folded.
  assert section(text, 'Each set')[3] == '<details>'
  assert all(f'| {name} | daft |' in text for name in ood)


def test_eval_lines_with_damaged_summaries_are_named(tmp_path):
  workdir = workdirs.write_workdir(tmp_path / 'one', ('ft',))
  (line, *_) = workdirs.write_eval(workdir, REGIONS, {})
  for value, message in (
    ([0.5], r"'summaries' cannot be \[0.5\]: it has to be an object"),
    ({'union': '0.5'}, "'summaries/union' cannot be '0.5': accuracies are in"),
  ):
    line['summaries'] = value
    (workdir / 'eval.jsonl').write_text(json.dumps(line) + '\n')
    with pytest.raises(results.ResultsError, match=message):
      report.write_report(workdir)


def test_console_table_prefers_summaries_to_single_sets(regions):
  rows = summary.summarize(results.read(regions))
  wide, narrow = (terminal.console(rows, width) for width in (200, 100))
  for text in (wide, narrow):
    assert 'OOD union' in text and 'OOD worst_region' in text
  assert 'OOD europe' in wide and 'OOD europe' not in narrow
  assert max(map(len, narrow.split('\n'))) <= 100
  text = terminal.console(rows, 70)
  assert 'OOD mean' in text and 'OOD union' not in text


def test_console_table_of_75_sets_fits(tmp_path):
  workdir = workdirs.write_workdir(
    tmp_path / 'one',
    METHODS,
    ood=workdirs.CORRUPTED,
    summaries=workdirs.MEANS,
    seeds=(0,),
    images=100,
  )
  text = report.console_table(results.read(workdir))
  assert max(map(len, text.split('\n'))) <= 100
  assert 'OOD mean' in text and 'OOD corruptions' in text
  assert 'fog' not in text

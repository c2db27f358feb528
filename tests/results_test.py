"""Result files: strict, atomic, in a stable order; the choice of rates."""

import json
import math
import os
import pathlib

import numpy as np
import pytest

from daft_jax import results
from daft_jax.report import summary


def make(trial='0' * 12, method='ft', seed=0, lr=0.1, head_lr=None, **fields):
  line = {
    'trial': trial,
    'suite': 'digits',
    'backbone': 'resnet14_cifar',
    'weights': 'resnet14_cifar.glyphs',
    'method': method,
    'seed': seed,
    'lr': lr,
    'head_lr': head_lr,
    'C': None,
    'epoch': 3,
    'id_val': 0.9,
    'id_test': 0.8,
    'ood': {'mnist': 0.3},
    'ood_mean': 0.3,
    'summaries': {'union': 0.3},
    'feature_l2': 1.5,
    'feature_cosine': 0.9,
    'seconds': 2.0,
    'metrics': {'id_test': {'loss': 0.5}},
    'config': {'lr': lr},
    'versions': {'jax': '0.10.2'},
  }
  return line | fields


@pytest.fixture
def workdir(tmp_path):
  experiment = {'suite': 'digits', 'config': {'methods': ['ft', 'daft']}}
  (tmp_path / 'experiment.json').write_text(json.dumps(experiment))
  return tmp_path


def test_a_line_is_read_back_as_it_was_written(workdir):
  path = results.write_line(workdir, make())
  assert path == workdir / 'trials' / ('0' * 12) / 'result.json'
  assert results.read(workdir) == [make()]
  (text,) = (workdir / 'results.jsonl').read_text().splitlines()
  assert json.loads(text) == make() == json.loads(path.read_text())
  assert path.read_text().startswith('{\n  "trial"')


def test_order_is_of_methods_then_seed_and_rates(workdir):
  lines = [
    make('a' * 12, 'ft', 0, 0.1),
    make('9' * 12, 'ft', 1, 0.01),
    make('8' * 12, 'ft', 1, 0.1),
    make('7' * 12, 'daft', 0, None, 0.1),
    make('6' * 12, 'daft', 0, 0.01, 0.1),
    make('5' * 12, 'daft', 0, 0.01, 1.0),
    make('4' * 12, 'daft', 0, 0.01, 1.0, C=1.0),
    make('1' * 12, 'adabn'),  # not in the experiment: at the end
  ]
  lines[5], lines[6] = lines[6], lines[5]  # by the name of the trial
  for index in np.random.default_rng(0).permutation(len(lines)):
    results.write_line(workdir, lines[index])
  expected = [line['trial'] for line in lines]
  assert [line['trial'] for line in results.read(workdir)] == expected
  texts = (workdir / 'results.jsonl').read_text().splitlines()
  assert [json.loads(text)['trial'] for text in texts] == expected


def test_results_jsonl_is_read_where_trials_are_not(workdir):
  assert results.read(workdir) == []
  text = ''.join(
    json.dumps(make(str(seed) * 12, seed=seed)) + '\n\n' for seed in (1, 0)
  )
  (workdir / 'results.jsonl').write_text(text)
  assert [line['seed'] for line in results.read(workdir)] == [0, 1]


def test_null_is_nan_where_a_number_was_measured(workdir):
  line = make(
    id_val=math.nan,
    feature_l2=np.float32('inf'),
    lr=np.float64(0.1),
    ood={'mnist': math.nan},
    summaries={'union': math.nan},
    metrics={'mnist': {'loss': -math.inf}},
  )
  path = results.write_line(workdir, line)
  text = path.read_text()
  assert 'NaN' not in text and 'Infinity' not in text
  assert json.loads(text)['id_val'] is None
  (line,) = results.read(workdir)
  for value in (line['id_val'], line['feature_l2'], line['ood']['mnist']):
    assert math.isnan(value)
  assert math.isnan(line['summaries']['union'])
  assert math.isnan(line['metrics']['mnist']['loss'])
  assert line['lr'] == 0.1 and line['head_lr'] is None and line['C'] is None


def test_dumps_takes_arrays_and_tuples():
  value = {'a': (1, np.arange(2)), 'b': np.float32(0.5), 'c': [np.nan]}
  assert results.dumps(value) == '{"a": [1, [0, 1]], "b": 0.5, "c": [null]}'
  with pytest.raises(TypeError):
    results.dumps({'a': object()})


@pytest.mark.parametrize(
  'text', ['{"id_val": NaN}', '{"id_val": -Infinity}', '{"id', '', '[1]']
)
def test_damaged_files_are_named(workdir, text):
  path = results.write_line(workdir, make())
  path.write_text(text)
  with pytest.raises(results.ResultsError) as error:
    results.read(workdir)
  assert str(error.value).startswith(f'{path}: damaged (')
  assert f'delete {path.parent} and run' in str(error.value)
  assert '\n' not in str(error.value)


def test_damaged_lines_are_named(workdir):
  lines = [json.dumps(make()), json.dumps(make())[:-5]]
  (workdir / 'results.jsonl').write_text('\n'.join(lines))
  with pytest.raises(results.ResultsError, match=r'results\.jsonl:2: damaged'):
    results.read(workdir)


@pytest.mark.parametrize(
  'fields, message',
  [
    ({'id_val': 97.5}, "'id_val' cannot be 97.5: accuracies are in"),
    ({'ood': {'mnist': -0.1}}, "'ood/mnist' cannot be -0.1: accuracies are in"),
    ({'ood': {'mnist': '0.3'}}, "'ood/mnist' cannot be '0.3'"),
    ({'ood': [0.3]}, r"'ood' cannot be \[0.3\]"),
    (
      {'summaries': {'union': 62}},
      "'summaries/union' cannot be 62: accuracies are in",
    ),
    ({'summaries': {'union': -0.1}}, "'summaries/union' cannot be -0.1"),
    ({'summaries': {'union': '0.3'}}, "'summaries/union' cannot be '0.3'"),
    ({'summaries': {'union': True}}, "'summaries/union' cannot be True"),
    ({'summaries': [0.3]}, r"'summaries' cannot be \[0.3\]"),
    ({'metrics': {'mnist': 1}}, "'metrics/mnist' cannot be 1"),
    ({'seed': True}, "'seed' cannot be True"),
    ({'seed': None}, "'seed' cannot be None"),
    ({'method': 3}, "'method' cannot be 3"),
    ({'lr': '0.1'}, "'lr' cannot be '0.1'"),
  ],
)
def test_wrong_fields_are_named(workdir, fields, message):
  with pytest.raises(results.ResultsError, match=message):
    results.write_line(workdir, make(**fields))
  assert not (workdir / 'trials').exists()
  folder = workdir / 'trials' / ('0' * 12)
  folder.mkdir(parents=True)
  (folder / 'result.json').write_text(json.dumps(make(**fields)))
  with pytest.raises(results.ResultsError, match=message) as error:
    results.read(workdir)
  assert str(folder / 'result.json') in str(error.value)


@pytest.mark.parametrize('name', ['trial', 'method', 'seed', 'id_val', 'ood'])
def test_missing_fields_are_named(workdir, name):
  line = make()
  del line[name]
  with pytest.raises(results.ResultsError, match=f'{name!r} is missing'):
    results.write_line(workdir, line)


def test_lines_of_before_summaries_have_none(workdir):
  line = make()
  del line['summaries']
  results.write_line(workdir, line)
  assert results.read(workdir) == [make(summaries={})]


def test_a_copied_trial_is_refused(workdir):
  path = results.write_line(workdir, make())
  path.parent.rename(path.parent.with_name('copy'))
  with pytest.raises(results.ResultsError, match="'trial' is '000000000000'"):
    results.read(workdir)


def test_not_a_workdir(tmp_path):
  with pytest.raises(results.ResultsError, match='is not a workdir'):
    results.read(tmp_path)
  with pytest.raises(results.ResultsError, match='is not a workdir'):
    results.read(tmp_path / 'nowhere')


def test_atomic_write_replaces(tmp_path):
  path = tmp_path / 'file'
  results.atomic_write(path, 'grün')
  results.atomic_write(str(path), path.read_bytes() + b'!')
  assert path.read_text(encoding='utf-8') == 'grün!'
  assert os.listdir(tmp_path) == ['file']


def test_atomic_write_keeps_the_old_file_when_it_fails(tmp_path, monkeypatch):
  path = tmp_path / 'file'
  path.write_text('old')

  def full(descriptor):
    raise OSError('no space left')

  monkeypatch.setattr(os, 'fsync', full)
  with pytest.raises(OSError, match='no space left'):
    results.atomic_write(path, 'new')
  assert path.read_text() == 'old'
  assert os.listdir(tmp_path) == ['file']


def test_atomic_write_obeys_the_umask(tmp_path):
  results.atomic_write(tmp_path / 'file', '')
  pathlib.Path(tmp_path / 'plain').touch()
  modes = [os.stat(tmp_path / name).st_mode for name in ('file', 'plain')]
  assert modes[0] == modes[1]


def pick(*lines):
  choice = results.choose(lines)['ft']
  return choice.lr, choice.head_lr


def test_choice_is_by_mean_id_val_over_seeds():
  lines = [
    make(seed=0, lr=0.1, id_val=0.99, id_test=1.0, ood_mean=1.0),
    make(seed=1, lr=0.1, id_val=0.90, id_test=1.0, ood_mean=1.0),
    make(seed=0, lr=0.01, id_val=0.95),
    make(seed=1, lr=0.01, id_val=0.96),
  ]
  choice = results.choose(lines)['ft']
  assert choice.lr == 0.01
  assert [line['seed'] for line in choice.lines] == [0, 1]


def test_ties_go_to_the_smaller_rates():
  assert pick(make(lr=0.1), make(lr=0.01)) == (0.01, None)
  pairs = [(0.1, 0.1), (0.01, 1.0), (0.01, 0.3)]
  assert pick(*[make(lr=a, head_lr=b) for a, b in pairs]) == (0.01, 0.3)
  # 0.1 + 0.2 is not 0.3 in floating point, and still a tie.
  lines = [
    make(lr=0.01, seed=0, id_val=0.15),
    make(lr=0.01, seed=1, id_val=0.15),
    make(lr=0.1, seed=0, id_val=0.1),
    make(lr=0.1, seed=1, id_val=0.2),
  ]
  assert pick(*lines) == (0.01, None)


def test_nan_never_wins():
  nan = math.nan
  assert pick(make(lr=0.01, id_val=nan), make(lr=0.1, id_val=0.0))[0] == 0.1
  # One diverged seed is enough, however good the other.
  lines = [
    make(lr=0.01, seed=0, id_val=0.99),
    make(lr=0.01, seed=1, id_val=nan),
    make(lr=0.1, seed=0, id_val=0.5),
    make(lr=0.1, seed=1, id_val=0.5),
  ]
  assert pick(*lines)[0] == 0.1
  # A rate that is not finished yet counts when all others diverged.
  assert pick(*lines[:2], lines[2])[0] == 0.1
  assert results.choose([make(id_val=nan)]) == {}
  assert summary.diverged([make(id_val=nan)]) == ['ft']


def test_a_rate_with_fewer_seeds_does_not_win():
  lines = [
    make(lr=0.1, seed=0, id_val=0.99),
    make(lr=0.01, seed=0, id_val=0.9),
    make(lr=0.01, seed=1, id_val=0.9),
  ]
  assert pick(*lines)[0] == 0.01


def test_choices_keep_the_order_of_methods():
  lines = [make(method=name) for name in ('lp', 'ft', 'adabn', 'ft')]
  assert list(results.choose(lines)) == ['lp', 'ft', 'adabn']
  assert results.choose([]) == {}


def test_summary_is_mean_and_interval_over_seeds():
  lines = [
    make(seed=0, id_test=0.8, ood={'a': 0.1, 'b': 0.5}),
    make(seed=1, id_test=0.9, ood={'a': 0.3}),
    make(seed=0, lr=0.01, id_val=0.1),
  ]
  (row,) = summary.summarize(lines)
  assert row.method == 'ft' and row.choice.lr == 0.1
  assert row.id_test.mean == pytest.approx(0.85)
  assert row.id_test.half == pytest.approx(6.314 * 0.05)
  assert row.ood['a'].mean == pytest.approx(0.2)
  assert math.isnan(row.ood['b'].mean)  # one seed lacks it
  (row,) = summary.summarize(lines[:1])
  assert row.id_test.mean == 0.8 and math.isnan(row.id_test.half)


@pytest.mark.parametrize(
  'fields, message',
  [
    ({'trial': '../x'}, "'trial' cannot be '../x': it has to be the name of"),
    ({'method': 'a\x1b[2J'}, r"'method' cannot be 'a\\x1b\[2J': it has to be"),
    ({'suite': 'x' * 1001}, r"'suite' cannot be 'x{79}\.\.\.: it has to be"),
    ({'ood': {'\u202e': 0.5}}, r"'ood' cannot be {'\\u202e': 0.5}: it has to"),
    ({'seed': 10**400}, r"'seed' cannot be 10{79}\.\.\.: it has to be a whole"),
    ({'seed': 10**5000}, "'seed' cannot be so large: it has to be a whole"),
    ({'seconds': 10**400}, 'it has to be a number up to 1e'),
    ({'feature_l2': -1e200}, "'feature_l2' cannot be -1e"),
    (
      {'metrics': {'mnist': {'loss': [0.5]}}},
      "'metrics/mnist/loss' cannot be ",
    ),
    ({'metrics': {'mnist': {'accuracy': 2}}}, "'metrics/mnist/accuracy' can"),
    ({'versions': {'jax': 1}}, "'versions/jax' cannot be 1"),
  ],
  ids=range(11),
)
def test_what_would_break_a_report_is_refused(fields, message):
  with pytest.raises(results.ResultsError, match=message) as error:
    results.check(make(**fields), 'here', 'mend it')
  assert str(error.value).startswith('here: ')
  assert str(error.value).endswith('; mend it')
  assert str(error.value).isprintable() and len(str(error.value)) < 400


def test_fields_without_a_row_stay(workdir):
  extra = {'layers': {'conv': [0.1, None]}, 'of': [[1, 'a'], {'b': None}]}
  metrics = {'id_test': {'class_accuracy': [0.5, None], 'interval': [0, 1]}}
  line = make(extra=extra, metrics=metrics)
  results.write_line(workdir, line)
  assert results.read(workdir) == [line]


@pytest.mark.parametrize(
  'about, message',
  [
    ({'config': [1]}, r"'config' cannot be \[1\]: it has to be an object"),
    ({'config': {'methods': 5}}, "'config/methods' cannot be 5: it has to be"),
    ({'config': {'methods': [[]]}}, "'config/methods' cannot be "),
    ({'settings': 1}, "'settings' cannot be 1"),
    ({'suite': '\x1b'}, "'suite' cannot be "),
  ],
)
def test_a_wrong_experiment_is_named(tmp_path, about, message):
  (tmp_path / 'experiment.json').write_text(json.dumps(about))
  with pytest.raises(results.ResultsError, match=message) as error:
    results.read(tmp_path)
  assert 'delete it and run the same command again' in str(error.value)


def test_what_has_no_end_is_not_read(workdir):
  path = results.write_line(workdir, make())
  path.unlink()
  path.symlink_to('/dev/zero')
  with pytest.raises(results.ResultsError, match='it is no file'):
    results.read(workdir)
  path.unlink()
  with open(path, 'wb') as file:
    file.truncate(1 << 40)
  with pytest.raises(results.ResultsError, match='it has 1,099,511,627,776 b'):
    results.read(workdir)

"""The model card, and what the numbers rest on: generated from the files."""

import json

import pytest

from daft_jax import experiment, report
from daft_jax.report import origin
from tests.report.workdirs import section, write_workdir


def add(workdir, **fields):
  path = workdir / 'experiment.json'
  path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def write(workdir, title):
  text = report.write_report(workdir).read_text()
  return '\n'.join(section(text, title))


@pytest.fixture
def workdir(tmp_path):
  workdir = write_workdir(tmp_path / 'one')
  add(
    workdir,
    num_classes=10,
    images={'train': 1200, 'id_val': 400},
    preprocess={'image_size': 24, 'mean': [0.5]},
    settings={'epochs': 10, 'batch_size': 64},
  )
  return workdir


def test_the_card_is_of_the_model_that_is_loaded(workdir):
  line = experiment.choose_line(workdir)
  text = write(workdir, 'Model card')
  assert f"`daft_jax.load_run(workdir, '{line['method']}')` returns" in text
  assert (
    f'- **Model:** `resnet14_cifar` of 10 classes, fine-tuned from '
    f'`resnet14_cifar.glyphs` by `{line["method"]}`, seed {line["seed"]}, '
    f'trial `{line["trial"]}`.'
  ) in text
  assert '- **Input:** RGB images; image\\_size 24, mean \\[0.5\\].' in text
  assert '**Trained on:** suite `digits`, 1,200 images, ' in text
  assert f'chosen epoch {line["epoch"]}, batch size 64.' in text
  assert 'of 18 trials of 5 methods, chosen by ID validation.' in text
  metrics = line['metrics']['mnist']
  cells = f'| mnist | {100 * line["ood"]["mnist"]:.1f} | {metrics["loss"]:.3f}'
  assert f'{cells} | 0.050 | ' in text
  gap = 100 * (line['id_test'] - line['ood']['mnist'])
  assert f'- Accuracy is {gap:.1f} points lower on `mnist`.' in text
  assert '- The worst class, OOD, is `' in text
  assert 'under which licences' in text


def test_the_card_says_what_the_paper_does(tmp_path):
  workdir = write_workdir(tmp_path / 'one', ('ft',), selection='paper')
  assert 'whose numbers are optimistic' in write(workdir, 'Model card')


def test_of_several_workdirs_none_is_promised(tmp_path):
  one = write_workdir(tmp_path / 'one', ('ft',), seeds=(0,))
  two = write_workdir(tmp_path / 'two', ('ft',), seeds=(1,))
  text = write([one, two], 'Model card')
  assert 'load_run' not in text and 'The model that is of the' in text


def test_records_that_say_little(tmp_path):
  workdir = write_workdir(tmp_path / 'one', ('lp',), seeds=(0,))
  text = write(workdir, 'Model card')
  assert 'Input' not in text and 'epochs' not in text
  for path in workdir.glob('trials/*/result.json'):
    line = json.loads(path.read_text()) | {'id_val': None}
    path.write_text(json.dumps(line))
  assert '## Model card' not in report.write_report(workdir).read_text()


def test_commands_and_fingerprints_are_said(workdir):
  before = write(workdir, 'Versions and config')
  assert '```bash' not in before and 'SHA-256' not in before
  command = 'python -m daft_jax.main --config=configs/digits.py'
  settings = {'weights_sha256': 'aa', 'data_sha256': 'bb'}
  add(workdir, commands=[command, command, 'two'], settings=settings)
  text = write(workdir, 'Versions and config')
  assert f'```bash\n{command}\ntwo\n```' in text
  assert '- SHA-256 of the images: `bb`' in text
  assert '- SHA-256 of the weights: `aa`' in text


def test_fingerprints_of_different_records():
  records = [{'x': 'a', 'settings': {'x': 'a'}}, {'settings': {'x': 'b'}}]
  records += [{'x': 5, 'settings': {}}, {'x': ''}, {}]
  assert origin.fingerprints(records, 'x') == ['a', 'b']


def test_a_long_record_is_cut(workdir):
  add(workdir, notes=['x' * 1000] * 1000)
  path = report.write_report(workdir)
  for name in ('report.md', 'report.html', 'report.tex'):
    assert path.with_name(name).stat().st_size < 1_500_000

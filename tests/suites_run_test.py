"""Every published suite through the program, for one epoch of tiny sets.

The files are those of the publishers in their own formats, but small; the
configs are those of `configs/`, with a small network.
"""

import json
import pathlib

import numpy as np
import pytest

from daft_jax import main
from daft_jax.data import domains, suites
from tests.fixtures import published as fixtures

ROOT = pathlib.Path(main.__file__).parent.parent
EVERY = (
  *('cifar', 'domainnet', 'living17', 'entity30', 'fmow', 'imagenet'),
  *('pacs', 'office_home', 'vlcs'),
)
SMALL = (
  *('--config.backbone=resnet14_cifar', '--config.weights=scratch'),
  *('--config.weights_path=None', '--config.image_size=24'),
  *('--config.methods=ft', '--config.seeds=0', '--config.lrs=0.01'),
  *('--config.epochs=1', '--config.mesh.data=1'),
)


@pytest.fixture(scope='module')
def data_dir(tmp_path_factory):
  """Writes a suite's files when they are first asked for."""
  folders = {}

  def make(suite):
    if suite not in folders:
      folders[suite] = tmp_path_factory.mktemp(suite)
      fixtures.write_suite(folders[suite], suite)
    return folders[suite]

  return make


def run(suite, folder, workdir, *more):
  given = [
    f'--config={ROOT / "configs" / f"{suite}.py"}',
    f'--workdir={workdir}',
    f'--config.data.dir={folder}',
    *SMALL,
    *more,
  ]
  # A flag that is given twice is an error: here the last one counts.
  last = {flag.partition('=')[0]: flag for flag in given}
  return main.main(list(last.values()))


def line_of(workdir):
  (text,) = (workdir / 'results.jsonl').read_text().splitlines()
  return json.loads(text)


def test_every_suite_has_a_config_and_is_tested():
  embedded = {'digits', 'digits_swapped', 'glyphs', 'tiny'}
  assert set(EVERY) == {*suites.SUITES, *domains.DOMAINS} - embedded
  for suite in EVERY:
    assert (ROOT / 'configs' / f'{suite}.py').is_file()


@pytest.mark.parametrize('suite', EVERY)
def test_a_suite_runs_to_its_report(suite, data_dir, tmp_path, capsys):
  folder = data_dir(suite)
  assert run(suite, folder, tmp_path) == 0
  out = capsys.readouterr().out
  line, about = (
    line_of(tmp_path),
    json.loads((tmp_path / 'experiment.json').read_text()),
  )
  if suite in domains.DOMAINS:
    row = domains.DOMAINS[suite]
    assert set(line['ood']) == set(row.domains) - {row.id}
    assert about['residency'] == 'stream'
  else:
    row = suites.SUITES[suite]
    assert set(line['ood']) == set(row.ood)
    assert about['num_classes'] == len(about['classes']) == row.num_classes
    possible = {
      name
      for name, summary in row.summaries.items()
      if set(summary.sets) <= set(row.ood)
    }
    assert set(line['summaries']) == possible
  assert 'waited for images' in out and 'images: ' in out
  assert f'suite `{suite}`' in (tmp_path / 'report.md').read_text()
  assert len(about['settings']['data_sha256']) == 64
  assert str(folder) not in (tmp_path / 'report.md').read_text()
  # A finished run prints its result and trains nothing.
  assert run(suite, folder, tmp_path) == 0
  assert '1 trials so far, 1 finished before' in capsys.readouterr().out


def test_union_and_worst_are_of_the_sets(data_dir, tmp_path):
  assert run('fmow', data_dir('fmow'), tmp_path) == 0
  line = line_of(tmp_path)
  counts = {k: line['metrics'][k]['count'] for k in line['ood']}
  right = sum(round(line['ood'][k] * counts[k]) for k in counts)
  assert line['summaries'] == {
    'union': pytest.approx(right / sum(counts.values())),
    'worst_region': min(line['ood'].values()),
  }


def test_corruptions_of_the_chosen_trial(data_dir, tmp_path):
  folder = data_dir('cifar')
  assert run('cifar', folder, tmp_path) == 0
  assert run('cifar', folder, tmp_path, '--config.eval_only') == 0
  (text,) = (tmp_path / 'eval.jsonl').read_text().splitlines()
  line = json.loads(text)
  assert len(line['ood']) == 75 and len(line['summaries']) == 16
  fog = [line['ood'][f'fog_{severity}'] for severity in range(1, 6)]
  assert line['summaries']['fog'] == pytest.approx(np.mean(fog))
  every = np.mean(list(line['ood'].values()))
  assert line['summaries']['corruptions'] == pytest.approx(every)


def test_validation_is_of_train_or_as_in_the_paper(data_dir, tmp_path, capsys):
  folder = data_dir('cifar')
  assert run('cifar', folder, tmp_path / 'val') == 0
  assert 'train 40, id_val 10, id_test' in capsys.readouterr().out
  paper = '--config.selection=paper'
  assert run('cifar', folder, tmp_path / 'paper', paper) == 0
  out = capsys.readouterr().out
  assert 'train 50, id_test' in out and 'id_val is id_test' in out
  line = line_of(tmp_path / 'paper')
  assert line['id_val'] == line['id_test']
  # Not in one workdir.
  assert run('cifar', folder, tmp_path / 'val', paper) == 2
  assert 'selection' in capsys.readouterr().err


def test_a_published_benchmark_is_taken_as_it_is(tmp_path, capsys):
  """An image that two of its domains share: of one's own, that is refused."""
  fixtures.write_suite(tmp_path / 'data', 'pacs')
  dogs = tmp_path / 'data' / 'PACS'
  same = (dogs / 'photo' / 'dog' / 'dog_0.jpg').read_bytes()
  (dogs / 'sketch' / 'dog' / 'dog_0.jpg').write_bytes(same)
  assert run('pacs', tmp_path / 'data', tmp_path / 'run') == 0
  said = '1 files occur more than once, 1 in two splits'
  assert said in capsys.readouterr().out


def test_where_images_stay_is_kept_and_changes_nothing(
  data_dir, tmp_path, capsys
):
  folder = data_dir('domainnet')
  lines = []
  for where in ('stream', 'host', 'device'):
    workdir = tmp_path / where
    given = f'--config.data.residency={where}'
    assert run('domainnet', folder, workdir, given) == 0
    lines.append(line_of(workdir))
    capsys.readouterr()
    assert run('domainnet', folder, workdir) == 0
    assert f'images: {where} (as this run was begun)' in capsys.readouterr().out
  for line in lines[1:]:
    for key in ('id_val', 'id_test', 'ood', 'feature_l2', 'metrics'):
      assert line[key] == lines[0][key]
    assert line['trial'] == lines[0]['trial']


def test_mixed_and_recoloured_images_train(data_dir, tmp_path):
  more = ('mixup=0.2', 'cutmix=1.0', 'jitter=0.4', 'rand_augment=2')
  given = [f'--config.data.{field}' for field in more]
  assert run('domainnet', data_dir('domainnet'), tmp_path, *given) == 0
  lines = (tmp_path / 'trials').glob('*/metrics.jsonl')
  (loss,) = (json.loads(path.read_text())['loss'] for path in lines)
  assert np.isfinite(loss) and loss > 0


@pytest.mark.parametrize(
  ('suite', 'more', 'says'),
  [
    ('cifar', ['--config.data.dir=None'], "config.data.dir: suite 'cifar'"),
    (
      'cifar',
      ['--config.data.dir=/no/such'],
      'config.data.dir: data_dir /no/such',
    ),
    ('cifar', ['--config.data.domain=photo'], "'cifar' has no domains"),
    ('pacs', ['--config.data.domain=foto'], "Did you mean 'photo'"),
    ('pacs', ['--config.selection=paper'], 'config.selection: folders are'),
    ('cifar', ['--config.data.residency=disk'], 'config.data.residency'),
    (
      'domainnet',
      ['--config.augment=random_resized_crop', '--config.data.residency=host'],
      "cuts from whole images: say 'stream'",
    ),
    ('cifar', ['--config.data.jitter=1.5'], 'config.data.jitter'),
    ('cifar', ['--config.data.rand_augment=11'], 'ops is 11'),
    ('cifar', ['--config.data.decoder=turbo'], 'config.data.decoder'),
    ('cifar', ['--config.data.workers=-1'], 'config.data.workers'),
    ('cifar', ['--config.data.timeout=0'], 'config.data.timeout'),
    ('cifar', ['--config.data.mixup=-1'], 'config.data.mixup'),
    ('digits', ['--config.selection=paper'], 'validation set of its own'),
    ('digits', ['--config.suite=cifer'], "Did you mean 'cifar'"),
  ],
)
def test_mistakes_are_said_before_anything(
  suite, more, says, data_dir, tmp_path, capsys
):
  folder = 'None' if suite == 'digits' else data_dir(suite)
  assert run(suite, folder, tmp_path / 'x', *more) == 2
  out, err = capsys.readouterr()
  assert says in err and 'Traceback' not in err and out == ''
  assert not (tmp_path / 'x').exists()


def test_a_damaged_image_ends_the_run_with_its_name(tmp_path, capsys):
  fixtures.write_suite(tmp_path / 'data', 'domainnet')
  bad = sorted((tmp_path / 'data').rglob('sketch/**/*.jpg'))[0]
  bad.write_bytes(bad.read_bytes()[:100])
  status = run(
    'domainnet',
    tmp_path / 'data',
    tmp_path / 'run',
    '--config.augment=random_resized_crop',
  )
  assert status in (1, 2)
  err = capsys.readouterr().err
  assert bad.name in err and 'Traceback' not in err

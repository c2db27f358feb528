"""Whole runs over damaged checkpoints: the same results, or an error."""

import json
import shutil

import numpy as np
import pytest

import daft_jax
from daft_jax import checkpoint, experiment, export, main, results, trees, trial
from tests import main_test

EPOCHS = 4
LR = 1e-4  # Too low: the first epoch is the best, and so not a latest one.


def trial_folder(workdir):
  (path,) = workdir.glob('trials/*')
  return path


def spoil(step):
  """Zeros in the largest file of a step, where its arrays are."""
  files = [path for path in step.rglob('*') if path.is_file()]
  path = max(files, key=lambda path: path.stat().st_size)
  path.write_bytes(bytes(path.stat().st_size))
  return path


def outcome(workdir):
  """All that must be equal bit for bit."""
  (line,) = results.read(workdir)
  del line['seconds']
  _, variables, _ = daft_jax.load_run(workdir)
  return (
    results.dumps(line),
    (trial_folder(workdir) / 'metrics.jsonl').read_bytes(),
    {k: np.asarray(v).tobytes() for k, v in trees.flatten(variables).items()},
  )


@pytest.fixture(scope='module')
def config(tiny_config):
  return tiny_config(methods=('ft',), epochs=EPOCHS, lrs=(LR,), keep='all')


@pytest.fixture(scope='module')
def whole(config, tmp_path_factory):
  workdir = tmp_path_factory.mktemp('whole')
  experiment.run(config, workdir)
  return workdir


@pytest.fixture
def stopped(whole, tmp_path):
  """A run that was stopped after its last epoch, before the evaluation."""
  workdir = tmp_path / 'stopped'
  shutil.copytree(whole, workdir)
  (workdir / 'results.jsonl').unlink()
  (trial_folder(workdir) / 'result.json').unlink()
  shutil.rmtree(trial_folder(workdir) / 'checkpoints' / 'final')
  return workdir


def stage(workdir):
  return trial_folder(workdir) / 'checkpoints' / '0_finetune'


def best_epoch(workdir):
  text = (trial_folder(workdir) / 'metrics.jsonl').read_text()
  lines = [json.loads(line) for line in text.splitlines()]
  return max(lines, key=lambda line: line['id_val'])['epoch']


@pytest.mark.parametrize('which', ['latest', 'best', 'latest two', 'epochs'])
def test_a_run_over_damaged_epochs_ends_with_the_same_bits(
  which, whole, stopped, config, capsys
):
  best = best_epoch(stopped)
  assert best < EPOCHS - 1  # so that these are different steps
  epochs = {
    'latest': [EPOCHS],
    'best': [best],
    'latest two': [EPOCHS, EPOCHS - 1],
    'epochs': [EPOCHS, EPOCHS - 1, best],
  }[which]
  files = [spoil(stage(stopped) / str(epoch)) for epoch in epochs]
  capsys.readouterr()
  experiment.run(config, stopped)
  said = capsys.readouterr().out
  for epoch, file in zip(epochs, files, strict=True):
    assert f'0_finetune/{epoch} is damaged' in said and file.name in said
    assert (stage(stopped) / 'damaged' / str(epoch)).is_dir()
  assert outcome(stopped) == outcome(whole)


@pytest.mark.parametrize('which', ['start', 'all', 'no start'])
def test_without_a_good_start_it_ends_and_trains_nothing(
  which, stopped, config
):
  for path in stage(stopped).iterdir():
    if which == 'all' or path.name == '0':
      spoil(path)
  if which == 'no start':
    shutil.rmtree(stage(stopped) / '0')
  log = (trial_folder(stopped) / 'metrics.jsonl').read_bytes()
  for _ in range(2):
    with pytest.raises(checkpoint.CheckpointError) as error:
      experiment.run(config, stopped)
    assert f'delete {trial_folder(stopped)} and run the same' in str(
      error.value
    )
  assert (trial_folder(stopped) / 'metrics.jsonl').read_bytes() == log


def test_a_damaged_start_of_a_later_stage_is_an_error(tiny_config, tmp_path):
  config = tiny_config(methods=('lp_ft',), epochs=1, keep='all')
  experiment.run(config, tmp_path)
  (trial_folder(tmp_path) / 'result.json').unlink()
  second = trial_folder(tmp_path) / 'checkpoints' / '1_finetune'
  spoil(second / '0')
  with pytest.raises(checkpoint.DamagedCheckpoint, match='1_finetune/0'):
    experiment.run(config, tmp_path)
  # Nor is it silently made anew where it is gone.
  shutil.rmtree(second / '0')
  with pytest.raises(checkpoint.CheckpointError, match='1_finetune/0.*missing'):
    experiment.run(config, tmp_path)


def test_damaged_final_variables_are_never_used(
  whole, config, tmp_path, capsys, tiny_config
):
  workdir = tmp_path / 'run'
  shutil.copytree(whole, workdir)
  folder = trial_folder(workdir)
  file = spoil(folder / 'checkpoints' / 'final')
  fix = f'delete {folder} and run the same command again'
  with pytest.raises(checkpoint.DamagedCheckpoint) as error:
    daft_jax.load_run(workdir)
  for part in (file.name, 'model/params/', fix):
    assert part in str(error.value)
  assert export.main([str(workdir), str(tmp_path / 'out.safetensors')]) == 2
  assert fix in capsys.readouterr().err
  further = tiny_config(
    **{'methods': ('ft',), 'epochs': EPOCHS, 'lrs': (LR,), 'keep': 'all'},
    **{'eval_only': True, 'eval_ood': ('mnist',)},
  )
  with pytest.raises(checkpoint.DamagedCheckpoint, match='To go on'):
    experiment.run(further, workdir)
  # What it says, helps.
  shutil.rmtree(folder)
  experiment.run(config, workdir)
  assert outcome(workdir) == outcome(whole)


def test_pruning_keeps_what_was_set_aside(stopped, tiny_config):
  spoil(stage(stopped) / str(EPOCHS))
  config = tiny_config(methods=('ft',), epochs=EPOCHS, lrs=(LR,))
  experiment.run(config, stopped)
  names = sorted(path.name for path in stage(stopped).iterdir())
  assert names == ['0', 'damaged']
  folder = trial_folder(stopped)
  trial.prune(folder, chosen=False)
  assert [p.name for p in stage(stopped).iterdir()] == ['damaged']
  assert not (folder / 'checkpoints' / 'final').exists()


def test_the_program_over_a_damaged_checkpoint(tmp_path):
  """Killed, its newest step damaged, started again; then with no good one."""
  whole, killed, hopeless = (tmp_path / x for x in ('whole', 'killed', 'none'))
  fields = ('methods=ft', 'seeds=0', 'epochs=3', 'lrs=0.01', 'batch_size=100')
  fields = [f'--config.{field}' for field in fields]

  def start(workdir):
    return main_test.start(*fields, f'--workdir={workdir}')

  output, errors = start(whole).communicate()
  assert 'report:' in output, errors
  main_test.kill_after(3, start(killed), killed)
  shutil.copytree(killed, hopeless)
  steps = sorted(int(p.name) for p in stage(killed).glob('[0-9]*'))
  assert steps[-1] >= 1
  file = spoil(stage(killed) / str(steps[-1]))
  process = start(killed)
  output, errors = process.communicate()
  assert process.returncode == 0, errors
  assert f'0_finetune/{steps[-1]} is damaged: file ' in output
  assert file.name in output and 'set aside' in output
  assert f'epoch {steps[-1] - 1}/3' not in output
  assert f'epoch {steps[-1]}/3' in output
  assert outcome(killed) == outcome(whole)
  for step in steps:
    spoil(stage(hopeless) / str(step))
  process = start(hopeless)
  output, errors = process.communicate()
  assert process.returncode == 1 and 'Traceback' not in errors
  said = errors.splitlines()[-1]
  assert said.startswith('daft_jax: ') and '0_finetune/0 is damaged' in said
  assert f'delete {trial_folder(hopeless)} and run the same' in said
  assert 'epoch' not in output


def test_the_exit_status_of_evaluation_is_not_zero_either(
  whole, config, tmp_path, capsys
):
  workdir = tmp_path / 'run'
  shutil.copytree(whole, workdir)
  spoil(trial_folder(workdir) / 'checkpoints' / 'final')
  root = main_test.ROOT / 'configs' / 'common.py'
  fields = ['methods=ft', f'epochs={EPOCHS}', f'lrs={LR}', 'keep=all']
  fields += ['suite=tiny', 'mesh.data=1', 'eval_only=true', 'eval_ood=mnist']
  arguments = [f'--config={root}', f'--workdir={workdir}']
  assert main.main(arguments + [f'--config.{x}' for x in fields]) == 1
  assert 'final is damaged' in capsys.readouterr().err

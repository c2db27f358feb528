"""The program, as a user starts, stops and mistypes it."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import daft_jax
from daft_jax import main, results, trees

ROOT = pathlib.Path(main.__file__).parent.parent
CONFIG = f'--config={ROOT / "configs" / "digits.py"}'


def command(*args):
  return [sys.executable, '-m', 'daft_jax.main', CONFIG, *map(str, args)]


def start(*args, **options):
  """Starts the program in another folder, as one CPU device."""
  environment = {**os.environ, 'JAX_NUM_CPU_DEVICES': '1'}
  return subprocess.Popen(
    command(*args),
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
    env=environment,
    **options,
  )


def fields(method):
  """Two short epochs of real training."""
  return (
    f'--config.methods={method}',
    '--config.seeds=0',
    '--config.epochs=4',
    '--config.lrs=0.005',
    '--config.batch_size=100',
  )


def epochs(workdir):
  return sum(
    len(path.read_text().splitlines())
    for path in workdir.glob('trials/*/metrics.jsonl')
  )


def kill_after(count, process, workdir):
  """Kills the program, with SIGKILL, once an epoch was logged."""
  deadline = time.monotonic() + 300
  while epochs(workdir) < count and process.poll() is None:
    assert time.monotonic() < deadline
    time.sleep(0.02)
  process.send_signal(signal.SIGKILL)
  process.communicate()


def final(workdir, method):
  _, variables, _ = daft_jax.load_run(workdir, method)
  return trees.flatten(variables)


@pytest.mark.parametrize(
  'method',
  ['lp_ft', pytest.param('daft', marks=pytest.mark.nightly)],
)
def test_a_killed_run_continues_with_the_same_bits(method, tmp_path):
  whole, killed = tmp_path / 'whole', tmp_path / 'killed'
  output, errors = start(*fields(method), f'--workdir={whole}').communicate()
  assert 'report:' in output and 'Traceback' not in errors
  for count in (1, 2, 3):
    kill_after(count, start(*fields(method), f'--workdir={killed}'), killed)
    assert not list(killed.glob('trials/*/result.json'))
  process = start(*fields(method), f'--workdir={killed}')
  output, errors = process.communicate()
  assert process.returncode == 0 and 'report:' in output, errors
  # It went on: what was done was not done again.
  assert 'epoch 1/4' not in output
  (one,), (two,) = (results.read(path) for path in (whole, killed))
  assert one['trial'] == two['trial']
  for name in ('id_val', 'id_test', 'ood', 'feature_l2', 'metrics', 'epoch'):
    assert one[name] == two[name]
  logs = [
    (path / 'trials' / one['trial'] / 'metrics.jsonl').read_bytes()
    for path in (whole, killed)
  ]
  assert logs[0] == logs[1]
  expected, found = final(whole, method), final(killed, method)
  assert expected.keys() == found.keys()
  for path, leaf in expected.items():
    assert np.asarray(leaf).tobytes() == np.asarray(found[path]).tobytes(), path


def run_main(*args):
  return main.main([CONFIG, *args])


@pytest.mark.parametrize(
  ('args', 'says'),
  [
    (['--config.epocs=5'], 'Did you mean config.epochs?'),
    (['--config.epochs=many'], "config.epochs is 'many'; it has to be a whole"),
    (['--config.methods=ft+dfat'], "Did you mean 'daft'?"),
    (['--config.suite=digitz'], "Did you mean 'digits'?"),
    (['--config.optimizer.momentun=0'], 'config.optimizer.momentum?'),
    (['--wrkdir=/tmp/x'], "'--wrkdir' is no argument"),
    (['surplus'], "'surplus' is no argument"),
  ],
)
def test_mistakes_are_one_line_and_leave_nothing(args, says, tmp_path, capsys):
  workdir = tmp_path / 'new'
  assert run_main(f'--workdir={workdir}', *args) == 2
  out, err = capsys.readouterr()
  assert out == '' and says in err and err.count('\n') == 1
  assert err.startswith('daft_jax: ') and 'Traceback' not in err
  assert not workdir.exists()


@pytest.mark.parametrize(
  ('args', 'says'),
  [
    ([CONFIG], '--workdir is missing. Type: python -m daft_jax.main'),
    ([CONFIG, '--workdir'], '--workdir is missing'),
    (['--workdir=/tmp/x'], '--config is missing'),
    (['--config=/no/file.py', '--workdir=/tmp/x'], 'no file /no/file.py'),
    ([f'{CONFIG}:methdos=ft', '--workdir=/tmp/x'], 'config.methods?'),
    ([f'{CONFIG}:ft', '--workdir=/tmp/x'], 'not name=value'),
  ],
)
def test_what_is_missing_is_named(args, says, capsys):
  assert main.main(args) == 2
  err = capsys.readouterr().err
  assert says in err and err.count('\n') == 1


def test_an_error_in_a_config_file_is_given_with_its_line(tmp_path, capsys):
  folder = tmp_path / 'configs'
  folder.mkdir()
  (folder / 'mine.py').write_text('def get_config():\n  return 1 / 0\n')
  config = folder / 'mine.py'
  assert main.main([f'--config={config}', '--workdir=/tmp/x']) == 2
  err = capsys.readouterr().err
  assert f'{config}:2: ZeroDivisionError' in err and 'Traceback' not in err


def test_a_workdir_that_cannot_be_made(tmp_path, capsys):
  (tmp_path / 'file').write_text('')
  assert run_main(f'--workdir={tmp_path / "file" / "new"}') == 2
  assert 'cannot be made' in capsys.readouterr().err


def test_fields_from_the_file_argument_and_from_flags():
  config, workdir = main.parse(
    [f'{CONFIG}:methods=ft+daft,seeds=0+1', '--config.lrs', '0.1,0.2']
    + ['--workdir', '/tmp/x', '--config.optimizer.nesterov=true']
  )
  assert config.methods == ('ft', 'daft') and config.seeds == (0, 1)
  assert config.lrs == (0.1, 0.2) and config.optimizer.nesterov is True
  assert workdir == pathlib.Path('/tmp/x')


def test_help(capsys):
  assert main.main(['--help']) == 0
  assert '--config.epochs=5' in capsys.readouterr().out


def test_a_mistake_needs_no_time_and_no_traceback_as_a_program(tmp_path):
  process = start('--config.epocs=5', f'--workdir={tmp_path}')
  _, errors = process.communicate()
  assert process.returncode == 2
  assert errors.splitlines()[-1].endswith('Did you mean config.epochs?')
  assert 'Traceback' not in errors


def test_results_are_json_lines_with_accuracies_in_0_1(tmp_path):
  process = start(*fields('lp'), f'--workdir={tmp_path}')
  _, errors = process.communicate()
  assert process.returncode == 0, errors
  (text,) = (tmp_path / 'results.jsonl').read_text().splitlines()
  line = json.loads(text)
  wanted = {'suite', 'backbone', 'method', 'seed', 'lr', 'head_lr', 'id_val'}
  wanted |= {'id_test', 'ood', 'ood_mean', 'feature_l2', 'feature_cosine'}
  assert wanted | {'seconds', 'config', 'versions'} <= line.keys()
  assert 0 <= line['id_test'] <= 1 and 0 <= line['ood']['mnist'] <= 1


def test_out_of_memory_says_what_takes_less(tmp_path, capsys):
  args = ['--config.eval_batch_size=1000000000', '--config.methods=lp']
  assert run_main(f'--workdir={tmp_path}', '--config.mesh.data=1', *args) == 1
  err = capsys.readouterr().err
  assert 'out of memory, with config.batch_size 64' in err
  assert '--config.eval_batch_size=250000000' in err
  assert 'Traceback' not in err

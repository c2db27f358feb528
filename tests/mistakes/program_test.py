"""Mistakes, missing hardware and a bare machine, as the program meets them."""

import json
import os
import subprocess
import sys
import time

import pytest

from tests.mistakes import fields, files, folders, words
from tests.mistakes.case import ROOT, SECONDS, check_message, listed

_QUICK = 'configs/digits.py:methods=lp,epochs=1,seeds=0'
_NEVER = 'http://127.0.0.1:9'  # nobody listens there


def start(*args, environment, before=(), **options):
  """Runs the program; returns the finished process."""
  return subprocess.run(
    [*before, sys.executable, '-m', 'daft_jax.main', *args],
    cwd=ROOT,
    env=environment,
    stdin=subprocess.DEVNULL,
    capture_output=True,
    text=True,
    timeout=600,
    **options,
  )


@pytest.fixture(scope='module')
def import_seconds():
  """How long the imports alone take, at this load."""
  begin = time.perf_counter()
  subprocess.run(
    [sys.executable, '-c', 'import daft_jax.main'], cwd=ROOT, check=True
  )
  return time.perf_counter() - begin


REPRESENTATIVE = [
  fields.misspelt()[0],
  fields.CONFLICTS[0],
  words.CONFIG_FILES[4],
  files.WEIGHTS[2],
  files.WORKDIRS[0],
  folders.ROOTS[4],
]


@pytest.mark.parametrize('case', REPRESENTATIVE, ids=lambda case: case.name)
def test_a_mistake_as_a_program(case, tmp_path, import_seconds):
  if case.prepare:
    case.prepare(tmp_path)
  before = listed(tmp_path)
  environment = {**os.environ, 'JAX_NUM_CPU_DEVICES': '1'}
  begin = time.perf_counter()
  process = start(*case.command(tmp_path), environment=environment)
  seconds = time.perf_counter() - begin - import_seconds
  assert process.returncode == 2 and process.stdout == ''
  check_message(case, tmp_path, process.stderr)
  assert seconds < SECONDS
  assert listed(tmp_path) == before


@pytest.mark.parametrize('platform', ['cuda', 'no_such_chip'])
def test_a_device_that_is_not_there(platform, tmp_path):
  import jax

  if platform == 'cuda' and any(x.platform == 'gpu' for x in jax.devices()):
    pytest.skip('there is a GPU')
  process = start(
    f'--config={_QUICK}',
    f'--workdir={tmp_path / "run"}',
    environment={**os.environ, 'JAX_PLATFORMS': platform},
  )
  assert process.returncode == 2 and 'Traceback' not in process.stderr
  message = process.stderr.splitlines()[-1]
  assert message.startswith(f"daft_jax: JAX_PLATFORMS is '{platform}', and ")
  assert 'JAX_PLATFORMS=cpu before the command' in message
  assert not (tmp_path / 'run').exists()


def test_a_file_that_may_not_grow(tmp_path):
  """As on a full disk, where no file system may be mounted for a test."""
  process = start(
    f'--config={_QUICK}',
    f'--workdir={tmp_path / "run"}',
    environment={**os.environ, 'JAX_NUM_CPU_DEVICES': '1'},
    before=('bash', '-c', 'ulimit -f 0; exec "$@"', 'bash'),
  )
  assert process.returncode in (1, 2), process.stderr
  assert 'Traceback' not in process.stderr
  message = process.stderr.splitlines()[-1]
  assert message.startswith('daft_jax: ') and 'File too large' in message
  assert not list(tmp_path.glob('run/trials/*/metrics.jsonl'))


def _works(*command):
  try:
    return not subprocess.run(command, capture_output=True).returncode
  except FileNotFoundError:
    return False


@pytest.fixture
def read_only(tmp_path):
  """A folder that nobody, or nobody but root, can write to."""
  folder = tmp_path / 'read_only'
  mounted = files.mount(folder, 'ro')
  if not mounted:
    folder.chmod(0o500)
  yield folder
  if mounted:
    files.unmount(folder)


def test_a_bare_machine(tmp_path, read_only):
  """No network, no HOME, no terminal, locale C, nowhere for files to lie."""
  alone = ('unshare', '-n')
  before = alone if _works(*alone, 'true') else ()
  proxies = ('http_proxy', 'https_proxy', 'HTTP_PROXY', 'HTTPS_PROXY')
  process = start(
    f'--config={_QUICK}',
    f'--workdir={tmp_path / "run"}',
    environment={
      'PATH': os.environ['PATH'],
      'LC_ALL': 'C',
      'TMPDIR': str(read_only),
      'JAX_NUM_CPU_DEVICES': '1',
      **dict.fromkeys(proxies, _NEVER),
    },
    before=before,
    start_new_session=True,  # no terminal to open either
  )
  assert process.returncode == 0, process.stderr
  assert 'report:' in process.stdout and 'Traceback' not in process.stderr
  (text,) = (tmp_path / 'run' / 'results.jsonl').read_text().splitlines()
  # Chance is 0.1: it learnt from images and weights that were all there.
  assert json.loads(text)['id_test'] > 0.9
  assert 'OOD mnist' in (tmp_path / 'run' / 'report.md').read_text('utf-8')
  assert not list(read_only.iterdir())

"""Hostile input: nothing runs, nothing is written elsewhere, nothing is large.

The cases of one entry point are read in one process, as `driver` says.
"""

import hashlib
import json
import os
import pathlib
import subprocess
import sys
import tempfile

import pytest

from tests.hostile import corpus, driver

CASES = corpus.every()
GROUPS = {
  **{how: (how,) for how in driver.READ if how not in ('unpack', 'config')},
  'others': ('unpack', 'config'),
}
MOST_MEGABYTES = 1000


class Stage:
  """A folder with all that a user has, and the input among it."""

  def __init__(self, root):
    self.root = root
    for name in ('in', 'out', 'home', 'tmp', 'cwd'):
      (root / name).mkdir()
    name = f'daft_jax_hostile_{os.getpid()}'
    self.elsewhere = pathlib.Path(tempfile.gettempdir()) / name
    places = root, root / 'in', root / 'cwd', root / 'home', root / 'tmp'
    canaries = (*(place / 'canary' for place in places), self.elsewhere)
    self.canary = corpus.Canary(canaries)

  def job(self, name):
    """Writes a case; returns how it is read."""
    case, number = CASES[name], str(len(list((self.root / 'in').iterdir())))
    path, out = self.root / 'in' / number, self.root / 'out' / number
    path.mkdir()
    out.mkdir()
    case.write(path, self.canary)
    return {
      **{'name': name, 'how': case.how, 'args': case.args},
      **{'path': str(path), 'out': str(out)},
    }

  def run(self, *command, timeout=400):
    environment = {
      **os.environ,
      **{'HOME': f'{self.root}/home', 'TMPDIR': f'{self.root}/tmp'},
      **{'PYTHONPATH': str(driver.ROOT), 'JAX_NUM_CPU_DEVICES': '1'},
      # matplotlib's list of fonts is no answer to an input.
      **{'MPLCONFIGDIR': f'{self.root}/out', 'PYTHONDONTWRITEBYTECODE': '1'},
    }
    return subprocess.run(
      [sys.executable, *map(str, command)],
      cwd=self.root / 'cwd',
      env=environment,
      capture_output=True,
      timeout=timeout,
    )

  def snapshot(self):
    """Everything but the folder for output: type, size, and short contents."""
    found = {}
    for place, folders, files in os.walk(self.root):
      if place == str(self.root):
        folders.remove('out')
      for name in (*folders, *files):
        path = pathlib.Path(place, name)
        data = b''
        if path.is_symlink():
          data = os.fsencode(os.readlink(path))
        elif path.is_file() and path.stat().st_size < 1 << 20:
          data = path.read_bytes()
        size = 0 if path.is_dir() else path.lstat().st_size
        found[str(path)] = size, hashlib.sha256(data).hexdigest()
    return found

  def ran(self):
    return [str(path) for path in self.canary.paths if path.exists()]


@pytest.fixture
def stage(tmp_path):
  made = Stage(tmp_path)
  yield made
  made.elsewhere.unlink(missing_ok=True)


def faults(result, out):
  """What is wrong with how a case was read."""
  case, text = CASES[result['name']], result['out'] + result['err']
  if result['fault']:
    yield f'ends in a traceback: {result["fault"].splitlines()[-1][:200]}'
    return
  if result['status'] != case.status:
    yield f'ends with {result["status"]}, not {case.status}: {text[-300:]!r}'
    return
  if case.status == corpus.REFUSED and not result['err']:
    yield 'is refused without a word'
  if 'Traceback' in text:
    yield f'prints a traceback: {text[:300]!r}'
  if case.says not in text:
    yield f'does not say {case.says!r}: {text[:300]!r}'
  if not all(x.isprintable() or x == '\n' for x in text):
    yield f'prints what a terminal acts on: {text[:300]!r}'
  if result['seconds'] > case.seconds:
    yield f'takes {result["seconds"]:.1f} seconds'
  if result['megabytes'] > MOST_MEGABYTES:
    yield f'takes {result["megabytes"]:.0f} MB'
  if case.check is not None:
    try:
      case.check(out)
    except ValueError as error:
      yield str(error)


@pytest.mark.parametrize('group', GROUPS)
def test_hostile_input(group, stage):
  names = [name for name, case in CASES.items() if case.how in GROUPS[group]]
  jobs = {name: stage.job(name) for name in names}
  (stage.root / 'out' / 'jobs.json').write_text(json.dumps([*jobs.values()]))
  before = stage.snapshot()
  lines = stage.root / 'out' / 'results.jsonl'
  done = stage.run(
    *('-m', 'tests.hostile.driver'), stage.root / 'out' / 'jobs.json', lines
  )
  results = [json.loads(line) for line in lines.read_text().splitlines()]
  assert done.returncode == 0, (results[-1]['name'], done.stderr[-1000:])
  wrong = {}
  for result in results:
    if 'status' in result:
      out = pathlib.Path(jobs[result['name']]['out'])
      found = list(faults(result, out))
      wrong |= {result['name']: '; '.join(found)} if found else {}
  assert not wrong, '\n' + '\n'.join(f'{k} {v}' for k, v in wrong.items())
  assert stage.ran() == []
  assert stage.snapshot() == before


WHOLE = {
  'torch: os.system': ('daft_jax.pretrained', 'inspect', 'HERE/w.pth'),
  'torch: __reduce__ of exec': (
    *('daft_jax.pretrained', 'convert', 'HERE/w.pth'),
    'OUT/w.safetensors',
  ),
  'cifar: tfds module': (
    *('daft_jax.data', 'prepare', 'cifar', '--data_dir=HERE'),
  ),
  'report: accuracy': ('daft_jax.report', 'HERE/run', '--output=OUT'),
  'config: exit at once': (
    *('daft_jax.main', '--config=HERE/config.py', '--workdir=OUT/run'),
  ),
}


@pytest.mark.parametrize('name', WHOLE)
def test_whole_commands(name, stage):
  job = stage.job(name)
  before = stage.snapshot()
  module, *rest = WHOLE[name]
  rest = [
    x.replace('HERE', job['path']).replace('OUT', job['out']) for x in rest
  ]
  done = stage.run('-m', module, *rest, timeout=60)
  assert done.returncode == CASES[name].status, done.stderr
  assert b'Traceback' not in done.stderr
  assert done.stderr or CASES[name].status != corpus.REFUSED
  assert stage.ran() == [] and stage.snapshot() == before
  assert not list(pathlib.Path(job['out']).iterdir())


def test_a_payload_that_runs_is_seen(stage):
  """The canaries work, by the module that every case above must not use."""
  for name in ('torch: __reduce__', 'torch: __reduce__ of exec'):
    job = stage.job(name)
    before = stage.snapshot()
    stage.run(
      '-c', f'import pickle; pickle.load(open("{job["path"]}/w.pth","rb"))'
    )
    assert stage.ran() == [str(path) for path in stage.canary.paths]
    assert stage.snapshot() != before
    for path in stage.canary.paths:
      path.unlink()


def test_there_are_many_and_of_each_kind():
  assert len(CASES) >= 250
  assert {case.how for case in CASES.values()} == set(driver.READ)

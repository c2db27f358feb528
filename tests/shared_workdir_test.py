"""Runs on several hosts, each of several processes, share a workdir."""

import json
import shutil
import signal
import subprocess

import pytest

from tests import kill_test
from tests.fixtures import programs

# Names of hosts; gloo looks them up.
FIRST, SECOND = '127.0.0.2', '127.0.0.3'
# More than one run does before another one has started.
FIELDS = {
  'methods': 'ft',
  'seeds': '0+1+2+3+4+5',
  'epochs': '1',
  'batch_size': '100',
}


def on_host(name):
  """Words before a command, so that it runs on a host of this name.

  A namespace of the system; where none may be made, the name is this host's.
  """
  shell = ('sh', '-c', 'hostname $0 && exec "$@"', name)
  for unshare in (('unshare', '--uts'), ('unshare', '-Ur', '--uts')):
    words = (*unshare, *shell)
    if shutil.which('unshare'):
      tried = subprocess.run(
        [*words, 'hostname'], capture_output=True, text=True
      )
      if tried.stdout.strip() == name:
        return words
  return ()


def ended(said):
  """The trials that a run says it has finished."""
  lines = [line for line in said.splitlines() if ' | ID val ' in line]
  return [line.split(' | ')[0] for line in lines]


@pytest.fixture(scope='module')
def run(tmp_path_factory):
  cache = tmp_path_factory.mktemp('cache')

  def make(workdir, host, *, processes=2):
    before = on_host(host)
    return programs.Run(cache, workdir, processes, before=before, **FIELDS)

  return make


@pytest.fixture(scope='module')
def alone(run, tmp_path_factory):
  """What one run does."""
  workdir = tmp_path_factory.mktemp('alone')
  run(workdir, FIRST).ended(0, 0)
  return workdir


def test_two_runs_share_a_grid_and_one_does_what_the_dead_one_did_not(
  run, alone, tmp_path
):
  second, first = run(tmp_path, SECOND), run(tmp_path, FIRST)
  for each in (second, first):
    each.until('finetune: ')
  # It has done one, and is at another.
  while not 0 < len(ended(second.said())) < second.said().count('finetune: '):
    assert second.running(), second.said()
  for index in range(2):
    second.send(index, signal.SIGKILL)
  second.statuses(within=20)
  (said, _), given_up = first.ended(0, 0), second.said()
  every = ended(said) + ended(given_up)
  assert len(every) == len(set(every)) == 6 and ended(given_up)
  assert 'Traceback' not in said + given_up
  lines = (tmp_path / 'results.jsonl').read_text().splitlines()
  assert len({json.loads(line)['trial'] for line in lines}) == len(lines) == 6
  kill_test.compare(alone, tmp_path)
  # Who had it, by the host's name; a process's number says nothing elsewhere.
  locks = [json.loads(x.read_text()) for x in tmp_path.glob('trials/*/lock')]
  hosts = {lock['host'] for lock in locks}
  if on_host(FIRST):
    assert hosts == {FIRST, SECOND}


def test_what_another_did_meanwhile_goes_on_to_name_it(run, tmp_path):
  first = run(tmp_path, FIRST, processes=1).until('finetune: ')
  first.send(0, signal.SIGSTOP)
  second = run(tmp_path, SECOND, processes=1)
  [others] = second.ended(0)
  [told] = run(tmp_path, SECOND, processes=1).ended(2)
  first.send(0, signal.SIGCONT)
  [said] = first.ended(0)
  assert len(ended(said)) == 1 and len(ended(others)) == 5
  assert 'run elsewhere: 1 of 6 trials (host ' in others
  assert 'what is left to run in' in told and 'give another --workdir' in told
  found = [json.loads(x.read_text()) for x in tmp_path.glob('trials/*/lock')]
  one, other = (each.processes[0].pid for each in (first, second))
  assert sorted(x['process'] for x in found) == sorted([one] + 5 * [other])
  if on_host(FIRST):
    assert sorted(x['host'] for x in found) == [FIRST] + 5 * [SECOND]

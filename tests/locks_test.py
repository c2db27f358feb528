"""A lock ends with its process, whatever way that ends."""

import json
import os
import pathlib
import subprocess
import sys

import pytest

from daft_jax import locks

PROGRAM = """
import pathlib, sys
from daft_jax import locks

with locks.held(pathlib.Path(sys.argv[1])) as owner:
  print('mine' if owner is None else owner, flush=True)
  if owner is None:
    sys.stdin.read()
"""


def start(path):
  process = subprocess.Popen(
    [sys.executable, '-c', PROGRAM, str(path)],
    stdin=subprocess.PIPE,
    stdout=subprocess.PIPE,
    text=True,
  )
  return process, process.stdout.readline().strip()


def test_one_process_has_it(tmp_path):
  path = tmp_path / 'lock'
  first, said = start(path)
  assert said == 'mine'
  second, said = start(path)
  assert said.endswith(f'process {first.pid}') and said.startswith('host ')
  second.communicate(timeout=20)
  with locks.held(path) as owner:
    assert owner.endswith(f'process {first.pid}')
  first.communicate('', timeout=20)
  with locks.held(path) as owner:
    assert owner is None


def test_it_names_who_did_it_not_who_came_later(tmp_path):
  path = tmp_path / 'lock'
  process, said = start(path)
  assert said == 'mine'
  asked = []
  with locks.held(path, done=lambda: asked.append(1) or True) as owner:
    # It may not be done yet: that is for whoever has it to say.
    assert owner.endswith(f'process {process.pid}') and not asked
  process.communicate('', timeout=20)
  with locks.held(path, done=lambda: True) as owner:
    assert owner is None
    assert locks.owner(path).endswith(f'process {process.pid}')
  with locks.held(path, done=lambda: False) as owner:
    assert owner is None
    assert locks.owner(path).endswith(f'process {os.getpid()}')


def test_a_killed_process_leaves_no_lock(tmp_path):
  path = tmp_path / 'lock'
  for _ in range(3):
    process, said = start(path)
    assert said == 'mine'
    process.kill()
    process.communicate(timeout=20)


def test_the_number_of_a_process_of_another_host_says_nothing(tmp_path):
  path = tmp_path / 'lock'
  process, said = start(path)
  assert said == 'mine'
  # Here there is none of this number; there, it has the lock.
  path.write_text('{"host": "gpu-b", "process": 4194305}')
  with locks.held(path) as owner:
    assert owner == 'host gpu-b, process 4194305'
  process.kill()
  process.communicate(timeout=20)
  # Here there is one; there, it has ended.
  path.write_text(json.dumps({'host': 'gpu-b', 'process': os.getpid()}))
  with locks.held(path) as owner:
    assert owner is None


def test_a_child_does_not_keep_it(tmp_path):
  path = tmp_path / 'lock'
  with locks.held(path):
    child = subprocess.Popen([sys.executable, '-c', 'input()'], stdin=-1)
  with locks.held(path) as owner:
    assert owner is None
  child.communicate(b'\n', timeout=20)


def test_what_is_written_in_it_is_only_for_people(tmp_path):
  path = tmp_path / 'lock'
  for text in ('', '[]', '{"host": 3}', 'no JSON', '[' * 900, ' ' * 2000):
    path.write_text(text)
    assert locks.owner(path) == 'another process'
    with locks.held(path) as owner:
      assert owner is None
  assert locks.owner(path).startswith('host ')


def test_what_a_stranger_wrote_in_it_is_shown_harmlessly(tmp_path):
  path = tmp_path / 'lock'
  path.write_text('{"host": "a\\u001b[2Jb", "process": 1}')
  assert locks.owner(path) == 'host a\\x1b[2Jb, process 1'


@pytest.mark.parametrize(
  ('mounts', 'says'),
  [
    ('gpu0:/x /nfs nfs4 rw,local_lock=none 0 0', ''),
    ('gpu0:/x /nfs nfs rw,nolock,local_lock=all 0 0', 'mounted with nolock'),
    ('gpu0:/x /nfs nfs rw,local_lock=flock 0 0', 'with local_lock=flock'),
    ('gpu0:/x /nfs lustre rw,flock 0 0', ''),
    ('gpu0:/x /nfs lustre rw,localflock 0 0', 'with localflock'),
    ('gcsfuse /nfs fuse.gcsfuse rw 0 0', 'fuse.gcsfuse has none'),
    ('gpu0:/x /nfs nfs rw,nolock 0 0\n/dev/vda /nfs/run ext4 rw 0 0', ''),
    ('gpu0:/x /nf nfs rw,nolock 0 0', ''),
    ('gpu0:/x /nfs/a\\040b nfs rw,nolock 0 0', ''),
    ('broken', ''),
  ],
)
def test_locks_that_other_hosts_do_not_see_are_told(mounts, says):
  found = locks.local(pathlib.Path('/nfs/run'), mounts)
  assert (says in found) if says else found == ''


def test_locks_of_this_host_hold_where_its_mounts_say_so(tmp_path):
  assert locks.local(tmp_path) == ''

"""Processes that were started wrongly all end, and soon."""

import contextlib
import json
import pathlib
import socket
import subprocess
import sys
import threading
import time

import pytest

from daft_jax.launch import rollcall
from daft_jax.settings import ConfigError
from tests.fixtures import processes

JOIN = pathlib.Path(__file__).parent.parent / 'programs' / 'join.py'


@pytest.fixture
def start():
  """Starts a process that is told 'COUNT INDEX', and flags."""
  running, port = [], processes.free_port()

  def make(told, *more):
    count, index = told.split()
    flags = [f'--coordinator=127.0.0.1:{port}', f'--num_processes={count}']
    process = subprocess.Popen(
      [sys.executable, str(JOIN), *flags, f'--process_id={index}', *more],
      env=processes.environment(),
      stdin=subprocess.PIPE,
      stdout=subprocess.PIPE,
      stderr=subprocess.STDOUT,
      text=True,
    )
    running.append(process)
    return process

  make.port = port
  yield make
  for process in running:
    process.kill()
    process.communicate()


def ended(*running, within=60):
  """What each said; all have refused."""
  end = time.monotonic() + within
  said = [x.communicate(timeout=end - time.monotonic())[0] for x in running]
  assert [x.returncode for x in running] == [2] * len(running), said
  assert 'Traceback' not in ''.join(said)
  return said


@pytest.mark.parametrize(
  ('told', 'says'),
  [
    ('3 0, 3 1, 3 1', '--process_id=1 was given to two processes, host '),
    ('2 0, 2 0', '--process_id=0 was given to two processes, host '),
    ('2 0, 3 1', 'was given --num_processes=3, and process 0 2: give all'),
    ('3 0, 2 1', 'was given --num_processes=2, and process 0 3: give all'),
    ('2 0, 3 2', 'was given --num_processes=3, and process 0 2: give all'),
  ],
)
def test_flags_that_do_not_fit_end_all_and_are_said_once(start, told, says):
  said = ended(*[start(each) for each in told.split(', ')])
  assert sum(says in text for text in said) == 1, said


@pytest.mark.parametrize('told', ['2 0, 2 one', 'two 0, 2 1'])
def test_flags_that_one_refuses_end_the_others(start, told):
  said = ended(*[start(each) for each in told.split(', ')])
  assert any(', no number from 0 on' in text for text in said)


def test_who_does_not_come_is_named(start):
  wait = f'{rollcall.TIMEOUT}=12'
  two = start('3 0', wait), start('3 2', wait)
  said = ended(*two)
  assert 'waits for process 1 of 3, for 12 s at most' in said[0]
  assert 'process 1 of 3 has not come for 12 s: see what it said' in said[0]
  assert f'{rollcall.TIMEOUT}=SECONDS' in said[0] and said[1] == ''
  (said,) = ended(start('2 1', f'{rollcall.TIMEOUT}=2'))
  assert 'process 0 has not been reached at 127.0.0.1:' in said


def test_who_ends_while_others_are_waited_for_ends_all(start):
  first = start('3 0')
  reach(start.port).close()  # A stranger, who is nobody.
  with reach(start.port) as stranger:
    stranger.sendall(b'GET\n')
    assert stranger.recv(9) == b''
  hello = {'program': 'daft_jax', 'index': 1, 'count': 3}
  hello |= {'host': 'gpu1\x1b[2J', 'process': 7, 'mistake': ''}
  with reach(start.port) as peer:
    peer.sendall(json.dumps(hello).encode() + b'\n')
  (said,) = ended(first)
  assert 'process 1 (host gpu1\\x1b[2J, process 7) has ended' in said
  assert 'process 2 had not come yet' in said


def reach(port):
  """A connection to whoever listens there, or soon will."""
  end = time.monotonic() + 60
  while True:
    try:
      return socket.create_connection(('127.0.0.1', port), 20)
    except OSError:
      if time.monotonic() > end:
        raise
      time.sleep(0.1)


def test_one_who_comes_after_all_are_there_does_not_disturb_them(start):
  two = start('2 0'), start('2 1')
  for process in two:
    while 'all are there' not in process.stdout.readline():
      assert process.poll() is None
  (said,) = ended(start('2 1', f'{rollcall.TIMEOUT}=60'))
  assert 'Was --process_id=1 given to two' in said
  for process in two:
    process.stdin.write('\n')
    process.stdin.flush()
  assert [process.wait(60) for process in two] == [0, 0]


def test_a_port_of_another_program_is_said():
  def answer():
    with contextlib.suppress(OSError):
      while True:
        other.accept()[0].close()

  with socket.create_server(('', 0)) as other:
    port = other.getsockname()[1]
    threading.Thread(target=answer, daemon=True).start()
    with pytest.raises(ConfigError, match=f'port {port} of this host is not'):
      rollcall.meet(f'127.0.0.1:{port}', 2, 0, 5)
    other.shutdown(socket.SHUT_RDWR)


def test_a_port_that_an_earlier_run_gives_up_is_waited_for(start):
  with socket.create_server(('', start.port)) as earlier:
    first = start('2 0')
    earlier.accept()[0].close()  # It has found somebody else there.
  second = start('2 1')
  for process in (first, second):
    while 'all are there' not in (line := process.stdout.readline()):
      assert line, process.wait()

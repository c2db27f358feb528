"""Signals end a process at a safe place, or at once, in real processes."""

import signal
import subprocess
import sys
import threading
import time

import pytest

from daft_jax import signals

# Works in steps; `slow` is one long call that no Python handler interrupts, as
# a compilation is.
PROGRAM = """
import hashlib, sys, time
from daft_jax import signals

try:
  with signals.handled():
    print('ready', flush=True)
    if sys.argv[1] == 'slow':
      hashlib.pbkdf2_hmac('sha256', b'', b'', int(sys.argv[2]))
    for step in range(600):
      signals.check()
      time.sleep(0.1)
except signals.Stopped as stopped:
  print('saved', flush=True)
  sys.exit(stopped.status)
"""


def start(kind='steps', count='1'):
  process = subprocess.Popen(
    [sys.executable, '-c', PROGRAM, kind, count],
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
  )
  assert process.stdout.readline() == 'ready\n'
  return process


@pytest.mark.parametrize(
  ('number', 'status'), [(signal.SIGTERM, 143), (signal.SIGINT, 130)]
)
def test_a_signal_ends_it_between_steps(number, status):
  process = start()
  process.send_signal(number)
  out, err = process.communicate(timeout=20)
  assert (process.returncode, out, err) == (status, 'saved\n', '')


def test_a_signal_waits_for_what_is_going_on():
  process = start('slow', '500000')
  process.send_signal(signal.SIGTERM)
  out, _ = process.communicate(timeout=60)
  assert process.returncode == 143 and out == 'saved\n'


def test_a_second_interrupt_ends_it_at_once():
  process = start('slow', '2000000000')  # half an hour
  process.send_signal(signal.SIGINT)
  time.sleep(1)
  assert process.poll() is None
  process.send_signal(signal.SIGINT)
  out, err = process.communicate(timeout=5)
  assert process.returncode == 130 and out == '' and 'at once' in err


def test_two_terminations_still_save():
  process = start('slow', '5000000')
  for _ in range(2):
    process.send_signal(signal.SIGTERM)
    time.sleep(0.02)
  out, _ = process.communicate(timeout=60)
  assert process.returncode == 143 and out == 'saved\n'


def test_handlers_are_put_back():
  before = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]
  with signals.handled():
    assert not signals.requested()
    signals.check()
    signal.raise_signal(signal.SIGTERM)
    deadline = time.monotonic() + 10
    while not signals.requested() and time.monotonic() < deadline:
      time.sleep(0.01)
    with pytest.raises(signals.Stopped, match='SIGTERM'):
      signals.check()
  assert before == [
    signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)
  ]
  with signals.handled():
    signals.check()  # Forgotten.


def test_another_thread_may_run_it():
  failed = []

  def work():
    try:
      with signals.handled():
        signals.check()
    except BaseException as error:
      failed.append(error)

  thread = threading.Thread(target=work)
  thread.start()
  thread.join()
  assert failed == []

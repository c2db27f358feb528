"""Being told to stop: SIGTERM and SIGINT end a run at the next safe place.

  with signals.handled():
    ...
    signals.check()                # raises Stopped if one has come

A run asks between steps and batches. A second SIGINT ends the process at once,
whatever it is doing: signals are seen by a thread of their own, as Python's
handlers wait for the main thread, which may be compiling for a minute.

Of several processes of a run one may be told alone, or all at different steps.
All stop at the same step: JAX, which has taken SIGTERM over, agrees on one.
"""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator

from jax.experimental import multihost_utils

from daft_jax import processes

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_came: list[int] = []
_asked = [0]  # how often `requested` was, of several processes
_agreed: list[bool] = []  # that it is time, likewise


class Stopped(BaseException):
  """A signal has come; everything that was announced is saved.

  Not an Exception, so that nothing on the way takes it for a fault.

  Attributes:
    number: of the signal.
    status: what the process ends with, 128 + number.
  """

  def __init__(self, number: int):
    super().__init__(f'stopped by {signal.Signals(number).name}')
    self.number = number
    self.status = 128 + number


def requested() -> bool:
  """Whether a signal has come.

  Several processes have to ask equally often, and get the same answer.
  """
  if not processes.several():
    return bool(_came)
  if not _agreed:
    _asked[0] += 1
    if multihost_utils.reached_preemption_sync_point(_asked[0]):
      _agreed.append(True)
  return bool(_agreed)


def check() -> None:
  """Raises `Stopped` if a signal has come."""
  if requested():
    raise Stopped(_came[0] if _came else signal.SIGTERM)


@contextlib.contextmanager
def handled() -> Iterator[None]:
  """Takes SIGINT and SIGTERM inside; outside, they do what they did before.

  In a thread that is not the main one it does nothing: there, no handler can
  be set.
  """
  if threading.current_thread() is not threading.main_thread():
    yield
    return
  _came.clear()
  reader, writer = os.pipe()
  os.set_blocking(writer, False)
  # JAX has a handler of its own for SIGTERM, in several processes.
  taken = _SIGNALS[: 1 if processes.several() else 2]
  before = {number: signal.getsignal(number) for number in taken}
  wakeup = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
  for number in taken:
    signal.signal(number, lambda number, frame: None)
  watcher = threading.Thread(target=_watch, args=(reader,), daemon=True)
  watcher.start()
  try:
    yield
  finally:
    signal.set_wakeup_fd(wakeup)
    for number, handler in before.items():
      signal.signal(number, handler)
    os.close(writer)
    watcher.join()
    os.close(reader)


def _watch(reader: int) -> None:
  """Notes signals as they come; the second SIGINT is obeyed here."""
  while numbers := os.read(reader, 64):
    for number in numbers:
      if number not in _SIGNALS:
        continue
      if number == signal.SIGINT and signal.SIGINT in _came:
        os.write(2, b'\ndaft_jax: stopped at once.\n')
        os._exit(128 + signal.SIGINT)
      _came.append(number)
      if number == signal.SIGINT and processes.several():
        os.kill(os.getpid(), signal.SIGTERM)  # So that JAX tells the others.

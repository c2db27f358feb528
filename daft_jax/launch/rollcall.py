"""Processes of a run meet before JAX connects them, and go on together or end.

  met = rollcall.meet('gpu0:1234', count=2, index=1, seconds=300)
  met.sockets[0], met.who              # to process 0; [[host, process], ...]

The first one listens where JAX will. Each of the others says there who it is,
and hears that all have come, or what is wrong. So flags that do not fit end all
at once, and who does not come is named; JAX would say nothing for minutes, and
then abort with pages. The connections stay, for `peers` to watch.
"""

import contextlib
import json
import os
import selectors
import socket
import sys
import time
from typing import Any, NamedTuple

from daft_jax import names, processes
from daft_jax.settings import ConfigError

TIMEOUT = '--join_timeout'

_SOON = 10.0  # seconds: until it is said for whom one waits; for an answer
_RETRY = 0.3  # seconds between attempts to reach the first one
_MOST_BYTES = 1 << 20  # of a message, which is a line of JSON
_MARK = 'daft_jax'


class Met(NamedTuple):
  """What a process has of the others.

  Attributes:
    sockets: connections, by the other one's index: the first process has one to
      each, each has one to the first.
    who: host and process of all, in order.
  """

  sockets: dict[int, socket.socket]
  who: list[list]


def meet(address: str, count: int, index: int, seconds: float) -> Met:
  """Waits until all processes are there.

  Args:
    address: HOST:PORT of the first one.
    count: of processes.
    index: of this one.
    seconds: to wait.

  Raises:
    ConfigError: they were given what does not fit, or one has not come.
  """
  if index:
    return _follow(address, count, index, seconds)
  return _lead(address, count, seconds)


def refuse(address: str, first: bool, mistake: str) -> None:
  """Tells the others, if they come soon, that this one's flags are wrong."""
  if not first:
    # Where there is no such host there is nobody to be told.
    with contextlib.suppress(ConfigError, socket.gaierror):
      socket.getaddrinfo(address.rpartition(':')[0].strip('[]'), None)
      _follow(address, 0, None, _SOON, mistake)
    return
  end = time.monotonic() + _SOON
  while (left := end - time.monotonic()) > 0:  # How many come is not known.
    with contextlib.suppress(ConfigError):
      _lead(address, 2, left, mistake)


class _StrangeError(OSError):
  """Somebody answers who is no first process that waits for others."""


class _Roll:
  """Who has come to the first process."""

  def __init__(self, count: int, mistake: str):
    self._count, self._mistake = count, mistake
    self.sockets: dict[int, socket.socket] = {}
    self.who: dict[int, list] = {0: [socket.gethostname(), os.getpid()]}

  def admit(self, peer: socket.socket) -> None:
    """Adds a process, or refuses it together with all others."""
    peer.settimeout(_SOON)
    hello = _received(peer)
    if not isinstance(hello, dict) or hello.get('program') != _MARK:
      peer.close()  # A stranger.
      return
    index = hello.get('index')
    known = type(index) is int and 0 <= index < self._count
    at = index if known and index not in self.sockets else -len(self.who)
    self.sockets[at] = peer
    me = [names.shown(hello.get('host')), names.shown(hello.get('process'))]
    wrong = self._mistake or self._fault(hello, index, _name(me))
    if wrong:
      raise ConfigError(wrong)
    self.who[at] = me

  def _fault(self, hello: dict[str, Any], index: Any, name: str) -> str:
    if hello.get('mistake'):
      return f'{names.shown(hello["mistake"])} ({name})'
    if hello.get('count') != self._count:
      return (
        f'process {names.shown(index)} ({name}) was given --num_processes='
        f'{names.shown(hello.get("count"))}, and process 0 {self._count}: give '
        'all of them the same'
      )
    if index in self.who:
      return (
        f'--process_id={names.shown(index)} was given to two processes, '
        f'{_name(self.who[index])} and {name}: number them from 0 on'
      )
    return ''

  def missing(self) -> str:
    return _listed([x for x in range(self._count) if x not in self.who])

  def gone(self, index: int) -> str:
    return (
      f'process {index} ({_name(self.who[index])}) has ended, while process '
      f'{self.missing()} had not come yet: see what it said last'
    )


def _lead(address: str, count: int, seconds: float, mistake: str = '') -> Met:
  """In the first process: waits for the others, and tells them how it went."""
  listener = _listener(address, count, mistake)
  roll = _Roll(count, mistake)
  with listener:
    try:
      _wait(roll, listener, count, seconds)
    except ConfigError as error:
      for peer in roll.sockets.values():
        _send(peer, {'mistake': str(error)})
        peer.close()
      raise
  who = [roll.who[x] for x in range(count)]
  for peer in roll.sockets.values():
    _send(peer, {'who': who})
  return Met(roll.sockets, who)


def _wait(
  roll: _Roll, listener: socket.socket, count: int, seconds: float
) -> None:
  start, patient = time.monotonic(), False
  with selectors.DefaultSelector() as selector:
    selector.register(listener, selectors.EVENT_READ)
    while len(roll.who) < count:
      passed = time.monotonic() - start
      if passed >= seconds:
        raise ConfigError(
          f'process {roll.missing()} of {count} has not come for '
          f'{seconds:.0f} s: see what it said on its host, whether it reaches '
          f'{socket.gethostname()} here, and start all of them again; hosts '
          f'that start further apart need a larger {TIMEOUT}=SECONDS'
        )
      if passed >= _SOON and not patient:
        patient = True
        _say(f'waits for process {roll.missing()} of {count}', seconds)
      for key, _ in selector.select(min(1.0, seconds - passed)):
        if key.fileobj is not listener:
          raise ConfigError(roll.gone(key.data))
        before = set(roll.sockets)
        with contextlib.suppress(OSError):
          roll.admit(listener.accept()[0])
        for index in set(roll.sockets) - before:
          selector.register(roll.sockets[index], selectors.EVENT_READ, index)


def _follow(
  address: str, count: int, index: int | None, seconds: float, mistake: str = ''
) -> Met:
  """In another process: comes, and hears how it went."""
  start, patient = time.monotonic(), False
  while True:
    try:
      return _ask(address, count, index, mistake, seconds)
    except OSError as caught:  # Its host may not be up yet, nor have a name.
      error = caught
    passed = time.monotonic() - start
    if passed >= (_SOON if isinstance(error, _StrangeError) else seconds):
      raise ConfigError(
        f'process 0 has not been reached at {address} for {passed:.0f} s '
        f'({error}): see what it said on its host, whether the address is '
        'right and the port open, and start all of them again; hosts that '
        f'start further apart need a larger {TIMEOUT}=SECONDS'
      ) from error
    if passed >= _SOON and not patient:
      patient = True
      _say(f'waits for process 0 at {address} ({error})', seconds)
    time.sleep(_RETRY)


def _ask(
  address: str, count: int, index: int | None, mistake: str, seconds: float
) -> Met:
  """Says who this is and waits for the answer.

  Raises:
    OSError: nobody is there.
    ConfigError: all of them end.
  """
  host, _, port = address.rpartition(':')
  to = host.strip('[]'), int(port)
  peer = socket.create_connection(to, _SOON)
  with contextlib.ExitStack() as stack:
    stack.enter_context(peer)
    hello = {'program': _MARK, 'index': index, 'count': count}
    hello |= {'host': socket.gethostname(), 'process': os.getpid()}
    _send(peer, hello | {'mistake': mistake})
    peer.settimeout(seconds + _SOON)
    answer = _received(peer)
    if answer is None:
      said = 'has ended, while others had not come yet: see what it said last'
      raise ConfigError(f'process 0 at {address} {said}')
    if not isinstance(answer, dict):  # An earlier run that is about to end?
      raise _StrangeError(
        'a run has begun there without this process, or it is another program. '
        f'Was --process_id={index} given to two'
      )
    if 'who' not in answer:
      text = names.shown(answer.get('mistake'))
      # The first one says it.
      raise processes.mark_told(ConfigError(text))
    stack.pop_all()
  return Met({0: peer}, answer['who'])


def _listener(address: str, count: int, mistake: str) -> socket.socket:
  """As JAX does, at every address of this host.

  Raises:
    ConfigError: another one has the port, and does not end soon.
  """
  port = int(address.rpartition(':')[2])
  dual = socket.has_dualstack_ipv6()
  family = socket.AF_INET6 if dual else socket.AF_INET
  end = time.monotonic() + _SOON
  while True:
    try:
      return socket.create_server(
        ('', port), family=family, dualstack_ipv6=dual
      )
    except OSError as error:
      _ask_rival(address, count, mistake)
      if time.monotonic() > end:
        raise ConfigError(
          f'port {port} of this host is not free ({error}): give another one, '
          '--coordinator=HOST:PORT, to all processes, or wait for the run that '
          'has it'
        ) from error
    time.sleep(_RETRY)


def _ask_rival(address: str, count: int, mistake: str) -> None:
  """Whoever has the port may be of this run: then it says what is wrong."""
  with contextlib.suppress(OSError):
    try:
      _ask(address, count, 0, mistake, 0)
    except ConfigError as error:
      if processes.was_told(error):
        raise


def _send(peer: socket.socket, message: dict[str, Any]) -> None:
  with contextlib.suppress(OSError):
    peer.sendall(json.dumps(message).encode() + b'\n')


def _received(peer: socket.socket) -> Any:
  """One message; None where the other end is gone, '' for anything else."""
  text = b''
  # Unbuffered: what comes after it is for whoever has the connection then.
  with contextlib.suppress(OSError), peer.makefile('rb', 0) as file:
    text = file.readline(_MOST_BYTES)
  with contextlib.suppress(ValueError, RecursionError):
    return json.loads(text) if text else None
  return ''


def _name(who: list) -> str:
  return f'host {who[0]}, process {who[1]}'


def _listed(numbers: list[int]) -> str:
  shown = ', '.join(map(str, numbers[:9]))
  return f'{shown} and {len(numbers) - 9} more' if numbers[9:] else shown


def _say(text: str, seconds: float) -> None:
  text = f'daft_jax: {text}, for {seconds:.0f} s at most ({TIMEOUT})'
  print(text, file=sys.stderr, flush=True)

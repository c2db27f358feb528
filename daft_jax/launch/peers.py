"""Ends a process when another one of its run has ended without a word.

  with watched():
    ...

  with watched(met.sockets, met.who):  # of `rollcall`, before JAX has begun
    ...

What processes compute together never comes back when one of them is gone. Each
has a connection to the first one, which the system closes however a process
ends; so it is known at once, and which one. (JAX finds out by itself after its
heartbeat's time, and aborts with pages.)
"""

import contextlib
import hmac
import os
import secrets
import selectors
import socket
import threading
import time
from collections.abc import Iterator

import jax

from daft_jax import processes

_CONNECT = 10.0  # seconds until a process has found the first one
_KEEP = {'TCP_KEEPIDLE': 15, 'TCP_KEEPINTVL': 5, 'TCP_KEEPCNT': 4}
_WELCOME, _BYE = b'welcome', b'bye'
_LINE = 64  # bytes of a message


@contextlib.contextmanager
def watched(
  peers: dict[int, socket.socket] | None = None, who: list[list] | None = None
) -> Iterator[None]:
  """Watches the other processes for the length of the block.

  Every process has to come here. When one is lost, the others say which, and
  end with status 1. Where a process cannot reach the first one it goes on, and
  JAX alone watches it.

  Args:
    peers: connections by the other's index: to each in the first process, in
      the others to that one; without, they are made.
    who: host and process of each.
  """
  if peers is None or who is None:
    who = processes.gathered([[socket.gethostname(), os.getpid()]])
    peers = _accept(who) if processes.is_first() else _connect()
  for peer in peers.values():
    _keep(peer)
  watch = _Watch(peers, who)
  try:
    yield
  finally:
    watch.say(_BYE)
    watch.close()


class _Watch:
  """The thread that reads what comes of the connections."""

  def __init__(self, peers: dict[int, socket.socket], who: list[list]):
    self._peers, self._who = peers, who
    self._wake, self._woken = socket.socketpair()
    self._thread = threading.Thread(target=self._read, daemon=True)
    self._thread.start()

  def say(self, text: bytes) -> None:
    for peer in self._peers.values():
      with contextlib.suppress(OSError):
        peer.sendall(text.ljust(_LINE))

  def close(self) -> None:
    self._wake.close()
    self._thread.join()
    for peer in self._peers.values():
      peer.close()
    self._woken.close()

  def _read(self) -> None:
    with selectors.DefaultSelector() as selector:
      selector.register(self._woken, selectors.EVENT_READ)
      for index, peer in self._peers.items():
        selector.register(peer, selectors.EVENT_READ, index)
      while True:
        for key, _ in selector.select():
          if key.fileobj is self._woken:
            return
          text = _received(key.fileobj)
          if text == _BYE:  # It is done.
            selector.unregister(key.fileobj)
          else:
            self._lost(int(text) if text.isdigit() else key.data)

  def _lost(self, index: int) -> None:
    self.say(str(index).encode())
    host, process = self._who[index]
    os.write(
      2,
      f'\ndaft_jax: process {index} of {len(self._who)} (host {host}, process '
      f'{process}) is lost: see what it said last. To go on, start all of them '
      'again with the same commands\n'.encode(),
    )
    os._exit(1)


def _accept(who: list[list]) -> dict[int, socket.socket]:
  """In the first process: a connection for each of the others."""
  token = secrets.token_hex(16)
  peers: dict[int, socket.socket] = {}
  with socket.create_server(('', 0)) as listener:
    port = listener.getsockname()[1]
    processes.from_first(lambda: [_addresses(), port, token])
    end = time.monotonic() + _CONNECT
    while len(peers) < len(who) - 1 and time.monotonic() < end:
      listener.settimeout(max(0.01, end - time.monotonic()))
      with contextlib.suppress(OSError):
        peer, _ = listener.accept()
        peer.settimeout(_CONNECT)
        given, _, index = (
          _received(peer).decode(errors='replace').partition(' ')
        )
        known = index.isdigit() and 0 < int(index) < len(who)
        if hmac.compare_digest(given.encode(), token.encode()) and known:
          peer.sendall(_WELCOME.ljust(_LINE))
          peers[int(index)] = peer
        else:  # A stranger.
          peer.close()
  return peers


def _connect() -> dict[int, socket.socket]:
  """In another process: a connection to the first one."""
  addresses, port, token = processes.from_first(lambda: None)
  for address in addresses:
    with contextlib.suppress(OSError):
      peer = socket.create_connection((address, port), _CONNECT / 2)
      peer.sendall(f'{token} {jax.process_index()}'.encode().ljust(_LINE))
      if _received(peer) == _WELCOME:
        return {0: peer}
      peer.close()
  return {}


def _addresses() -> list[str]:
  """Where the first process may be found, the likeliest first."""
  name = socket.gethostname()
  found = [name, socket.getfqdn()]
  with contextlib.suppress(OSError):
    found += [x[4][0] for x in socket.getaddrinfo(name, None, socket.AF_INET)]
  return list(dict.fromkeys(found))


def _keep(peer: socket.socket) -> None:
  """Has the system notice when the other host is gone without a word."""
  peer.settimeout(None)
  peer.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
  for name, value in _KEEP.items():
    if hasattr(socket, name):
      peer.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def _received(peer: socket.socket) -> bytes:
  """One message; b'' where the other end is gone."""
  text = b''
  with contextlib.suppress(OSError):
    while len(text) < _LINE and (more := peer.recv(_LINE - len(text))):
      text += more
  return text.strip() if len(text) == _LINE else b''

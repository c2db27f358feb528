"""How the processes of a run find each other.

  with joined(given(argv)):
    ...

By three flags, or by themselves: on TPU pods, and on Slurm where srun starts
more than one. Otherwise there is one process, and nothing is connected. All
else that may be wrong is said once they are connected, so that all end.
"""

import contextlib
import importlib.util
import os
import pathlib
import re
import socket
import sys
import threading
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import jax

from daft_jax import processes
from daft_jax.launch import peers, rollcall
from daft_jax.settings import ConfigError

_PLACE = ('--coordinator', '--num_processes', '--process_id')
FLAGS = (*_PLACE, rollcall.TIMEOUT)

_USAGE = (
  'of several processes each is told --coordinator=HOST:PORT (of process 0), '
  '--num_processes=N and --process_id=I, from 0 on; with srun on Slurm, and on '
  'TPU pods, none of them is needed'
)
_SLURM = ('SLURM_JOB_ID', 'SLURM_STEP_NODELIST', 'SLURM_NTASKS')
_SLURM += ('SLURM_PROCID', 'SLURM_LOCALID')
_WAIT = 300.0  # seconds for which processes that start wait for each other
_LONGEST = 86400.0
_HEARTBEAT = 30  # seconds until JAX gives a process up that hangs
_GRACE = 3.0  # seconds in which a lost process becomes known


class Place(NamedTuple):
  """What a process is told of the run."""

  coordinator: str
  count: int
  index: int


def given(argv: Sequence[str]) -> dict[str, str]:
  """These flags, whatever else is among the arguments.

  Raises:
    ConfigError: one is given twice, as two things.

  Example:
    >>> given(['--workdir=x', '--num_processes=2', '--process_id', '1'])
    {'--num_processes': '2', '--process_id': '1'}
  """
  found: dict[str, str] = {}
  for name, text in _pairs(argv):
    if name in FLAGS and found.setdefault(name, text or '') != (text or ''):
      raise ConfigError(
        f'{name} is given twice, as {found[name]!r} and {text!r}: {_USAGE}'
      )
  return found


def place_of(given: Mapping[str, str]) -> Place | None:
  """The flags, checked; None where there is none, or a single process.

  Raises:
    ConfigError: one or two of the three, or what makes no sense.

  Example:
    >>> flags = {'--coordinator': 'gpu0:1234', '--num_processes': '2'}
    >>> place_of({**flags, '--process_id': '1'})
    Place(coordinator='gpu0:1234', count=2, index=1)
  """
  missing = [name for name in _PLACE if not given.get(name)]
  if len(missing) == len(_PLACE):
    return None
  if missing:
    verb = 'is' if len(missing) == 1 else 'are'
    raise ConfigError(f'{" and ".join(missing)} {verb} missing: {_USAGE}')
  address, *numbers = (given[name] for name in _PLACE)
  if not _is_address(address):
    raise ConfigError(
      f'--coordinator is {address!r}, no HOST:PORT such as gpu0:1234: {_USAGE}'
    )
  for name, text in zip(_PLACE[1:], numbers, strict=True):
    if not re.fullmatch('[0-9]{1,6}', text):
      raise ConfigError(f'{name} is {text!r}, no number from 0 on: {_USAGE}')
  count, index = map(int, numbers)
  if index >= count:
    raise ConfigError(
      f'--process_id is {index}, and of --num_processes={count} the last one '
      f'is {count - 1}: {_USAGE}'
    )
  return Place(address, count, index) if count > 1 else None


def _is_address(text: str) -> bool:
  form = r'(\[[0-9a-fA-F:]+\]|[^:\s\[\]]+):([0-9]{1,5})'
  found = re.fullmatch(form, text)
  try:
    text.encode('idna')  # No part of a name is empty, or too long.
  except UnicodeError:
    return False
  return bool(found) and 0 < int(found[2]) < 1 << 16


def _seconds(given: Mapping[str, str]) -> float:
  text = given.get(rollcall.TIMEOUT, '')
  if not text:
    return _WAIT
  if re.fullmatch(r'[0-9]{1,5}', text) and 0 < float(text) <= _LONGEST:
    return float(text)
  raise ConfigError(
    f'{rollcall.TIMEOUT} is {text!r}, no number of seconds from 1 to '
    f'{_LONGEST:.0f}: {rollcall.TIMEOUT}={_WAIT:.0f} is the default'
  )


def without(argv: Sequence[str]) -> list[str]:
  """Arguments of the program without these flags.

  Example:
    >>> without(['--num_processes=2', '--process_id', '1', '--workdir=x'])
    ['--workdir=x']
  """
  kept = []
  for name, text in _pairs(argv):
    if name not in FLAGS:
      kept.append(name if text is None else f'{name}={text}')
  return kept


def _pairs(argv: Sequence[str]) -> Iterator[tuple[str, str | None]]:
  """Names and values, whether '--name=value' or '--name value'."""
  words = list(argv)
  while words:
    name, equals, text = words.pop(0).partition('=')
    if not equals and words and not words[0].startswith('--'):
      equals, text = '=', words.pop(0)
    yield name, text if equals else None


@contextlib.contextmanager
def joined(flags: Mapping[str, str]) -> Iterator[None]:
  """Connects to the other processes, if there are, for the length of the block.

  When another one is lost, this one says so and ends, see `peers`.

  Args:
    flags: of `given`.

  Raises:
    ConfigError: they do not fit, or the others have not come.
  """
  try:
    seconds = _seconds(flags)
    place = place_of(flags) or _on_slurm()
  except ConfigError as error:
    address = flags.get(_PLACE[0], '')
    if _is_address(address):
      print(f'daft_jax: {error}', file=sys.stderr, flush=True)
      first = flags.get(_PLACE[2]) == '0'
      rollcall.refuse(address, first, str(error))
      raise processes.mark_told(error) from None
    raise
  with contextlib.ExitStack() as stack:
    if place is not None:
      met = rollcall.meet(*place, seconds)
      stack.enter_context(peers.watched(met.sockets, met.who))
    if place is not None or _on_tpu():
      # After the roll call all are there, and have only to begin.
      _connect(place, seconds if place is None else _WAIT)
    if processes.several() and place is None:
      stack.enter_context(peers.watched())
    try:
      yield
    finally:
      if jax.distributed.is_initialized():
        jax.distributed.shutdown()  # It waits for all the others.


def _connect(place: Place | None, seconds: float) -> None:
  """JAX's own; where it would abort with pages, a line is said before."""

  def give_up() -> None:
    text = (
      f'\ndaft_jax: the processes of this run have not found each other for '
      f'{seconds:.0f} s: see on each host what it said, and start all of them '
      'again; hosts that start further apart need a larger '
      f'{rollcall.TIMEOUT}=SECONDS\n'
    )
    os.write(2, text.encode())
    os._exit(2)

  timer = threading.Timer(seconds, give_up)
  timer.daemon = True
  timer.start()
  how = {
    'heartbeat_timeout_seconds': _HEARTBEAT,
    'initialization_timeout': int(seconds) + 60,
  }
  try:
    if place is not None:
      jax.distributed.initialize(*place, **how)
    else:
      # On one host that is none of Google's there is nobody to ask.
      with contextlib.suppress(ValueError):
        jax.distributed.initialize(**how)
    processes.several()  # Where they connect for what they compute.
  except RuntimeError as error:
    raise ConfigError(
      f'the processes of this run cannot find each other ({error}): {_USAGE}. '
      'Is the port free, is the host reached from the others, and is its name '
      f'{socket.gethostname()} known?'
    ) from error
  finally:
    timer.cancel()


def leave(status: int) -> None:
  """Of several processes: ends this one, as the others do not know of its end.

  They learn that it is gone; to wait for them would be in vain.
  """
  if not processes.several():
    return
  sys.stdout.flush()
  sys.stderr.flush()
  os._exit(status)


def leave_with_traceback() -> None:
  """The same after an error that is being handled and nobody expected.

  It may be that of a lost process, of which `peers` then speaks.
  """
  if processes.several():
    time.sleep(_GRACE)
    traceback.print_exc()
  leave(1)


def _on_slurm() -> Place | None:
  """Of several that srun has started; a batch script alone is one.

  The address is the one that JAX takes: of the step's first host, a port by the
  job's number.
  """
  tasks = os.environ.get('SLURM_STEP_NUM_TASKS', os.environ.get(_SLURM[2]))
  there = all(name in os.environ for name in _SLURM)
  if not there or not str(tasks).isdigit() or int(tasks) < 2:
    return None
  job, hosts, _, index, _ = (os.environ[name] for name in _SLURM)
  first = re.match(r'([^,\[]*)(?:\[([^],-]*))?', hosts)
  port = os.environ.get('JAX_COORDINATOR_PORT') or 61440 + int(job) % 4096
  return Place(f'{first[1]}{first[2] or ""}:{port}', int(tasks), int(index))


def _on_tpu() -> bool:
  """Whether there are TPUs, of which each host of a pod has a process."""
  wanted = os.environ.get('JAX_PLATFORMS') or 'tpu'
  if 'tpu' not in wanted or not importlib.util.find_spec('libtpu'):
    return False
  chips = (*pathlib.Path('/dev').glob('accel*'),)
  return bool(chips or [*pathlib.Path('/dev/vfio').glob('[0-9]*')])

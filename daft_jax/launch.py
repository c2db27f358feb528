"""How the processes of a run find each other.

  place = place_of({'--coordinator': 'gpu0:1234', '--num_processes': '2', ...})
  with joined(place):
    ...

By three flags, or by themselves: on TPU pods, and on Slurm where srun starts
more than one. Otherwise there is one process, and nothing is connected.
"""

import contextlib
import importlib.util
import os
import pathlib
import re
import sys
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import jax

from daft_jax import peers, processes
from daft_jax.settings import ConfigError

FLAGS = ('--coordinator', '--num_processes', '--process_id')

_USAGE = (
  'of several processes each is told --coordinator=HOST:PORT (of process 0), '
  '--num_processes=N and --process_id=I, from 0 on; with srun on Slurm, and on '
  'TPU pods, none of them is needed'
)
_SLURM = ('SLURM_JOB_ID', 'SLURM_STEP_NODELIST', 'SLURM_NTASKS')
_SLURM += ('SLURM_PROCID', 'SLURM_LOCALID')
_HEARTBEAT = 30  # seconds until JAX gives a process up that hangs
_GRACE = 3.0  # seconds in which a lost process becomes known


class Place(NamedTuple):
  """What a process is told of the run."""

  coordinator: str
  count: int
  index: int


def place_of(given: Mapping[str, str]) -> Place | None:
  """The flags, checked; None where there is none, or a single process.

  Raises:
    ConfigError: one or two of the three, or what makes no sense.

  Example:
    >>> flags = {'--coordinator': 'gpu0:1234', '--num_processes': '2'}
    >>> place_of({**flags, '--process_id': '1'})
    Place(coordinator='gpu0:1234', count=2, index=1)
  """
  missing = [name for name in FLAGS if not given.get(name)]
  if len(missing) == len(FLAGS):
    return None
  if missing:
    verb = 'is' if len(missing) == 1 else 'are'
    raise ConfigError(f'{" and ".join(missing)} {verb} missing: {_USAGE}')
  address, *numbers = (given[name] for name in FLAGS)
  if not re.fullmatch(r'(\[[0-9a-fA-F:]+\]|[^:\s\[\]]+):[0-9]{1,5}', address):
    raise ConfigError(
      f'--coordinator is {address!r}, no HOST:PORT such as gpu0:1234: {_USAGE}'
    )
  for name, text in zip(FLAGS[1:], numbers, strict=True):
    if not re.fullmatch('[0-9]{1,6}', text):
      raise ConfigError(f'{name} is {text!r}, no number from 0 on: {_USAGE}')
  count, index = map(int, numbers)
  if index >= count:
    raise ConfigError(
      f'--process_id is {index}, and of --num_processes={count} the last one '
      f'is {count - 1}: {_USAGE}'
    )
  return Place(address, count, index) if count > 1 else None


def without(argv: Sequence[str]) -> list[str]:
  """Arguments of the program without these flags.

  Example:
    >>> without(['--num_processes=2', '--process_id', '1', '--workdir=x'])
    ['--workdir=x']
  """
  kept, words = [], list(argv)
  while words:
    word = words.pop(0)
    name, equals, _ = word.partition('=')
    if name not in FLAGS:
      kept.append(word)
    elif not equals and words and not words[0].startswith('--'):
      words.pop(0)
  return kept


@contextlib.contextmanager
def joined(place: Place | None = None) -> Iterator[None]:
  """Connects to the other processes, if there are, for the length of the block.

  When another one is lost, this one says so and ends, see `peers`.

  Raises:
    ConfigError: they cannot be reached.
  """
  how = {'heartbeat_timeout_seconds': _HEARTBEAT}
  try:
    if place is not None:
      jax.distributed.initialize(*place, **how)
    elif _on_slurm():
      jax.distributed.initialize(**how)
    elif _on_tpu():
      # On one host that is none of Google's there is nobody to ask.
      with contextlib.suppress(ValueError):
        jax.distributed.initialize(**how)
  except RuntimeError as error:
    raise ConfigError(
      f'the processes of this run cannot find each other ({error}): {_USAGE}. '
      'Is the port free, and is the host reached from the others?'
    ) from error
  if not jax.distributed.is_initialized():
    yield
    return
  host = place and place.coordinator.rpartition(':')[0].strip('[]')
  with peers.watched(host):
    try:
      yield
    finally:
      jax.distributed.shutdown()  # It waits for all the others.


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


def _on_slurm() -> bool:
  """Whether srun has started several; a batch script alone is one."""
  tasks = os.environ.get('SLURM_STEP_NUM_TASKS', os.environ.get(_SLURM[2]))
  there = all(name in os.environ for name in _SLURM)
  return there and str(tasks).isdigit() and int(tasks) > 1


def _on_tpu() -> bool:
  """Whether there are TPUs, of which each host of a pod has a process."""
  wanted = os.environ.get('JAX_PLATFORMS') or 'tpu'
  if 'tpu' not in wanted or not importlib.util.find_spec('libtpu'):
    return False
  chips = (*pathlib.Path('/dev').glob('accel*'),)
  return bool(chips or [*pathlib.Path('/dev/vfio').glob('[0-9]*')])

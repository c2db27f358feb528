"""On what a run computes, and what a repeat of it gives.

now = describe(mesh)         # {'platform': 'cpu', 'devices': 1, ...}
promise(now)                 # '1 x cpu, 2 cores: a repeat gives the same bits'
"""

import os
from collections.abc import Mapping
from typing import Any

import jax

# XLA's flag for GPUs: without it sums of scattered gradients depend on timing.
_GPU_FLAG = '--xla_gpu_deterministic_ops=true'


def describe(mesh: Any) -> dict[str, Any]:
  """What the bits of a result depend on beside config, weights and data."""
  device = mesh.devices.flat[0]
  found = {
    'platform': device.platform,
    'kind': device.device_kind,
    'devices': mesh.size,
    'mesh': list(mesh.devices.shape),
    'processes': jax.process_count(),
  }
  if device.platform == 'cpu':  # Sums are split over threads.
    affinity = getattr(os, 'sched_getaffinity', None)
    found['cores'] = len(affinity(0)) if affinity else os.cpu_count()
  return found


def promise(
  now: Mapping[str, Any],
  before: Mapping[str, Any] | None = None,
  *,
  elastic: bool = False,
) -> str:
  """One line: whether the same command gives the same bits.

  Args:
    now: of `describe`.
    before: of the run that goes on, where one does.
    elastic: whether the number of devices makes no difference, see `shards`.

  Example:
    >>> cpu = {'platform': 'cpu', 'kind': 'cpu', 'devices': 1, 'cores': 2}
    >>> promise(cpu)
    '1 x cpu, 2 cores: a repeat on the same gives the same bits'
    >>> promise({**cpu, 'devices': 8}, cpu)[:36]
    '8 x cpu, 2 cores; begun on 1 x cpu, '
  """
  here = _shown(now)
  if before and _what_counts(before, elastic) != _what_counts(now, elastic):
    return (
      f'{here}; begun on {_shown(before)}: results agree to rounding, not to '
      'the bit (one step to 1e-5; over a run as two seeds do, or better)'
    )
  if now['platform'] == 'gpu' and _GPU_FLAG not in os.environ.get(
    'XLA_FLAGS', ''
  ):
    return (
      f'{here}: a repeat agrees to rounding; XLA_FLAGS={_GPU_FLAG} gives the '
      'same bits, more slowly'
    )
  if elastic:
    return f'{here}: a repeat on 1, 2, 4 or 8 of them gives the same bits'
  return f'{here}: a repeat on the same gives the same bits'


def _what_counts(machine: Mapping[str, Any], elastic: bool) -> dict[str, Any]:
  number = ('devices', 'mesh', 'processes') if elastic else ()
  return {key: value for key, value in machine.items() if key not in number}


def _shown(machine: Mapping[str, Any]) -> str:
  cores = f', {machine["cores"]} cores' if 'cores' in machine else ''
  data, model = machine.get('mesh') or (machine['devices'], 1)
  mesh = f' as {data} x {model}' if model > 1 else ''
  processes = machine.get('processes', 1)
  several = f' of {processes} processes' if processes > 1 else ''
  return f'{machine["devices"]} x {machine["kind"]}{mesh}{several}{cores}'

"""What is said of a run that an error has ended, and its exit status.

status, text = explained(error, config, argv)
"""

import errno
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from daft_jax import processes, results, settings, signals
from daft_jax.checkpoint import CheckpointError
from daft_jax.data.records import DataError

# Of other processes the name of an error is known.
_MISTAKES = ('ConfigError', 'ResultsError')
_KNOWN = ('DataError', 'CheckpointError', 'DamagedCheckpoint')


def explained(
  error: BaseException, config: Mapping[str, Any], argv: Sequence[str]
) -> tuple[int | None, str]:
  """The exit status and what to say; None where a traceback says more.

  Args:
    error: that ended the run.
    config: of the run; empty where it is not known yet.
    argv: of the program.
  """
  if isinstance(error, processes.ElsewhereError):
    if error.kind in _MISTAKES:
      return 2, str(error)
    return 1, str(error) if error.kind in _KNOWN else f'{error.kind}: {error}'
  if isinstance(error, (settings.ConfigError, results.ResultsError)):
    return 2, str(error)
  if isinstance(error, (DataError, CheckpointError)):
    return 1, str(error)
  if isinstance(error, OSError):
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
      fix = 'make room on the disk and run the same command again'
      return 1, f'{error}: {fix}'
  elif isinstance(error, (RuntimeError, MemoryError)):
    if config and _is_out_of_memory(error):
      return 1, _out_of_memory(config)
  elif isinstance(error, signals.Stopped):
    again = shlex.join(['python', '-m', 'daft_jax.main', *argv])
    several = processes.several()
    where = ', and so in every process' if several else ''
    return error.status, f'{error}. To go on: {again}{where}'
  return None, ''


def _is_out_of_memory(error: Exception) -> bool:
  """On the host, or as XLA says it of a device."""
  return isinstance(error, MemoryError) or 'RESOURCE_EXHAUSTED' in str(error)


def _out_of_memory(config: Mapping[str, Any]) -> str:
  half = max(1, config['batch_size'] // 2)
  tests = max(1, config['eval_batch_size'] // 4)
  return (
    f'out of memory, with config.batch_size {config["batch_size"]} and '
    f'config.eval_batch_size {config["eval_batch_size"]}. What was saved stays '
    'as it is. Images take less with --config.data.residency=stream; '
    f'--config.eval_batch_size={tests} and --config.batch_size={half} are '
    'another experiment, for another --workdir'
  )

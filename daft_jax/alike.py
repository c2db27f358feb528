"""Whether all processes of a run were given the same.

check_config(config)             # before anything is read
check_read(shared)               # weights and images, by their hashes
"""

from collections.abc import Mapping
from typing import Any

from daft_jax import processes, trees
from daft_jax.settings import ConfigError

# Fields of a config that may differ from host to host: where files lie, not
# what is in them.
_OF_HOSTS = ('weights_path', 'data/dir', 'data/root', 'data/ood')
_OF_HOSTS += ('data/workers', 'data/timeout')


def check_config(config: Mapping[str, Any]) -> None:
  """Refuses processes that were given another config.

  Raises:
    ConfigError: in each of them; names what differs.
  """
  given = trees.flatten(dict(config))
  _check({k: v for k, v in given.items() if not _of_host(k)}, 'config.')


def check_read(shared: Mapping[str, Any]) -> None:
  """Refuses processes that have read other weights or images.

  Args:
    shared: of `provenance.shared_settings`.

  Raises:
    ConfigError: in each of them; names what differs.
  """
  _check(trees.flatten(dict(shared)), '')


def _of_host(path: str) -> bool:
  return any(path == x or path.startswith(f'{x}/') for x in _OF_HOSTS)


def _check(mine: dict[str, Any], prefix: str) -> None:
  every = processes.gathered([mine])
  for index, other in enumerate(every):
    names = dict.fromkeys([*every[0], *other])
    differ = [x for x in names if every[0].get(x) != other.get(x)]
    if differ:
      shown = ', '.join(prefix + x.replace('/', '.') for x in differ)
      raise processes.mark_told(
        ConfigError(
          f'process {index} has other settings than process 0 ({shown}): give '
          'all of them the same command, and the same weights and images'
        )
      )

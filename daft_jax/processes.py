"""Several processes of one run, as on the hosts of a pod.

  for row in mine(len(paths)):      # this process's share
    found.append(check(paths[row]))
  found = gathered(found)           # all of them, in order, in each process

JAX's own communication; a run of one process communicates nothing.
"""

import json
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils


def mine(count: int) -> range:
  """The rows that this process does, of `count`; every n-th of n processes.

  Example:
    >>> list(mine(3))
    [0, 1, 2]
  """
  return range(jax.process_index(), count, jax.process_count())


def gathered(values: list[Any]) -> list[Any]:
  """What all processes made of their rows, in the order of the rows.

  Every process has to call it, each with one value for every row of `mine`.

  Args:
    values: what JSON can hold; a tuple comes back as a list.

  Example:
    >>> gathered([1, 'two'])
    [1, 'two']
  """
  if jax.process_count() == 1:
    return values
  text = json.dumps(values).encode()
  sizes = multihost_utils.process_allgather(np.int64(len(text)))
  padded = np.zeros(max(int(sizes.max()), 1), np.uint8)
  padded[: len(text)] = np.frombuffer(text, np.uint8)
  texts = multihost_utils.process_allgather(padded)
  parts = [
    json.loads(text[:size].tobytes())
    for text, size in zip(texts, sizes, strict=True)
  ]
  every = [None] * sum(len(part) for part in parts)
  for index, part in enumerate(parts):
    every[index :: len(parts)] = part
  return every

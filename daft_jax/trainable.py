"""What of a model trains in a stage, and that the rest stays as it is.

describe(start, '^head', 'running')    # 'trains 650 of 172,506 parameters ...'
check_frozen(start, end, '^head', 'running')
"""

from typing import Any

import numpy as np

from daft_jax import trees

PyTree = Any


def describe(start: PyTree, trainable: str, norm: str) -> str:
  """One line: which parameters train and which statistics move.

  Example:
    >>> params = {'conv': np.zeros((3, 2)), 'head': np.zeros(4)}
    >>> describe({'params': params, 'batch_stats': {}}, '^head', 'running')
    'trains 4 of 10 parameters (head); no statistics move'
  """
  trained, frozen = (
    trees.flatten(part) for part in trees.split(start['params'], trainable)
  )
  count, rest = (sum(x.size for x in p.values()) for p in (trained, frozen))
  tops = list(dict.fromkeys(path.split('/')[0] for path in trained))
  what = 'all' if not frozen else ', '.join(tops) or 'none'
  layers = len(trees.flatten(start['batch_stats'])) // 2
  moves = f'statistics of {layers} BatchNorms move' if layers else ''
  if norm != 'batch' or not layers:
    moves = 'no statistics move'
  return f'trains {count:,} of {count + rest:,} parameters ({what}); {moves}'


def check_frozen(start: PyTree, end: PyTree, trainable: str, norm: str) -> None:
  """Asserts that what must not change is bit-identical.

  Raises:
    AssertionError: naming the leaves that changed.
  """
  pairs = [(trees.split(v['params'], trainable)[1]) for v in (start, end)]
  before, after = (trees.flatten({'params': part}) for part in pairs)
  if norm != 'batch':
    before |= trees.flatten({'batch_stats': start['batch_stats']})
    after |= trees.flatten({'batch_stats': end['batch_stats']})
  changed = [
    path
    for path, leaf in before.items()
    if np.asarray(leaf).tobytes() != np.asarray(after[path]).tobytes()
  ]
  if changed:
    raise AssertionError(
      f'changed though it must not train: {", ".join(changed[:8])}. This is a '
      'fault of daft_jax: please report it with the config.'
    )

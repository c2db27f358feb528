"""How far the parameters moved, kind by kind.

parameter_distance(variables, start)['kernel']
"""

from typing import Any

import numpy as np

from daft_jax import trees

PyTree = Any

_HEAD = 'params/head/'


def parameter_distance(variables: PyTree, start: PyTree) -> dict[str, float]:
  """L2 distance of each kind of parameter, over all its layers together.

  Args:
    variables: {'params', 'batch_stats'}, after.
    start: before, of the same structure. After conversion: it moves scale,
      bias, mean and var without changing the function.

  Returns:
    Distances of 'kernel', 'scale' and 'bias' outside the head, of 'mean' and
    'var', of 'head', of 'other', whatever has another name, each only if there
    are such leaves, and 'total' of all of params.

  Raises:
    ValueError: the structures or shapes differ; names what does.

  Example:
    >>> before = {'params': {'head': {'bias': np.zeros(2)}}}
    >>> after = {'params': {'head': {'bias': np.array([3.0, 4.0])}}}
    >>> parameter_distance(after, before)
    {'head': 5.0, 'total': 5.0}
  """
  new, old = trees.flatten(variables), trees.flatten(start)
  _check_alike(new, old)
  squares: dict[str, float] = {}
  total = 0.0
  for path, leaf in new.items():
    moved = np.asarray(leaf, np.float64) - np.asarray(old[path], np.float64)
    square = float(np.square(moved).sum())
    kind = _kind(path)
    squares[kind] = squares.get(kind, 0.0) + square
    total += square if path.startswith('params/') else 0.0
  return {kind: value**0.5 for kind, value in squares.items()} | {
    'total': total**0.5
  }


def _check_alike(new: dict[str, Any], old: dict[str, Any]) -> None:
  shapes = [
    f'{path} {np.shape(leaf)}, in start {np.shape(old[path])}'
    for path, leaf in new.items()
    if path in old and np.shape(leaf) != np.shape(old[path])
  ]
  differ = {
    'only in variables': [path for path in new if path not in old],
    'only in start': [path for path in old if path not in new],
    'of other shape': shapes,
  }
  found = [f'{k}: {", ".join(v[:8])}' for k, v in differ.items() if v]
  if found:
    raise ValueError(
      f'variables and start are not of the same model; {"; ".join(found)}. '
      'Pass the variables that this model was started from.'
    )


def _kind(path: str) -> str:
  name = path.split('/')[-1]
  if path.startswith(_HEAD):
    return 'head'
  known = ('kernel', 'scale', 'bias', 'mean', 'var')
  return name if name in known else 'other'

"""How far new data are from the statistics that BatchNorm keeps.

bn_shift(variables, moments)['layer1_0/bn1'].mean
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from daft_jax import trees

PyTree = Any


class Shift(NamedTuple):
  """How far the input of one BatchNorm is from its statistics.

  Attributes:
    mean: mean over channels of |mu - mu_s| / sigma_s.
    std_ratio: geometric mean over channels of sigma / sigma_s.
  """

  mean: float
  std_ratio: float


def bn_shift(variables: PyTree, moments: Mapping[str, Any]) -> dict[str, Shift]:
  """The jump of the statistics at the first training step, layer by layer.

  mu_s and sigma_s are what a BatchNorm keeps, mu and sigma the moments of its
  input on new data; sigma = sqrt(var + epsilon), which is what it divides by.

  Args:
    variables: {'params', 'batch_stats'}, pretrained.
    moments: from `bn.bn_moments` with them.

  Raises:
    KeyError: moments of a layer that is not there.

  Example:
    >>> from daft_jax.bn import BNMoments
    >>> stats = {'bn': {'mean': np.zeros(2), 'var': np.ones(2)}}
    >>> new = BNMoments(np.array([1.0, 3.0]), np.full(2, 4.0), 9, 0.0)
    >>> bn_shift({'batch_stats': stats}, {'bn': new})
    {'bn': Shift(mean=2.0, std_ratio=2.0)}
  """
  stats = trees.flatten({'batch_stats': variables['batch_stats']})
  found = {}
  for path, new in moments.items():
    prefix = '/'.join(filter(None, ('batch_stats', path)))
    mean, var = (
      np.asarray(stats[f'{prefix}/{name}'], np.float64)
      for name in ('mean', 'var')
    )
    with np.errstate(divide='ignore', invalid='ignore'):
      old = np.sqrt(var + new.epsilon)
      ratio = np.log(np.sqrt(new.var + new.epsilon) / old)
      jump = np.abs(new.mean - mean) / old
    found[path] = Shift(float(jump.mean()), float(np.exp(ratio.mean())))
  return found

"""How far parameters moved, kind by kind."""

import numpy as np
import pytest

from daft_jax import distortion


def variables(value):
  leaf = lambda *shape: np.full(shape, value, np.float32)  # noqa: E731
  return {
    'params': {
      'conv': {'kernel': leaf(2, 2)},
      'bn': {'scale': leaf(3), 'bias': leaf(3)},
      'head': {'kernel': leaf(2, 1), 'bias': leaf(1)},
      'temperature': leaf(4),
    },
    'batch_stats': {'bn': {'mean': leaf(3), 'var': leaf(3)}},
  }


def test_parameters_by_kind():
  found = distortion.parameter_distance(variables(3.0), variables(1.0))
  assert found == pytest.approx(
    {
      'kernel': 16**0.5,
      'scale': 12**0.5,
      'bias': 12**0.5,
      'head': 12**0.5,
      'other': 16**0.5,
      'mean': 12**0.5,
      'var': 12**0.5,
      'total': (16 + 12 + 12 + 12 + 16) ** 0.5,
    }
  )


def test_parameters_of_another_model():
  other = variables(1.0)
  bias = other['params']['bn'].pop('bias')
  with pytest.raises(ValueError, match='only in variables: params/bn/bias'):
    distortion.parameter_distance(variables(1.0), other)
  with pytest.raises(ValueError, match='only in start: params/bn/bias'):
    distortion.parameter_distance(other, variables(1.0))
  other['params']['bn']['bias'] = np.append(bias, 0)
  with pytest.raises(ValueError, match='of other shape: params/bn/bias'):
    distortion.parameter_distance(variables(1.0), other)

"""What moved: features, layers, parameters, and BatchNorm before training.

  l2, cosine = feature_distortion(features, reference)   # one number an image
  counts, edges = histogram(l2)
  compare_layers(after, before)['layer1_0/bn1'].cka
  parameter_distance(variables, start)['kernel']
  bn_shift(variables, moments)['layer1_0/bn1'].mean

NumPy, float64, on the host.
"""

from daft_jax.distortion.features import feature_distortion, histogram
from daft_jax.distortion.layers import Moved, compare_layers, linear_cka
from daft_jax.distortion.parameters import parameter_distance
from daft_jax.distortion.shift import Shift, bn_shift

__all__ = [
  'Moved',
  'Shift',
  'bn_shift',
  'compare_layers',
  'feature_distortion',
  'histogram',
  'linear_cka',
  'parameter_distance',
]

"""How far the features of each image moved.

l2, cosine = feature_distortion(features, reference)   # one number an image
counts, edges = histogram(l2)

The measures are those of the DAFT paper's figure 1. NumPy, float64.
"""

import numpy as np

_BLOCK = 4096  # rows at a time: 64 MiB of float64 for 2,048 features


def feature_distortion(
  features: np.ndarray, reference: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
  """Compares the features of each image with those it had before.

    l2 = ||f - f0||_2,  cosine = <f, f0> / (||f|| ||f0||)

  Args:
    features: floating [N, D], after.
    reference: floating [N, D], before, of the same images in the same order.

  Returns:
    l2 and cosine, float64 [N]. Equal features give exactly 0 and 1, two zero
    vectors 0 and 1, one zero vector a cosine of 0.

  Raises:
    ValueError: the shapes differ or are not [N, D].

  Example:
    >>> l2, cosine = feature_distortion(np.eye(2), np.array([[1, 0], [1, 0]]))
    >>> l2.round(3).tolist(), cosine.tolist()
    ([0.0, 1.414], [1.0, 0.0])
  """
  features, reference = np.asarray(features), np.asarray(reference)
  if features.ndim != 2 or features.shape != reference.shape:
    raise ValueError(
      f'features {features.shape} and reference {reference.shape} have to be '
      'of one shape [N, D]: pass the features of the same images'
    )
  l2, cosine = np.empty(len(features)), np.empty(len(features))
  for start in range(0, len(features), _BLOCK):
    rows = slice(start, start + _BLOCK)
    f, f0 = (x[rows].astype(np.float64) for x in (features, reference))
    l2[rows] = np.linalg.norm(f - f0, axis=1)
    cosine[rows] = _cosine(f, f0)
  cosine[l2 == 0] = 1
  return l2, cosine


def _cosine(f: np.ndarray, f0: np.ndarray) -> np.ndarray:
  norms = np.linalg.norm(f, axis=1) * np.linalg.norm(f0, axis=1)
  inner = np.einsum('nd,nd->n', f, f0)
  cosine = np.divide(inner, norms, out=np.zeros(len(f)), where=norms != 0)
  return np.clip(cosine, -1, 1)  # rounding; nan stays


def histogram(
  values: np.ndarray, bins: int = 100
) -> tuple[np.ndarray, np.ndarray]:
  """Counts in equal bins from the least to the largest finite value.

  Returns:
    counts int64 [bins] of the finite values, and edges float64 [bins + 1].

  Example:
    >>> histogram(np.array([0.0, 1.0, 1.0, np.nan]), bins=2)[0].tolist()
    [1, 2]
  """
  values = np.asarray(values, np.float64)
  values = values[np.isfinite(values)]
  low, high = (values.min(), values.max()) if len(values) else (0.0, 0.0)
  # Bins have to be wider than the spacing of floats around the values.
  least = bins * 4 * np.spacing(max(abs(low), abs(high), 1e-300))
  if high - low < least:
    middle, half = (low + high) / 2, max(least, 1e-6)
    low, high = middle - half, middle + half
  counts, edges = np.histogram(values, bins, (low, high))
  return counts.astype(np.int64), edges

"""How far the outputs of each layer moved.

compare_layers({'bn1': after}, {'bn1': before})['bn1'].cka
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from daft_jax.distortion.features import feature_distortion


class Moved(NamedTuple):
  """How far the outputs of a layer are from those before.

  Attributes:
    l2: ||Z - Z0||_F / ||Z0||_F; 0 where nothing moved.
    cosine: mean over the images of the cosine of z and z0.
    cka: linear CKA, unbiased, see `linear_cka`.
  """

  l2: float
  cosine: float
  cka: float


def compare_layers(
  layers: Mapping[str, np.ndarray], reference: Mapping[str, np.ndarray]
) -> dict[str, Moved]:
  """Compares the outputs of layers with those of the same images before.

  Args:
    layers: name -> floating [N, C], after; of a map of features its mean over
      space, for example.
    reference: the same layers, before.

  Returns:
    In the order of `layers`. nan where there is no number: a layer that was 0
    and is not, fewer than four images for CKA, values that are not finite.

  Raises:
    ValueError: the layers or their shapes differ.

  Example:
    >>> before = np.random.default_rng(0).normal(size=(8, 3))
    >>> found = compare_layers({'bn': 2 * before}, {'bn': before})['bn']
    >>> [round(value, 6) for value in found]
    [1.0, 1.0, 1.0]
  """
  if list(layers) != list(reference):
    raise ValueError(
      f'layers {", ".join(layers)} cannot be compared with '
      f'{", ".join(reference)}: they have to be of one model'
    )
  return {name: _compare(z, reference[name]) for name, z in layers.items()}


def _compare(z: np.ndarray, z0: np.ndarray) -> Moved:
  _, cosine = feature_distortion(z, z0)  # which checks the shapes
  z, z0 = np.asarray(z, np.float64), np.asarray(z0, np.float64)
  moved, size = np.linalg.norm(z - z0), np.linalg.norm(z0)
  with np.errstate(divide='ignore', invalid='ignore'):
    l2 = np.float64(0) if moved == 0 else moved / size
  l2 = l2 if np.isfinite(l2) else np.nan
  return Moved(float(l2), float(cosine.mean()), linear_cka(z, z0))


def linear_cka(x: np.ndarray, y: np.ndarray) -> float:
  """Similarity of two sets of features of the same images.

  With K = x x^T and L = y y^T, their diagonals set to 0, and n images,

    HSIC(K, L) = (tr(K L) + 1'K1 1'L1 / ((n - 1) (n - 2)) - 2 1'K L1 / (n - 2))
                 / (n (n - 3))
    CKA = HSIC(K, L) / sqrt(HSIC(K, K) HSIC(L, L))

  The estimator is unbiased, so that it does not tend to 1 where there are fewer
  images than features; it may be slightly below 0. Turning or scaling all
  features, and adding one vector to all images, changes nothing.

  Args:
    x: floating [N, C].
    y: floating [N, D].

  Returns:
    1 for equal features; nan for fewer than four images, or features that do
    not differ between the images or are not finite.

  Raises:
    ValueError: the numbers of images differ.

  Sources: Kornblith et al. 2019, arXiv 1905.00414; the estimator: Song et al.
  2012, JMLR 13, as used by Nguyen, Raghu, Kornblith 2021, arXiv 2010.15327.

  Example:
    >>> x = np.random.default_rng(0).normal(size=(8, 3))
    >>> round(linear_cka(x, -2 * x[:, ::-1] + 1), 6)
    1.0
  """
  if len(x) != len(y):
    raise ValueError(
      f'features of {len(x)} and of {len(y)} images cannot be compared: pass '
      'those of the same images'
    )
  if len(x) < 4 or not (np.isfinite(x).all() and np.isfinite(y).all()):
    return float('nan')
  k, other = _gram(x), _gram(y)
  product = _hsic(k, k) * _hsic(other, other)
  if not product > 0:
    return float('nan')
  return float(_hsic(k, other) / np.sqrt(product))


def _gram(x: np.ndarray) -> np.ndarray:
  """Inner products of the rows around their mean, at a scale of 1."""
  x = np.asarray(x, np.float64)
  x = x - x.mean(axis=0)
  # HSIC is of the fourth power: tiny features would leave the floats.
  gram = x @ x.T / max(np.square(x).mean(), np.finfo(np.float64).tiny)
  np.fill_diagonal(gram, 0)
  return gram


def _hsic(k: np.ndarray, other: np.ndarray) -> float:
  n = len(k)
  rows, columns = k.sum(axis=1), other.sum(axis=1)
  traced = np.vdot(k, other)
  whole = rows.sum() * columns.sum() / ((n - 1) * (n - 2))
  return (traced + whole - 2 * rows @ columns / (n - 2)) / (n * (n - 3))

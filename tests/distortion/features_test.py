"""How far the features of each image moved."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daft_jax import distortion
from daft_jax.distortion import features


def draw(rows=6, width=4, seed=0):
  rng = np.random.default_rng(seed)
  return rng.normal(size=(2, rows, width)).astype(np.float32)


def test_formulas():
  after, before = draw()
  l2, cosine = distortion.feature_distortion(after, before)
  for i, (f, f0) in enumerate(zip(after, before, strict=True)):
    f, f0 = f.astype(float), f0.astype(float)
    assert l2[i] == pytest.approx(sum((f - f0) ** 2) ** 0.5, rel=1e-12)
    norms = sum(f * f) ** 0.5 * sum(f0 * f0) ** 0.5
    assert cosine[i] == pytest.approx(sum(f * f0) / norms, rel=1e-12)
  assert l2.dtype == cosine.dtype == np.float64


@given(st.integers(0, 1000), st.floats(1e-20, 1e18))
def test_equal_features_have_not_moved_at_all(seed, size):
  (same, _) = draw(seed=seed) * np.float32(size)
  l2, cosine = distortion.feature_distortion(same, same.copy())
  assert (l2 == 0).all() and (cosine == 1).all()


def test_zero_vectors():
  zero, one = np.zeros((1, 3)), np.ones((1, 3))
  assert distortion.feature_distortion(zero, zero)[1] == [1]
  assert distortion.feature_distortion(zero, one)[1] == [0]


def test_blocks_do_not_matter(monkeypatch):
  after, before = draw(rows=37)
  whole = distortion.feature_distortion(after, before)
  monkeypatch.setattr(features, '_BLOCK', 5)
  parts = distortion.feature_distortion(after, before)
  np.testing.assert_array_equal(whole, parts)


def test_diverged_features_give_nan_and_no_warning():
  after, before = draw()
  after[2] = np.nan
  l2, cosine = distortion.feature_distortion(after, before)
  assert np.isnan(l2[2]) and np.isnan(cosine[2])
  assert np.isfinite(np.delete(l2, 2)).all()
  counts, edges = distortion.histogram(l2)
  assert counts.sum() == 5 and np.isfinite(edges).all()


@pytest.mark.parametrize('shapes', [((3, 2), (2, 2)), ((3,), (3,))])
def test_shapes_are_checked(shapes):
  with pytest.raises(ValueError, match='features of the same images'):
    distortion.feature_distortion(*map(np.zeros, shapes))


@pytest.mark.parametrize(
  'values',
  [[], [np.nan, np.inf], [1.0], [0.0, 0.0], [1.0, 1.0 + 1e-16], [1e9] * 3]
  + [[0.99999999999, 1.0], [0.0, 5.0, 2.5], [-1.0, 1.0]],
)
def test_histogram_counts_every_finite_value_once(values):
  counts, edges = distortion.histogram(np.array(values))
  assert counts.sum() == np.isfinite(values).sum()
  assert counts.dtype == np.int64 and counts.shape == (100,)
  assert edges.shape == (101,) and (np.diff(edges) > 0).all()

"""How far the outputs of layers moved: the formulas, and what they ignore."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daft_jax import distortion


def draw(seed, rows=9, width=5):
  return np.random.default_rng(seed).normal(size=(rows, width))


def hsic(k, other):
  """Song et al. 2012: the mean over ordered draws of four images."""
  total, count = 0.0, 0
  for i, j, q, r in itertools.permutations(range(len(k)), 4):
    total += k[i, j] * (other[i, j] + other[q, r] - 2 * other[i, q])
    count += 1
  return total / count


def test_cka_is_the_mean_over_all_draws_of_four_images():
  x, y = draw(0), draw(1, width=3)
  y[:, 0] += x[:, 0]
  k, other = x @ x.T, y @ y.T
  want = hsic(k, other) / (hsic(k, k) * hsic(other, other)) ** 0.5
  assert distortion.linear_cka(x, y) == pytest.approx(want, abs=1e-9)


@given(st.integers(0, 99), st.floats(1e-12, 1e12), st.floats(-1e3, 1e3))
def test_cka_ignores_scale_shift_and_rotation(seed, scale, shift):
  x, y = draw(seed), draw(seed + 1)
  turn, _ = np.linalg.qr(draw(seed + 2, 5, 5))
  want = distortion.linear_cka(x, y)
  assert distortion.linear_cka(y, x) == pytest.approx(want, abs=1e-9)
  other = (x @ turn + shift) * scale
  assert distortion.linear_cka(other, y) == pytest.approx(want, abs=1e-6)
  assert distortion.linear_cka(other, x) == pytest.approx(1, abs=1e-6)


def test_cka_of_what_has_nothing_in_common_is_near_zero():
  found = [
    distortion.linear_cka(draw(i, 40, 200), draw(i + 99, 40, 200))
    for i in range(30)
  ]
  assert abs(np.mean(found)) < 0.05  # the plain estimator gives 0.8


@pytest.mark.parametrize(
  'x', [np.zeros((9, 5)), np.ones((9, 5)), np.full((9, 5), np.nan)]
)
def test_cka_without_a_number(x):
  assert np.isnan(distortion.linear_cka(x, draw(0)))
  assert np.isnan(distortion.linear_cka(draw(0)[:3], draw(1)[:3]))


def test_layers_are_compared_one_by_one():
  before = {'a': draw(0), 'b': draw(1, width=2)}
  after = {'a': before['a'].copy(), 'b': 3 * before['b']}
  found = distortion.compare_layers(after, before)
  assert list(found) == ['a', 'b']
  assert found['a'] == pytest.approx((0, 1, 1))
  assert found['b'] == pytest.approx((2, 1, 1))
  z, z0 = draw(2), draw(3)
  l2 = (np.square(z - z0).sum() / np.square(z0).sum()) ** 0.5
  found = distortion.compare_layers({'a': z}, {'a': z0})['a']
  assert found.l2 == pytest.approx(l2)
  cosines = [
    a @ b / np.sqrt(a @ a * (b @ b)) for a, b in zip(z, z0, strict=True)
  ]
  assert found.cosine == pytest.approx(np.mean(cosines))


def test_a_layer_that_was_zero_or_is_not_finite_has_no_number():
  zero = np.zeros((9, 5))
  assert np.isnan(
    distortion.compare_layers({'a': draw(0)}, {'a': zero})['a'].l2
  )
  assert distortion.compare_layers({'a': zero}, {'a': zero})['a'].l2 == 0
  bad = distortion.compare_layers({'a': zero * np.nan}, {'a': draw(0)})['a']
  assert all(map(np.isnan, bad))


def test_other_layers_or_images_are_refused():
  with pytest.raises(ValueError, match='of one model'):
    distortion.compare_layers({'a': draw(0)}, {'b': draw(0)})
  with pytest.raises(ValueError, match='features of the same images'):
    distortion.compare_layers({'a': draw(0)}, {'a': draw(0)[:5]})
  with pytest.raises(ValueError, match='of 9 and of 5 images'):
    distortion.linear_cka(draw(0), draw(0)[:5])

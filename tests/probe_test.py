"""Logistic regression against scikit-learn, on real features."""

import functools
import warnings

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from daft_jax import probe


@functools.cache
def digits():
  images, labels = load_digits(return_X_y=True)
  images = images.astype(np.float32)
  return images[:600], labels[:600], images[600:1000], labels[600:1000]


def fit(*data, **options):
  return probe.fit_probe(*(data or digits()), num_classes=10, **options)


@functools.cache
def whole_sweep():
  return fit()


def scaled():
  x, y, val_x, val_y = digits()
  mean, std = x.mean(dtype=float), x.std(dtype=float)
  return (x - mean) / std, y, (val_x - mean) / std, val_y


def objective(kernel, bias, c):
  """scikit-learn's objective, on features scaled by one mean and deviation."""
  x, y, _, _ = scaled()
  raw = digits()[0]
  mean, std = raw.mean(dtype=float), raw.std(dtype=float)
  kernel = kernel.astype(float) * std
  bias = bias + mean * kernel.sum(axis=0) / std
  logits = x @ kernel + bias
  logits -= logits.max(axis=1, keepdims=True)
  loss = np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(len(y)), y]
  return c * loss.sum() + (kernel**2).sum() / 2


def test_the_sweep_is_that_of_scikit_learn():
  x, y, val_x, val_y = scaled()
  model = LogisticRegression(max_iter=200, warm_start=True)
  expected = []
  with warnings.catch_warnings():
    # scikit-learn says so where 200 iterations do not suffice.
    warnings.simplefilter('ignore', ConvergenceWarning)
    for c in probe.CS:
      model.C = c
      expected.append(model.fit(x, y).score(val_x, val_y))
  found = whole_sweep()
  assert [c for c, _ in found.sweep] == pytest.approx(list(probe.CS))
  np.testing.assert_allclose([a for _, a in found.sweep], expected, atol=0.01)
  assert found.id_val == pytest.approx(max(expected), abs=0.005)


@pytest.mark.parametrize('c', [1e-5, 1e-3, 0.1, 1.0])
def test_the_minimum_is_that_of_scikit_learn(c):
  x, y, val_x, _ = scaled()
  exact = LogisticRegression(C=c, max_iter=10_000, tol=1e-8).fit(x, y)
  found = fit(Cs=(c,))
  raw = digits()[0]
  std = raw.std(dtype=float)
  mean = raw.mean(dtype=float)
  kernel = exact.coef_.T / std
  bias = exact.intercept_ - mean * kernel.sum(axis=0)
  least = objective(kernel, bias, c)
  assert least <= objective(found.kernel, found.bias, c) <= least * 1.001
  logits = digits()[2] @ found.kernel + found.bias
  assert (logits.argmax(axis=1) == exact.predict(val_x)).mean() >= 0.99


def test_the_smaller_of_equally_good_Cs_is_chosen():
  found = whole_sweep()
  best = max(accuracy for _, accuracy in found.sweep)
  assert found.C == next(c for c, a in found.sweep if a == best)
  assert found.id_val == best
  x, y, _, _ = digits()
  single = x[:1], y[:1]
  tied = fit(x, y, *single, Cs=(10.0, 0.1, 1.0))
  assert tied.id_val == 1.0 and tied.C == 0.1


def test_it_is_deterministic_and_float32():
  again = fit()
  np.testing.assert_array_equal(again.kernel, whole_sweep().kernel)
  np.testing.assert_array_equal(again.bias, whole_sweep().bias)
  assert again.kernel.dtype == again.bias.dtype == np.float32
  assert again.kernel.shape == (64, 10) and again.bias.shape == (10,)


def test_scale_and_shift_of_the_features_do_not_matter():
  x, y, val_x, val_y = digits()
  there = fit(1000 * x + 50, y, 1000 * val_x + 50, val_y, Cs=(0.01, 0.1, 1.0))
  here = fit(Cs=(0.01, 0.1, 1.0))
  np.testing.assert_allclose(there.sweep, here.sweep, atol=0.005)


def test_one_program_fits_every_C():
  before = probe._sweep._cache_size()
  fit(Cs=tuple(np.logspace(-5, 1, 50)))
  fit(Cs=tuple(np.logspace(-6, 0, 50)))
  assert probe._sweep._cache_size() <= before + 1


def test_a_class_that_is_absent_from_training_is_never_likely():
  x, y, val_x, val_y = digits()
  some = y != 3
  found = fit(x[some], y[some], val_x, val_y, Cs=(0.1,))
  predicted = (val_x @ found.kernel + found.bias).argmax(axis=1)
  assert (predicted != 3).all() and np.isfinite(found.kernel).all()


@pytest.mark.parametrize('value', [0.0, 1e-42, 1e4 / 3])
def test_constant_features_give_the_prior(value):
  x = np.full((6, 3), value, np.float32)
  x[0] = np.nextafter(x[0], np.float32(1e9))  # as rounding leaves them
  y = np.array([1, 1, 1, 1, 2, 0])
  found = fit(x, y, x, y, Cs=(1.0,))
  assert found.id_val == pytest.approx(4 / 6)


@pytest.mark.parametrize(
  ('change', 'says'),
  [
    (lambda x, y: (x[:0], y[:0]), 'training set is empty'),
    (lambda x, y: (x, y[:5]), r'have to be \[N, D\] and \[N\]'),
    (lambda x, y: (x, y + 1), 'there are 10 classes'),
    (lambda x, y: (x, y - 1), 'labels go from -1'),
    (
      lambda x, y: (np.where(np.arange(600)[:, None] == 7, np.nan, x), y),
      r'1 examples \(the first: 7\) are not finite',
    ),
    (lambda x, y: (x[:, :5], y), 'training features have 5 columns'),
    (lambda x, y: (np.full_like(x, np.inf), y), '600 examples'),
    (lambda x, y: (x.astype(float) * 1e300, y), 'are not finite'),
    (lambda x, y: (x, y + 0.5), 'labels are float64; pass integers'),
  ],
)
def test_bad_input_is_named(change, says):
  x, y, val_x, val_y = digits()
  with pytest.raises(ValueError, match=says):
    fit(*change(x, y), val_x, val_y)


@pytest.mark.parametrize('bad', [1e-50, 0.0, -1.0, 1e39, np.inf, np.nan])
def test_Cs_are_numbers_that_float32_can_work_with(bad):
  with pytest.raises(ValueError, match='Cs has to be numbers from'):
    fit(Cs=(1.0, bad))
  with pytest.raises(ValueError, match='Cs has to be numbers from'):
    fit(Cs=())

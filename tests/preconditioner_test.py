"""The direction of the probe's solver, against dense matrices in float64."""

from unittest import mock

import numpy as np
import pytest
from sklearn.datasets import load_digits

from daft_jax import sharding
from daft_jax.probe import exact, preconditioner, solver
from daft_jax.probe import rows as rows_lib

RIDGE = 0.3


def data(width, number=90, num_classes=4):
  """Correlated features, labels of every class, and any logits."""
  rng = np.random.default_rng(width)
  mixing = rng.standard_normal((width, width)) / np.arange(1, width + 1)
  x = np.float32(rng.standard_normal((number, width)) @ mixing.T)
  y = np.arange(number) % num_classes
  return x, y, np.float32(2 * rng.standard_normal((number, num_classes)))


def shares(logits, y):
  """p, and p - y: float64 [n, K]."""
  p = np.exp(logits.astype(float))
  p /= p.sum(axis=1, keepdims=True)
  return p, p - np.eye(p.shape[1])[y]


def dense(x, weights, rank):
  """What it says that it inverts, for one class: [D + 1, D + 1]."""
  width = x.shape[1]
  values, basis = np.linalg.eigh(x.T @ x)
  first = basis[:, width - rank :]
  turned = np.hstack([x @ first, np.ones((len(x), 1))])
  block = (turned * weights[:, None]).T @ turned
  outside = np.diag(values * weights.mean())
  found = np.zeros((width + 1, width + 1))
  found[:-1, :-1] = basis @ outside @ basis.T
  # In the span of the first eigenvectors the rows themselves count.
  lift = np.zeros((width + 1, rank + 1))
  lift[:-1, :-1], lift[-1, -1] = first, 1
  found -= lift @ lift.T @ found @ lift @ lift.T
  return found + lift @ block @ lift.T + RIDGE * np.diag([*[1.0] * width, 0])


def direction(x, y, logits, mesh=None):
  _, residuals = shares(logits, y)
  moments = rows_lib.scaling(x, mesh)
  rows = rows_lib.Rows(x, y, moments, mesh)
  inverse = preconditioner.Preconditioner(rows)
  residuals = rows.put(np.float32(residuals))
  inverse.renew([residuals], ridge=RIDGE)
  rng = np.random.default_rng(1)
  slope = np.float32(rng.standard_normal((4, x.shape[1] + 1)))
  slope -= slope.mean(axis=0)
  nothing = np.zeros_like(slope)
  found, decrease, largest, penalty = inverse.through(slope, nothing)
  assert float(largest) == pytest.approx(float(np.abs(slope).max()))
  down = -(slope * np.asarray(found)).sum()
  assert float(decrease) == pytest.approx(float(down), rel=1e-4)
  assert float(penalty) == 0
  return np.asarray(found), slope


@pytest.mark.parametrize('width', [1, 2, 5, 31, 32, 33, 48])
def test_it_is_the_inverse_for_every_class(width):
  x, y, logits = data(width)
  found, slope = direction(x, y, logits)
  p, _ = shares(logits, y)
  weights = p * (1 - p)
  scaled = (x - x.mean(axis=0, dtype=float)) / x.std(dtype=float)
  rank = min(width, 32)
  expected = -np.stack(
    [
      np.linalg.solve(dense(scaled, w, rank), g)
      for w, g in zip(weights.T, slope.astype(float), strict=True)
    ]
  )
  expected -= expected.mean(axis=0)
  np.testing.assert_allclose(
    found, expected, atol=1e-3 * np.abs(expected).max()
  )


def test_devices_share_it():
  x, y, logits = data(40, number=96)
  one, _ = direction(x, y, logits)
  many, _ = direction(x, y, logits, mesh=sharding.make_mesh())
  np.testing.assert_allclose(many, one, atol=1e-4 * np.abs(one).max())


def fitted(x, y, Cs):
  rows = rows_lib.Rows(x, y, rows_lib.scaling(x))
  fit = solver.Fit(rows, y.max() + 1)
  return fit, [*fit.path(np.array(Cs), max_iter=200, tol=1e-6)]


def test_weights_that_differ_between_classes_count(monkeypatch):
  """Conjugate gradients take a third of the iterations of mean weights."""
  x, y = load_digits(return_X_y=True)
  x = np.float32(x)
  monkeypatch.setattr(preconditioner, '_RANK', 1)
  means = passes(x, y)
  monkeypatch.undo()
  assert 0 < 3 * passes(x, y) < means


def passes(x, y):
  """Over the features, for the end of a fit."""
  fit, (params,) = fitted(x, y, [1.0])
  fit.bend = mock.Mock(wraps=fit.bend)
  exact.refine(fit, params, c=1.0)
  return fit.bend.call_count


def test_what_all_classes_share_does_not_grow():
  """It changes no probability, and extrapolation would double it each time."""
  rng = np.random.default_rng(0)
  x = np.float32(rng.standard_normal((60, 100)))
  y = np.arange(60) % 20
  _, path = fitted(x, y, np.logspace(-7, 2, 50))
  for params in path:
    assert np.abs(params.mean(axis=0)).max() < 1e-6 * np.abs(params).max()

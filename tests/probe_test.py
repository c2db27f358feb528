"""Logistic regression against scikit-learn, on real features."""

import functools
import warnings

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from daft_jax import probe, sharding
from daft_jax.benchmark import probe as against
from daft_jax.probe import programs, rows


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


@pytest.mark.parametrize('c', [1e-5, 1e-3, 0.1, 1.0, 100.0])
def test_the_minimum_is_that_of_scikit_learn(c):
  x, y, val_x, _ = scaled()
  exact = LogisticRegression(C=c, max_iter=100_000, tol=1e-9).fit(x, y)
  found = fit(Cs=(c,))
  raw = digits()[0]
  std = raw.std(dtype=float)
  mean = raw.mean(dtype=float)
  kernel = exact.coef_.T / std
  bias = exact.intercept_ - mean * kernel.sum(axis=0)
  least = objective(kernel, bias, c)
  # It may be below: scikit-learn stops where steps gain too little.
  assert objective(found.kernel, found.bias, c) <= least * (1 + 1e-9)
  logits = digits()[2] @ found.kernel + found.bias
  np.testing.assert_array_equal(logits.argmax(axis=1), exact.predict(val_x))


def test_the_smaller_of_equally_good_Cs_is_chosen():
  found = whole_sweep()
  best = max(accuracy for _, accuracy in found.sweep)
  assert found.C == next(c for c, a in found.sweep if a == best)
  # At the minimum, to which this one alone was brought.
  assert found.id_val == pytest.approx(best, abs=1 / 400)
  x, y, val_x, val_y = digits()
  right = (val_x @ found.kernel + found.bias).argmax(axis=1) == val_y
  assert found.id_val == right.mean()
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
  fit(Cs=tuple(np.logspace(-5, 1, 50)))
  before = programs.move._cache_size(), programs.precondition._cache_size()
  fit(Cs=tuple(np.logspace(-6, 0, 50)))
  now = programs.move._cache_size(), programs.precondition._cache_size()
  assert now == before


def test_a_class_that_is_absent_from_training_is_never_likely():
  x, y, val_x, val_y = digits()
  some = y != 3
  found = fit(x[some], y[some], val_x, val_y, Cs=(0.1,))
  predicted = (val_x @ found.kernel + found.bias).argmax(axis=1)
  assert (predicted != 3).all() and np.isfinite(found.kernel).all()


def test_rows_of_padding_say_nothing_about_an_absent_class():
  x, y, val_x, val_y = digits()
  x, y = x[y != 3][:501], y[y != 3][:501]  # which eight do not divide
  one = fit(x, y, val_x, val_y, Cs=(1e-3,))
  many = fit(x, y, val_x, val_y, Cs=(1e-3,), mesh=sharding.make_mesh())
  np.testing.assert_allclose(many.bias, one.bias, atol=1e-4)


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


@pytest.mark.parametrize('sizes', [(1000, 64, 10), (600, 32, 20)])
def test_it_is_as_good_as_scikit_learn(sizes):
  data = against.synthetic(*sizes, seed=1)
  ours, theirs = against.fit_ours(*data), against.fit_theirs(*data)
  above, short = against.excess(data, ours, theirs)
  assert len(above) > 30 and max(above) <= 1e-6
  assert min(short) > -1e-9  # The minimum is one.
  least = against.accuracies(data, ours.least)
  path = against.accuracies(data, ours.weights)
  np.testing.assert_allclose(path, least, rtol=0, atol=1.5 / len(data[3]))
  x, val_x = against.scaled(data)
  c, accuracy = ours.chosen
  model = LogisticRegression(C=c, max_iter=100_000, tol=1e-9)
  exact = model.fit(x, data[1]).score(val_x, data[3])
  assert accuracy == pytest.approx(exact, abs=5e-4)


class Again:
  """Chunks of different sizes, made anew whenever it is iterated."""

  def __init__(self, x, *ends):
    self.parts, self.passes = np.split(x, ends), 0

  def __iter__(self):
    self.passes += 1
    yield from self.parts


def same(found, expected):
  scale = np.abs(expected.kernel).max()
  np.testing.assert_allclose(found.kernel, expected.kernel, atol=1e-5 * scale)
  logits, others = (digits()[2] @ z.kernel + z.bias for z in (expected, found))
  scale = np.abs(logits).max()
  np.testing.assert_allclose(others, logits, atol=1e-5 * scale)
  assert found.C == expected.C


@pytest.mark.parametrize('c', [1e-5, 1e-2, 1.0, 100.0])
def test_chunks_are_the_whole(c, monkeypatch, tmp_path):
  x, y, val_x, val_y = digits()
  expected = fit(Cs=(c / 2, c))
  monkeypatch.setattr(rows, '_BLOCK_BYTES', 4 * 64 * 170)
  chunks = Again(x, 7, 7, 300, 599)
  found = fit(chunks, y, list(np.array_split(val_x, 3)), val_y, Cs=(c / 2, c))
  assert chunks.passes > 4
  same(found, expected)
  np.save(tmp_path / 'x.npy', x)
  mapped = np.load(tmp_path / 'x.npy', mmap_mode='r')
  same(fit(mapped, y, val_x, val_y, Cs=(c / 2, c)), expected)


def test_chunks_of_a_whole_sweep(monkeypatch):
  x, y, val_x, val_y = digits()
  monkeypatch.setattr(rows, '_BLOCK_BYTES', 4 * 64 * 128)
  same(fit(Again(x, 100), y, val_x, val_y), whole_sweep())


def test_no_more_than_a_block_of_chunks_is_in_memory(monkeypatch):
  x, y, _, _ = digits()
  monkeypatch.setattr(rows, '_BLOCK_BYTES', 4 * 64 * 100)
  held = rows.Rows(Again(x, 300), y, rows.scaling(x))
  assert held._kept is None
  assert held.each(lambda block: block.shape) == [(100, 64)] * 6


def test_rows_may_be_split_over_devices():
  x, y, val_x, val_y = digits()
  data = x[:597], y[:597], val_x, val_y  # which eight do not divide
  mesh = sharding.make_mesh()
  assert mesh.size == 8
  x, y, *rest = data
  for some in (probe.CS[:34:3], (10.0, 100.0), (100.0,)):
    expected = fit(*data, Cs=some)
    same(fit(*data, mesh=mesh, Cs=some), expected)
    same(fit(Again(x, 100), y, *rest, mesh=mesh, Cs=some), expected)
  held = rows.Rows(x, y, rows.scaling(x), mesh)
  assert held._kept.sharding.is_equivalent_to(sharding.split_rows(mesh), 2)


def test_fewer_examples_than_columns():
  x, y, val_x, val_y = digits()
  found = fit(x[:40], y[:40], val_x, val_y)
  assert np.isfinite(found.kernel).all() and found.id_val > 0.7


@pytest.mark.parametrize('tol', [1e-5, 0.0])
def test_a_separable_problem_ends(tol):
  x = np.array([[-2.0, 1.0], [-1.0, 1.0], [1.0, 1.0], [2.0, 1.0]] * 5)
  y = np.array([0, 0, 1, 1] * 5)
  found = fit(x, y, x, y, Cs=(*probe.CS, 1e10, 1e20), tol=tol)
  assert np.isfinite(found.kernel).all() and np.isfinite(found.bias).all()
  assert all(accuracy == 1.0 for c, accuracy in found.sweep if c > 1e-2)


@pytest.mark.parametrize('c', [1e-20, 1e6, 1e20])
@pytest.mark.parametrize('kind', ['digits', 'separable', 'constant', 'one'])
def test_a_single_C_far_away_is_finite(kind, c):
  x, y, *val = digits()
  if kind == 'separable':
    x, y = x[:30], y[:30]
  elif kind == 'constant':
    x = np.ones_like(x)
  elif kind == 'one':
    y = np.full_like(y, 7)
  found = fit(x, y, *val, Cs=(c,))
  assert np.isfinite(found.kernel).all()
  if kind == 'digits' and c < 1e10:
    other = fit(Cs=(min(c, 1.0),))  # No better, though its minimum is near.
    found, other = (objective(z.kernel, z.bias, c) for z in (found, other))
    assert found <= other * (1 + 1e-6)


@pytest.mark.parametrize('c', [1e-3, 1.0, 100.0])
def test_the_end_does_not_depend_on_the_way(c):
  same(fit(Cs=(c,), max_iter=1), fit(Cs=(c,)))


def test_a_sweep_without_tolerance_is_finite():
  found = fit(tol=0.0, max_iter=20)
  assert np.isfinite(found.kernel).all()
  assert [a for _, a in found.sweep] == pytest.approx(
    [a for _, a in whole_sweep().sweep], abs=0.03
  )


def test_equal_columns_share_and_constant_columns_get_nothing():
  x, y, val_x, val_y = digits()
  more = [np.concatenate([z, z, 0 * z[:, :1] + 3], axis=1) for z in (x, val_x)]
  found = fit(more[0], y, more[1], val_y, Cs=(1e-2,))
  scale = np.abs(found.kernel).max()
  np.testing.assert_allclose(
    found.kernel[:64], found.kernel[64:128], atol=1e-4 * scale
  )
  np.testing.assert_allclose(found.kernel[128], 0, atol=1e-4 * scale)


def test_one_class():
  x, y, val_x, val_y = digits()
  found = fit(x, 0 * y + 4, val_x, val_y, Cs=(1e-3, 1.0))
  assert ((val_x @ found.kernel + found.bias).argmax(axis=1) == 4).all()
  assert found.C == 1e-3 and np.isfinite(found.bias).all()


def test_two_classes_are_scikit_learns_at_half_of_C():
  x, y, _, _ = scaled()
  two = y < 2
  raw, label = digits()[0][two], y[two]
  x = (raw - raw.mean(dtype=float)) / raw.std(dtype=float)
  exact = LogisticRegression(C=0.02, max_iter=10_000, tol=1e-8).fit(x, label)
  found = probe.fit_probe(raw, label, raw, label, num_classes=2, Cs=(0.01,))
  kernel = (found.kernel[:, 1] - found.kernel[:, 0]) * raw.std(dtype=float)
  scale = np.abs(exact.coef_).max()
  np.testing.assert_allclose(kernel, exact.coef_[0], atol=2e-3 * scale)


def test_Cs_are_taken_from_small_to_large():
  shuffled, ordered = fit(Cs=(1.0, 0.01, 0.1)), fit(Cs=(0.01, 0.1, 1.0))
  assert shuffled.sweep == ordered.sweep
  np.testing.assert_array_equal(shuffled.kernel, ordered.kernel)
  twice = fit(Cs=(0.1, 0.1, 0.1, 0.1))
  assert twice.C == 0.1 and np.isfinite(twice.kernel).all()


def test_wrong_chunks_are_named():
  x, y, val_x, val_y = digits()
  with pytest.raises(ValueError, match='can be read only once'):
    fit(iter([x]), y, val_x, val_y)
  with pytest.raises(ValueError, match=r'a chunk \(300, 63\) after row 300'):
    fit([x[:300], x[300:, 1:]], y, val_x, val_y)
  with pytest.raises(ValueError, match=r'\(300, 64\) and labels \(600,\)'):
    fit([x[:300]], y, val_x, val_y)
  with pytest.raises(ValueError, match='training set is empty'):
    fit([x[:0]], y[:0], val_x, val_y)
  with pytest.raises(ValueError, match=r'1 examples \(the first: 310\)'):
    bad = x.copy()
    bad[310, 3] = np.nan
    fit([x[:300], bad[300:]], y, val_x, val_y)

"""Metrics: masked sums."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daft_jax import metrics

CLASSES = 4


def draw(rows, seed=0):
  rng = np.random.default_rng(seed)
  logits = rng.normal(size=(rows, CLASSES)).astype(np.float32) * 3
  return logits, rng.integers(CLASSES, size=rows).astype(np.int32)


jitted = jax.jit(metrics.batch_sums)


def total(logits, label, size, junk=0.0):
  """Sums over batches of one size, the last one padded with junk."""
  found = None
  for start in range(0, len(logits), size):
    x, y = logits[start : start + size], label[start : start + size]
    pad = size - len(x)
    mask = np.arange(size) < len(x)
    x = np.pad(x, ((0, pad), (0, 0)), constant_values=junk)
    sums = jitted(jnp.asarray(x), jnp.asarray(np.pad(y, (0, pad))), mask)
    found = metrics.add(found, jax.device_get(sums))
  return found


def plain(logits, label, bins=metrics.BINS):
  """The same metrics, written out with loops in float64."""
  logits = logits.astype(float)
  probs = np.exp(logits - logits.max(axis=1, keepdims=True))
  probs /= probs.sum(axis=1, keepdims=True)
  hit = logits.argmax(axis=1) == label
  ece = 0.0
  for b in range(bins):
    top = probs.max(axis=1)
    inside = (top >= b / bins) & (top < (b + 1) / bins)
    if b == bins - 1:
      inside |= top == 1
    if inside.any():
      ece += inside.mean() * abs(hit[inside].mean() - top[inside].mean())
  return {
    'accuracy': hit.mean(),
    'loss': -np.log(probs[np.arange(len(label)), label]).mean(),
    'ece': ece,
    'count': len(label),
    'class_accuracy': [
      hit[label == c].mean() if (label == c).any() else np.nan
      for c in range(CLASSES)
    ],
  }


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 40), st.integers(0, 100))
def test_summary_is_the_definition(rows, seed):
  logits, label = draw(rows, seed)
  found = metrics.summarize(total(logits, label, 8))
  expected = plain(logits, label)
  np.testing.assert_allclose(
    found.pop('class_accuracy'), expected.pop('class_accuracy'), rtol=1e-12
  )
  assert found == pytest.approx(expected, abs=2e-6)


@pytest.mark.parametrize('size', [1, 3, 17, 64])
@pytest.mark.parametrize('junk', [7.0, np.nan, np.inf])
def test_batch_size_and_padding_do_not_matter(size, junk):
  logits, label = draw(37)
  expected = total(logits, label, 37)
  found = total(logits, label, size, junk)
  for key, value in expected.items():
    if value.dtype == np.int64:
      np.testing.assert_array_equal(found[key], value, err_msg=key)
    np.testing.assert_allclose(found[key], value, rtol=1e-6, err_msg=key)


def test_a_row_of_nan_is_wrong_and_its_loss_is_nan():
  logits, label = draw(5)
  logits[:] = np.eye(CLASSES)[label] * 9
  logits[2] = np.nan
  found = metrics.summarize(total(logits, label, 5))
  assert found['accuracy'] == pytest.approx(0.8)
  assert np.isnan(found['loss']) and np.isfinite(found['ece'])


def test_masked_rows_leave_no_trace_in_the_gradient():
  logits, label = draw(4)
  logits[3] = np.inf
  mask = jnp.array([True, True, True, False])
  loss = lambda x: metrics.batch_sums(x, jnp.asarray(label), mask)['loss']  # noqa: E731
  grad = np.asarray(jax.grad(loss)(jnp.asarray(logits)))
  assert np.isfinite(grad).all() and (grad[3] == 0).all()
  assert (grad[:3] != 0).all()


def test_half_precision_logits_are_summed_in_float32():
  logits, label = draw(64)
  half = jnp.asarray(logits, jnp.bfloat16)
  sums = metrics.batch_sums(half, jnp.asarray(label), jnp.ones(64, bool))
  assert sums['loss'].dtype == jnp.float32
  wide = metrics.batch_sums(
    half.astype(jnp.float32), jnp.asarray(label), jnp.ones(64, bool)
  )
  assert float(sums['loss']) == float(wide['loss'])


def test_sums_stay_exact_beyond_float32():
  one = {'count': np.int32(2**30), 'loss': np.float32(2**24)}
  two = {'count': np.int32(2**30), 'loss': np.float32(1)}
  found = metrics.add(metrics.add(metrics.add({}, one), one), two)
  assert found['count'] == 3 * 2**30 and found['loss'] == 2**25 + 1


@pytest.mark.parametrize('sums', [{}, None, {'count': np.int64(0)}])
def test_no_example_is_an_error(sums):
  with pytest.raises(ValueError, match='no examples'):
    metrics.summarize(sums)

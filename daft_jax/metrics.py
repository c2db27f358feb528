"""Metrics as masked sums: count first, divide at the end.

  sums = batch_sums(logits, label, mask)          # inside jit
  total = add(total, jax.device_get(sums))        # on the host
  summarize(total)['accuracy']

So no metric depends on the batch size, on padding or on the number of devices.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

BINS = 15


def batch_sums(
  logits: jax.Array, label: jax.Array, mask: jax.Array, *, bins: int = BINS
) -> dict[str, jax.Array]:
  """Sums over the rows of a batch that count.

  Args:
    logits: floating [B, C].
    label: int32 [B], in 0..C-1.
    mask: bool [B]; a False row counts nowhere, even if its logits are NaN.
    bins: equal bins of the confidence (the largest softmax probability), for
      calibration.

  Returns:
    'count' and 'correct', int32 []; 'loss', float32 [], the sum of the cross
    entropies; 'class_count' and 'class_correct', int32 [C]; and 'bin_count',
    'bin_correct' (int32) and 'bin_confidence' (float32), [bins]. A row whose
    logits are NaN is wrong, and its loss is NaN.

  Example:
    >>> sums = batch_sums(jnp.eye(2), jnp.array([0, 0]), jnp.ones(2, bool))
    >>> int(sums['count']), int(sums['correct'])
    (2, 1)
  """
  classes = logits.shape[-1]
  # Zeros first: the gradient of what is left out must not be NaN either.
  logits = jnp.where(mask[:, None], logits.astype(jnp.float32), 0)
  log_probs = jax.nn.log_softmax(logits)
  loss = cross_entropy(logits, label)
  valid = jnp.isfinite(log_probs).any(axis=1)
  correct = (logits.argmax(axis=1) == label) & valid & mask
  confidence = jnp.where(valid, jnp.exp(log_probs.max(axis=1)), 0)
  # A confidence of 1 belongs to the last bin.
  index = jnp.minimum((confidence * bins).astype(jnp.int32), bins - 1)

  def each(size: int, index: jax.Array, values: jax.Array) -> jax.Array:
    values = jnp.where(mask, values, 0)
    hot = index[:, None] == jnp.arange(size)
    return jnp.where(hot, values[:, None], 0).sum(axis=0, dtype=values.dtype)

  ones, hits = (x.astype(jnp.int32) for x in (mask, correct))
  return {
    'count': ones.sum(),
    'correct': hits.sum(),
    'loss': jnp.where(mask, loss, 0).sum(),
    'class_count': each(classes, label, ones),
    'class_correct': each(classes, label, hits),
    'bin_count': each(bins, index, ones),
    'bin_correct': each(bins, index, hits),
    'bin_confidence': each(bins, index, confidence),
  }


def cross_entropy(logits: jax.Array, label: jax.Array) -> jax.Array:
  """Cross entropy of each row, nats: [B, C], int [B] -> float32 [B]."""
  log_probs = jax.nn.log_softmax(logits.astype(jnp.float32))
  return -jnp.take_along_axis(log_probs, label[:, None], axis=1)[:, 0]


def add(
  total: dict[str, np.ndarray] | None, new: dict[str, Any]
) -> dict[str, np.ndarray]:
  """Adds sums up on the host, in float64 and int64; `total` may be empty."""

  def wide(value: Any) -> np.ndarray:
    value = np.asarray(value)
    return value.astype(np.int64 if value.dtype.kind in 'iub' else np.float64)

  return {
    key: wide(value) + (total[key] if total else 0)
    for key, value in new.items()
  }


def summarize(sums: dict[str, np.ndarray]) -> dict[str, Any]:
  """Turns sums into metrics.

  With n_b examples, mean confidence c_b and accuracy a_b in bin b,

    ece = sum_b n_b / n |a_b - c_b|

  Source: Guo et al. 2017, "On Calibration of Modern Neural Networks".

  Returns:
    'accuracy' in [0, 1], 'loss' (mean cross entropy, nats), 'ece' in [0, 1],
    'count', and 'class_accuracy', a list with nan for a class without example.

  Raises:
    ValueError: there is no example.
  """
  count = int(sums['count']) if sums else 0
  if count == 0:
    raise ValueError('no examples: every row is masked, or there is no batch')
  gap = np.abs(sums['bin_correct'] - sums['bin_confidence'])
  with np.errstate(invalid='ignore', divide='ignore'):
    class_accuracy = sums['class_correct'] / sums['class_count']
  return {
    'accuracy': float(sums['correct'] / count),
    'loss': float(sums['loss'] / count),
    'ece': float(gap.sum() / count),
    'count': count,
    'class_accuracy': class_accuracy.tolist(),
  }

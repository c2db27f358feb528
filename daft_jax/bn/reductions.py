"""Mean and variance of arrays, in parts that merge without cancellation.

first = np.array(2), np.array([1.0]), np.array([2.0])  # count, mean, m2
second = np.array(1), np.array([4.0]), np.array([0.0])
count, mean, m2 = chan(first, second)                  # 3, [2.0], [8.0]
"""

import math

import jax
import jax.numpy as jnp


def input_moments(
  x: jax.Array, kept: set[int], rows: jax.Array | None, mask: jax.Array | None
) -> tuple[jax.Array, jax.Array, jax.Array]:
  """Count, mean and sum of squared deviations of one BatchNorm input.

  Two passes, so nothing cancels however far the mean is from zero: first the
  mean, then the squared deviations from it. Both sum over each example first,
  which keeps float32 sums short; the row mask acts on those [B, C] sums, so it
  costs nothing and a NaN in a masked row does no harm:

    mean = sum_b s_b / n,  s_b = sum x;  m2 = sum_b q_b,  q_b = sum (x - mean)^2

  Args:
    x: the input; computed in float32, or float64 if x is.
    kept: the feature axes.
    rows: bool [B], the rows of axis 0 that count, or None if axis 0 is not
      the examples.
    mask: the mask the model itself gave to BatchNorm, or None.

  Returns:
    count (int32), mean and m2, in the shape of the layer's `mean`.
  """
  x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
  axes = tuple(axis for axis in range(x.ndim) if axis not in kept)
  inner = axes if rows is None else axes[1:]

  def total(values: jax.Array) -> jax.Array:
    values = values.sum(inner)
    if rows is None:
      return values
    some = rows.reshape((-1,) + (1,) * (values.ndim - 1))
    return jnp.where(some, values, 0).sum(0, dtype=values.dtype)

  if mask is None:
    one = [1 if axis in inner else size for axis, size in enumerate(x.shape)]
    size = math.prod(x.shape[axis] for axis in inner)
    count = total(jnp.full(one, size, jnp.int32))
  else:
    mask = jnp.broadcast_to(jnp.asarray(mask, bool), x.shape)
    x = jnp.where(mask, x, 0)
    count = total(mask.astype(jnp.int32))
  mean = total(x) / jnp.maximum(count, 1)
  deviation = x - jnp.expand_dims(mean, axes)
  if mask is not None:
    deviation = jnp.where(mask, deviation, 0)
  return count, mean, total(jnp.square(deviation))


def chan(first: tuple, second: tuple) -> tuple:
  """Merges two `(count, mean, m2)`; works on NumPy and JAX arrays.

    n = n_1 + n_2,  d = mean_2 - mean_1
    mean = mean_1 + d n_2 / n,  m2 = m2_1 + m2_2 + d^2 n_1 n_2 / n

  Source: Chan, Golub, LeVeque 1979, "Updating formulae and a pairwise
  algorithm for computing sample variances". A count may be 0.
  """
  count = first[0] + second[0]
  share = second[0] / (count + (count == 0)).astype(first[1].dtype)
  step = second[1] - first[1]
  mean = first[1] + step * share
  return count, mean, first[2] + second[2] + step**2 * first[0] * share

"""What the solver computes on the devices; programs of one block of rows.

  slope = added(rows.each(pull, residuals))       # of every block

Logits and residuals are [n, K], parameters [K, D + 1] with the bias last.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from daft_jax.probe import rows as rows_lib

# Accelerators round float32 products to fewer bits unless told not to.
_dot = functools.partial(jnp.dot, precision=jax.lax.Precision.HIGHEST)


@jax.jit
def gram(x: jax.Array) -> jax.Array:
  return _dot(x.T, x)


@jax.jit
def push(x: jax.Array, params: jax.Array) -> jax.Array:
  return _dot(x, params[:, :-1].T) + params[:, -1]


@jax.jit
def pull(x: jax.Array, residuals: jax.Array) -> jax.Array:
  kernel = _dot(residuals.T, x)
  return jnp.concatenate([kernel, residuals.sum(0)[:, None]], axis=1)


def _ridges(ridge: jax.Array, params: jax.Array) -> jax.Array:
  """The penalty's second derivatives, [D + 1]: none of the bias."""
  width = params.shape[1]
  return jnp.where(jnp.arange(width) < width - 1, ridge, 0)


def _one_hot(y: jax.Array, like: jax.Array) -> jax.Array:
  return jax.nn.one_hot(y, like.shape[1], dtype=like.dtype)


@jax.jit
def weights(
  y: jax.Array, residuals: jax.Array, z: jax.Array
) -> tuple[jax.Array, jax.Array]:
  """p (1 - p) of every row and class, [n, K]; and what `pull` makes of them."""
  hot = _one_hot(y, residuals)
  # 1 - p of the label itself is residuals' to its last digit.
  found = (residuals + hot) * ((1 - hot) - residuals)
  return found, pull(z, found)


@jax.jit
def turn(x: jax.Array, basis: jax.Array) -> jax.Array:
  return _dot(x, basis)


@jax.jit
def products(z: jax.Array, weights: jax.Array, shift: jax.Array) -> jax.Array:
  """For every class the weighted sums of z_r z_(r + shift), cyclic: [K, R]."""
  return _dot(weights.T, z * jnp.roll(z, -shift, axis=1))


def _bent(y: jax.Array, residuals: jax.Array, step: jax.Array) -> jax.Array:
  """How residuals change along a step of the logits: diag(p) - p p^T times."""
  p = residuals + _one_hot(y, residuals)
  return p * (step - (p * step).sum(1, keepdims=True))


@jax.jit
def bend(
  x: jax.Array, y: jax.Array, residuals: jax.Array, params: jax.Array
) -> jax.Array:
  """The loss's second derivatives times parameters, [K, D + 1]."""
  return pull(x, _bent(y, residuals, push(x, params)))


@jax.jit
def curvature(
  y: jax.Array, residuals: jax.Array, first: jax.Array, second: jax.Array
) -> jax.Array:
  """The loss's second derivatives in a plane, from the logits of its sides."""
  of_first = _bent(y, residuals, first)
  of_second = _bent(y, residuals, second)
  mixed = (of_first * second).sum()
  return jnp.array(
    [[(of_first * first).sum(), mixed], [mixed, (of_second * second).sum()]]
  )


@jax.jit
def move(
  y: jax.Array,
  logits: jax.Array,
  first: jax.Array,
  second: jax.Array,
  lengths: jax.Array,
) -> tuple[jax.Array, ...]:
  """New logits, step, residuals p - y, and slopes along the two sides."""
  step = lengths[0] * first + lengths[1] * second
  logits = logits + step
  p = jax.nn.softmax(logits, axis=1)
  is_row = (y != rows_lib.PADDING)[:, None]
  residuals = jnp.where(is_row, p - _one_hot(y, logits), 0)
  slopes = (residuals * first).sum(), (residuals * second).sum()
  return logits, step, residuals, jnp.array(slopes)


@jax.jit
def along(
  ridge: jax.Array, slope: jax.Array, *sides: jax.Array
) -> tuple[jax.Array, jax.Array]:
  # The root first: squares of small parameters leave float32.
  roots = jnp.sqrt(_ridges(ridge, slope))
  flat = [roots * side for side in sides]
  ridges = jnp.array([[(a * b).sum() for b in flat] for a in flat])
  return ridges, jnp.array([(slope * side).sum() for side in sides[:2]])


@jax.jit
def stepped(
  params: jax.Array, first: jax.Array, second: jax.Array, lengths: jax.Array
) -> tuple[jax.Array, jax.Array]:
  step = lengths[0] * first + lengths[1] * second
  return params + step, step


@jax.jit
def precondition(
  slope: jax.Array,
  params: jax.Array,
  ridge: jax.Array,
  basis: jax.Array,
  first: jax.Array,
  rest: jax.Array,
) -> tuple[jax.Array, ...]:
  """Direction; its decrease and the gradient's largest part; the penalty.

  Args:
    slope, params: [K, D + 1]; the slope is the loss's, without the penalty.
    ridge: 1 / C.
    basis: [D + 1, D + 1], in its columns, the last for the biases.
    first: [K, R + 1, R + 1], the inverse of the last of the basis.
    rest: [K, D - R], of the others.
  """
  ridges = _ridges(ridge, params)
  grad = slope + ridges * params
  turned, size = _dot(grad, basis), rest.shape[1]
  ahead = (first * turned[:, None, size:]).sum(2)
  turned = jnp.concatenate([rest * turned[:, :size], ahead], axis=1)
  direction = -_dot(turned, basis.T)
  # The same for all classes changes nothing, and would be rounding only.
  direction -= direction.mean(axis=0)
  penalty = (ridges * params * params).sum() / 2
  return direction, -(grad * direction).sum(), jnp.abs(grad).max(), penalty


@jax.jit
def conjugated(
  step: jax.Array,
  left: jax.Array,
  direction: jax.Array,
  size: jax.Array,
  pulled: jax.Array,
  ridge: jax.Array,
) -> tuple[jax.Array, jax.Array]:
  """One iteration of conjugate gradients: where it gets, and what is left.

  Args:
    step, left: [K, D + 1], so far, and the gradient that it leaves.
    direction: [K, D + 1], to go along.
    size: of left, through the inverse.
    pulled: the loss's second derivatives times direction.
    ridge: the penalty's.
  """
  bent = pulled + _ridges(ridge, direction) * direction
  length = size / (bent * direction).sum()
  return step + length * direction, left + length * bent


@jax.jit
def count_correct(
  x: jax.Array, y: jax.Array, params: jax.Array, classes: jax.Array
) -> jax.Array:
  """How many rows [K, D + 1] gets right; K of the labels exist."""
  return (classes[push(x, params).argmax(1)] == y).sum()


@jax.jit
def least_evidence(x: jax.Array, y: jax.Array, params: jax.Array) -> jax.Array:
  """Smallest log sum exp of the logits of a row."""
  found = jax.nn.logsumexp(push(x, params), axis=1)
  return jnp.where(y != rows_lib.PADDING, found, jnp.inf).min()


def added(blocks: list[jax.Array]) -> jax.Array:
  return functools.reduce(jnp.add, blocks)


def total(blocks: list[jax.Array]) -> np.ndarray:
  return sum(map(double, blocks))


def double(array: jax.Array) -> np.ndarray:
  return np.asarray(array, np.float64)

"""What the solver computes on the devices; programs of one block of rows.

Logits and residuals are [n, K], parameters [K, D + 1] with the bias last.
"""

import functools

import jax
import jax.numpy as jnp

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


def _one_hot(y: jax.Array, like: jax.Array) -> jax.Array:
  return jax.nn.one_hot(y, like.shape[1], dtype=like.dtype)


@jax.jit
def fisher(y: jax.Array, residuals: jax.Array) -> jax.Array:
  """Sum of diag(p) - p p^T: [K, K]; padding has p = 0."""
  p = residuals + _one_hot(y, residuals)
  return jnp.diag(p.sum(0)) - _dot(p.T, p)


@jax.jit
def bent(y: jax.Array, residuals: jax.Array, step: jax.Array) -> jax.Array:
  """How residuals change along a step of the logits: diag(p) - p p^T times."""
  p = residuals + _one_hot(y, residuals)
  return p * (step - (p * step).sum(1, keepdims=True))


@jax.jit
def curvature(
  y: jax.Array, residuals: jax.Array, first: jax.Array, second: jax.Array
) -> jax.Array:
  """The loss's second derivatives in a plane, from the logits of its sides."""
  of_first = bent(y, residuals, first)
  of_second = bent(y, residuals, second)
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
  flat = [jnp.sqrt(ridge) * side[:, :-1].ravel() for side in sides]
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
  vectors: jax.Array,
  inverse: jax.Array,
) -> tuple[jax.Array, ...]:
  """Direction; its decrease and the gradient's largest part; the penalty."""
  kernel = params[:, :-1]
  grad = slope.at[:, :-1].add(ridge * kernel)
  turned = _dot(vectors.T, grad)
  turned = jnp.concatenate(
    [_dot(turned[:, :-1], basis), turned[:, -1:]], axis=1
  )
  turned = inverse * turned
  kernel_part = _dot(turned[:, :-1], basis.T)
  turned = jnp.concatenate([kernel_part, turned[:, -1:]], axis=1)
  direction = -_dot(vectors, turned)
  # The same for all classes changes nothing, and would be rounding only.
  direction -= direction.mean(axis=0)
  penalty = (ridge * kernel * kernel).sum() / 2
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
  bent = pulled.at[:, :-1].add(ridge * direction[:, :-1])
  length = size / (bent * direction).sum()
  return step + length * direction, left + length * bent


@jax.jit
def count_correct(
  x: jax.Array, y: jax.Array, stack: jax.Array, classes: jax.Array
) -> jax.Array:
  """How many rows each of [C, K, D + 1] gets right; K of the labels exist."""

  def correct(params: jax.Array) -> jax.Array:
    return (classes[push(x, params).argmax(1)] == y).sum()

  return jax.lax.map(correct, stack)


@jax.jit
def least_evidence(x: jax.Array, y: jax.Array, params: jax.Array) -> jax.Array:
  """Smallest log sum exp of the logits of a row."""
  found = jax.nn.logsumexp(push(x, params), axis=1)
  return jnp.where(y != rows_lib.PADDING, found, jnp.inf).min()

"""Linear probing: logistic regression on cached features, the best of many C.

  found = fit_probe(features, labels, val_features, val_labels, num_classes=10)
  logits = features @ found.kernel + found.bias

The protocol of LP and LP-FT, as scikit-learn's LogisticRegression (L-BFGS, L2)
over 50 values of C, each started from the one before; here as one compiled
program on the device.
"""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

CS = np.logspace(-7, 2, 50)
# Beyond it, C or its inverse times the number of examples leaves float32.
_C_RANGE = 1e-20, 1e20


class Probe(NamedTuple):
  """A linear classifier, and the sweep it was chosen in.

  Attributes:
    kernel: float32 [D, K].
    bias: float32 [K].
    C: inverse strength of the regularisation, the chosen one.
    id_val: its validation accuracy, in [0, 1].
    sweep: (C, validation accuracy) of every C, ascending.
  """

  kernel: np.ndarray
  bias: np.ndarray
  C: float
  id_val: float
  sweep: tuple[tuple[float, float], ...]


def fit_probe(
  features: np.ndarray,
  labels: np.ndarray,
  val_features: np.ndarray,
  val_labels: np.ndarray,
  *,
  num_classes: int,
  Cs: Sequence[float] = CS,
  max_iter: int = 200,
  tol: float = 1e-4,
) -> Probe:
  """Fits a logistic regression for every C; returns that of best validation.

  With x the features, scaled by one mean and deviation of the whole training
  matrix, it minimises over W and b (the result takes features unscaled)

    C sum_i CE(x_i W + b, y_i) + ||W||^2 / 2

  Args:
    features, labels: floating [N, D] and int [N]; a class may be absent.
    val_features, val_labels: floating [M, D] and int [M], to choose C by.
    num_classes: K; labels are in 0..K - 1.
    Cs: fitted from small to large; of equals the smaller wins.
    max_iter: L-BFGS iterations for each C at most.
    tol: largest component of the gradient of the objective / (C N) at the end.

  Raises:
    ValueError: empty sets, lengths or widths that differ, labels that are no
      classes, features not finite in float32, or a C outside 1e-20..1e20.

  Source: protocol of Kumar et al. 2022 (LP-FT), arXiv 2202.10054.

  Example:
    >>> x, y = np.array([[-1.0], [-2.0], [1.0], [2.0]]), np.array([0, 0, 1, 1])
    >>> fit_probe(x, y, x, y, num_classes=2, Cs=(1.0,)).id_val
    1.0
  """
  x, y = _check('training', features, labels, num_classes)
  val_x, val_y = _check('validation', val_features, val_labels, num_classes)
  if val_x.shape[1] != x.shape[1]:
    raise ValueError(
      f'training features have {x.shape[1]} columns, validation features '
      f'{val_x.shape[1]}: pass features of the same model'
    )
  grid, (mean, std) = _grid(Cs), _scaling(x)
  scaled, val_scaled = (np.float32((z - mean) / std) for z in (x, val_x))
  data = scaled, y, val_scaled, val_y, grid.astype(np.float32)
  options = {'num_classes': num_classes, 'max_iter': max_iter, 'tol': tol}
  (kernels, biases), correct = jax.device_get(_sweep(*data, **options))
  best = int(np.argmax(correct))  # the first of equals: the smaller C
  accuracies = (correct / len(val_y)).tolist()
  kernel = kernels[best].astype(np.float64) / std
  bias = biases[best] - mean * kernel.sum(axis=0)
  return Probe(
    kernel.astype(np.float32),
    bias.astype(np.float32),
    float(grid[best]),
    accuracies[best],
    tuple(zip(grid.tolist(), accuracies, strict=True)),
  )


def _grid(Cs: Sequence[float]) -> np.ndarray:
  """The values of C, ascending."""
  grid = np.sort(np.asarray(Cs, np.float64))
  low, high = _C_RANGE
  if not len(grid) or not ((grid >= low) & (grid <= high)).all():
    raise ValueError(f'Cs has to be numbers from {low} to {high}, not {Cs!r}')
  return grid


def _scaling(x: np.ndarray) -> tuple[np.float64, np.float64]:
  """One mean and deviation of a whole matrix."""
  mean, std = x.mean(dtype=np.float64), x.std(dtype=np.float64)
  # What float32 cannot tell apart is constant; any scale will do.
  least = max(abs(mean) * np.finfo(np.float32).eps, np.finfo(np.float32).tiny)
  return mean, std if std > least else np.float64(1)


def _check(
  name: str, features: np.ndarray, labels: np.ndarray, num_classes: int
) -> tuple[np.ndarray, np.ndarray]:
  features, labels = np.asarray(features), np.asarray(labels)
  if features.ndim != 2 or labels.shape != features.shape[:1]:
    raise ValueError(
      f'{name} features {features.shape} and labels {labels.shape} have to be '
      '[N, D] and [N]'
    )
  if not len(labels):
    raise ValueError(f'the {name} set is empty')
  with np.errstate(over='ignore'):
    features = features.astype(np.float32, copy=False)
  bad = np.flatnonzero(~np.isfinite(features).all(axis=1))
  if len(bad):
    raise ValueError(
      f'{name} features of {len(bad)} examples (the first: {bad[0]}) are not '
      'finite: look for nan or infinity in the images or the weights'
    )
  if labels.dtype.kind not in 'iu':
    raise ValueError(
      f'{name} labels are {labels.dtype}; pass integers, the numbers of the '
      'classes'
    )
  if labels.min() < 0 or labels.max() >= num_classes:
    raise ValueError(
      f'{name} labels go from {labels.min()} to {labels.max()}, and there are '
      f'{num_classes} classes: 0 to {num_classes - 1}'
    )
  return features, labels.astype(np.int32)


def _logits(x: jax.Array, kernel: jax.Array, bias: jax.Array) -> jax.Array:
  # Accelerators round float32 products to fewer bits unless told not to, and
  # a line search does not get far on such a function.
  return jnp.dot(x, kernel, precision=jax.lax.Precision.HIGHEST) + bias


def _minimize(
  x: jax.Array,
  y: jax.Array,
  params: tuple[jax.Array, jax.Array],
  c: jax.Array,
  max_iter: int,
  tol: float,
) -> tuple[jax.Array, jax.Array]:
  """Kernel and bias of least objective for one C, from those of another."""
  solver = optax.lbfgs(
    memory_size=10,
    linesearch=optax.scale_by_zoom_linesearch(
      max_linesearch_steps=20, initial_guess_strategy='one'
    ),
  )

  def objective(params: Any) -> jax.Array:
    kernel, bias = params
    logits = _logits(x, kernel, bias)
    # Divided by C N, so that its scale does not depend on either.
    loss = optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()
    return loss + (kernel**2).sum() / (2 * c * len(x))

  value_and_grad = optax.value_and_grad_from_state(objective)

  def unfinished(carry: Any) -> jax.Array:
    _, _, number, largest = carry
    return (number < max_iter) & (largest > tol)

  def iterate(carry: Any) -> Any:
    params, state, number, _ = carry
    value, grad = value_and_grad(params, state=state)
    updates, state = solver.update(
      grad, state, params, value=value, grad=grad, value_fn=objective
    )
    params = optax.apply_updates(params, updates)
    grad = optax.tree.get(state, 'grad')
    largest = jnp.max(jnp.array([jnp.abs(g).max() for g in grad]))
    return params, state, number + 1, largest

  first = params, solver.init(params), 0, jnp.inf
  return jax.lax.while_loop(unfinished, iterate, first)[0]


@functools.partial(jax.jit, static_argnames=('num_classes', 'max_iter', 'tol'))
def _sweep(
  x: jax.Array,
  y: jax.Array,
  val_x: jax.Array,
  val_y: jax.Array,
  grid: jax.Array,
  *,
  num_classes: int,
  max_iter: int,
  tol: float,
) -> tuple[Any, jax.Array]:
  """Fits each C from the solution of the last; counts correct validations."""

  def fit(params: Any, c: jax.Array) -> Any:
    params = _minimize(x, y, params, c, max_iter, tol)
    correct = (_logits(val_x, *params).argmax(axis=1) == val_y).sum()
    return params, (params, correct)

  start = jnp.zeros((x.shape[1], num_classes)), jnp.zeros(num_classes)
  return jax.lax.scan(fit, start, grid)[1]

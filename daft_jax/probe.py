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
  """Fits a multinomial logistic regression for every C; returns the best.

  With x the features, scaled by one mean and one deviation of the whole
  training matrix, it minimises over W and b

    C sum_i CE(x_i W + b, y_i) + ||W||^2 / 2

  The bias is not regularised. The scaling is folded into the result, which
  takes features as they are: W / std and b - mean / std sum_d W_d.

  Args:
    features: floating [N, D].
    labels: int [N], in 0..num_classes - 1; a class may be absent.
    val_features: floating [M, D], to choose C by.
    val_labels: int [M].
    num_classes: K.
    Cs: values of C, fitted from small to large.
    max_iter: L-BFGS iterations for each C at most.
    tol: stops where no component of the gradient of the objective, divided by
      C N, is larger.

  Returns:
    The classifier of highest validation accuracy; of equals, the smaller C.

  Raises:
    ValueError: empty sets, lengths or widths that differ, labels out of range,
      features that are not finite, or a C that is not positive.

  Source: protocol of Kumar et al. 2022 (LP-FT), arXiv 2202.10054.

  Example:
    >>> x = np.array([[-1.0], [-2.0], [1.0], [2.0]])
    >>> y = np.array([0, 0, 1, 1])
    >>> fit_probe(x, y, x, y, num_classes=2, Cs=(1.0,)).id_val
    1.0
  """
  features, labels = _check('training', features, labels, num_classes)
  val = _check('validation', val_features, val_labels, num_classes)
  if val[0].shape[1] != features.shape[1]:
    raise ValueError(
      f'training features have {features.shape[1]} columns, validation '
      f'features {val[0].shape[1]}: pass features of the same model'
    )
  grid = np.sort(np.asarray(Cs, np.float64))
  if not len(grid) or not (grid > 0).all():
    raise ValueError(f'Cs has to be positive numbers, not {Cs!r}')
  mean, std = features.mean(dtype=np.float64), features.std(dtype=np.float64)
  # Constant features tell nothing apart; any scale will do.
  std = std if std > 0 else 1.0
  scaled, val_scaled = (
    ((x - mean) / std).astype(np.float32) for x in (features, val[0])
  )
  params, correct = _sweep(
    scaled,
    labels,
    val_scaled,
    val[1],
    grid.astype(np.float32),
    num_classes=num_classes,
    max_iter=max_iter,
    tol=tol,
  )
  kernels, biases, correct = jax.device_get((*params, correct))
  best = int(np.argmax(correct))  # the first of equals: the smaller C
  accuracies = correct / len(val[1])
  kernel = kernels[best].astype(np.float64) / std
  bias = biases[best] - mean * kernel.sum(axis=0)
  return Probe(
    kernel.astype(np.float32),
    bias.astype(np.float32),
    float(grid[best]),
    float(accuracies[best]),
    tuple(zip(grid.tolist(), accuracies.tolist(), strict=True)),
  )


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
  bad = np.flatnonzero(~np.isfinite(features).all(axis=1))
  if len(bad):
    raise ValueError(
      f'{name} features of {len(bad)} examples (the first: {bad[0]}) are not '
      'finite: look for nan or infinity in the images or the weights'
    )
  if labels.min() < 0 or labels.max() >= num_classes:
    raise ValueError(
      f'{name} labels go from {labels.min()} to {labels.max()}, and there are '
      f'{num_classes} classes: 0 to {num_classes - 1}'
    )
  return features, labels.astype(np.int32)


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
  solver = optax.lbfgs(
    memory_size=10,
    linesearch=optax.scale_by_zoom_linesearch(
      max_linesearch_steps=20, initial_guess_strategy='one'
    ),
  )

  def fit(params: Any, c: jax.Array) -> Any:
    def objective(params: Any) -> jax.Array:
      kernel, bias = params
      logits = x @ kernel + bias
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
        grad,
        state,
        params,
        value=value,
        grad=grad,
        value_fn=objective,
      )
      params = optax.apply_updates(params, updates)
      grad = optax.tree.get(state, 'grad')
      largest = jnp.max(jnp.array([jnp.abs(g).max() for g in grad]))
      return params, state, number + 1, largest

    state = solver.init(params)
    params, *_ = jax.lax.while_loop(
      unfinished, iterate, (params, state, 0, jnp.inf)
    )
    kernel, bias = params
    correct = ((val_x @ kernel + bias).argmax(axis=1) == val_y).sum()
    return params, (params, correct)

  start = jnp.zeros((x.shape[1], num_classes)), jnp.zeros(num_classes)
  _, (params, correct) = jax.lax.scan(fit, start, grid)
  return params, correct

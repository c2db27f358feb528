"""The minimum to the last digits of float32, from one that is close to it.

  params = refine(fit, params, c=0.1)       # float64 [K, D + 1]

Where C is large the minimum is flat: gradients in float32 are rounding before
the parameters have three digits, and which three depends on the order of the
rows. So Newton's method has its gradients in float64, by NumPy on the host, 4 N
D K operations each. The step is found by conjugate gradients on the devices, in
float32, through the solver's inverse: one pass over the features in each of 5
to 30 iterations. Two to four steps suffice, more from afar.
"""

import numpy as np

from daft_jax.probe import programs, solver
from daft_jax.probe import rows as rows_lib

# How far from the minimum it may end, of the largest parameter, by an estimate
# that may be as many times too small.
_LEFT, _DOUBT = 2e-6, 4
_STEPS = 12  # Newton's; a minimum that is nowhere needs any number of them
_HALVINGS = 10
_LEAST, _MOST = 1e-2, 1e-1  # what conjugate gradients may leave of a gradient
_ITERATIONS = 100


def refine(fit: solver.Fit, params: np.ndarray, *, c: float) -> np.ndarray:
  """Newton's method from parameters [K, D + 1], the bias last.

  Args:
    fit: of the rows; it ends elsewhere.
    params: close to the minimum for c.
    c: inverse strength of the regularisation.

  Returns:
    float64 [K, D + 1], with a mean of 0 over the classes.
  """
  # The same for all classes changes no probability: no gradient removes it.
  params = params - params.mean(axis=0, dtype=np.float64)
  value, grad = _measure(fit.rows, params, c)
  share = _MOST
  for _ in range(_STEPS):
    step, reached = _newton(fit, params, grad, c=c, share=share)
    for factor in 0.5 ** np.arange(_HALVINGS):
      further = params + factor * step
      there, slope = _measure(fit.rows, further, c)
      if there <= value * (1 + 1e-13):
        break
    else:
      return params
    params, value, grad = further, there, slope
    left = reached * np.abs(step).max()
    most = _LEFT * np.abs(params).max()
    if factor == 1 and left <= most:
      break
    share = np.clip(most / max(left, most) / _DOUBT, _LEAST, _MOST)
  return params


def _measure(
  rows: rows_lib.Rows, params: np.ndarray, c: float
) -> tuple[np.float64, np.ndarray]:
  """The objective over C and its gradient; of all processes, the same bits."""
  moments, kernel = rows.moments, params[:, :-1]
  weights = (kernel / moments.std).T
  bias = params[:, -1] - moments.columns @ weights
  value = rows.share * np.square(kernel).sum() / (2 * c)
  slope = np.zeros_like(params)
  for x, y in rows.exact():
    logits = x @ weights + bias
    logits -= logits.max(axis=1, keepdims=True)
    label = np.arange(len(y)), y
    value -= logits[label].sum()
    p = np.exp(logits, out=logits)
    total = p.sum(axis=1, keepdims=True)
    value += np.log(total).sum()
    p /= total
    p[label] -= 1
    slope[:, :-1] += p.T @ x
    slope[:, -1] += p.sum(axis=0)
  slope = rows.added(slope)
  slope[:, :-1] -= slope[:, -1:] * moments.columns
  slope[:, :-1] /= moments.std
  slope[:, :-1] += kernel / c
  return rows.added(value), slope


def _newton(
  fit: solver.Fit,
  params: np.ndarray,
  grad: np.ndarray,
  *,
  c: float,
  share: float,
) -> tuple[np.ndarray, float]:
  """The step to where the second derivatives say that the minimum is.

  Conjugate gradients, until the share of the gradient is left.

  Returns:
    float64 [K, D + 1], and the share that is left: 1 where there is no step.
  """
  scale = np.abs(grad).max()
  fit.place(params.astype(np.float32), c=c)
  fit.inverse.renew(fit.residuals, ridge=fit.ridge)
  # A gradient is the size of rounding: in float32 its square would be 0.
  left = fit.rows.put((grad / (scale or 1)).astype(np.float32))
  step = fit.nothing
  direction, first, *_ = fit.inverse.through(left, fit.nothing)
  size, reached = first, 1.0
  for _ in range(_ITERATIONS):
    pulled = fit.bend(direction)
    following, left = programs.conjugated(
      *(step, left, direction, size, pulled, fit.ridge)
    )
    turned, now, *_ = fit.inverse.through(left, fit.nothing)
    # Rounding may leave no curvature along it, or a gradient of nothing.
    if not (float(first) > 0 and 0 <= float(now) < np.inf):
      break
    step, reached = following, np.sqrt(float(now) / float(first))
    if reached <= share:
      break
    lengths = np.float32([float(now) / float(size), 0])
    direction, _ = programs.stepped(turned, direction, fit.nothing, lengths)
    size = now
  return np.asarray(step, np.float64) * scale, reached

"""Multinomial logistic regression for many C, from small to large.

  fit = Fit(rows, num_classes=10)
  for params in fit.path(grid, max_iter=200, tol=1e-6):
    kernel, bias = params[:, :-1].T, params[:, -1]

Every iteration multiplies by the features twice, once for the logits of a
direction and once for a gradient; that is nearly all it costs. Few suffice:

* A direction is the gradient through what is nearly the inverse of the second
  derivatives, see `Preconditioner`. Where rows agree on p, it is Newton's.
* The step is Newton's in the plane of this direction and the step before it.
  Logits are linear in the parameters, so it needs no further product.
* A C starts where the three before it point to, quadratic in what grows as C at
  first and as log C later.

Only gradients decide on steps: in float32 the objective is too coarse to.
Rows may be split over devices: whatever is summed over them is on every one.
Of several processes each does all of this, with the same sums, and has to take
the same decisions. So what a library of the host finds is that of the first
(`Rows.put`), and other arithmetic of the host is elementary: it has the same
bits on any processor.
"""

import functools
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from daft_jax.probe import preconditioner, programs
from daft_jax.probe import rows as rows_lib

# What may be left above the minimum, of the penalty, for a tol of 1: at 1e-6,
# that of weights which are off by 0.7 thousandths of their length. Where C is
# large the gradient ends the fit, and they may be off by a tenth.
_GAP = 0.5
_REFRESH = 8  # iterations that share an inverse
_TRIALS = 12  # of a step, each shorter than the last


class Fit:
  """Parameters [K, D + 1] on the path, and logits of every block [n, K].

  Args:
    rows: of which every class has some; columns have a mean of 0.
    num_classes: K.
  """

  def __init__(self, rows: rows_lib.Rows, num_classes: int):
    self.rows, self.inverse = rows, preconditioner.Preconditioner(rows)
    prior = np.log(np.maximum(rows.count(num_classes), 1))
    params = np.zeros((num_classes, rows.num_columns + 1), np.float32)
    params[:, -1] = prior - prior.mean()  # the solution for C = 0
    # The largest second derivative, about: up to its inverse solutions grow
    # with C, and from there on with its logarithm.
    self.reach = self.inverse.largest / num_classes
    self.known = [(0.0, params)]
    self.nothing = rows.put(np.zeros_like(params))
    self.still = self.push(self.nothing)  # logits of nothing
    self.place(params, c=1.0)
    self.slope = self.pull(self.residuals)

  def path(
    self, grid: np.ndarray, *, max_iter: int, tol: float
  ) -> Iterator[np.ndarray]:
    """Yields float32 [K, D + 1] for every C, the bias last.

    Args:
      grid: C, ascending.
      max_iter: iterations for each C at most.
      tol: largest component of the gradient of the objective / (C N) at the
        end, unless what is left above the minimum is, as estimated, less than
        half of tol times the penalty ||W||^2 / 2.
    """
    for c in grid:
      self.start(float(c))
      for number in range(max_iter):
        if number and number % _REFRESH == 0:
          self.inverse.renew(self.residuals, ridge=self.ridge)
        if self.is_done(tol) or not self.iterate():
          break
      yield self.end()

  def place(self, params: np.ndarray, *, c: float) -> None:
    """Goes to parameters [K, D + 1], wherever they are; not to their slope."""
    self.ridge = 1 / c
    self.params = self.rows.put(params)
    self.logits = self.push(self.params)
    self.forget()
    nowhere = self.moved((0.0, 0.0), self.logits)
    self.residuals = [block[2] for block in nowhere]

  def push(self, params: jax.Array) -> list[jax.Array]:
    """Logits: the first product."""
    return self.rows.each(lambda x: programs.push(x, params))

  def pull(self, residuals: list[jax.Array]) -> jax.Array:
    """What residuals add up to in parameters: the second product."""
    return programs.added(self.rows.each(programs.pull, residuals))

  def bend(self, params: jax.Array) -> jax.Array:
    """The loss's second derivatives times parameters: both products at once."""
    blocks = self.rows.each(
      lambda x, y, residuals: programs.bend(x, y, residuals, params),
      self.rows.labels,
      self.residuals,
    )
    return programs.added(blocks)

  def forget(self) -> None:
    """There is no step before this."""
    self.step, self.step_logits = self.nothing, self.still

  def start(self, c: float) -> None:
    """Goes to where the solutions of smaller C point, if that is downhill."""
    self.ridge = 1 / c
    self.forget()
    self.where, last = np.log1p(self.reach * c), self.known[-1]
    if len(self.known) > 1 and self.where > last[0]:
      ahead = _extrapolated(self.known, self.where)
      # What is the same for all classes is rounding: no gradient removes it,
      # and extrapolation makes it grow.
      ahead = self.rows.put(ahead - ahead.mean(axis=0) - last[1])
      whole = np.array([1.0, 0.0])
      self.advance(ahead, self.push(ahead), whole, self.along(ahead))
      self.forget()
    self.inverse.renew(self.residuals, ridge=self.ridge, always=False)

  def end(self) -> np.ndarray:
    params = np.asarray(self.params)
    self.known = [*self.known[-2:], (self.where, params)]
    return params

  def is_done(self, tol: float) -> bool:
    """Also sets the next direction."""
    self.direction, decrease, largest, penalty = self.inverse.through(
      self.slope, self.params
    )
    left, most = float(decrease) / 2, tol * self.rows.num_rows
    return float(largest) <= most or left <= _GAP * tol * float(penalty)

  def iterate(self) -> bool:
    """One step; False if there is none that float32 can tell is downhill."""
    logits = self.push(self.direction)
    blocks = self.rows.labels, self.residuals, logits, self.step_logits
    curved = programs.total(rows_lib.each(programs.curvature, *blocks))
    along = ridges, slopes = self.along(self.direction)
    curved = curved + ridges[:2, :2]
    size = np.sqrt(np.maximum(np.diag(curved), 0))
    size = np.where(size > 0, size, np.inf)  # the plane may be a line
    mixed, (one, two) = curved[0, 1] / (size[0] * size[1]), slopes / size
    a, b = 1e-6 + np.diag(curved) / size**2
    turned = np.array([b * one - mixed * two, a * two - mixed * one])
    lengths = -turned / (a * b - mixed * mixed) / size
    return self.advance(self.direction, logits, lengths, along)

  def along(self, direction: jax.Array) -> tuple[np.ndarray, np.ndarray]:
    """Of direction, last step and parameters: ridge products; and slopes."""
    ridges, slopes = programs.along(
      self.ridge, self.slope, direction, self.step, self.params
    )
    ridges = programs.double(ridges)
    return ridges, programs.double(slopes) + ridges[2, :2]

  def advance(
    self,
    direction: jax.Array,
    logits: list[jax.Array],
    lengths: np.ndarray,
    along: tuple[np.ndarray, np.ndarray],
  ) -> bool:
    """Goes along direction and last step; shorter while it ends uphill."""
    ridges, slopes = along
    downhill = (slopes * lengths).sum()
    if not downhill < 0:
      return False
    for _ in range(_TRIALS):
      moved = self.moved(lengths, logits)
      ends = programs.total([block[3] for block in moved])
      after = ends + ridges[2, :2] + (ridges[:2, :2] * lengths).sum(1)
      reached = (after * lengths).sum()
      if reached <= -0.5 * downhill:
        self.take(lengths, direction, moved)
        return True
      shorter = downhill / (downhill - reached)
      # The slopes are those of the lengths: both shrink.
      factor = np.clip(np.nan_to_num(shorter), 0.1, 0.9)
      lengths, downhill = lengths * factor, downhill * factor
    return False

  def moved(self, lengths: Any, logits: list[jax.Array]) -> list[Any]:
    move = functools.partial(programs.move, lengths=np.float32(lengths))
    blocks = self.rows.labels, self.logits, logits, self.step_logits
    return rows_lib.each(move, *blocks)

  def take(self, lengths: Any, direction: jax.Array, moved: list[Any]) -> None:
    self.params, self.step = programs.stepped(
      self.params, direction, self.step, np.float32(lengths)
    )
    self.logits, self.step_logits, self.residuals, _ = map(
      list, zip(*moved, strict=True)
    )
    self.slope = self.pull(self.residuals)


def _extrapolated(
  known: list[tuple[float, np.ndarray]], where: float
) -> np.ndarray:
  """Lagrange's polynomial through (place on the path, parameters)."""
  total = np.zeros_like(known[0][1])
  for i, (at, params) in enumerate(known):
    others = [other for j, (other, _) in enumerate(known) if j != i]
    weight = np.prod([(where - o) / (at - o) for o in others])
    total += np.float32(weight) * params
  return total

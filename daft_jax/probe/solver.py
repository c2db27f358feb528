"""Multinomial logistic regression for many C, from small to large.

  fit = Fit(rows, num_classes=10)
  for params in fit.path(grid, max_iter=200, tol=2e-6):
    kernel, bias = params[:, :-1].T, params[:, -1]

Every iteration multiplies by the features twice, once for the logits of a
direction and once for a gradient; that is nearly all it costs. Few suffice:

* A direction is the gradient through the inverse of M (x) G + 1 / C, with G the
  Gram matrix of the features and M the mean of diag(p) - p p^T over the rows.
  One eigenbasis of G serves every C. Where rows agree on p, it is Newton's.
* The step is Newton's in the plane of this direction and the step before it.
  Logits are linear in the parameters, so it needs no further product.
* A C starts where the three before it point to, quadratic in log C.

Only gradients decide on steps: in float32 the objective is too coarse to.
Rows may be split over devices: whatever is summed over them is on every one.
Of several processes each does all of this, with the same sums, and has to take
the same decisions. So what a library of the host finds is that of the first
(`Rows.put`), and other arithmetic of the host is elementary: it has the same
bits on any processor.
"""

import functools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from daft_jax import sharding
from daft_jax.probe import programs
from daft_jax.probe import rows as rows_lib

# What may be left above the minimum, of the penalty, for a tol of 1: at 2e-6,
# that of weights which are off by a thousandth of their length. Where C is
# large the gradient ends the fit, and they may be off by a tenth.
_GAP = 0.5
_REFRESH = 8  # iterations that share M
_TRIALS = 12  # of a step, each shorter than the last


class Fit:
  """Parameters [K, D + 1] on the path, and logits of every block [n, K].

  Args:
    rows: of which every class has some; columns have a mean of 0.
    num_classes: K.
  """

  def __init__(self, rows: rows_lib.Rows, num_classes: int):
    self.rows = rows
    gram = np.asarray(_added(rows.each(programs.gram)))
    values, basis = rows.put(np.linalg.eigh(gram))
    self.basis, self.spectrum = basis, np.maximum(_double(values), 0)
    prior = np.log(np.maximum(rows.count(num_classes), 1))
    params = np.zeros((num_classes, rows.num_columns + 1), np.float32)
    params[:, -1] = prior - prior.mean()  # the solution for C = 0
    self.known: list[tuple[float, np.ndarray]] = []
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
          self.precondition()
        if self.is_done(tol) or not self.iterate():
          break
      yield self.end(float(c))

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
    return _added(self.rows.each(programs.pull, residuals))

  def forget(self) -> None:
    """There is no step before this."""
    # Zeros that lie where the others do.
    self.step = self.params - self.params
    self.step_logits = [z - z for z in self.logits]

  def start(self, c: float) -> None:
    """Goes to where the solutions of smaller C point, if that is downhill."""
    self.ridge = 1 / c
    self.forget()
    if len(self.known) > 1 and np.log(c) > self.known[-1][0]:
      ahead = self.rows.put(_extrapolated(self.known, np.log(c)))
      logits = [
        a - z for a, z in zip(self.push(ahead), self.logits, strict=True)
      ]
      self.advance(ahead - self.params, logits, np.array([1.0, 0.0]))
      self.forget()
    self.precondition()

  def end(self, c: float) -> np.ndarray:
    params = np.asarray(self.params)
    self.known = [*self.known[-2:], (np.log(c), params)]
    return params

  def precondition(self) -> None:
    """Takes M anew, and with it the inverse in the eigenbases of M and G."""
    count = self.rows.num_rows
    fisher = _sum(each(programs.fisher, self.rows.labels, self.residuals))
    values, vectors = np.linalg.eigh(fisher / count)
    values = np.maximum(values, 0)
    inverse = np.empty((len(values), len(self.spectrum) + 1))
    inverse[:, :-1] = 1 / (values[:, None] * self.spectrum + self.ridge)
    # Biases have no ridge, and the same number for all of them is no change.
    floor = max(values[-1] * 1e-4, 1e-12)
    inverse[:, -1] = 1 / (count * np.maximum(values, floor))
    self.inverse = self.rows.put((np.float32(vectors), np.float32(inverse)))

  def through(
    self, slope: jax.Array, params: jax.Array
  ) -> tuple[jax.Array, ...]:
    """A gradient, of loss and penalty, through the inverse."""
    return programs.precondition(
      slope, params, self.ridge, self.basis, *self.inverse
    )

  def is_done(self, tol: float) -> bool:
    """Also sets the next direction."""
    self.direction, decrease, largest, penalty = self.through(
      self.slope, self.params
    )
    left, most = float(decrease) / 2, tol * self.rows.num_rows
    return float(largest) <= most or left <= _GAP * tol * float(penalty)

  def iterate(self) -> bool:
    """One step; False if there is none that float32 can tell is downhill."""
    logits = self.push(self.direction)
    blocks = self.rows.labels, self.residuals, logits, self.step_logits
    curved = _sum(each(programs.curvature, *blocks))
    ridges, slopes = self.along(self.direction)
    curved = curved + ridges[:2, :2]
    size = np.sqrt(np.maximum(np.diag(curved), 0))
    size = np.where(size > 0, size, np.inf)  # the plane may be a line
    mixed, (one, two) = curved[0, 1] / (size[0] * size[1]), slopes / size
    a, b = 1e-6 + np.diag(curved) / size**2
    turned = np.array([b * one - mixed * two, a * two - mixed * one])
    lengths = -turned / (a * b - mixed * mixed) / size
    return self.advance(self.direction, logits, lengths)

  def along(self, direction: jax.Array) -> tuple[np.ndarray, np.ndarray]:
    """Of direction, last step and parameters: ridge products; and slopes."""
    ridges, slopes = programs.along(
      self.ridge, self.slope, direction, self.step, self.params
    )
    ridges = _double(ridges)
    return ridges, _double(slopes) + ridges[2, :2]

  def advance(
    self, direction: jax.Array, logits: list[jax.Array], lengths: np.ndarray
  ) -> bool:
    """Goes along direction and last step; shorter while it ends uphill."""
    ridges, slopes = self.along(direction)
    downhill = (slopes * lengths).sum()
    if not downhill < 0:
      return False
    for _ in range(_TRIALS):
      moved = self.moved(lengths, logits)
      ends = _sum([block[3] for block in moved])
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
    return each(move, *blocks)

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
  """Lagrange's polynomial through (log C, parameters)."""
  total = np.zeros_like(known[0][1])
  for i, (at, params) in enumerate(known):
    others = [other for j, (other, _) in enumerate(known) if j != i]
    weight = np.prod([(where - o) / (at - o) for o in others])
    total += np.float32(weight) * params
  return total


def each(function: Callable[..., Any], *lists: list[Any]) -> list[Any]:
  """What a function of a block gives of every block."""
  found = []
  for block in zip(*lists, strict=True):
    found.append(function(*block))
    sharding.settle(found[-1])
  return found


def _added(blocks: list[jax.Array]) -> jax.Array:
  return functools.reduce(jnp.add, blocks)


def _sum(blocks: list[jax.Array]) -> np.ndarray:
  return sum(map(_double, blocks))


def _double(array: jax.Array) -> np.ndarray:
  return np.asarray(array, np.float64)

"""Linear probing: logistic regression on cached features, the best of many C.

  found = fit_probe(features, labels, val_features, val_labels, num_classes=10)
  logits = features @ found.kernel + found.bias

The protocol of LP and LP-FT is scikit-learn's LogisticRegression (L-BFGS, L2)
over 50 values of C, each started from the one before. Here is the same
objective with a solver of its own, which reads the features less often; the
chosen fit is then brought to the minimum to the digits that float32 has.
"""

import contextlib
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from daft_jax import processes
from daft_jax.probe import exact, programs, solver
from daft_jax.probe import rows as rows_lib

CS = np.logspace(-7, 2, 50)
MAX_ITER = 200
TOL = 1e-6
# Beyond it, C or its inverse times the number of examples leaves float32.
_C_RANGE = 1e-20, 1e20

Features = np.ndarray | Iterable[np.ndarray]


class Probe(NamedTuple):
  """A linear classifier, and the sweep it was chosen in.

  Attributes:
    kernel: float32 [D, K].
    bias: float32 [K].
    C: inverse strength of the regularisation, the chosen one.
    id_val: its validation accuracy, in [0, 1].
    sweep: (C, validation accuracy) of every C, ascending; of the chosen one,
      before it was brought to its minimum.
  """

  kernel: np.ndarray
  bias: np.ndarray
  C: float
  id_val: float
  sweep: tuple[tuple[float, float], ...]


def fit_probe(
  features: Features,
  labels: np.ndarray,
  val_features: Features,
  val_labels: np.ndarray,
  *,
  num_classes: int,
  Cs: Sequence[float] = CS,
  max_iter: int = MAX_ITER,
  tol: float = TOL,
  mesh: Mesh | None = None,
) -> Probe:
  """Fits a logistic regression for every C; returns that of best validation.

  With x the features, scaled by one mean and deviation of the whole training
  matrix, it minimises over W and b (the result takes features unscaled)

    C sum_i CE(x_i W + b, y_i) + ||W||^2 / 2

  (scikit-learn has one column for two classes: its C is then half of this).
  The fit that is returned is 1e-5 from the minimum at most, of its largest
  parameter, unless that is nearly nowhere: separable classes and C of 1e4.
  Features larger than memory are given as chunks [n_i, D], or as np.memmap;
  each product with them reads them once, 64 MiB at a time: a sweep of 50 values
  250 to 500 times (900 where classes overlap much), and the end of the chosen
  one 10 to 60 times. In memory remain some matrices [N, K] and one [N, 32].

  Of several processes that share a mesh each gives the rows that it has, which
  may be none, [0, D]: products with them are summed over all. Which process has
  a row, and how many there are, changes the last digits at most.

  Args:
    features, labels: floating [N, D] and int [N]; a class may be absent. Chunks
      are a list, or anything that yields the same ones whenever it is iterated.
    val_features, val_labels: floating [M, D] and int [M], to choose C by.
    num_classes: K; labels are in 0..K - 1.
    Cs: fitted from small to large; of equals the smaller wins.
    max_iter: iterations for each C at most.
    tol: largest component of the gradient of the objective / (C N) at the end,
      unless what is left above the minimum is, as estimated, less than half of
      tol times ||W||^2 / 2. The chosen C is fitted further, whatever tol and
      max_iter are, see `exact`.
    mesh: its devices share the rows; None for the default device. Where it is
      that of several processes, all of them have to call this.

  Raises:
    ValueError: empty sets, lengths or widths that differ, labels that are no
      classes, features not finite in float32 or readable only once, or a C
      outside 1e-20..1e20.
    processes.ElsewhereError: one of these in another process.

  Source: protocol of Kumar et al. 2022 (LP-FT), arXiv 2202.10054.

  Example:
    >>> x, y = np.array([[-1.0], [-2.0], [1.0], [2.0]]), np.array([0, 0, 1, 1])
    >>> fit_probe(x, y, x, y, num_classes=2, Cs=(1.0,)).id_val
    1.0
    >>> fit_probe([x[:3], x[3:]], y, x, y, num_classes=2, Cs=(1.0,)).id_val
    1.0
  """
  shared = rows_lib.are_shared(mesh)
  with processes.together() if shared else contextlib.nullcontext():
    x, y, width = _check('training', features, labels, num_classes, mesh)
    val_x, val_y, val_width = _check(
      'validation', val_features, val_labels, num_classes, mesh
    )
    if val_width != width:
      raise ValueError(
        f'training features have {width} columns, validation features '
        f'{val_width}: pass features of the same model'
      )
    grid = _grid(Cs)
  moments = rows_lib.scaling(x, mesh)
  # A class without examples would have a bias of minus infinity.
  counts = rows_lib.of_each(np.bincount(y, minlength=num_classes), mesh)
  present = np.flatnonzero(sum(counts))
  rows = rows_lib.Rows(x, np.searchsorted(present, y), moments, mesh)
  fit = solver.Fit(rows, len(present))
  path = np.stack(list(fit.path(grid, max_iter=max_iter, tol=tol)))
  val_rows = rows_lib.Rows(val_x, val_y, moments, mesh)
  correct = _correct(path, present, val_rows)
  best = int(np.argmax(correct))  # the first of equals: the smaller C
  accuracies = (correct / val_rows.num_rows).tolist()
  params = exact.refine(fit, path[best], c=float(grid[best]))
  found = params.astype(np.float32)
  (right,) = _correct(found[None], present, val_rows)
  kernel = np.zeros((width, num_classes))
  kernel[:, present] = params[:, :-1].T / moments.std
  bias = np.full(num_classes, -np.inf)
  bias[present] = params[:, -1]
  bias -= moments.columns @ kernel
  if len(present) < num_classes:
    there = rows.put(found)
    least = rows.each(
      lambda x, y: programs.least_evidence(x, y, there), rows.labels
    )
    bias[~np.isfinite(bias)] = min(map(float, least)) - np.log(rows.num_rows)
  return Probe(
    kernel.astype(np.float32),
    bias.astype(np.float32),
    float(grid[best]),
    float(right / val_rows.num_rows),
    tuple(zip(grid.tolist(), accuracies, strict=True)),
  )


def _correct(
  stack: np.ndarray, present: np.ndarray, rows: rows_lib.Rows
) -> np.ndarray:
  """How many of the rows each of [C, K, D + 1] gets right."""
  present = rows.put(present)
  stack = [rows.put(params) for params in stack]

  def count(x: jax.Array, y: jax.Array) -> list[jax.Array]:
    return rows_lib.each(
      lambda params: programs.count_correct(x, y, params, present), stack
    )

  return np.sum(jax.device_get(rows.each(count, rows.labels)), axis=0)


def _grid(Cs: Sequence[float]) -> np.ndarray:
  """The values of C, ascending."""
  grid = np.sort(np.asarray(Cs, np.float64))
  low, high = _C_RANGE
  if not len(grid) or not ((grid >= low) & (grid <= high)).all():
    raise ValueError(f'Cs has to be numbers from {low} to {high}, not {Cs!r}')
  return grid


def _check(
  name: str,
  features: Any,
  labels: np.ndarray,
  num_classes: int,
  mesh: Mesh | None,
) -> tuple[Any, np.ndarray, int]:
  """Features (a matrix as float32), labels and the number of columns."""
  labels = np.asarray(labels)
  if not rows_lib.is_chunked(features):
    with np.errstate(over='ignore'):
      features = np.asarray(features).astype(np.float32, copy=False)
  shape, bad = _survey(name, features)
  if len(shape) != 2 or labels.shape != shape[:1]:
    raise ValueError(
      f'{name} features {shape} and labels {labels.shape} have to be '
      '[N, D] and [N]'
    )
  if not any(rows_lib.of_each(len(labels), mesh)):
    raise ValueError(f'the {name} set is empty')
  if bad:
    raise ValueError(
      f'{name} features of {len(bad)} examples (the first: {bad[0]}) are not '
      'finite: look for nan or infinity in the images or the weights'
    )
  if labels.dtype.kind not in 'iu':
    raise ValueError(
      f'{name} labels are {labels.dtype}; pass integers, the numbers of the '
      'classes'
    )
  if len(labels) and (labels.min() < 0 or labels.max() >= num_classes):
    raise ValueError(
      f'{name} labels go from {labels.min()} to {labels.max()}, and there are '
      f'{num_classes} classes: 0 to {num_classes - 1}'
    )
  return features, labels.astype(np.int32), shape[1]


def _survey(name: str, features: Any) -> tuple[tuple[int, ...], list[int]]:
  """Shape of the whole, and the rows that are not finite."""
  if isinstance(features, np.ndarray) and features.ndim != 2:
    return features.shape, []
  count, width, bad = 0, None, []
  for piece in rows_lib.pieces(features):
    if piece.ndim != 2 or piece.shape[1] != (width or piece.shape[1]):
      raise ValueError(
        f'{name} features have a chunk {piece.shape} after row {count}; all '
        f'have to be [n, {"D" if width is None else width}]'
      )
    width = piece.shape[1]
    rows = np.flatnonzero(~np.isfinite(piece).all(axis=1))
    bad += (count + rows).tolist()
    count += len(piece)
  if width is None:  # of a matrix without rows, or of no chunks
    width = features.shape[1] if isinstance(features, np.ndarray) else 0
  return (count, width), bad

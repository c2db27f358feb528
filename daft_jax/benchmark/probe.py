"""What the linear probe's sweep costs, against scikit-learn's.

python -m daft_jax.benchmark probe --size=50000x2048x10 --size=10000x512x100

On one core of a Xeon, jax 0.10.2 and scikit-learn 1.9.1:

                                    50000x2048x10    10000x512x100
  CPU seconds, scikit-learn         193              16.6
  with compilation, compiled        32.1, 31.1       7.6, 6.4
  of them the end of the chosen C   4                2
  objective / scikit-learn - 1      3.1e-8 at most   1.9e-8 at most
  best C, scikit-learn's            95.60, 95.61 %   91.55, 91.25 %
  points off it, scikit-learn's     0.08, 1.05       0.10, 0.40

Points are of accuracy at any C, against the minimum there. At large C
scikit-learn stops well above it, up to 56 and 14 times as high. What
`fit_probe` chooses is at the minimum of its C, within 0.05 of the best of all.
"""

import argparse
import os
import subprocess
import sys
import time
import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from daft_jax import probe
from daft_jax.probe import exact, rows, solver

SIZES = ('50000x2048x10', '10000x512x100')
# One core, and one thread in whatever multiplies.
_THREADS = {
  'XLA_FLAGS': '--xla_cpu_multi_thread_eigen=false',
  'OMP_NUM_THREADS': '1',
  'OPENBLAS_NUM_THREADS': '1',
  'MKL_NUM_THREADS': '1',
  'JAX_PLATFORMS': 'cpu',
}
# How far classes are apart, so that about 5 to 10 % are mistaken.
_APART = {10: 0.25, 100: 0.45}

Data = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


class Fits(NamedTuple):
  """What a sweep finds, and how long it takes.

  Attributes:
    weights: of every C, (kernel [D, K], bias [K]) of scaled features.
    least: the same at the minimum; None of what does not find it.
    converged: of every C, whether the solver says so.
    chosen: the C of the best validation accuracy, and that, in [0, 1].
    seconds: of processor time, every time it ran.
  """

  weights: list[tuple[np.ndarray, np.ndarray]]
  least: list[tuple[np.ndarray, np.ndarray]] | None
  converged: list[bool]
  chosen: tuple[float, float]
  seconds: list[float]


def synthetic(
  number: int, width: int, num_classes: int, *, seed: int = 0
) -> Data:
  """Features as a network's: correlated, not negative, with a long spectrum.

  Returns float32 [N, D], int [N], and a fifth as many for validation.
  """
  rng = np.random.default_rng(seed)
  latent = min(256, width)
  decay = np.arange(1, latent + 1, dtype=np.float32) ** -0.5
  apart = _APART.get(num_classes, 0.4)
  means = apart * decay * rng.standard_normal((num_classes, latent), np.float32)
  mixing = rng.standard_normal((latent, width), np.float32)
  mixing /= np.sqrt((decay**2).sum())
  shift = 0.5 * rng.standard_normal(width, np.float32) - 0.5

  def draw(count: int) -> tuple[np.ndarray, np.ndarray]:
    labels = rng.integers(0, num_classes, count)
    noise = decay * rng.standard_normal((count, latent), np.float32)
    before = (means[labels] + noise) @ mixing + shift
    before += 0.3 * rng.standard_normal((count, width), np.float32)
    return np.maximum(before, 0), labels

  return (*draw(number), *draw(max(1, number // 5)))


def scaled(data: Data) -> tuple[np.ndarray, np.ndarray]:
  """Features of both sets by one mean and deviation, float64."""
  moments = rows.scaling(data[0])
  return tuple((x - moments.mean) / moments.std for x in (data[0], data[2]))


def fit_ours(*data: Data, times: int = 1) -> Fits:
  """`fit_probe`; and once more, untimed, what it finds of every C."""
  x, y, val_x, val_y = data
  classes, seconds = int(y.max()) + 1, []
  for _ in range(times):
    start = time.process_time()
    found = probe.fit_probe(x, y, val_x, val_y, num_classes=classes)
    seconds.append(time.process_time() - start)
  moments = rows.scaling(x)
  fit = solver.Fit(rows.Rows(x, y, moments), classes)
  path = [*fit.path(probe.CS, max_iter=probe.MAX_ITER, tol=probe.TOL)]
  least = [
    exact.refine(fit, params, c=float(c))
    for params, c in zip(path, probe.CS, strict=True)
  ]
  centre = (moments.columns - moments.mean) / moments.std

  def centred(params: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    kernel = params[:, :-1].T.astype(float)
    return kernel, params[:, -1] - centre @ kernel

  return Fits(
    [*map(centred, path)],
    [*map(centred, least)],
    [True] * len(path),
    (found.C, found.id_val),
    seconds,
  )


def fit_theirs(*data: Data) -> Fits:
  """scikit-learn's LogisticRegression, each C from the one before."""
  from sklearn.exceptions import ConvergenceWarning
  from sklearn.linear_model import LogisticRegression

  _, y, _, val_y = data
  x, val_x = (np.float32(z) for z in scaled(data))
  model = LogisticRegression(max_iter=200, warm_start=True)
  weights, converged, seconds, right = [], [], 0.0, []
  for c in probe.CS:
    start = time.process_time()
    with warnings.catch_warnings(record=True) as said:
      warnings.simplefilter('always', ConvergenceWarning)
      model.set_params(C=c).fit(x, y)
    right.append((model.predict(val_x) == val_y).mean())
    seconds += time.process_time() - start
    converged.append(
      not any(issubclass(w.category, ConvergenceWarning) for w in said)
    )
    weights.append(
      (model.coef_.T.astype(float), model.intercept_.astype(float))
    )
  chosen = probe.CS[np.argmax(right)], max(right)
  return Fits(weights, None, converged, chosen, [seconds])


def _objective(
  x: np.ndarray, y: np.ndarray, kernel: np.ndarray, bias: np.ndarray, c: float
) -> float:
  logits = x @ kernel + bias
  logits -= logits.max(axis=1, keepdims=True)
  loss = np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(len(y)), y]
  return c * loss.sum() + (kernel**2).sum() / 2


def excess(
  data: Data, ours: Fits, theirs: Fits
) -> tuple[list[float], list[float]]:
  """Objectives in float64, for every C where scikit-learn converged.

  Returns:
    ours / theirs - 1, and theirs / least - 1.
  """
  x, _ = scaled(data)
  found = []
  fits = (probe.CS, ours.weights, ours.least, theirs.weights, theirs.converged)
  for c, our, least, their, converged in zip(*fits, strict=True):
    if converged:
      a, b, least = (_objective(x, data[1], *z, c) for z in (our, their, least))
      found.append((a / b - 1, b / least - 1))
  return tuple(map(list, zip(*found, strict=True)))


def accuracies(data: Data, weights: Sequence[Any]) -> np.ndarray:
  """Validation accuracy of every C, in [0, 1]."""
  _, x = scaled(data)
  found = [(x @ kernel + bias).argmax(axis=1) for kernel, bias in weights]
  return np.mean(np.array(found) == data[3], axis=1)


def report(size: str) -> None:
  """Prints the comparison; for a process of its own, which goes on one core."""
  _on_one_core()
  data = synthetic(*map(int, size.split('x')))
  ours, theirs = fit_ours(*data, times=2), fit_theirs(*data)
  first, again = ours.seconds
  above, short = excess(data, ours, theirs)
  missed = [
    f'{c:.1e}'
    for c, converged in zip(probe.CS, theirs.converged, strict=True)
    if not converged
  ]
  least = accuracies(data, ours.least)
  off = [
    100 * np.abs(accuracies(data, fits.weights) - least).max()
    for fits in (ours, theirs)
  ]
  (other,) = theirs.seconds
  print(f'{size}: {len(probe.CS)} values of C, CPU seconds of one core')
  print(f'  scikit-learn                    {other:.2f} s')
  print(f'  fit_probe, with compilation     {first:.2f} s')
  print(f'  fit_probe, compiled             {again:.2f} s')
  print(f'  scikit-learn / with compilation {other / first:.2f}')
  print(f'  scikit-learn / compiled         {other / again:.2f}')
  print(f'  objective / scikit-learn - 1    {max(above):.1e} of {len(above)} C')
  print(f'  scikit-learn / minimum - 1      {max(short):.1e}')
  print(f'  scikit-learn did not converge   {", ".join(missed) or "nowhere"}')
  print('validation accuracy')
  print(f'  best C, fit_probe               {100 * ours.chosen[1]:.2f} %')
  print(f'  best C, scikit-learn            {100 * theirs.chosen[1]:.2f} %')
  print(f'  best C, minimum of each         {100 * least.max():.2f} %')
  print(f'  off the minimum, fit_probe      {off[0]:.2f} points at most')
  print(f'  off the minimum, scikit-learn   {off[1]:.2f} points', flush=True)


def bench_probe(args: argparse.Namespace) -> None:
  """Prints CPU seconds, objective and accuracy of both; bound: 2 x fewer.

  Each size has a process of its own, on one core and with one thread.
  """
  try:
    import sklearn  # noqa: F401
  except ImportError:
    raise SystemExit("probe compares: pip install 'daft_jax[demo]'") from None
  for size in args.size or SIZES:
    code = f'from daft_jax.benchmark import probe; probe.report({size!r})'
    subprocess.run(
      [sys.executable, '-c', code], env=os.environ | _THREADS, check=True
    )


def _on_one_core() -> None:
  if hasattr(os, 'sched_setaffinity'):  # not on macOS
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})

"""What the linear probe's sweep costs, against scikit-learn's.

python -m daft_jax.benchmark probe --size=50000x2048x10 --size=10000x512x100

On one core of a Xeon (Sapphire Rapids), jax 0.10.2 and scikit-learn 1.9.1, CPU
seconds of the sweep: 206 s and 25.7 s with compilation (8.0 x) for the first,
21.5 s and 8.6 s (2.5 x; compiled 5.6 s, 3.9 x) for the second. The objective is
at most 1.8e-7 above scikit-learn's, relative; at large C, where scikit-learn
stops early, it is far below, and accuracies differ: for the best C 95.60 % and
95.61 %, 91.55 % and 91.25 %.
"""

import argparse
import os
import subprocess
import sys
import time
import warnings
from typing import NamedTuple

import numpy as np

from daft_jax import probe
from daft_jax.probe import rows, solver

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
  """Of every C: weights [D, K] and biases on scaled features, and how good.

  Attributes:
    weights: (kernel, bias) a C, of scaled features.
    right: validation examples a C gets right.
    converged: whether the solver says so, a C.
    seconds: of processor time, every time it ran.
  """

  weights: list[tuple[np.ndarray, np.ndarray]]
  right: list[int]
  converged: list[bool]
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
  """`fit_probe`, and once more, untimed, the weights of every C on its way."""
  x, y, val_x, val_y = data
  classes, seconds = int(y.max()) + 1, []
  for _ in range(times):
    start = time.process_time()
    found = probe.fit_probe(x, y, val_x, val_y, num_classes=classes)
    seconds.append(time.process_time() - start)
  moments = rows.scaling(x)
  path = solver.path(
    rows.Rows(x, y, moments),
    num_classes=classes,
    grid=probe.CS,
    max_iter=probe.MAX_ITER,
    tol=probe.TOL,
  )
  centre = (moments.columns - moments.mean) / moments.std
  weights = []
  for params in path:
    kernel = params[:, :-1].T.astype(float)
    weights.append((kernel, params[:, -1] - centre @ kernel))
  right = [round(accuracy * len(val_y)) for _, accuracy in found.sweep]
  return Fits(weights, right, [True] * len(weights), seconds)


def fit_theirs(*data: Data) -> Fits:
  """scikit-learn's LogisticRegression, each C from the one before."""
  from sklearn.exceptions import ConvergenceWarning
  from sklearn.linear_model import LogisticRegression

  _, y, _, val_y = data
  x, val_x = (np.float32(z) for z in scaled(data))
  model = LogisticRegression(max_iter=200, warm_start=True)
  weights, right, converged, seconds = [], [], [], 0.0
  for c in probe.CS:
    start = time.process_time()
    with warnings.catch_warnings(record=True) as said:
      warnings.simplefilter('always', ConvergenceWarning)
      model.set_params(C=c).fit(x, y)
    right.append(int((model.predict(val_x) == val_y).sum()))
    seconds += time.process_time() - start
    converged.append(
      not any(issubclass(w.category, ConvergenceWarning) for w in said)
    )
    weights.append(
      (model.coef_.T.astype(float), model.intercept_.astype(float))
    )
  return Fits(weights, right, converged, [seconds])


def _objective(
  x: np.ndarray, y: np.ndarray, kernel: np.ndarray, bias: np.ndarray, c: float
) -> float:
  logits = x @ kernel + bias
  logits -= logits.max(axis=1, keepdims=True)
  loss = np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(len(y)), y]
  return c * loss.sum() + (kernel**2).sum() / 2


def excess(data: Data, ours: Fits, theirs: Fits) -> list[float]:
  """Ours / theirs - 1 in float64, for every C where theirs converged."""
  x, _ = scaled(data)
  found = []
  fits = zip(
    probe.CS, ours.weights, theirs.weights, theirs.converged, strict=True
  )
  for c, our, their, converged in fits:
    if converged:
      least = _objective(x, data[1], *their, c)
      found.append(_objective(x, data[1], *our, c) / least - 1)
  return found


def report(size: str) -> None:
  """Prints the comparison; for a process of its own, which goes on one core."""
  _on_one_core()
  data = synthetic(*map(int, size.split('x')))
  ours, theirs = fit_ours(*data, times=2), fit_theirs(*data)
  first, again = ours.seconds
  left, count = excess(data, ours, theirs), len(data[3])
  missed = [
    f'{c:.1e}'
    for c, converged in zip(probe.CS, theirs.converged, strict=True)
    if not converged
  ]
  best = [100 * max(fits.right) / count for fits in (ours, theirs)]
  apart = np.abs(np.subtract(ours.right, theirs.right)).max() * 100 / count
  (other,) = theirs.seconds
  print(f'{size}: {len(probe.CS)} values of C, CPU seconds of one core')
  print(f'  scikit-learn                    {other:.2f} s')
  print(f'  fit_probe, with compilation     {first:.2f} s')
  print(f'  fit_probe, compiled             {again:.2f} s')
  print(f'  scikit-learn / with compilation {other / first:.2f}')
  print(f'  scikit-learn / compiled         {other / again:.2f}')
  print(f'  objective, largest excess       {max(left):.1e} of {len(left)} C')
  print(f'  scikit-learn did not converge   {", ".join(missed) or "nowhere"}')
  print(f'  validation, best C              {best[0]:.2f} %, {best[1]:.2f} %')
  print(f'  validation, largest difference  {apart:.2f} points', flush=True)


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

"""Measures what the package costs.

  python -m daft_jax.benchmark bn            # conversion pass / eval pass
  python -m daft_jax.benchmark bn --rounds=9 --model=resnet18
  python -m daft_jax.benchmark load --file=resnet50-0676ba61.pth
  python -m daft_jax.benchmark data          # images: decoded, cached, workers
  python -m daft_jax.benchmark save          # checked save / Orbax alone
  python -m daft_jax.benchmark probe         # C sweep / scikit-learn's
  python -m daft_jax.benchmark step          # ways to compute a step / default
  python -m daft_jax.benchmark scaling       # to 1,024 devices, by a model

Ratios are taken within a round, the two sides one after the other, because
the speed of a shared machine changes from minute to minute.
"""

import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any


def compare(
  rounds: int,
  *sides: Callable[[], Any],
  clock: Callable[[], float] = time.perf_counter,
) -> list[list[float]]:
  """Seconds of each side a round, interleaved; the first round is warm-up."""

  def seconds(side: Callable[[], Any]) -> float:
    start = clock()
    side()
    return clock() - start

  times = [[seconds(side) for side in sides] for _ in range(rounds + 1)]
  return [list(side) for side in zip(*times[1:], strict=True)]


def spread(values: Sequence[float], unit: str = '', digits: int = 3) -> str:
  """The least, the middle and the largest.

  Example:
    >>> spread([1.0, 4.0, 2.5], ' s')
    'min 1.000 s  median 2.500 s  max 4.000 s'
  """
  middle = statistics.median(values)
  return '  '.join(
    f'{name} {value:.{digits}f}{unit}'
    for name, value in (
      ('min', min(values)),
      ('median', middle),
      ('max', max(values)),
    )
  )

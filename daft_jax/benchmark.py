"""Measures what the package costs.

  python -m daft_jax.benchmark bn            # conversion pass / eval pass
  python -m daft_jax.benchmark bn --rounds=9 --model=resnet18

Ratios are taken within a round, the two sides one after the other, because
the speed of a shared machine changes from minute to minute.
"""

import argparse
import functools
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from daft_jax import bn, models
from daft_jax.bn import recording

# name: (image size, batch size, number of batches)
_BN_CASES = {
  'resnet14_cifar': (24, 64, 16),
  'resnet18': (112, 16, 8),
}


def _seconds(fn: Callable[[], Any]) -> float:
  start = time.perf_counter()
  fn()
  return time.perf_counter() - start


def _spread(values: list[float], unit: str = '') -> str:
  middle = statistics.median(values)
  return (
    f'min {min(values):.3f}{unit}  median {middle:.3f}{unit}  '
    f'max {max(values):.3f}{unit}'
  )


def compare(rounds: int, *sides: Callable[[], Any]) -> list[list[float]]:
  """Seconds of each side a round, interleaved; the first round is warm-up."""
  times = [[_seconds(side) for side in sides] for _ in range(rounds + 1)]
  return [list(side) for side in zip(*times[1:], strict=True)]


def bench_bn(args: argparse.Namespace) -> None:
  """Prints the ratio of `bn_moments` to a plain eval pass; bound: 1.10.

  On CPU the pass is compiled with options of its own (see bn/recording.py); the
  second ratio is to an eval pass with the same options.
  """
  for name in [args.model] if args.model else _BN_CASES:
    size, batch, number = _BN_CASES.get(name, (112, 16, 8))
    model = models.create_model(name, 10)
    variables = models.init_variables(model, size, 0)
    rng = np.random.default_rng(0)
    shape = (number, batch, size, size, 3)
    batches = list(rng.normal(size=shape).astype(np.float32))

    def eval_pass(options, model=model, variables=variables, batches=batches):
      apply = jax.jit(
        lambda v, x: model.apply(v, x, train=False)[0],
        compiler_options=options,
      )
      return lambda: jax.block_until_ready(
        [apply(variables, image) for image in batches]
      )

    plain, same, recorded = compare(
      args.rounds,
      eval_pass(None),
      eval_pass(recording.compiler_options(jax.default_backend())),
      functools.partial(bn.bn_moments, model, variables, batches),
    )
    print(f'{name}: {number} batches of {batch} x {size} x {size}')
    print(f'  eval pass                       {_spread(plain, " s")}')
    print(f'  conversion pass                 {_spread(recorded, " s")}')
    for what, base in ('', plain), (', same compiler options', same):
      ratios = [b / a for a, b in zip(base, recorded, strict=True)]
      print(f'  {"ratio" + what:30s}  {_spread(ratios)}', flush=True)


_BENCHMARKS = {'bn': bench_bn}


def main(argv: list[str] | None = None) -> None:
  parser = argparse.ArgumentParser(prog='python -m daft_jax.benchmark')
  parser.add_argument('what', choices=_BENCHMARKS)
  parser.add_argument('--rounds', type=int, default=7, help='at least 5')
  parser.add_argument('--model', help='one model instead of the usual ones')
  args = parser.parse_args(argv)
  if args.rounds < 5:
    parser.error('--rounds: fewer than 5 say little; pass 5 or more')
  _BENCHMARKS[args.what](args)


if __name__ == '__main__':
  main()

"""Measures what the package costs.

  python -m daft_jax.benchmark bn            # conversion pass / eval pass
  python -m daft_jax.benchmark bn --rounds=9 --model=resnet18
  python -m daft_jax.benchmark load --file=resnet50-0676ba61.pth

Ratios are taken within a round, the two sides one after the other, because
the speed of a shared machine changes from minute to minute.
"""

import argparse
import functools
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import safetensors.numpy

from daft_jax import bn, models
from daft_jax.bn import recording
from daft_jax.pretrained import files, identify

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


# Loads once, in a process of its own as a user would: memory that was freed
# and is still mapped makes a second load three times as fast.
_LOAD = """
import sys, time, tracemalloc
import safetensors.numpy
from daft_jax import models, pretrained
from daft_jax.pretrained import identify
what, name, classes, path = sys.argv[1:]
model = models.create_model(name, int(classes))
identify.abstract_variables(model)  # as training would have
read, read_model = safetensors.numpy.load_file, pretrained.load_pretrained
if what == 'peak':
  tracemalloc.start()
start = time.perf_counter()
kept = read(path) if what == 'plain' else read_model(name, model, path)
seconds = time.perf_counter() - start
print(tracemalloc.get_traced_memory()[1] if what == 'peak' else seconds)
"""


def bench_load(args: argparse.Namespace) -> None:
  """Prints time and memory of loading a file; bounds: 2 and 2.5.

  Time is compared with the safetensors library reading the same tensors, memory
  with the size of the file.
  """
  path = pathlib.Path(args.file)
  arrays = {
    name: np.ascontiguousarray(array)
    for name, array in files.read(path).arrays.items()
  }
  found = identify.identify(arrays)
  if found is None:
    raise SystemExit(f'{path} is of no architecture of this package')
  words = [found.architecture, str(found.match.head or 1)]

  def once(what: str, file: pathlib.Path) -> float:
    command = [sys.executable, '-c', _LOAD, what, *words, str(file)]
    return float(
      subprocess.run(command, capture_output=True, check=True).stdout
    )

  with tempfile.TemporaryDirectory() as folder:
    same = pathlib.Path(folder) / 'same.safetensors'
    safetensors.numpy.save_file(arrays, same)
    pairs = [
      (once('plain', same), once('load', path)) for _ in range(args.rounds)
    ]
  size, (plain, loaded) = path.stat().st_size, zip(*pairs, strict=True)
  print(f'{path.name}: {found.architecture}, {size:,} bytes')
  print(f'  safetensors, the same tensors   {_spread(list(plain), " s")}')
  print(f'  load_pretrained                 {_spread(list(loaded), " s")}')
  print(
    f'  ratio                           {_spread([b / a for a, b in pairs])}'
  )
  print(f'  peak memory / size of the file  {once("peak", path) / size:.2f}')


_BENCHMARKS = {'bn': bench_bn, 'load': bench_load}


def main(argv: list[str] | None = None) -> None:
  parser = argparse.ArgumentParser(prog='python -m daft_jax.benchmark')
  parser.add_argument('what', choices=_BENCHMARKS)
  parser.add_argument('--rounds', type=int, default=15, help='at least 5')
  parser.add_argument('--model', help='bn: one model, not the usual ones')
  parser.add_argument('--file', help='load: a weights file')
  args = parser.parse_args(argv)
  if args.rounds < 5:
    parser.error('--rounds: fewer than 5 say little; pass 5 or more')
  if args.what == 'load' and not args.file:
    parser.error('load needs --file=FILE, a weights file of any size')
  _BENCHMARKS[args.what](args)


if __name__ == '__main__':
  main()

"""What the ways to compute a step cost.

python -m daft_jax.benchmark step
"""

import argparse
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from daft_jax import benchmark, models, optim, sharding, train
from daft_jax.train import Parts

# name: (image size, batch size, steps in a round)
_CASES = {'resnet14_cifar': (24, 64, 8), 'resnet18': (112, 32, 1)}
_CLASSES = 10
# What is said in a config, and what it changes: model, parts of a batch.
_WAYS = {
  'default': ({}, Parts()),
  'grad_accum_steps=4': ({}, Parts(grad_accum_steps=4)),
  'bn_group_size=8': ({}, Parts(bn_group_size=8)),
  'remat=stages': ({'remat': 'stages'}, Parts()),
  'elastic=true': ({}, Parts(elastic=True)),
  'dtype=bfloat16': ({'dtype': 'bfloat16'}, Parts()),
}


def bench_step(args: argparse.Namespace) -> None:
  """Prints time and memory of each way over those of the default.

  The step of `daft`: all parameters, BatchNorm on batch statistics. Memory is
  what the compiler sets aside on a device beside arguments and results. On all
  devices there are; `JAX_NUM_CPU_DEVICES=4` before the command divides a CPU.
  """
  for name in [args.model] if args.model else _CASES:
    size, rows, steps = _CASES.get(name, (112, 32, 1))
    sides, memory = zip(
      *(_side(name, size, rows, steps, *way) for way in _WAYS.values()),
      strict=True,
    )
    times = benchmark.compare(args.rounds, *sides)
    devices = f'{jax.device_count()} x {jax.devices()[0].device_kind}'
    print(f'{name}: steps of {rows} x {size} x {size} on {devices}')
    for way, taken, peak in zip(_WAYS, times, memory, strict=True):
      ratios = [b / a for a, b in zip(times[0], taken, strict=True)]
      print(
        f'  {way:20s}  {benchmark.spread(ratios)}  memory '
        f'{peak / memory[0]:.2f} ({peak / 1e6:.1f} MB)',
        flush=True,
      )


def _side(
  name: str,
  size: int,
  rows: int,
  steps: int,
  model_fields: dict[str, str],
  parts: Parts,
) -> tuple[Callable[[], Any], int]:
  """A function that does some steps, and the bytes that one of them needs."""
  model = models.create_model(name, _CLASSES, **model_fields)
  mesh = sharding.make_mesh()
  optimizer = optim.Optimizer(epochs=1, steps_per_epoch=1000)
  start = models.init_variables(model, size, 0)
  rng = np.random.default_rng(0)
  batch = {
    'image': rng.normal(size=(rows, size, size, 3)).astype(np.float32),
    'label': rng.integers(_CLASSES, size=rows, dtype=np.int32),
  }
  batch = sharding.shard_batch(batch, mesh)
  rates = {'lr': np.float32(1e-3), 'head_lr': np.float32(1e-3)}
  layout = sharding.Layout(mesh)
  state = train.init_state(start, '', optimizer, mesh)
  step = train.get_step(model, '', 'batch', optimizer, layout, parts)
  compiled = step.lower(state, batch, rates).compile()

  def run() -> None:
    nonlocal state
    for _ in range(steps):
      state, sums = compiled(state, batch, rates)
      sharding.settle(sums)
    jax.block_until_ready(state)

  return run, compiled.memory_analysis().temp_size_in_bytes

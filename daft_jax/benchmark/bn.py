"""What the conversion pass costs.

python -m daft_jax.benchmark bn
"""

import argparse
import functools

import jax
import numpy as np

from daft_jax import benchmark, bn, models
from daft_jax.bn import recording

# name: (image size, batch size, number of batches)
_BN_CASES = {
  'resnet14_cifar': (24, 64, 16),
  'resnet18': (112, 16, 8),
}


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

    plain, same, recorded = benchmark.compare(
      args.rounds,
      eval_pass(None),
      eval_pass(recording.compiler_options(jax.default_backend())),
      functools.partial(bn.bn_moments, model, variables, batches),
    )
    print(f'{name}: {number} batches of {batch} x {size} x {size}')
    print(f'  eval pass                       {benchmark.spread(plain, " s")}')
    print(
      f'  conversion pass                 {benchmark.spread(recorded, " s")}'
    )
    for what, base in ('', plain), (', same compiler options', same):
      ratios = [b / a for a, b in zip(base, recorded, strict=True)]
      print(f'  {"ratio" + what:30s}  {benchmark.spread(ratios)}', flush=True)

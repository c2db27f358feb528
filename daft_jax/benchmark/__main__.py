"""The command line of benchmarks; see the package."""

import argparse
import re
from collections.abc import Sequence

from daft_jax import models
from daft_jax.benchmark import bn, data, load, probe, save, scaling, step

_BENCHMARKS = {
  'bn': bn.bench_bn,
  'load': load.bench_load,
  'data': data.bench_data,
  'save': save.bench_save,
  'probe': probe.bench_probe,
  'scaling': scaling.bench_scaling,
  'step': step.bench_step,
}
_OF = {
  'model': ('bn', 'scaling', 'step'),
  'file': ('load',),
  'images': ('data',),
  'size': ('probe',),
  **dict.fromkeys(scaling.Assumptions._fields, ('scaling',)),
}


def main(argv: Sequence[str] | None = None) -> None:
  parser = argparse.ArgumentParser(prog='python -m daft_jax.benchmark')
  parser.add_argument('what', choices=_BENCHMARKS)
  parser.add_argument('--rounds', type=int, default=15, help='at least 5')
  parser.add_argument('--model', help='bn, scaling, step: a model')
  parser.add_argument('--file', help='load: a weights file')
  parser.add_argument(
    '--images', type=int, help=f'data: different JPEGs ({data.IMAGES})'
  )
  parser.add_argument(
    '--size',
    action='append',
    help='probe: examples x features x classes, as 1000x64x30; may be repeated',
  )
  for name, usual in scaling.Assumptions._field_defaults.items():
    parser.add_argument(
      f'--{name}', type=_positive, help=f'scaling: assumed ({usual:g})'
    )
  args = parser.parse_args(argv)
  if args.rounds < 5:
    parser.error('--rounds: fewer than 5 say little; pass 5 or more')
  for option, what in _OF.items():
    value = getattr(args, option)
    if value is not None and args.what not in what:
      *some, last = what
      whose = f'{", ".join(some)} and {last}' if some else last
      parser.error(f'--{option} is of {whose}, not of {args.what}')
  if args.model and args.model not in models.list_models():
    known = ', '.join(models.list_models())
    parser.error(f'--model: there is no {args.model!r}; say one of {known}')
  if args.what == 'load' and not args.file:
    parser.error('load needs --file=FILE, a weights file of any size')
  if args.images is not None and args.images < 1:
    parser.error('--images: at least 1')
  for size in args.size or ():
    if not re.fullmatch(r'[1-9]\d*x[1-9]\d*x[1-9]\d*', size):
      parser.error(f'--size: {size!r} is not like 1000x64x30')
  _BENCHMARKS[args.what](args)


def _positive(text: str) -> float:
  value = float(text)
  if not 0 < value < float('inf'):
    raise argparse.ArgumentTypeError(f'{text} is no number above 0')
  return value


if __name__ == '__main__':
  main()

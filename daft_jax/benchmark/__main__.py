"""The command line of benchmarks; see the package."""

import argparse
import re
from collections.abc import Sequence

from daft_jax.benchmark import bn, data, load, probe, save, step

_BENCHMARKS = {
  'bn': bn.bench_bn,
  'load': load.bench_load,
  'data': data.bench_data,
  'save': save.bench_save,
  'probe': probe.bench_probe,
  'step': step.bench_step,
}
_OF = {
  'model': ('bn', 'step'),
  'file': ('load',),
  'images': ('data',),
  'size': ('probe',),
}


def main(argv: Sequence[str] | None = None) -> None:
  parser = argparse.ArgumentParser(prog='python -m daft_jax.benchmark')
  parser.add_argument('what', choices=_BENCHMARKS)
  parser.add_argument('--rounds', type=int, default=15, help='at least 5')
  parser.add_argument('--model', help='bn, step: one model')
  parser.add_argument('--file', help='load: a weights file')
  parser.add_argument(
    '--images', type=int, help=f'data: different JPEGs ({data.IMAGES})'
  )
  parser.add_argument(
    '--size',
    action='append',
    help='probe: examples x features x classes, as 1000x64x30; may be repeated',
  )
  args = parser.parse_args(argv)
  if args.rounds < 5:
    parser.error('--rounds: fewer than 5 say little; pass 5 or more')
  for option, what in _OF.items():
    if getattr(args, option) is not None and args.what not in what:
      parser.error(f'--{option} is of {" and ".join(what)}, not of {args.what}')
  if args.what == 'load' and not args.file:
    parser.error('load needs --file=FILE, a weights file of any size')
  if args.images is not None and args.images < 1:
    parser.error('--images: at least 1')
  for size in args.size or ():
    if not re.fullmatch(r'[1-9]\d*x[1-9]\d*x[1-9]\d*', size):
      parser.error(f'--size: {size!r} is not like 1000x64x30')
  _BENCHMARKS[args.what](args)


if __name__ == '__main__':
  main()

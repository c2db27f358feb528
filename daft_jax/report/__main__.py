"""The command line of the report: `python -m daft_jax.report --help`."""

import argparse
import sys
from collections.abc import Sequence

from daft_jax import report, results
from daft_jax.report import collect

_OTHERS = ('.html', '.tex', '.csv')


def main(argv: Sequence[str] | None = None) -> int:
  """Runs the command line; returns the exit status, 2 after an error."""
  parser = argparse.ArgumentParser(
    prog='python -m daft_jax.report',
    description='Makes report.md, .html, .tex and .csv of finished trials.',
  )
  parser.add_argument('workdirs', nargs='+', metavar='WORKDIR')
  parser.add_argument(
    '--output', metavar='DIR', help='default: the first WORKDIR'
  )
  parser.add_argument(
    '--pdf', action='store_true', help='figures as PDF as well, for a paper'
  )
  arguments = parser.parse_args(argv)
  try:
    path = report.write_report(
      arguments.workdirs, arguments.output, pdf=arguments.pdf
    )
    lines = collect.collect(arguments.workdirs).lines
  except (results.ResultsError, OSError) as error:
    print(f'daft_jax.report: {error}', file=sys.stderr)
    return 2
  print(report.console_table(lines))
  others = '\n'.join(f'         {path.with_suffix(x)}' for x in _OTHERS)
  print(f'\nwritten: {path}\n{others}')
  return 0


if __name__ == '__main__':
  sys.exit(main())

"""A report of finished trials: tables, and figures beside them.

  python -m daft_jax.report WORKDIR... [--output DIR]

writes `report.html`, a page with all in itself, `report.md` with its figures
beside it, and `report.csv` (a row for every trial and set, see `sheet`). It
reads the files of the workdirs and nothing else, and imports no JAX, so it runs
on any machine the files were copied to. Several workdirs of one suite, backbone
and weights are put together: seeds on one machine, methods on another.
"""

import pathlib
from collections.abc import Iterable, Sequence

from daft_jax import results
from daft_jax.report import (
  blocks,
  collect,
  document,
  figures,
  origin,
  sheet,
  summary,
)
from daft_jax.report.figures import render
from daft_jax.report.formats import latex, markdown, terminal, webpage

PathLike = results.PathLike


def write_report(
  workdirs: Sequence[PathLike] | PathLike,
  output: PathLike | None = None,
  *,
  pdf: bool = False,
) -> pathlib.Path:
  """Writes the report in every format; returns the path of report.md.

  Args:
    workdirs: one workdir or several, which are put together.
    output: the folder to write to, made if needed; default: the first workdir.
    pdf: figures as PDF as well, which LaTeX prefers.

  Raises:
    results.ResultsError: see `collect.collect`.
  """
  if isinstance(workdirs, (str, pathlib.Path)):
    workdirs = [workdirs]
  found = collect.collect(workdirs)
  files, shown = {}, []
  for drawing, figure in figures.drawn(found):
    files[drawing.file] = render.png(figure)
    if pdf:
      files[f'{drawing.name}.pdf'] = render.pdf(figure)
    svg = render.svg(figure, drawing.name, drawing.alt)
    picture = blocks.Picture(drawing.name, drawing.alt, svg)
    shown.append((drawing, picture))
  composed = document.compose(found, shown)
  files['report.md'] = markdown.render(composed)
  files['report.html'] = webpage.render(composed)
  files['report.csv'] = sheet.csv_text(found)
  output = pathlib.Path(output or workdirs[0])
  (output / latex.FOLDER).mkdir(parents=True, exist_ok=True)
  for name, content in (files | latex.render(composed)).items():
    results.atomic_write(output / name, content)
  return output / 'report.md'


def console_table(lines: Iterable[results.Line]) -> str:
  """Returns the final table as plain text of at most 100 columns.

  Example:
    print(report.console_table(results.read(workdir)))
  """
  lines = list(lines)
  rows = summary.summarize(lines)
  text = [terminal.console(rows)] if rows else []
  if '±' in ''.join(text):
    text.append('± is the 90 % interval of the mean over seeds (Student t)')
  text += [f'{x}: every trial diverged' for x in summary.diverged(lines)]
  if any(collect.selection(line) == 'paper' for line in lines):
    text.append(origin.CHOSEN['paper'])
  return '\n'.join(text or ['no finished trials'])

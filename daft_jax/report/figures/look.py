"""The look common to all figures.

  figure, (axes,) = look.new(7.4, 4.5, 1, 1)
  style = look.styles(['ft', 'daft'])['daft']

One method has one colour and one marker in every figure, also in the next
report. The colours are told apart by colour-blind readers (Okabe and Ito,
with some of Tol's muted set). matplotlib is imported where it is used, and by
its object interface only: nobody's pyplot state or backend is touched.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

from daft_jax.report import blocks

DPI = 160
_LONGEST = 60  # characters of a name
INK, FAINT, GREY = '#222222', '#555555', '#8a8a8a'


class Style(NamedTuple):
  """How a method looks."""

  colour: str
  marker: str
  dash: Any = '-'


STYLES = {
  'lp': Style('#000000', 's'),
  'lp_sgd': Style('#777777', 'D'),
  'ft': Style('#D55E00', 'o'),
  'lp_ft': Style('#0072B2', '^'),
  'daft': Style('#009E73', 'p'),
  'daft_no_conversion': Style('#CC79A7', 'P', (0, (5, 1))),
  'daft_no_fast_head': Style('#E69F00', 'X', (0, (5, 1))),
  'lp_ft_converted': Style('#56B4E9', 'v', (0, (5, 1))),
  'ft_frozen_bn': Style('#882255', 'h', (0, (5, 1))),
  'adabn': Style('#999933', '<', (0, (2, 1))),
}
_SPARE = ('#332288', '#AA4499', '#DDCC77', '#44AA99')


def styles(methods: Iterable[str]) -> dict[str, Style]:
  """Gives every method its style; one that is not known gets a spare one."""
  found, spare = {}, 0
  for method in methods:
    if method in STYLES:
      found[method] = STYLES[method]
    else:
      colour = _SPARE[spare % len(_SPARE)]
      found[method] = Style(colour, '>dH8*'[spare % 5], ':')
      spare += 1
  return found


def new(width: float, height: float, rows: int, ncols: int) -> Any:
  """Returns a figure and its axes, in the look common to all."""
  from matplotlib.backends.backend_agg import FigureCanvasAgg
  from matplotlib.figure import Figure

  figure = Figure(figsize=(width, height), dpi=DPI, layout='constrained')
  FigureCanvasAgg(figure)
  figure.get_layout_engine().set(w_pad=0.08, h_pad=0.08, wspace=0.04)
  grid = figure.subplots(rows, ncols, squeeze=False).ravel()
  for axes in grid:
    axes.spines[['top', 'right']].set_visible(False)
    axes.spines[['left', 'bottom']].set_color(GREY)
    axes.grid(color='#e6e6e6', linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=10, color=GREY, labelcolor=INK)
    axes.xaxis.label.set(fontsize=11, color=INK)
    axes.yaxis.label.set(fontsize=11, color=INK)
  return figure, grid


def plain(name: str) -> str:
  """A name for a figure: not as wide as it, nothing read as mathematics.

  Example:
    >>> plain('$x$')
    '\\\\$x\\\\$'
  """
  name = blocks.visible(name)
  name = name if len(name) <= _LONGEST else f'{name[: _LONGEST - 1]}…'
  return name.replace('$', '\\$')


def title(axes: Any, text: str) -> None:
  """Puts a title over the left end of a panel."""
  axes.set_title(text, loc='left', fontsize=12, fontweight='bold', color=INK)


def note(axes: Any, text: str) -> None:
  """Puts a remark over the right end of a panel, where no point can be."""
  axes.set_title(text, loc='right', fontsize=9.5, color=FAINT)


def legend(figure: Any, styles: dict[str, Style]) -> None:
  """Names the lines of methods below a figure."""
  from matplotlib.lines import Line2D

  styles = {plain(name): style for name, style in styles.items()}
  handles = [
    Line2D([], [], color=style.colour, ls=style.dash, lw=2.2, label=name)
    for name, style in styles.items()
  ]
  longest = max(map(len, styles))  # characters of 0.085 inches, and the line
  figure.legend(
    handles=handles, loc='outside lower center', frameon=False,
    ncols=max(1, min(5, int(7.6 / (0.085 * longest + 0.55)))),
    fontsize=10.5, labelcolor=INK, handlelength=1.6,
  )  # fmt: skip

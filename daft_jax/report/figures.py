"""The look of the figures, and the first: OOD against ID accuracy.

  png = figures.accuracy(lines, results.choose(lines), 'digits')

One method has one colour and one marker in every figure, also in the next
report. The colours are told apart by colour-blind readers (Okabe and Ito,
with some of Tol's muted set). matplotlib is imported where it is used, and by
its object interface only: nobody's pyplot state or backend is touched.
"""

import io
import math
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from daft_jax import results

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


def accuracy(
  lines: list[results.Line],
  choices: Mapping[str, results.Choice],
  suite: str,
) -> bytes | None:
  """Draws OOD against ID test accuracy, a point for every trial.

  Trials of the chosen rates are filled; their mean over seeds is large, with
  bars of one standard deviation. The line OOD = ID is drawn where in view.
  Trials far from all chosen ones are left out and counted in the title.

  Returns:
    A PNG image, or None where no trial has both accuracies.
  """
  look = styles(dict.fromkeys(line['method'] for line in lines))
  chosen = {x['trial'] for choice in choices.values() for x in choice.lines}
  points = {}
  for line in lines:
    point = 100 * line['id_test'], 100 * line['ood_mean']
    if all(map(math.isfinite, point)):
      points[line['trial']] = point
  if not points:
    return None
  near = _near(points, chosen)
  figure, (axes,) = new(7.4, 4.5, 1, 1)
  for line in lines:
    if line['trial'] in near - chosen:
      _point(axes, [points[line['trial']]], look[line['method']], 'tried')
  for method, choice in choices.items():
    found = [points[x['trial']] for x in choice.lines if x['trial'] in points]
    if found:
      _point(axes, found, look[method], 'chosen')
      _mean(axes, np.array(found), look[method])
  diagonal = _diagonal(axes)
  names = list(dict.fromkeys(name for line in lines for name in line['ood']))
  what = plain(names[0]) if len(names) == 1 else f'mean of {len(names)} sets'
  axes.set_xlabel(f'ID test accuracy, {plain(suite)} (%)')
  axes.set_ylabel(f'OOD accuracy, {what} (%)')
  title(axes, 'OOD against ID accuracy')
  if len(points) > len(near):
    hidden = len(points) - len(near)
    note(axes, f'{hidden} trial{"s" * (hidden > 1)} out of view')
  several = any(len(choice.lines) > 1 for choice in choices.values())
  _legend(figure, look, bool(near - chosen), several, diagonal)
  return png(figure)


def _near(points: dict[str, tuple[float, float]], chosen: set[str]) -> set[str]:
  """The trials around the chosen ones: a diverged one must not squeeze them."""
  core = [xy for trial, xy in points.items() if trial in chosen]
  core = np.array(core or list(points.values()))
  low, high = core.min(0), core.max(0)
  room = 1.5 * np.maximum(high - low, 2)
  return {
    trial
    for trial, xy in points.items()
    if np.all(xy >= low - room) and np.all(xy <= high + room)
  }


def _point(axes: Any, points: list, style: Style, kind: str) -> None:
  x, y = np.transpose(points)
  face, alpha = (style.colour, 0.75) if kind == 'chosen' else ('none', 0.55)
  axes.scatter(
    x, y, s=34, marker=style.marker, facecolors=face, alpha=alpha,
    edgecolors=style.colour, linewidths=1.1, zorder=3,
  )  # fmt: skip


def _mean(axes: Any, points: np.ndarray, style: Style) -> None:
  x, y = points.mean(0)
  std = points.std(0, ddof=1) if len(points) > 1 else (0, 0)
  axes.errorbar(
    x, y, xerr=std[0], yerr=std[1], fmt=style.marker, markersize=12,
    color=style.colour, markeredgecolor='white', markeredgewidth=1.2,
    ecolor=style.colour, elinewidth=1.4, capsize=0, zorder=5,
  )  # fmt: skip


def _diagonal(axes: Any) -> bool:
  """Draws OOD = ID if it crosses the view, which it does not widen."""
  x, y = axes.get_xlim(), axes.get_ylim()
  low, high = max(x[0], y[0]), min(x[1], y[1])
  axes.set(xlim=x, ylim=y, autoscale_on=False)
  if low < high:
    axes.plot([low, high], [low, high], color=GREY, lw=1, ls='--', zorder=1)
  return low < high


def _legend(
  figure: Any,
  look: dict[str, Style],
  others: bool,
  several: bool,
  diagonal: bool,
) -> None:
  from matplotlib.lines import Line2D

  def mark(style: Style, size: float, label: str, face: str) -> Any:
    return Line2D(
      [], [], ls='', marker=style.marker, markersize=size, label=label,
      color=style.colour, markerfacecolor=face,
    )  # fmt: skip

  methods = [mark(s, 8, plain(name), s.colour) for name, s in look.items()]
  grey = Style(GREY, 'o')
  rate = 'chosen rate, ' * others
  kinds = [mark(grey, 6, 'other rate', 'none')] if others else []
  if several:
    kinds.append(mark(grey, 6, f'{rate}one seed', GREY))
    kinds.append(mark(grey, 11, 'mean ± std over seeds', GREY))
  elif others:
    kinds.append(mark(grey, 11, 'chosen rate', GREY))
  if diagonal:
    kinds.append(Line2D([], [], color=GREY, lw=1, ls='--', label='OOD = ID'))
  gap = [Line2D([], [], ls='', label=' ')] if kinds else []
  figure.legend(
    handles=[*methods, *gap, *kinds], loc='outside right upper', frameon=False,
    fontsize=10.5, labelcolor=INK, handletextpad=0.4, handlelength=1.6,
    borderaxespad=0.6,
  )  # fmt: skip


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
  name = name if len(name) <= _LONGEST else f'{name[: _LONGEST - 1]}…'
  return name.replace('$', '\\$')


def title(axes: Any, text: str) -> None:
  """Puts a title over the left end of a panel."""
  axes.set_title(text, loc='left', fontsize=12, fontweight='bold', color=INK)


def note(axes: Any, text: str) -> None:
  """Puts a remark over the right end of a panel, where no point can be."""
  axes.set_title(text, loc='right', fontsize=9.5, color=FAINT)


def png(figure: Any) -> bytes:
  """Renders a figure."""
  file = io.BytesIO()
  figure.savefig(file, format='png', facecolor='white')
  return file.getvalue()

"""OOD against ID accuracy, a point for every trial.

figure = scatter.draw(collect.collect(['/tmp/digits']))
"""

import math
from collections.abc import Container, Iterable, Mapping
from typing import Any

import numpy as np

from daft_jax import results
from daft_jax.report import collect, summary
from daft_jax.report.figures import look


def draw(found: collect.Collected) -> Any:
  """Draws OOD against ID test accuracy, a point for every trial.

  Trials of the chosen rates are filled; their mean over seeds is large, with
  bars of its 90 % interval. The line OOD = ID is drawn where in view.
  Trials far from all chosen ones are left out and counted in the title; bars
  may end outside.

  Returns:
    A Figure, or None where no trial has both accuracies.
  """
  lines, choices = found.lines, found.choices
  styles = look.styles(dict.fromkeys(line['method'] for line in lines))
  chosen = {x['trial'] for choice in choices.values() for x in choice.lines}
  points = {}
  for line in lines:
    point = 100 * line['id_test'], 100 * line['ood_mean']
    if all(map(math.isfinite, point)):
      points[line['trial']] = point
  if not points:
    return None
  near = _near(points, chosen)
  figure, (axes,) = look.new(7.4, 4.5, 1, 1)
  for line in lines:
    if line['trial'] in near - chosen:
      _point(axes, [points[line['trial']]], styles[line['method']], 'tried')
  here = {
    method: [points[x['trial']] for x in choice.lines if x['trial'] in points]
    for method, choice in choices.items()
  }
  here = {method: found for method, found in here.items() if found}
  for method, each in here.items():
    _point(axes, each, styles[method], 'chosen')
  axes.autoscale_view()
  axes.set_autoscale_on(False)  # Bars of two seeds are longer than all else.
  for method, each in here.items():
    _mean(axes, np.array(each), styles[method])
  for path, method in paths(lines, points, near):
    style = styles[method]
    axes.plot(*np.transpose(path), color=style.colour, lw=1, alpha=0.5)
  diagonal = _diagonal(axes)
  names = list(dict.fromkeys(name for line in lines for name in line['ood']))
  several = f'mean of {len(names)} sets'
  what = look.plain(names[0]) if len(names) == 1 else several
  axes.set_xlabel(f'ID test accuracy, {look.plain(lines[0]["suite"])} (%)')
  axes.set_ylabel(f'OOD accuracy, {what} (%)')
  look.title(axes, 'OOD against ID accuracy')
  if len(points) > len(near):
    hidden = len(points) - len(near)
    look.note(axes, f'{hidden} trial{"s" * (hidden > 1)} out of view')
  seeds = any(len(choice.lines) > 1 for choice in choices.values())
  _legend(figure, styles, bool(near - chosen), seeds, diagonal)
  return figure


def paths(
  lines: Iterable[results.Line],
  points: Mapping[str, tuple[float, float]],
  near: Container[str],
) -> list[tuple[list[np.ndarray], str]]:
  """What a method's learning rate does, at each head rate.

  Args:
    lines: of any trials.
    points: {trial: (x, y)}, of those that have one.
    near: the trials in view.

  Returns:
    (means over seeds in the order of the rate, method), of two rates or more.
  """
  found: dict[tuple[str, Any], list[np.ndarray]] = {}
  for method, choices in results.by_rate(lines).items():
    for choice in choices:
      trials = [line['trial'] for line in choice.lines]
      if choice.lr is not None and all(x in near for x in trials):
        mean = np.mean([points[x] for x in trials], axis=0)
        found.setdefault((method, choice.head_lr), []).append(mean)
  return [(path, key[0]) for key, path in found.items() if len(path) > 1]


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


def _point(axes: Any, points: list, style: look.Style, kind: str) -> None:
  x, y = np.transpose(points)
  face, alpha = (style.colour, 0.75) if kind == 'chosen' else ('none', 0.55)
  axes.scatter(
    x, y, s=34, marker=style.marker, facecolors=face, alpha=alpha,
    edgecolors=style.colour, linewidths=1.1, zorder=3,
  )  # fmt: skip


def _mean(axes: Any, points: np.ndarray, style: look.Style) -> None:
  x, y = points.mean(0)
  bars = np.nan_to_num([summary.stat(values).half for values in points.T])
  axes.errorbar(
    x, y, xerr=bars[0], yerr=bars[1], fmt=style.marker, markersize=12,
    color=style.colour, markeredgecolor='white', markeredgewidth=1.2,
    ecolor=style.colour, elinewidth=1.4, capsize=0, zorder=5,
  )  # fmt: skip


def _diagonal(axes: Any) -> bool:
  """Draws OOD = ID if it crosses the view, which it does not widen."""
  x, y = axes.get_xlim(), axes.get_ylim()
  low, high = max(x[0], y[0]), min(x[1], y[1])
  axes.set(xlim=x, ylim=y, autoscale_on=False)
  if low < high:
    axes.plot(
      [low, high], [low, high], color=look.GREY, lw=1, ls='--', zorder=1
    )
  return low < high


def _legend(
  figure: Any,
  styles: dict[str, look.Style],
  others: bool,
  several: bool,
  diagonal: bool,
) -> None:
  from matplotlib.lines import Line2D

  def mark(style: look.Style, size: float, label: str, face: str) -> Any:
    return Line2D(
      [], [], ls='', marker=style.marker, markersize=size, label=label,
      color=style.colour, markerfacecolor=face,
    )  # fmt: skip

  methods = [
    mark(s, 8, look.plain(name), s.colour) for name, s in styles.items()
  ]
  grey = look.Style(look.GREY, 'o')
  rate = 'chosen rate, ' * others
  kinds = [mark(grey, 6, 'other rate', 'none')] if others else []
  if several:
    kinds.append(mark(grey, 6, f'{rate}one seed', look.GREY))
    kinds.append(mark(grey, 11, 'mean, 90 % interval', look.GREY))
  elif others:
    kinds.append(mark(grey, 11, 'chosen rate', look.GREY))
  if diagonal:
    kinds.append(
      Line2D([], [], color=look.GREY, lw=1, ls='--', label='OOD = ID')
    )
  gap = [Line2D([], [], ls='', label=' ')] if kinds else []
  figure.legend(
    handles=[*methods, *gap, *kinds], loc='outside right upper', frameon=False,
    fontsize=10.5, labelcolor=look.INK, handletextpad=0.4, handlelength=1.6,
    borderaxespad=0.6,
  )  # fmt: skip

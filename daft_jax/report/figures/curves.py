"""Learning curves: training loss and ID validation accuracy, epoch by epoch.

figure = curves.draw(collect.collect(['/tmp/digits']))
"""

import math
from typing import Any

import numpy as np

from daft_jax.report import collect, epochs
from daft_jax.report.figures import look

_MOST = 200  # epochs of a line: more are not seen apart
_PANELS = (
  ('loss', 1, '(a) training loss'),
  ('id_val', 100, '(b) ID validation accuracy (%)'),
)


def draw(collected: collect.Collected) -> Any:
  """Draws the chosen trials, a line a seed; a point is the chosen epoch.

  Returns:
    A Figure, or None where no chosen trial has a log of epochs.

  Raises:
    results.ResultsError: a log is damaged.
  """
  from matplotlib.ticker import MaxNLocator

  found = {
    method: [
      (line, log)
      for line in choice.lines
      if len(log := epochs.curve(collected.folders[line['trial']])) > 1
    ]
    for method, choice in collected.choices.items()
  }
  found = {method: trials for method, trials in found.items() if trials}
  if not found:
    return None
  styles = look.styles(collected.choices)
  figure, grid = look.new(8, 3.4, 1, 2)
  for axes, (field, scale, title) in zip(grid, _PANELS, strict=True):
    for method, trials in found.items():
      for line, log in trials:
        values = scale * np.array(
          [x.get(field, math.nan) for x in log], np.float64
        )
        _line(axes, values, _chosen(line, log), styles[method])
    axes.set_xlabel('epoch')
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    look.title(axes, title)
  look.legend(figure, {method: styles[method] for method in found})
  return figure


def _chosen(line: dict[str, Any], log: list[dict[str, Any]]) -> int | None:
  """Where the chosen epoch is: of the last stage, which has the last say."""
  where = [
    index
    for index, x in enumerate(log)
    if (x['stage'], x['epoch']) == (log[-1]['stage'], line['epoch'])
  ]
  return where[-1] if where else None


def _line(
  axes: Any, values: np.ndarray, chosen: int | None, style: look.Style
) -> None:
  some = np.unique(
    np.linspace(0, len(values) - 1, min(_MOST, len(values))).astype(int)
  )
  axes.plot(
    some + 1, values[some], color=style.colour, ls=style.dash, lw=1.3, alpha=0.8
  )
  if chosen is not None:
    axes.plot(
      chosen + 1, values[chosen], style.marker, color=style.colour, ms=6,
      markeredgecolor='white', markeredgewidth=0.8,
    )  # fmt: skip

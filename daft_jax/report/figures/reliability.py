"""Whether a method is right as often as it is sure: reliability diagrams.

figure = reliability.draw(collect.collect(['/tmp/digits']))
"""

from typing import Any

import numpy as np

from daft_jax.report import arrays, collect
from daft_jax.report.figures import look

_FEWEST = 10  # images of a bin that is drawn


def draw(collected: collect.Collected) -> Any:
  """Draws accuracy against confidence, and how many images have it.

  Args:
    collected: of its chosen trials, sums over seeds; OOD sets together.

  Returns:
    A Figure, or None where no trial has counted.

  Raises:
    results.ResultsError: an `arrays.npz` is damaged.
  """
  found = arrays.added(collected.choices, collected.folders, arrays.RELIABILITY)
  panels = {title: panel for title, panel in found.items() if panel}
  if not panels:
    return None
  styles = look.styles(collected.choices)
  figure, grid = look.new(8, 5.2, 2, len(panels))
  grid = np.reshape(grid, (2, len(panels)))
  columns = zip(grid.T, panels.items(), 'ab', strict=False)
  for (upper, lower), (title, panel), letter in columns:
    upper.plot([0, 1], [0, 1], color=look.GREY, lw=1, ls='--')
    for method, (count, correct, confidence) in panel.items():
      style = styles[method]
      some = count >= _FEWEST
      upper.plot(
        confidence[some] / count[some], correct[some] / count[some],
        color=style.colour, ls=style.dash, marker=style.marker, ms=4, lw=1.5,
      )  # fmt: skip
      edges = np.linspace(0, 1, len(count) + 1)
      share = 100 * count / count.sum()
      lower.stairs(share, edges, color=style.colour, ls=style.dash, lw=1.5)
    upper.set(xlim=(0, 1.02), ylim=(0, 1.02))
    lower.set_xlim(0, 1.02)
    lower.set_ylim(bottom=0)
    lower.set_xlabel('confidence')
    look.title(upper, f'({letter}) {title}')
  grid[0, 0].set_ylabel('accuracy')
  grid[1, 0].set_ylabel('images (%)')
  shown = dict.fromkeys(name for panel in panels.values() for name in panel)
  look.legend(figure, {name: styles[name] for name in shown})
  return figure

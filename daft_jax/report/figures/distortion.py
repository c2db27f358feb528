"""How far each method moved the features: histograms of cosine and L2.

figure = distortion.draw(collect.collect(['/tmp/digits']))
"""

from typing import Any

import numpy as np

from daft_jax import results
from daft_jax.report import collect, histograms
from daft_jax.report.figures import look

BINS = 60


def draw(collected: collect.Collected) -> Any:
  """Draws how far each method moved the features, cosine and L2.

  The first row is the ID test set, the second the OOD sets together (after
  figure 1 of the paper). Methods that leave the features as they are have no
  histogram to draw: they are named beside the title.

  Returns:
    A Figure, or None where no method has a histogram.

  Raises:
    results.ResultsError: an `arrays.npz` is damaged.
  """
  choices = collected.choices
  found = histograms.read(choices, collected.folders)
  still = [name for name, choice in choices.items() if _is_still(choice)]
  moved = {
    name: x
    for name, x in found.items()
    if name not in still and {'cosine', 'l2'} <= x.keys()
  }
  if not moved:
    return None
  names = list(dict.fromkeys(n for x in moved.values() for n in x['cosine']))
  rows = [('ID test', ['id_test'])] if 'id_test' in names else []
  ood = [name for name in names if name != 'id_test']
  if ood:
    title = look.plain(ood[0]) if len(ood) == 1 else f'{len(ood)} sets'
    rows.append((f'OOD, {title}', ood))
  styles = look.styles(choices)
  figure, grid = look.new(8, 0.9 + 2.4 * len(rows), len(rows), 2)
  grid = np.reshape(grid, (len(rows), 2))
  for column, measure in enumerate(('cosine', 'l2')):
    pooled = [_pooled(moved, measure, splits) for _, splits in rows]
    edges = _common_edges([h for panel in pooled for h in panel.values()])
    for axes, panel in zip(grid[:, column], pooled, strict=True):
      _draw_panel(axes, panel, edges, styles)
  for axes, (title, _) in zip(grid[:, 0], rows, strict=True):
    axes.set_ylabel(f'{title}\nimages per bin (%)')
  look.title(grid[0, 0], '(a) cosine')
  look.title(grid[0, 1], '(b) L2')
  grid[-1, 0].set_xlabel('cosine of features before and after')
  grid[-1, 1].set_xlabel('L2 distance of features before and after')
  if still:
    look.note(grid[0, 1], f'not moved: {look.plain(", ".join(still))}')
  look.legend(figure, {name: styles[name] for name in moved})
  return figure


def _is_still(choice: results.Choice) -> bool:
  """Whether a method's features are the pretrained ones, up to rounding."""
  return all(line['feature_l2'] < 1e-4 for line in choice.lines)


def _pooled(
  moved: histograms.Histograms, measure: str, splits: list[str]
) -> dict[str, histograms.Histogram]:
  """Adds the sets of a row up, for every method that has any of them."""
  found = {
    name: [x[measure][split] for split in splits if split in x[measure]]
    for name, x in moved.items()
  }
  return {
    name: histograms.pool(group) for name, group in found.items() if group
  }


def _common_edges(found: list[histograms.Histogram]) -> np.ndarray:
  """Bins for all rows of a column; far outliers do not squeeze the rest."""
  low = min(histogram.quantile(0.002) for histogram in found)
  high = max(histogram.quantile(0.998) for histogram in found)
  return np.linspace(low, high, BINS + 1)


def _draw_panel(
  axes: Any,
  panel: dict[str, histograms.Histogram],
  edges: np.ndarray,
  styles: dict[str, look.Style],
) -> None:
  """Draws a step line for every method, on common bins."""
  from matplotlib.ticker import MaxNLocator

  for name, histogram in panel.items():
    share = 100 * histograms.rebin(histogram, edges) / histogram.counts.sum()
    style = styles[name]
    if len(panel) <= 5:  # more of them would make mud
      axes.stairs(share, edges, fill=True, color=style.colour, alpha=0.13)
    axes.stairs(share, edges, color=style.colour, ls=style.dash, lw=1.7)
  axes.set_ylim(bottom=0)
  axes.yaxis.set_major_locator(
    MaxNLocator(5, integer=True, steps=[1, 2, 5, 10])
  )
  room = 0.02 * (edges[-1] - edges[0])
  axes.set_xlim(edges[0] - room, edges[-1] + room)

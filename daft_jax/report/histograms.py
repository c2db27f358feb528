"""Histograms of feature distortion: read from the trials, added up, drawn.

  choices = results.choose(lines)
  found = histograms.read(choices, folders)
  found['daft']['cosine']['id_test'].counts      # all seeds together
  png = histograms.draw(found, choices)

Every trial leaves counts and edges in its `arrays.npz`, with edges of its
own, so adding two up means putting them on common bins first.
"""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from daft_jax import results
from daft_jax.report import arrays, figures


class Histogram(NamedTuple):
  """Counts [n] between edges [n + 1]."""

  counts: np.ndarray
  edges: np.ndarray

  def quantile(self, share: float) -> float:
    """The value below which `share` (0 to 1) of the counts lie."""
    below = np.concatenate([[0.0], np.cumsum(self.counts)])
    return float(np.interp(share * below[-1], below, self.edges))


BINS = 60

# {method: {'l2' or 'cosine': {split: Histogram}}}
Histograms = dict[str, dict[str, dict[str, Histogram]]]


def read(
  choices: Mapping[str, results.Choice],
  folders: Mapping[str, pathlib.Path],
) -> Histograms:
  """Reads feature distortion from the `arrays.npz` of the chosen trials.

  Args:
    choices: what `results.choose` returns.
    folders: {trial: its folder}; trials that have no arrays are passed over.

  Returns:
    {method: {'l2' or 'cosine': {split: Histogram}}}, seeds added up.

  Raises:
    results.ResultsError: an `arrays.npz` is damaged.
  """
  found: Histograms = {}
  for method, choice in choices.items():
    parts: dict[str, dict[str, list[Histogram]]] = {}
    for line in choice.lines:
      path = folders[line['trial']] / 'arrays.npz'
      if not path.is_file():
        continue
      splits = 'id_test', *line['ood']
      for split, measure, counts, edges in arrays.read(path, splits):
        group = parts.setdefault(measure, {}).setdefault(split, [])
        group.append(Histogram(counts, edges))
    if parts:
      found[method] = {
        measure: {split: pool(group) for split, group in splits.items()}
        for measure, splits in parts.items()
      }
  return found


def pool(histograms: Sequence[Histogram], bins: int = 1000) -> Histogram:
  """Adds histograms with different edges up, on fine common bins.

  A count is spread evenly over its old bin, so totals are kept.
  """
  low = min(h.edges[0] for h in histograms)
  high = max(h.edges[-1] for h in histograms)
  edges = np.linspace(low, high, bins + 1)
  return Histogram(sum(rebin(h, edges) for h in histograms), edges)


def rebin(histogram: Histogram, edges: np.ndarray) -> np.ndarray:
  """Counts between new edges, by interpolating the cumulative counts."""
  below = np.concatenate([[0.0], np.cumsum(histogram.counts)])
  return np.diff(np.interp(edges, histogram.edges, below))


def draw(
  found: Histograms, choices: Mapping[str, results.Choice]
) -> bytes | None:
  """Draws how far each method moved the features, cosine and L2.

  The first row is the ID test set, the second the OOD sets together (after
  figure 1 of the paper). Methods that leave the features as they are have no
  histogram to draw: they are named beside the title.

  Returns:
    A PNG image, or None where no method has a histogram.
  """
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
    title = figures.plain(ood[0]) if len(ood) == 1 else f'{len(ood)} sets'
    rows.append((f'OOD, {title}', ood))
  look = figures.styles(choices)
  figure, grid = figures.new(8, 0.9 + 2.4 * len(rows), len(rows), 2)
  grid = np.reshape(grid, (len(rows), 2))
  for column, measure in enumerate(('cosine', 'l2')):
    pooled = [_pooled(moved, measure, splits) for _, splits in rows]
    edges = _common_edges([h for panel in pooled for h in panel.values()])
    for axes, panel in zip(grid[:, column], pooled, strict=True):
      _draw_panel(axes, panel, edges, look)
  for axes, (title, _) in zip(grid[:, 0], rows, strict=True):
    axes.set_ylabel(f'{title}\nimages per bin (%)')
  figures.title(grid[0, 0], '(a) cosine')
  figures.title(grid[0, 1], '(b) L2')
  grid[-1, 0].set_xlabel('cosine of features before and after')
  grid[-1, 1].set_xlabel('L2 distance of features before and after')
  if still:
    figures.note(grid[0, 1], f'not moved: {figures.plain(", ".join(still))}')
  _legend(figure, {name: look[name] for name in moved})
  return figures.png(figure)


def _is_still(choice: results.Choice) -> bool:
  """Whether a method's features are the pretrained ones, up to rounding."""
  return all(line['feature_l2'] < 1e-4 for line in choice.lines)


def _pooled(
  moved: Histograms, measure: str, splits: list[str]
) -> dict[str, Histogram]:
  """Adds the sets of a row up, for every method that has any of them."""
  found = {
    name: [x[measure][split] for split in splits if split in x[measure]]
    for name, x in moved.items()
  }
  return {name: pool(group) for name, group in found.items() if group}


def _common_edges(found: list[Histogram]) -> np.ndarray:
  """Bins for all rows of a column; far outliers do not squeeze the rest."""
  low = min(histogram.quantile(0.002) for histogram in found)
  high = max(histogram.quantile(0.998) for histogram in found)
  return np.linspace(low, high, BINS + 1)


def _draw_panel(
  axes: Any,
  panel: dict[str, Histogram],
  edges: np.ndarray,
  look: dict[str, figures.Style],
) -> None:
  """Draws a step line for every method, on common bins."""
  from matplotlib.ticker import MaxNLocator

  for name, histogram in panel.items():
    share = 100 * rebin(histogram, edges) / histogram.counts.sum()
    style = look[name]
    if len(panel) <= 5:  # more of them would make mud
      axes.stairs(share, edges, fill=True, color=style.colour, alpha=0.13)
    axes.stairs(share, edges, color=style.colour, ls=style.dash, lw=1.7)
  axes.set_ylim(bottom=0)
  axes.yaxis.set_major_locator(
    MaxNLocator(5, integer=True, steps=[1, 2, 5, 10])
  )
  room = 0.02 * (edges[-1] - edges[0])
  axes.set_xlim(edges[0] - room, edges[-1] + room)


def _legend(figure: Any, look: dict[str, figures.Style]) -> None:
  from matplotlib.lines import Line2D

  look = {figures.plain(name): style for name, style in look.items()}
  handles = [
    Line2D([], [], color=style.colour, ls=style.dash, lw=2.2, label=name)
    for name, style in look.items()
  ]
  longest = max(map(len, look))  # characters of 0.085 inches, and the line
  figure.legend(
    handles=handles, loc='outside lower center', frameon=False,
    ncols=max(1, min(5, int(7.6 / (0.085 * longest + 0.55)))),
    fontsize=10.5, labelcolor=figures.INK, handlelength=1.6,
  )  # fmt: skip

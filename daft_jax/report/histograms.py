"""Histograms of feature distortion: read from the trials, added up.

  found = histograms.read(results.choose(lines), folders)
  found['daft']['cosine']['id_test'].counts      # all seeds together

Every trial leaves counts and edges in its `arrays.npz`, with edges of its
own, so adding two up means putting them on common bins first.
"""

import pathlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from daft_jax import results
from daft_jax.report import arrays


class Histogram(NamedTuple):
  """Counts [n] between edges [n + 1]."""

  counts: np.ndarray
  edges: np.ndarray

  def quantile(self, share: float) -> float:
    """The value below which `share` (0 to 1) of the counts lie."""
    below = np.concatenate([[0.0], np.cumsum(self.counts)])
    return float(np.interp(share * below[-1], below, self.edges))


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
    for line, path in arrays.files(choice, folders):
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

"""Features of a sample of images as points: PCA and t-SNE, a panel a method.

  found = collect.collect(['/tmp/digits'])
  figure = embedding.draw_pca(found)
  figure = embedding.draw_tsne(found)

A method is shown by its chosen trial of the first seed that kept a sample.
"""

import importlib.util
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from daft_jax.report import arrays, collect
from daft_jax.report.figures import look

MOST_POINTS = 256  # of a panel
COLUMNS = 4
BEFORE = 'pretrained'

_COLOURS = (
  *('#4477aa', '#ee6677', '#228833', '#ccbb44', '#66ccee', '#aa3377'),
  *('#777777', '#ee7733', '#44bb99', '#332288'),
)
_MARKERS = 'o^sD'
_STILL = 1e-2  # of the features' own size: float16 rounds to 5e-4

# Rows of all sets together, [n, D], in the order of a panel's points.
Panels = dict[str, np.ndarray]


def draw_pca(collected: collect.Collected) -> Any:
  """Draws features along the main axes of the pretrained ones.

  The axes and their limits are the same in every panel: what moves, moved.

  Returns:
    A Figure, or None where no chosen trial kept a sample.

  Raises:
    results.ResultsError: an `arrays.npz` is damaged.
  """

  def embed(panels: Panels) -> Panels:
    before = panels[BEFORE]
    middle = before.mean(axis=0)
    axes = np.linalg.svd(before - middle, full_matrices=False)[2][:2]
    return {name: (x - middle) @ axes.T for name, x in panels.items()}

  return _draw(collected, embed, shared=True)


def draw_tsne(collected: collect.Collected) -> Any:
  """Draws t-SNE of the features, of each method for itself.

  Source: van der Maaten and Hinton 2008, as scikit-learn has it.

  Returns:
    A Figure, or None where no chosen trial kept a sample, or scikit-learn is
    not installed.

  Raises:
    results.ResultsError: an `arrays.npz` is damaged.
  """
  if importlib.util.find_spec('sklearn') is None:
    return None

  def embed(panels: Panels) -> Panels:
    import threadpoolctl
    from sklearn.manifold import TSNE

    # Its threads wait by spinning: beside other work one is 20 times faster.
    with threadpoolctl.threadpool_limits(1):
      return {
        name: TSNE(
          perplexity=min(30, (len(x) - 1) / 3),
          init='pca' if x.std() > 0 else 'random',
          random_state=0,
          max_iter=500,
        ).fit_transform(x.astype(np.float32))
        for name, x in panels.items()
      }

  return _draw(collected, embed, shared=False)


def _draw(
  collected: collect.Collected,
  embed: Callable[[Panels], Panels],
  *,
  shared: bool,
) -> Any:
  """Draws the panels: the pretrained features, then those of each method."""
  panels, sets, labels, still = _panels(collected)
  if not panels:
    return None
  points = embed(panels)
  columns = min(COLUMNS, len(points))
  rows = -(-len(points) // columns)
  figure, grid = look.new(1 + 2.2 * columns, 1 + 2.2 * rows, rows, columns)
  limits = _limits([*points.values()])
  for axes, (name, xy) in zip(grid, points.items(), strict=False):
    _draw_panel(axes, xy, sets, labels)
    look.title(axes, look.plain(name))
    if shared:
      axes.set(xlim=limits[0], ylim=limits[1])
  for axes in grid[len(points) :]:
    axes.set_visible(False)
  if still:
    last = grid[len(points) - 1]
    last.set_xlabel(f'not moved: {look.plain(", ".join(still))}')
  _legend(figure, [*dict.fromkeys(sets)], labels, _classes(collected))
  return figure


def _panels(
  collected: collect.Collected,
) -> tuple[Panels, np.ndarray, np.ndarray, list[str]]:
  """Features of every panel, set and label of each row, and what is left out.

  All methods have the same images: where one does not, it is left out.
  """
  panels: Panels = {}
  sets = labels = np.zeros(0)
  still = []
  for method, choice in collected.choices.items():
    for line, path in arrays.files(choice, collected.folders):
      found = _sample(path, ['id_test', *line['ood']])
      if found is None:
        continue
      after, before, where, what = found
      if not panels:
        panels[BEFORE], sets, labels = before, where, what
      if before.shape == panels[BEFORE].shape:
        moved = np.abs(after - before).max() > _STILL * np.abs(before).max()
        if moved:
          panels[method] = after
        else:
          still.append(method)
      break
  return panels, sets, labels, still


def _sample(path: pathlib.Path, names: Sequence[str]) -> Any:
  """Features after and before, set and label of each row; None: too few."""
  found = {name: arrays.sample(path, name) for name in names}
  found = {name: x for name, x in found.items() if x is not None}
  if not found:
    return None
  most = max(1, MOST_POINTS // len(found))
  rows = {
    name: np.linspace(0, len(x[2]) - 1, min(len(x[2]), most)).astype(int)
    for name, x in found.items()
    if len(x[2])
  }
  after, before, labels = (
    np.concatenate([found[name][i][rows[name]] for name in rows])
    for i in range(3)
  )
  sets = np.concatenate([[name] * len(rows[name]) for name in rows])
  if len(after) < 4 or after.shape[1] < 2:
    return None
  return after, before, sets, labels


def _limits(points: list[np.ndarray]) -> list[tuple[float, float]]:
  """What all panels show, of x and of y; a far outlier squeezes nothing."""
  low, high = np.quantile(np.concatenate(points), (0.002, 0.998), axis=0)
  room = 0.05 * (high - low) + 1e-6
  return [*zip(low - room, high + room, strict=True)]


def _draw_panel(
  axes: Any, xy: np.ndarray, sets: np.ndarray, labels: np.ndarray
) -> None:
  axes.set(xticks=[], yticks=[])
  for number, name in enumerate(dict.fromkeys(sets)):
    rows = sets == name
    colours = [_COLOURS[int(x) % len(_COLOURS)] for x in labels[rows]]
    axes.scatter(
      *xy[rows].T, c=colours, s=13, marker=_marker(number), linewidths=0
    )


def _marker(number: int) -> str:
  return _MARKERS[number % len(_MARKERS)]


def _classes(collected: collect.Collected) -> list[str]:
  """Names of the classes, where every colour is one."""
  known: list[Mapping[str, Any]] = [*collected.experiments.values()]
  classes = known[0].get('classes') if known else None
  named = isinstance(classes, list) and len(classes) <= len(_COLOURS)
  return [str(x) for x in classes] if named else []


def _legend(
  figure: Any, sets: Sequence[str], labels: np.ndarray, classes: Sequence[str]
) -> None:
  from matplotlib.lines import Line2D

  entries = [
    (name, look.FAINT, _marker(number)) for number, name in enumerate(sets)
  ]
  entries += [
    (name, _COLOURS[number], 's')
    for number, name in enumerate(classes)
    if number in labels
  ]
  handles = [
    Line2D([], [], color=colour, marker=marker, ls='', label=look.plain(name))
    for name, colour, marker in entries
  ]
  figure.legend(
    handles=handles, loc='outside right upper', frameon=False,
    fontsize=9.5, labelcolor=look.INK, handletextpad=0.2,
  )  # fmt: skip

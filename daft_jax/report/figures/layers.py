"""What moved layer by layer, and how far the new data were before training.

figure = layers.draw_shift(collect.collect(['/tmp/digits']))
figure = layers.draw_moved(collect.collect(['/tmp/digits']))
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from daft_jax.report import arrays, collect
from daft_jax.report.figures import look

_NAMED = 24  # layers whose names find room
_COLUMNS = {
  'l2': 'relative L2',
  'cosine': 'cosine',
  'cka': 'linear CKA',
}

Layers = Mapping[str, tuple[float, ...]]


def draw_shift(collected: collect.Collected) -> Any:
  """Draws how far the training images are from the pretrained statistics.

  Returns:
    A Figure, or None where no chosen trial says.

  Raises:
    results.ResultsError: an `arrays.npz` is damaged.
  """
  fields = ('mean', 'std_ratio')
  found = next(_read(collected, collected.choices, 'bn_shift', fields), None)
  if found is None:
    return None
  figure, grid = look.new(8, 5, 2, 1)
  titles = (
    '(a) |mean - pretrained mean| / pretrained deviation',
    '(b) deviation / pretrained deviation',
  )
  columns = np.transpose([*found.values()])
  for axes, values, title in zip(grid, columns, titles, strict=True):
    places = range(1, len(values) + 1)
    axes.plot(places, values, 'o-', color=look.INK, ms=4, lw=1)
    look.title(axes, title)
  grid[0].set_ylim(bottom=0)
  grid[1].axhline(1, color=look.GREY, lw=1, ls='--')
  _name(grid[1:], [*found], 'BatchNorm, in the order of the forward pass')
  return figure


def draw_moved(collected: collect.Collected) -> Any:
  """Draws how far the outputs of each layer moved, a line a method.

  Means over seeds; the first row is the ID test set, the second the mean over
  the OOD sets. Methods that leave the features as they are are named.

  Returns:
    A Figure, or None where no method has moved a layer.

  Raises:
    results.ResultsError: an `arrays.npz` is damaged.
  """
  styles = look.styles(collected.choices)
  order, rows = _moved(collected)
  found = {name: panel for panel in rows.values() for name in panel}
  still = [name for name, panel in found.items() if not panel[name][:, 0].any()]
  moved = {
    title: {name: x for name, x in panel.items() if name not in still}
    for title, panel in rows.items()
  }
  if not any(moved.values()):
    return None
  figure, grid = look.new(10, 0.9 + 2.6 * len(moved), len(moved), len(_COLUMNS))
  grid = np.reshape(grid, (len(moved), len(_COLUMNS)))
  for line, (title, panel) in zip(grid, moved.items(), strict=True):
    for index, axes in enumerate(line):
      for method, values in panel.items():
        style = styles[method]
        axes.plot(
          range(1, len(values) + 1), values[:, index],
          color=style.colour, ls=style.dash, lw=1.6,
        )  # fmt: skip
    line[0].set_ylabel(title)
  for axes, text, letter in zip(grid[0], _COLUMNS.values(), 'abc', strict=True):
    look.title(axes, f'({letter}) {text}')
  if still:
    look.note(grid[0, -1], f'not moved: {look.plain(", ".join(still))}')
  _name(grid[-1], order, 'layer')
  shown = dict.fromkeys(name for panel in moved.values() for name in panel)
  look.legend(figure, {name: styles[name] for name in shown})
  return figure


def _moved(
  collected: collect.Collected,
) -> tuple[list[str], dict[str, dict[str, np.ndarray]]]:
  """The layers, and {row: {method: a column each of `_COLUMNS`}}."""
  order: list[str] = []
  rows: dict[str, dict[str, np.ndarray]] = {}
  for method, choice in collected.choices.items():
    ood = list(dict.fromkeys(name for x in choice.lines for name in x['ood']))
    for title, splits in (('ID test', ['id_test']), ('OOD', ood)):
      found = [
        layers
        for split in splits
        for layers in _read(collected, [method], f'{split}/layers', _COLUMNS)
      ]
      order = order or next(map(list, found), [])
      # Of another model, one of the user's own under the same name.
      same = [[*x.values()] for x in found if list(x) == order]
      if same:
        rows.setdefault(title, {})[method] = np.mean(same, axis=0)
  return order, rows


def _read(
  collected: collect.Collected,
  methods: Iterable[str],
  group: str,
  fields: Iterable[str],
) -> Iterator[Layers]:
  """Yields the layers of each chosen trial that has them."""
  for method in methods:
    choice = collected.choices[method]
    for _, path in arrays.files(choice, collected.folders):
      if found := arrays.by_layer(path, group, fields):
        yield found


def _name(row: Iterable[Any], layers: list[str], text: str) -> None:
  """Names the layers under a row of panels, or only numbers them."""
  for axes in row:
    axes.set_xlabel(text)
    if len(layers) <= _NAMED:
      labels = [look.plain(name) for name in layers]
      axes.set_xticks(range(1, len(layers) + 1), labels)
      axes.tick_params(axis='x', labelrotation=90, labelsize=8)

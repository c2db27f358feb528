"""What the numbers of a report rest on: the choice, versions and config.

parts = origin.chosen(lines, rows, 'val')
parts += origin.versions(lines, experiments)
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from daft_jax import results
from daft_jax.report import blocks, summary, tables

# What a grid is made of: workdirs put together may differ in these. Their
# selection is the same, but older ones do not say which.
_GRID = ('methods', 'seeds', 'lrs', 'head_lrs')
_NOT_SAID = (*_GRID, 'selection')

# By config.selection.
CHOSEN = {
  'val': 'chosen by ID validation',
  'paper': (
    'chosen on the ID test set, as in the paper: ID test accuracy is optimistic'
  ),
}
_SELECTION = """\
Each method's learning rates are those with the highest mean {images} accuracy
over seeds (ties: the smaller learning rate, then the smaller head rate), and
each trial reports its epoch, or its C, of highest {images} accuracy. {used}"""
_USED = {
  'val': ('ID validation', 'No OOD or test accuracy was used.'),
  'paper': ('ID test', 'No OOD accuracy was used. ID val is ID test as well.'),
}


def chosen(
  lines: Sequence[results.Line], rows: Sequence[summary.Row], selection: str
) -> list[blocks.Block]:
  """How the rates were chosen, and of which."""
  rates = tables.rates_table(lines)
  images, used = _USED[selection]
  text = _SELECTION.format(images=images, used=used).replace('\n', ' ')
  if any(cells[-1] == tables.NOT_COMPARED for cells in rates.body):
    text += (
      ' Rates that diverged, or have fewer seeds than others of the same '
      'method, were not compared.'
    )
  return [
    blocks.Heading(2, ['Chosen hyperparameters']),
    blocks.Paragraph([text]),
    tables.choice_table(rows),
    blocks.Folded('Every rate', [rates]),
  ]


def versions(
  lines: Sequence[results.Line], experiments: Mapping[str, dict[str, Any]]
) -> list[blocks.Block]:
  """Versions and configs, and where the workdirs' settings differ."""
  seen: dict[str, set[str]] = {}
  for line in lines:
    for name, version in line.get('versions', {}).items():
      seen.setdefault(name, set()).add(str(version))
  listed = [
    f'{name} {" and ".join(sorted(found))}' for name, found in seen.items()
  ]
  inside: list[blocks.Block] = []
  if listed:
    inside.append(blocks.Paragraph([f'Versions: {", ".join(listed)}.']))
  for workdir, experiment in experiments.items():
    if len(experiments) > 1:
      inside.append(blocks.Paragraph([blocks.Code(workdir), ':']))
    inside.append(blocks.Listing(results.dumps(experiment, 2), 'json'))
  return [
    blocks.Heading(2, ['Versions and config']),
    *_differences(experiments),
    blocks.Folded('Every setting', inside),
  ]


def _differences(
  experiments: Mapping[str, dict[str, Any]],
) -> Iterator[blocks.Block]:
  """Settings, other than the grid's, that differ between the workdirs."""
  flat = [dict(_flatten(x.get('config') or {})) for x in experiments.values()]
  names = dict.fromkeys(name for config in flat for name in config)
  said: list[str | blocks.Code] = []
  for name in names:
    values = [results.dumps(config.get(name)) for config in flat]
    if name not in _NOT_SAID and len(set(values)) > 1:
      said += [', ', blocks.Code(name), f' ({", ".join(values)})']
  if said:
    yield blocks.Paragraph(['The workdirs differ in ', *said[1:], '.'])


def _flatten(
  config: Mapping[str, Any], prefix: str = ''
) -> Iterator[tuple[str, Any]]:
  for name, value in config.items():
    if isinstance(value, dict):
      yield from _flatten(value, f'{prefix}{name}.')
    else:
      yield prefix + name, value

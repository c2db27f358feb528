"""What the numbers of a report rest on: the choice, versions and config.

parts = origin.chosen(lines, rows, 'val')
parts += origin.versions(lines, experiments)
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
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

# What of: a field of the records.
_FINGERPRINTS = {'images': 'data_sha256', 'weights': 'weights_sha256'}
_MOST_LISTED = 100_000  # characters of an experiment
_LONGEST = 200  # of a fingerprint


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
  """Versions, fingerprints, commands and configs, and where these differ."""
  seen: dict[str, set[str]] = {}
  for line in lines:
    for name, version in line.get('versions', {}).items():
      seen.setdefault(name, set()).add(str(version))
  listed = [
    f'{name} {" and ".join(sorted(found))}' for name, found in seen.items()
  ]
  said: list[blocks.Text] = []
  if listed:
    said.append([f'Versions: {", ".join(listed)}.'])
  said += [
    [f'SHA-256 of the {what}: ', blocks.Code(fingerprint)]
    for what, field in _FINGERPRINTS.items()
    for fingerprint in fingerprints(experiments.values(), field)
  ]
  commands = [x for e in experiments.values() for x in e.get('commands') or ()]
  run = '\n'.join(dict.fromkeys(commands))
  inside: list[blocks.Block] = []
  for workdir, experiment in experiments.items():
    if len(experiments) > 1:
      inside.append(blocks.Paragraph([blocks.Code(workdir), ':']))
    text = results.dumps(experiment, 2)
    cut = text if len(text) <= _MOST_LISTED else f'{text[:_MOST_LISTED]}...'
    inside.append(blocks.Listing(cut, 'json'))
  return [
    blocks.Heading(2, ['Versions and config']),
    *([blocks.Bullets(said)] if said else []),
    *([blocks.Listing(run, 'bash')] if run else []),
    *_differences(experiments),
    blocks.Folded('Every setting', inside),
  ]


def fingerprints(records: Iterable[Mapping[str, Any]], field: str) -> list[str]:
  """The different values of a field of records, or of their settings.

  Example:
    >>> fingerprints([{'settings': {'x': 'ab'}}, {'x': 'ab'}], 'x')
    ['ab']
  """
  places = (y for x in records for y in (x, x.get('settings') or {}))
  values = (place.get(field) for place in places)
  found = (x[:_LONGEST] for x in values if isinstance(x, str) and x)
  return list(dict.fromkeys(found))


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

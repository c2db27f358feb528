"""What goes on record, as it may be shown to others: names, not places.

  command(['--config=/home/me/configs/x.py:epochs=5', '--workdir=/data/run'])
  # python -m daft_jax.main --config=configs/x.py:epochs=5 --workdir=run

A report is made from the record, and goes into papers and onto the web.
"""

import pathlib
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from daft_jax import names

_LONGEST = 1000  # characters of a command


def command(argv: Sequence[str]) -> str:
  """The command line with arguments `argv`, without the folders in it.

  Example:
    >>> command(['--config=configs/digits.py', '--workdir', '/tmp/digits'])
    'python -m daft_jax.main --config=configs/digits.py --workdir digits'
  """
  words = [_without_parents(word) for word in argv]
  text = shlex.join(['python', '-m', 'daft_jax.main', *words])
  return names.shown(text)[:_LONGEST]


def _without_parents(word: str) -> str:
  """'--workdir=/data/run' as '--workdir=run'; of a config, 'configs/' too."""
  name, equals, value = word.partition('=')
  if not equals:
    name, value = '', word
  kept = 2 if '.py' in value else 1
  # A path may stand among others: photo=/data/a+sketch=/data/b.
  values = [
    '='.join(_last(part, kept) for part in each.split('='))
    for each in value.split('+')
  ]
  return name + equals + '+'.join(values)


def _last(text: str, kept: int) -> str:
  return '/'.join(text.rstrip('/').split('/')[-kept:]) if '/' in text else text


def folders(data: Mapping[str, Any]) -> list[pathlib.Path]:
  """The folders of images of one's own, `~` expanded."""
  given = [pair.partition('=')[2] for pair in data['ood']]
  given += [data['root']] if data['root'] else []
  return [pathlib.Path(folder).expanduser() for folder in given]


def note(text: str, data: Mapping[str, Any]) -> str:
  """A note about images, with the names of their folders alone."""
  places = folders(data)
  places += [pathlib.Path(data['dir']).expanduser()] if data['dir'] else []
  for folder in places:
    text = text.replace(str(folder), folder.name)
  return text


def config(given: Mapping[str, Any]) -> dict[str, Any]:
  """A config with names in place of paths."""
  path, data = given['weights_path'], given['data']
  shown = {
    key: data[key] and pathlib.Path(data[key]).name for key in ('root', 'dir')
  }
  ood = [pair.partition('=')[0] for pair in data['ood']]
  return {
    **given,
    'weights_path': path and pathlib.Path(path).name,
    'data': {**data, **shown, 'ood': ood},
  }

"""Names that people type: looked up, and what they may have meant instead.

  names.check('dfat', METHODS, 'method')
  # ValueError: no method named 'dfat'. Did you mean 'daft'? Known: lp, ...

Standard library only.
"""

import difflib
from collections.abc import Iterable

_MOST = 40  # known names in an error
_SHOWN = 500  # characters of a name or a path in a message


def check(name: str, known: Iterable[str], kind: str) -> str:
  """Returns the name if it is known.

  Raises:
    ValueError: it is not; names the nearest and all that are.

  Example:
    >>> check('ft', ('ft', 'daft'), 'method')
    'ft'
  """
  known = list(known)
  if name in known:
    return name
  raise ValueError(
    f'no {kind} named {name!r}.{did_you_mean(name, known)} '
    f'Known: {listed(known, _MOST)}'
  )


def did_you_mean(name: str, known: Iterable[str], form: str = '{!r}') -> str:
  """' Did you mean x?', or nothing where no name is near.

  Example:
    >>> did_you_mean('epocs', ('epochs', 'seeds'), 'config.{}')
    ' Did you mean config.epochs?'
  """
  # As if written alike: of DAFT and daft, difflib has nothing in common.
  plain = {_plain(word): word for word in reversed(list(known))}
  near = difflib.get_close_matches(_plain(str(name)), plain, n=1)
  return f' Did you mean {form.format(plain[near[0]])}?' if near else ''


def nearest_field(path: str, fields: Iterable[str], form: str = '{}') -> str:
  """The same for 'group.name', also where the group is left out or alone.

  Example:
    >>> nearest_field('nmae', ('optimizer.name', 'suite'), 'config.{}')
    ' Did you mean config.optimizer.name?'
  """
  fields = list(fields)
  inside = [form.format(x) for x in fields if x.startswith(f'{path}.')]
  if inside:
    return f' It is a group: {", ".join(inside)}.'
  last = {x.rpartition('.')[2]: form.format(x) for x in fields}
  if _plain(path) in last:
    return f' Did you mean {last[_plain(path)]}?'
  whole = did_you_mean(path, fields, form)
  word = difflib.get_close_matches(_plain(path.rpartition('.')[2]), last, n=1)
  return whole or (f' Did you mean {last[word[0]]}?' if word else '')


def _plain(name: str) -> str:
  return name.lower().replace('-', '_')


def listed(names: Iterable[object], most: int = 8) -> str:
  """The first of many names, and how many more there are.

  Example:
    >>> listed('abcd', most=2)
    'a, b and 2 more'
  """
  shown = [str(name) for name in names]
  more = f' and {len(shown) - most} more' if len(shown) > most else ''
  return ', '.join(shown[:most]) + more


def shown(name: object) -> str:
  """A name or a path for a message: no control characters, not endless.

  Example:
    >>> shown('cat' + chr(27) + '.jpg')
    'cat\\\\x1b.jpg'
  """
  text = str(name)
  text = text if len(text) <= _SHOWN else f'{text[:_SHOWN]}...'
  return ''.join(x if x.isprintable() else ascii(x)[1:-1] for x in text)

"""Names that people type: looked up, and what they may have meant instead.

  names.check('dfat', METHODS, 'method')
  # ValueError: no method named 'dfat'. Did you mean 'daft'? Known: lp, ...

Standard library only.
"""

import difflib
from collections.abc import Iterable


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
    f'Known: {", ".join(known)}'
  )


def did_you_mean(name: str, known: Iterable[str], form: str = '{!r}') -> str:
  """' Did you mean x?', or nothing where no name is near.

  Example:
    >>> did_you_mean('epocs', ('epochs', 'seeds'), 'config.{}')
    ' Did you mean config.epochs?'
  """
  near = difflib.get_close_matches(str(name), list(known), n=1)
  return f' Did you mean {form.format(near[0])}?' if near else ''


def listed(names: Iterable[object], most: int = 8) -> str:
  """The first of many names, and how many more there are.

  Example:
    >>> listed('abcd', most=2)
    'a, b and 2 more'
  """
  shown = [str(name) for name in names]
  more = f' and {len(shown) - most} more' if len(shown) > most else ''
  return ', '.join(shown[:most]) + more

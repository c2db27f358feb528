"""Words of the command line as values of a config.

parse('lrs', '0.01+0.003')  # (0.01, 0.003)
"""

import ast
import re
from typing import Any

from daft_jax.settings.rules import RULES, unknown

_LONGEST = 10_000  # characters of a literal: the rates of a grid, and room


def parse(path: str, text: str) -> Any:
  """The value that a word of the command line stands for.

  Several values are joined by + or a comma, or written as a Python tuple.

  Raises:
    ConfigError: there is no such field, or several values where one belongs.

  Example:
    >>> parse('methods', 'ft+daft'), parse('epochs', '5')
    (('ft', 'daft'), 5)
  """
  rule = RULES.get(path)
  if rule is None:
    raise unknown(path)
  text = text.strip()
  if not rule.many:
    return _literal(text, rule.kind)
  if text[:1] in ('(', '['):
    value = _literal(text, tuple)
    return tuple(value) if isinstance(value, list) else value
  # Not the + of 1e+3, nor one in the name of a folder.
  joints = ',' if '=' in text else r'(?<!\d[eE])\+|,'
  words = re.split(joints, text) if text else []
  return tuple(_literal(word.strip(), rule.kind) for word in words)


def _literal(text: str, kind: type) -> Any:
  """A Python literal, or the text itself: `check` says what it has to be."""
  if kind is bool and text.lower() in ('', 'true', 'false'):
    return text.lower() != 'false'
  if text == 'None':
    return None
  if kind is str or len(text) > _LONGEST:
    return text
  try:
    return ast.literal_eval(text)
  # Also of brackets, or signs, in each other, and of lists as keys.
  except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
    return text

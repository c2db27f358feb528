"""The rules of a config: which fields there are and what each may be.

  config = settings.check(config)      # a dict of plain values, tuples, None
  settings.parse('lrs', '0.01+0.003')  # (0.01, 0.003)

`configs/common.py` gives every field its default and says what it means. Here
is what makes a config wrong before anything is read or compiled: `rules` has
a row for every field, `words` reads the command line. Names (models, suites,
weights) are looked up by `assemble`, which knows them.
"""

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

from daft_jax import names
from daft_jax.settings.rules import RULES, ConfigError, Rule, nearest, unknown
from daft_jax.settings.words import parse

__all__ = [
  'ConfigError',
  'RULES',
  'Rule',
  'about',
  'assign',
  'check',
  'nearest',
  'parse',
]


def check(config: Mapping[str, Any]) -> dict[str, Any]:
  """Returns the config as nested plain dicts, with tuples for sequences.

  Args:
    config: an `ml_collections.ConfigDict` or a nested dict, all fields given.

  Raises:
    ConfigError: a field is unknown (with the nearest that is known), missing,
      of the wrong type or out of range; the message has its path.

  Example:
    >>> try:
    ...   check({'seedz': (0,)})
    ... except ConfigError as error:
    ...   print(error)
    config.seedz is unknown. Did you mean config.seeds?
  """
  if hasattr(config, 'to_dict'):
    config = config.to_dict()
  if not isinstance(config, Mapping):
    what = type(config).__name__
    raise ConfigError(f'the config is {what}: give a ConfigDict or a dict')
  flat = _flatten(config)
  for path in flat:
    if path not in RULES:
      raise unknown(path)
  checked: dict[str, Any] = {}
  for path, rule in RULES.items():
    if path not in flat:
      raise ConfigError(
        f'config.{path} is missing. Start from configs/common.py, which has '
        'every field.'
      )
    into = checked
    *groups, name = path.split('.')
    for group in groups:
      into = into.setdefault(group, {})
    into[name] = _value(path, rule, flat[path])
  if checked['optimizer']['warmup_epochs'] > checked['epochs']:
    raise ConfigError(
      f'config.optimizer.warmup_epochs is '
      f'{checked["optimizer"]["warmup_epochs"]:g}, longer than the '
      f'{checked["epochs"]} epochs of config.epochs: change one of the two.'
    )
  if 'auto' in checked['head_lrs'] and checked['optimizer']['name'] != 'sgd':
    raise ConfigError(
      "config.head_lrs: 'auto' is a rate of SGD, and config.optimizer.name is "
      f'{checked["optimizer"]["name"]!r}: give a number, 0.001 say'
    )
  return checked


def assign(config: Any, path: str, value: Any) -> None:
  """Sets `config.a.b` for the path 'a.b', whatever type was there.

  Raises:
    ConfigError: the config has no such field.
  """
  *groups, name = path.split('.')
  for group in groups:
    config = config.get(group, {})
  if name not in config:
    raise unknown(path)
  # A ConfigDict keeps to the types of its defaults; `check` does that here.
  free = getattr(config, 'ignore_type', contextlib.nullcontext)
  with free():
    config[name] = value


@contextlib.contextmanager
def about(field: str) -> Iterator[None]:
  """Makes what goes wrong inside an error about a field of the config."""
  try:
    yield
  except ConfigError:
    raise
  except (ValueError, OSError, ModuleNotFoundError) as error:
    denied = isinstance(error, PermissionError)
    fix = '. Change its permissions, or give another' if denied else ''
    raise ConfigError(f'config.{field}: {error}{fix}') from error


def _flatten(config: Mapping[str, Any], prefix: str = '') -> dict[str, Any]:
  flat = {}
  for name, value in config.items():
    if isinstance(value, Mapping):
      flat |= _flatten(value, f'{prefix}{name}.')
    else:
      flat[f'{prefix}{name}'] = value
  return flat


def _value(path: str, rule: Rule, value: Any) -> Any:
  """The value in the kind of its rule, or an error with its path."""
  wrong = ConfigError(
    f'config.{path} is {_shown(value)}; it has to be {rule.says}.'
  )
  if not rule.many:
    if value is None and rule.empty:
      return None
    return _single(rule, value, wrong)
  # One value alone is what `--config.seeds=3` gives.
  values = value if isinstance(value, (tuple, list)) else (value,)
  values = tuple(_single(rule, item, wrong) for item in values)
  if len(set(values)) < len(values) or not (values or rule.empty):
    raise wrong
  return values


def _single(rule: Rule, value: Any, wrong: ConfigError) -> Any:
  if isinstance(value, str) and value in rule.words:
    return value
  kinds = (int, float) if rule.kind is float else (rule.kind,)
  if isinstance(value, bool) and rule.kind is not bool:
    raise wrong
  if not isinstance(value, kinds) or not rule.holds(value):
    raise wrong
  try:
    return rule.kind(value)
  except OverflowError:  # A whole number that is no float.
    raise wrong from None


def _shown(value: Any) -> str:
  """A value for a message: on one line, not endless."""
  try:
    return names.shown(repr(value))
  except ValueError:  # More digits than Python prints.
    return 'too large to be shown'

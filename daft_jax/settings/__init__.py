"""The rules of a config: which fields there are and what each may be.

  config = settings.check(config)      # a dict of plain values, tuples, None
  settings.parse('lrs', '0.01+0.003')  # (0.01, 0.003)

`configs/common.py` gives every field its default and says what it means. Here
is what makes a config wrong before anything is read or compiled. Names
(models, suites, weights) are looked up by `assemble`, which knows them.
"""

import ast
import contextlib
import dataclasses
import math
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from daft_jax import names


class ConfigError(ValueError):
  """A config that cannot be run; the message names the field."""


@dataclasses.dataclass(frozen=True)
class Rule:
  """What a field may be.

  Attributes:
    kind: str, int, float (takes an int as well) or bool.
    says: the rule in words, for messages.
    holds: whether a value of the right kind is allowed.
    many: a tuple of such values, at least one unless `empty`.
    empty: of a tuple, () is allowed; of a single value, None is.
  """

  kind: type
  says: str
  holds: Callable[[Any], bool] = lambda value: True
  many: bool = False
  empty: bool = False


def _above(low: float) -> Callable[[Any], bool]:
  return lambda value: low < value < math.inf


def _least(low: float) -> Callable[[Any], bool]:
  return lambda value: low <= value < math.inf


def _is_share(value: float) -> bool:
  return 0 < value < 0.5


def _words(*words: str, **options: Any) -> Rule:
  says = 'one of ' + ', '.join(map(repr, words))
  return Rule(str, says, lambda value: value in words, **options)


def _is_pair(value: str) -> bool:
  name, _, folder = value.partition('=')
  return bool(name and folder)


_SHARE = 'a number above 0 and below 0.5'
_COUNT = Rule(int, 'a whole number from 0 on', _least(0))
_NAME = Rule(str, 'a name', bool)
_PART = Rule(float, 'a number from 0 to below 1', lambda value: 0 <= value < 1)
_RATES = 'positive numbers, none twice, such as (0.01, 0.003)'

RULES: dict[str, Rule] = {
  'suite': _NAME,
  'backbone': _NAME,
  'weights': Rule(str, 'a name or None', bool, empty=True),
  'weights_path': Rule(str, 'a path or None', bool, empty=True),
  'image_size': Rule(
    int,
    'a whole number from 1 to 4096, or None',
    lambda value: 1 <= value <= 4096,
    empty=True,
  ),
  'dtype': _words('float32', 'bfloat16'),
  'methods': Rule(str, "names, none twice, such as ('ft', 'daft')", many=True),
  'seeds': Rule(
    int,
    'whole numbers from 0 on, none twice, below 2**32',
    lambda value: 0 <= value < 2**32,
    many=True,
  ),
  'lrs': Rule(float, _RATES, _above(0), many=True),
  'head_lrs': Rule(float, _RATES, _above(0), many=True),
  'epochs': Rule(int, 'a whole number from 1 on', _least(1)),
  'batch_size': Rule(int, 'a whole number from 1 on', _least(1)),
  'eval_batch_size': Rule(int, 'a whole number from 1 on', _least(1)),
  'augment': Rule(str, 'a name or None', bool, empty=True),
  'bn_estimator': _words('pooled', 'batch_mean'),
  'optimizer.name': _words('sgd', 'adamw'),
  'optimizer.momentum': _PART,
  'optimizer.nesterov': Rule(bool, 'True or False'),
  'optimizer.weight_decay': Rule(float, 'a number from 0 on', _least(0)),
  'optimizer.warmup_epochs': Rule(float, 'a number from 0 on', _least(0)),
  'optimizer.clip_norm': Rule(float, 'a number, 0 for off', _least(0)),
  'num_devices': Rule(int, 'a whole number, 0 for all devices', _least(0)),
  'change': Rule(str, 'names of settings', bool, many=True, empty=True),
  'nonfinite': _words('stop', 'skip'),
  'keep': _words('chosen', 'all'),
  'selection': _words('val', 'paper'),
  'eval_only': Rule(bool, 'True or False'),
  'eval_ood': Rule(str, 'names of OOD sets', bool, many=True, empty=True),
  'data.root': Rule(str, 'a path or None', bool, empty=True),
  'data.ood': Rule(
    str,
    'name=FOLDER, none twice; a Python tuple where a path has a comma',
    _is_pair,
    many=True,
    empty=True,
  ),
  'data.bad_files': _words('error', 'skip', 'report'),
  'data.val_share': Rule(float, f'{_SHARE}, or None', _is_share, empty=True),
  'data.test_share': Rule(float, _SHARE, _is_share),
  'data.split_seed': _COUNT,
  'data.dir': Rule(str, 'a path or None', bool, empty=True),
  'data.domain': Rule(str, 'a name or None', bool, empty=True),
  'data.residency': _words('auto', 'stream', 'host', 'device'),
  'data.workers': Rule(
    int, 'a whole number from 0 on, or None', _least(0), empty=True
  ),
  'data.timeout': Rule(float, 'a number of seconds above 0', _above(0)),
  'data.decoder': _words('pillow', 'fast'),
  'data.jitter': _PART,
  'data.rand_augment': _COUNT,
  'data.rand_magnitude': _COUNT,
  'data.mixup': Rule(float, 'a number from 0 on', _least(0)),
  'data.cutmix': Rule(float, 'a number from 0 on', _least(0)),
}


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
      raise ConfigError(f'config.{path} is unknown.{nearest(path)}')
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
  return checked


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
    raise ConfigError(f'config.{path} is unknown.{nearest(path)}')
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


def assign(config: Any, path: str, value: Any) -> None:
  """Sets `config.a.b` for the path 'a.b', whatever type was there.

  Raises:
    ConfigError: the config has no such field.
  """
  *groups, name = path.split('.')
  for group in groups:
    config = config.get(group, {})
  if name not in config:
    raise ConfigError(f'config.{path} is unknown.{nearest(path)}')
  # A ConfigDict keeps to the types of its defaults; `check` does that here.
  free = getattr(config, 'ignore_type', contextlib.nullcontext)
  with free():
    config[name] = value


def _literal(text: str, kind: type) -> Any:
  """A Python literal, or the text itself: `check` says what it has to be."""
  if kind is bool and text.lower() in ('', 'true', 'false'):
    return text.lower() != 'false'
  if text == 'None':
    return None
  if kind is str:
    return text
  try:
    return ast.literal_eval(text)
  except (ValueError, SyntaxError):
    return text


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


def nearest(path: str) -> str:
  """What may have been meant: ' Did you mean config.x?', or where fields are.

  Example:
    >>> nearest('momentun')
    ' Did you mean config.optimizer.momentum?'
  """
  hint = names.nearest_field(path, RULES, 'config.{}')
  return hint or ' configs/common.py has all fields and says what they mean.'


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
  wrong = ConfigError(f'config.{path} is {value!r}; it has to be {rule.says}.')
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
  kinds = (int, float) if rule.kind is float else (rule.kind,)
  if isinstance(value, bool) and rule.kind is not bool:
    raise wrong
  if not isinstance(value, kinds) or not rule.holds(value):
    raise wrong
  return rule.kind(value)

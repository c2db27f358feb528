"""Which fields a config has and what each may be: a row a field.

rule = RULES['epochs']
rule.kind, rule.holds(0), rule.says     # int, False, 'a whole number ...'
"""

import dataclasses
import math
from collections.abc import Callable
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
    words: what may be said in place of a value of that kind.
  """

  kind: type
  says: str
  holds: Callable[[Any], bool] = lambda value: True
  many: bool = False
  empty: bool = False
  words: tuple[str, ...] = ()


def _above(low: float) -> Callable[[Any], bool]:
  return lambda value: low < value < math.inf


def _least(low: float) -> Callable[[Any], bool]:
  return lambda value: low <= value < math.inf


def _whole(low: int) -> Callable[[Any], bool]:
  return lambda value: low <= value <= MOST


def _is_share(value: float) -> bool:
  return 0 < value < 0.5


def _words(*words: str, **options: Any) -> Rule:
  says = 'one of ' + ', '.join(map(repr, words))
  return Rule(str, says, lambda value: value in words, **options)


def _is_pair(value: str) -> bool:
  name, _, folder = value.partition('=')
  return bool(name and folder)


MOST = 10**9  # of what is counted
_FROM_0 = 'a whole number from 0 on, at most 10**9'
_FROM_1 = 'a whole number from 1 on, at most 10**9'
_SHARE = 'a number above 0 and below 0.5'
_COUNT = Rule(int, _FROM_0, _whole(0))
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
  'remat': _words('none', 'stages'),
  'methods': Rule(str, "names, none twice, such as ('ft', 'daft')", many=True),
  'seeds': Rule(
    int,
    'whole numbers from 0 on, none twice, below 2**32',
    lambda value: 0 <= value < 2**32,
    many=True,
  ),
  'lrs': Rule(float, _RATES, _above(0), many=True),
  'head_lrs': Rule(
    float, f"{_RATES}, or 'auto'", _above(0), many=True, words=('auto',)
  ),
  'search': _words('grid', 'paper', 'wide', 'halving', 'auto'),
  'epochs': Rule(int, _FROM_1, _whole(1)),
  'batch_size': Rule(int, _FROM_1, _whole(1)),
  'eval_batch_size': Rule(int, _FROM_1, _whole(1)),
  'grad_accum_steps': Rule(int, _FROM_1, _whole(1)),
  'bn_group_size': Rule(int, f'{_FROM_0}, 0 for all examples', _whole(0)),
  'augment': Rule(str, 'a name or None', bool, empty=True),
  'bn_estimator': _words('pooled', 'batch_mean'),
  'optimizer.name': _words('sgd', 'adamw'),
  'optimizer.momentum': _PART,
  'optimizer.nesterov': Rule(bool, 'True or False'),
  'optimizer.weight_decay': Rule(float, 'a number from 0 on', _least(0)),
  'optimizer.warmup_epochs': Rule(float, 'a number from 0 on', _least(0)),
  'optimizer.clip_norm': Rule(float, 'a number, 0 for off', _least(0)),
  'mesh.data': Rule(int, f'{_FROM_0}, 0 for all that are left', _whole(0)),
  'mesh.model': Rule(int, _FROM_1, _whole(1)),
  'mesh.params': _words('replicated', 'fsdp'),
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
  'data.workers': Rule(int, f'{_FROM_0}, or None', _whole(0), empty=True),
  'data.timeout': Rule(float, 'a number of seconds above 0', _above(0)),
  'data.decoder': _words('pillow', 'fast'),
  'data.jitter': _PART,
  'data.rand_augment': _COUNT,
  'data.rand_magnitude': _COUNT,
  'data.mixup': Rule(float, 'a number from 0 on', _least(0)),
  'data.cutmix': Rule(float, 'a number from 0 on', _least(0)),
}


def nearest(path: str) -> str:
  """What may have been meant: ' Did you mean config.x?', or where fields are.

  Example:
    >>> nearest('momentun')
    ' Did you mean config.optimizer.momentum?'
  """
  hint = names.nearest_field(path, RULES, 'config.{}')
  return hint or ' configs/common.py has all fields and says what they mean.'


def unknown(path: str) -> ConfigError:
  """The error for a field that there is not."""
  shown = names.shown(path)  # A terminal would act on control characters.
  return ConfigError(f'config.{shown} is unknown.{nearest(path)}')

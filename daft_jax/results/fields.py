"""What result lines, the lines of logs and experiment.json must hold.

  line = check(parse(text, where, fix), where, fix)
  about = check(about, where, fix, EXPERIMENT)

A table has a row for every field that something relies on; 'ood/*' is each
value in `ood`. Fields without a row are kept as they are, so that older and
newer files can be read; `files` bounds their size and depth. A new field is a
new row. Standard library only.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from daft_jax import names
from daft_jax.results.files import Line, ResultsError

LONGEST_NAME = 1000  # characters: a name goes into tables and figures
MOST_NAMES = 1000  # of sets, methods, versions
MOST_CLASSES = 1_000_000
# Squares and sums of numbers up to this are finite. What diverged is null, and
# a float32 has at most 3e38.
LARGEST = 1e100


class Field(NamedTuple):
  """What a field may be.

  Attributes:
    says: the rule in words, for messages: 'it has to be ...'.
    holds: whether a value is allowed.
    required: a line without the field is refused.
    absent: what it is read as where it is not there; ...: it stays away.
    nan: null is read back as nan, in dicts at any depth.
  """

  says: str
  holds: Callable[[Any], bool]
  required: bool = False
  absent: Any = ...
  nan: bool = False


def _is_name(value: Any) -> bool:
  """A terminal would act on control characters."""
  return (
    isinstance(value, str)
    and len(value) <= LONGEST_NAME
    and value.isprintable()
  )


def _is_folder(value: Any) -> bool:
  """One that is where it should be, not '../x'."""
  return _is_name(value) and value not in ('', '.', '..') and '/' not in value


def _is_number(value: Any) -> bool:
  is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
  return value is None or (is_number and abs(value) <= LARGEST)


def _are_texts(value: Any) -> bool:
  return value is None or (
    isinstance(value, list) and all(isinstance(x, str) for x in value)
  )


def _is_accuracy(value: Any) -> bool:
  return value is None or (_is_number(value) and 0 <= value <= 1)


def _is_seed(value: Any) -> bool:
  return type(value) is int and abs(value) < 2**63


def _is_group(value: Any) -> bool:
  return (
    isinstance(value, dict)
    and len(value) <= MOST_NAMES
    and all(map(_is_name, value))
  )


def _are_names(value: Any) -> bool:
  few = isinstance(value, list) and len(value) <= MOST_NAMES
  return value is None or (few and all(map(_is_name, value)))


_NAME = Field(
  f'it has to be text of up to {LONGEST_NAME} characters that can be printed',
  _is_name,
)
_NUMBER = Field(f'it has to be a number up to {LARGEST:g}, or null', _is_number)
_ACCURACY = Field('accuracies are in [0, 1], or null', _is_accuracy)
_GROUP = Field(
  f'it has to be an object of up to {MOST_NAMES} names, each {_NAME.says[13:]}',
  _is_group,
)
_SEED = Field('it has to be a whole number below 2**63', _is_seed)
_CONFIG = Field('it has to be an object', lambda value: isinstance(value, dict))
_TEXTS = Field('it has to be a list of text, or null', _are_texts)
_MEASURED = _NUMBER._replace(absent=None, nan=True)
_SETTING = _NUMBER._replace(absent=None)
_OF_SETS = _GROUP._replace(absent={}, nan=True)

LINE: dict[str, Field] = {
  'trial': Field(
    f'it has to be the name of a folder, {_NAME.says[13:]}', _is_folder, True
  ),
  **dict.fromkeys(
    ('suite', 'backbone', 'weights', 'method'), _NAME._replace(required=True)
  ),
  'seed': _SEED._replace(required=True),
  **dict.fromkeys(('lr', 'C', 'epoch'), _SETTING),
  'head_lr': Field(
    f"it has to be a number up to {LARGEST:g}, null, or 'auto'",
    lambda value: value == 'auto' or _is_number(value),
    absent=None,
  ),
  'rung': _SEED,
  'id_val_loss': _NUMBER,
  'head_rates': _GROUP,
  'head_rates/*': _NUMBER,
  **dict.fromkeys(
    ('id_val', 'id_test'), _ACCURACY._replace(required=True, nan=True)
  ),
  'ood': _OF_SETS._replace(required=True),
  'ood/*': _ACCURACY,
  'ood_mean': _ACCURACY._replace(absent=None, nan=True),
  'summaries': _OF_SETS,
  'summaries/*': _ACCURACY,
  **dict.fromkeys(('feature_l2', 'feature_cosine', 'seconds'), _MEASURED),
  'metrics': _OF_SETS,
  'metrics/*': _GROUP,
  'metrics/*/accuracy': _ACCURACY,
  **dict.fromkeys(
    (
      f'metrics/*/{name}'
      for name in ('loss', 'ece', 'feature_l2', 'feature_l2_std')
      + ('feature_cosine', 'feature_cosine_std')
    ),
    _NUMBER,
  ),
  'config': _CONFIG,
  'versions': _GROUP,
  'versions/*': _NAME,
}

EVAL: dict[str, Field] = {
  name: LINE[name]
  for name in ('trial', 'method', 'ood', 'ood/*', 'summaries', 'summaries/*')
  + ('metrics', 'metrics/*')
}

EXPERIMENT: dict[str, Field] = {
  **dict.fromkeys(('suite', 'backbone', 'weights'), _NAME),
  'config': Field(
    'it has to be an object, or null',
    lambda value: value is None or isinstance(value, dict),
  ),
  'config/methods': Field('it has to be a list of names, or null', _are_names),
  'config/selection': Field(
    'it has to be a name, or null',
    lambda value: value is None or _is_name(value),
  ),
  'config/dtype': _NAME,
  'commands': Field('it has to be a list of names, or null', _are_names),
  'images': Field(
    'it has to be an object, or null',
    lambda value: value is None or isinstance(value, dict),
  ),
  'images/*': Field(
    'it has to be a whole number from 0 to 10**12',
    lambda value: type(value) is int and 0 <= value <= 10**12,
  ),
  'data_sha256': _NAME,
  'num_classes': Field(
    f'it has to be a whole number from 1 to {MOST_CLASSES:,}',
    lambda value: type(value) is int and 1 <= value <= MOST_CLASSES,
  ),
  **dict.fromkeys(('settings', 'machine'), _CONFIG),
  **dict.fromkeys(('classes', 'notes'), _TEXTS),
}

# Lines of metrics.jsonl and timings.jsonl.
EPOCH: dict[str, Field] = {
  'stage': _NAME._replace(required=True),
  'epoch': _SEED._replace(required=True),
  **dict.fromkeys(('loss', 'id_val_loss'), _NUMBER._replace(nan=True)),
  **dict.fromkeys(('accuracy', 'id_val'), _ACCURACY._replace(nan=True)),
}
TIMING: dict[str, Field] = {
  'seconds': Field(
    f'it has to be a number up to {LARGEST:g}',
    lambda value: value is not None and _is_number(value),
    required=True,
  ),
  **dict.fromkeys(('what', 'stall'), _NAME),
  'images': _NUMBER,
}


def check(
  line: Mapping[str, Any],
  where: str,
  fix: str = 'correct it',
  table: Mapping[str, Field] = LINE,
) -> Line:
  """Returns a line with nan for null, all measurements present.

  Raises:
    ResultsError: a field is missing, of the wrong kind or out of range; the
      message starts with `where`, says what the field has to be and ends with
      `fix`.

  Example:
    >>> check({'ood': {'mnist': None}}, 'here', table={'ood': LINE['ood']})
    {'ood': {'mnist': nan}}
  """
  where = names.shown(where)
  for name, field in table.items():
    if field.required and name not in line:
      raise ResultsError(f'{where}: field {name!r} is missing; {fix}')
  for pattern, field in table.items():
    for path, value in _values(line, pattern.split('/')):
      if not field.holds(value):
        raise ResultsError(
          f'{where}: {"/".join(path)!r} cannot be {_shown(value)}: '
          f'{field.says}; {fix}'
        )
  found = dict(line)
  for name, field in table.items():
    if field.absent is not ... and name not in line:
      found[name] = field.absent
    if field.nan and name in found:
      found[name] = _nan(found[name])
  return found


def _values(
  value: Any, pattern: Sequence[str], path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], Any]]:
  """Yields what a pattern stands for: each path, and what is there."""
  if not pattern:
    yield path, value
  elif isinstance(value, Mapping):  # Else the row of the group refuses it.
    first, *rest = pattern
    for name in value if first == '*' else (first,):
      if name in value:
        yield from _values(value[name], rest, (*path, name))


def _shown(value: Any) -> str:
  """A value for a message: on one line, not endless."""
  try:
    text = ascii(value)
  except ValueError:  # More digits than Python prints.
    return 'so large'
  return text if len(text) <= 80 else f'{text[:80]}...'


def _nan(value: Any) -> Any:
  """Reads null back as nan, at any depth."""
  if isinstance(value, dict):
    return {key: _nan(item) for key, item in value.items()}
  return math.nan if value is None else value

"""What a pickle may name: records for classes, own functions for calls.

  from daft_jax.unpickle import allowed

  allowed.NAMES['argparse.Namespace']       # a Kind: its objects are Records
  allowed.NAMES['collections.OrderedDict']  # a Call of a function below
  allowed.NAMES.get('os.system')            # None: nothing can ask for it

Nothing is imported by these names. A name stands for a `Kind`, of whose objects
only the state is kept, as a `Record`; for a `Call`, a function of this package
which checks what it is given; or for a constant. Here are the names of Python
and NumPy; `pretrained/torch_file/tensors` has those of PyTorch.
"""

import dataclasses
import re
from collections.abc import Callable
from typing import Any

import numpy as np

_LONGEST_KEY = 8  # values in a tuple that is the key of a dict
_SHOWN = 100  # characters of a name in an error


class Refused(ValueError):
  """Says that a file asks for what is not read."""


class NotData(Refused):
  """It asks for a name that could do something."""


@dataclasses.dataclass(frozen=True, slots=True)
class Call:
  """What REDUCE may call: `function(args)`, or `function(args, spend)`."""

  name: str
  function: Callable[..., Any]
  spends: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class Kind:
  """A class that is not imported: its objects become `Record`s.

  Attributes:
    name: of the class, with its module.
    build: `build(old state, new state)` is what is kept of an object.
  """

  name: str
  build: Callable[[Any, Any], Any] | None = None


@dataclasses.dataclass(slots=True, eq=False)
class Record:
  """The inert object of a class: a name and a state, and no behaviour."""

  kind: Kind
  state: Any = dataclasses.field(default_factory=dict)


def show(name: Any) -> str:
  """Quotes a name of a file for an error: one line, no control characters.

  Example:
    >>> show('os.system')
    "'os.system'"
  """
  if isinstance(name, str):
    return repr(name[:_SHOWN])
  # A large integer cannot always be printed, and a tree can be without end.
  return f'a {type(name).__name__}'


def check_key(key: Any) -> Any:
  """Returns a key for a dict or a set, if it is a plain one.

  The hash of a deep tuple overflows the C stack, and integers above 64 bits can
  be chosen to collide.

  Raises:
    ValueError: it is not a scalar or a short tuple of scalars.

  Example:
    >>> check_key(('layer1', 0))
    ('layer1', 0)
  """
  flat = key if type(key) is tuple and len(key) <= _LONGEST_KEY else (key,)
  for value in flat:
    if type(value) is int and not -(2**63) <= value < 2**64:
      raise ValueError('an integer above 64 bits is a key')
    if type(value) not in (str, bytes, int, float, bool, type(None)):
      raise ValueError(f'a {type(value).__name__} is a key')
  return key


def _mapping(args, spend):
  """An OrderedDict or a Counter: of nothing, pairs (Python 2), or a dict."""
  match args:
    case ():
      return {}
    case (dict(items),):
      spend(len(items))
      return dict(items)
    case (list(pairs),):
      spend(len(pairs))
      if all(type(p) in (list, tuple) and len(p) == 2 for p in pairs):
        return {check_key(key): value for key, value in pairs}
  raise ValueError('a mapping is not made of pairs')


def _set(kind):
  def make(args, spend):
    match args:
      case (list(values),):
        spend(4 + len(values))
        return kind(map(check_key, values))
    raise ValueError('a set is not made of a list')

  return make


def _path(args, spend):
  if not all(type(part) is str for part in args):
    raise ValueError('a path is not made of strings')
  spend(len(args) + sum(map(len, args)) // 64)
  return '/'.join(args).replace('//', '/', 1)


def _encode(args, spend):
  """_codecs.encode: how protocol 2 writes bytes."""
  match args:
    case (str(text), 'latin1' | 'latin-1'):
      spend(1 + len(text) // 64)
      return text.encode('latin-1')
  raise ValueError('bytes are not written as Latin-1')


def _no_bytes(args):
  if args:
    raise ValueError('bytes are made of something')
  return b''


def _numpy_dtype(args):
  match args:
    case (str(code), *_) if re.fullmatch('b1|[iu][1248]|f[248]', code):
      return Record(_NUMPY_DTYPE, code)
  raise ValueError('a dtype of NumPy is not one of plain numbers')


def _numpy_order(code, state):
  match state:
    case (int(), '<' | '|' | '=', *_):
      return code
  raise ValueError('a dtype of NumPy is not little-endian')


def _numpy_values(kind, data):
  match kind, data:
    case Record(kind=Kind(name='numpy.dtype'), state=str(code)), bytes():
      return np.frombuffer(data, code)
    case _, str():  # from Python 2
      return _numpy_values(kind, data.encode('latin-1'))
  raise ValueError('values of NumPy have no dtype or no bytes')


def _numpy_scalar(args):
  match args:
    case (kind, data):
      (value,) = _numpy_values(kind, data).tolist()
      return value
  raise ValueError('a scalar of NumPy has no dtype or no bytes')


def _numpy_array(_, state):
  match state:
    case (int(), tuple(shape), kind, fortran, data) if all(
      type(n) is int and 0 <= n < 2**62 for n in shape
    ):
      values = _numpy_values(kind, data)
      return values.reshape(shape, order='F' if fortran is True else 'C')
  raise ValueError('an array of NumPy has no shape or no bytes')


_NUMPY_DTYPE = Kind('numpy.dtype', _numpy_order)
_NUMPY_ARRAY = Kind('numpy.ndarray', _numpy_array)


def _numpy_empty(args):
  return Record(_NUMPY_ARRAY, None)  # BUILD gives it the values


def _namespace(old, state):
  if type(state) is not dict:
    raise ValueError('a Namespace does not hold names')
  return state


def _calls(module, function, names, spends=False):
  return {
    f'{module}.{name}': Call(f'{module}.{name}', function, spends)
    for name in names.split()
  }


def _numpy_names(module):
  return {
    **_calls(module, _numpy_scalar, 'scalar'),
    **_calls(module, _numpy_empty, '_reconstruct'),
  }


NAMES = {
  **_calls('collections', _mapping, 'OrderedDict Counter', spends=True),
  **_calls('pathlib', _path, 'PosixPath WindowsPath', spends=True),
  **_calls('pathlib', _path, 'PurePosixPath PureWindowsPath', spends=True),
  **_calls('pathlib._local', _path, 'PosixPath WindowsPath', spends=True),
  **_calls('_codecs', _encode, 'encode', spends=True),
  **_calls('builtins', _no_bytes, 'bytes'),
  **_calls('__builtin__', _no_bytes, 'bytes'),
  **_calls('builtins', _set(set), 'set', spends=True),
  **_calls('__builtin__', _set(set), 'set', spends=True),
  **_calls('builtins', _set(frozenset), 'frozenset', spends=True),
  **_calls('__builtin__', _set(frozenset), 'frozenset', spends=True),
  **_calls('numpy', _numpy_dtype, 'dtype'),
  **_numpy_names('numpy.core.multiarray'),
  **_numpy_names('numpy._core.multiarray'),
  'numpy.ndarray': _NUMPY_ARRAY,
  'argparse.Namespace': Kind('argparse.Namespace', _namespace),
}

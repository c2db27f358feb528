"""Reads pickles as data: an interpreter of opcodes that runs no code of theirs.

  import io
  from daft_jax.unpickle import pickled

  stream = pickled.Stream(io.BytesIO(b'\\x80\\x02]q\\x00(K\\x01K\\x02e.'), 12)
  pickled.load(stream)                                          # [1, 2]

A pickle is a program for a machine with a stack. Its opcodes that import, make
and call (GLOBAL, NEWOBJ, REDUCE, BUILD) find here only what a table of names
has, see `allowed`; every other name is refused. The module `pickle` is not
used: `pickletools` only cuts the bytes into opcodes and their arguments.

What a pickle can cost is bounded by two limits, on its bytes and on the work.
"""

import pickletools
import warnings
from collections.abc import Callable
from typing import Any, BinaryIO

from daft_jax.unpickle import allowed

MOST_BYTES = 1 << 26  # of one pickle; its tensors are stored beside it
MOST_WORK = 2_000_000  # opcodes and values copied; resnet50 takes 10,000

_LONGEST_LINE = 4096  # of the text opcodes: names, and integers in decimal
_LONGEST_INT = 64  # bytes


class Stream:
  """What `pickletools` reads from: never more than there is.

  A size in a pickle may lie, and `file.read(2**60)` takes the memory before it
  looks. Lines have a limit, since decimal integers take quadratic time.

  Attributes:
    left: bytes that may still be read.
  """

  def __init__(self, file: BinaryIO, size: int):
    self._file = file
    self.left = size

  def read(self, count: int) -> bytes:
    data = self._file.read(min(count, self.left))
    self.left -= len(data)
    return data

  def readline(self) -> bytes:
    line = self._file.readline(min(_LONGEST_LINE, self.left))
    self.left -= len(line)
    return line


def load(
  stream: Stream,
  find: Callable[[str], Any] = allowed.NAMES.get,
  persistent: Callable[[Any], Any] | None = None,
) -> Any:
  """Interprets one pickle, and leaves the stream after its end.

  Args:
    stream: at the start of a pickle.
    find: what 'module.name' stands for, or None where it is not allowed.
    persistent: turns a persistent id, such as the place of a storage, into a
      value.

  Returns:
    Numbers, strings, bytes, lists, tuples, dicts, sets, `Record`s, and what
    `find` and `persistent` return. It may hold itself, and share its parts.

  Raises:
    NotData: a name that is not allowed.
    ValueError: what is not a complete pickle, or one above the limits.

  Example:
    >>> import io
    >>> load(Stream(io.BytesIO(b'(K\\x01K\\x02t.'), 7))
    (1, 2)
  """
  machine = _Machine(find, persistent)
  steps = _STEPS
  try:
    with warnings.catch_warnings():
      # `pickletools` warns of backslashes in lines, which are no concern here.
      warnings.simplefilter('ignore', DeprecationWarning)
      for opcode, argument, _ in pickletools.genops(stream):
        step = steps.get(opcode.name)
        if step is None:
          raise ValueError(f'opcode {opcode.name} is not one of data')
        machine.spend(1)
        step(machine, argument)
  except IndexError:
    raise ValueError('it takes from an empty stack') from None
  if machine.marks or len(machine.stack) != 1:
    raise ValueError('it ends with more or less than one value')
  return machine.stack[0]


class _Machine:
  """The stack, what is below each mark, and the memo.

  The memo is a dict, since the indices in a pickle may be anything.
  """

  def __init__(self, lookup, persistent):
    self.stack = []
    self.marks = []
    self.memo = {}
    self.work = 0
    self.lookup = lookup
    self.persistent = persistent

  def spend(self, work: int) -> None:
    """Counts what takes memory or time; a memo can repeat it at no bytes."""
    self.work += work
    if self.work > MOST_WORK:
      raise ValueError(f'it has more than {MOST_WORK:,} values')

  def pop(self, count: int | None = None) -> list:
    """Takes the top values, in order, or all above the topmost mark."""
    if count is None:
      values, self.stack = self.stack, self.marks.pop()
      return values
    if len(self.stack) < count:
      raise IndexError
    values = self.stack[-count:]
    del self.stack[-count:]
    return values

  def remember(self, index: int) -> None:
    self.memo[index] = self.stack[-1]

  def recall(self, index: int) -> None:
    if index not in self.memo:
      raise ValueError(f'nothing is at {index} of its memo')
    self.stack.append(self.memo[index])

  def find(self, name: str) -> None:
    found = self.lookup(name)
    if found is None:
      raise allowed.NotData(
        f'asks for {allowed.show(name)}, which is not data: the file may be '
        'harmful and was not loaded'
      )
    self.stack.append(found)


def _push(machine, value):
  machine.stack.append(value)


def _push_int(machine, value):
  if value.bit_length() > 8 * _LONGEST_INT:
    raise ValueError(f'an integer has more than {_LONGEST_INT} bytes')
  machine.stack.append(value)


def _make(make, work=0):
  """Returns the step that pushes `make()`."""

  def step(machine, _):
    machine.spend(work)
    machine.stack.append(make())

  return step


def _gather(make, count=None):
  """Returns the step that pushes `make(the top values, or all to a mark)`."""

  def step(machine, _):
    value = make(machine.pop(count))  # a mark changes machine.stack
    machine.stack.append(value)

  return step


def _fill(kind, add, count=None):
  """Returns the step that puts values into the container below them."""

  def step(machine, _):
    values = machine.pop(count)
    target = machine.stack[-1]
    if type(target) is not kind:
      raise ValueError(f'it fills a {type(target).__name__} as a {kind}')
    add(target, values)

  return step


def _set_items(target, values):
  for key, value in zip(values[::2], values[1::2], strict=True):
    target[allowed.check_key(key)] = value


def _set_of(kind):
  return lambda values: kind(map(allowed.check_key, values))


def _dict_of(values):
  result = {}
  _set_items(result, values)
  return result


def _mark(machine, _):
  machine.marks.append(machine.stack)
  machine.stack = []


def _pop(machine, _):
  # POP also takes a mark, where nothing is above it.
  machine.pop(1 if machine.stack else None)


def _stack_global(machine, _):
  module, name = machine.pop(2)
  if type(name) is not str or type(module) is not str:
    raise ValueError('a name is not a string')
  machine.find(f'{module}.{name}')


def _new(machine, _):
  kind, args = machine.pop(2)
  if type(kind) is not allowed.Kind or type(args) is not tuple or args:
    raise ValueError('it makes an object of what is not a class')
  machine.stack.append(allowed.Record(kind))


def _reduce(machine, _):
  call, args = machine.pop(2)
  if type(call) is not allowed.Call or type(args) is not tuple:
    raise ValueError('it calls what is not a function')
  more = (machine.spend,) if call.spends else ()
  machine.stack.append(call.function(args, *more))


def _build(machine, _):
  (state,) = machine.pop(1)
  target = machine.stack[-1]
  if type(target) is allowed.Record:
    build = target.kind.build
    target.state = build(target.state, state) if build else state
  elif type(target) is not dict:
    # A dict was an OrderedDict: its state is attributes, such as _metadata.
    raise ValueError(f'it sets the state of a {type(target).__name__}')


def _persistent(machine, _):
  if machine.persistent is None:
    raise ValueError('it refers to values outside of it')
  (key,) = machine.pop(1)
  machine.stack.append(machine.persistent(key))


_STEPS = {
  **dict.fromkeys(('PROTO', 'FRAME', 'STOP'), lambda machine, _: None),
  **dict.fromkeys(('INT', 'LONG', 'LONG1', 'LONG4'), _push_int),
  **dict.fromkeys(('BININT', 'BININT1', 'BININT2', 'FLOAT', 'BINFLOAT'), _push),
  **dict.fromkeys(('STRING', 'BINSTRING', 'SHORT_BINSTRING'), _push),
  **dict.fromkeys(('BINBYTES', 'SHORT_BINBYTES', 'BINBYTES8'), _push),
  **dict.fromkeys(('UNICODE', 'BINUNICODE', 'BINUNICODE8'), _push),
  'SHORT_BINUNICODE': _push,
  'NONE': _make(lambda: None),
  'NEWTRUE': _make(lambda: True),
  'NEWFALSE': _make(lambda: False),
  'EMPTY_TUPLE': _make(tuple),
  'EMPTY_LIST': _make(list),
  'EMPTY_DICT': _make(dict),
  'EMPTY_SET': _make(set, work=3),  # 216 bytes for one of the pickle
  'TUPLE': _gather(tuple),
  'TUPLE1': _gather(tuple, 1),
  'TUPLE2': _gather(tuple, 2),
  'TUPLE3': _gather(tuple, 3),
  'LIST': _gather(list),
  'DICT': _gather(_dict_of),
  'FROZENSET': _gather(_set_of(frozenset)),
  'APPEND': _fill(list, list.extend, 1),
  'APPENDS': _fill(list, list.extend),
  'SETITEM': _fill(dict, _set_items, 2),
  'SETITEMS': _fill(dict, _set_items),
  'ADDITEMS': _fill(
    set, lambda s, values: s.update(map(allowed.check_key, values))
  ),
  'MARK': _mark,
  'POP': _pop,
  'POP_MARK': lambda machine, _: machine.pop(),
  'DUP': lambda machine, _: machine.stack.append(machine.stack[-1]),
  **dict.fromkeys(('GET', 'BINGET', 'LONG_BINGET'), _Machine.recall),
  **dict.fromkeys(('PUT', 'BINPUT', 'LONG_BINPUT'), _Machine.remember),
  'MEMOIZE': lambda machine, _: machine.remember(len(machine.memo)),
  'GLOBAL': lambda machine, names: machine.find(names.replace(' ', '.', 1)),
  'STACK_GLOBAL': _stack_global,
  'NEWOBJ': _new,
  'REDUCE': _reduce,
  'BUILD': _build,
  'BINPERSID': _persistent,
}

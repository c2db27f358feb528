"""Several processes of one run, as on the hosts of a pod, that never part.

  for row in mine(len(paths)):      # this process's share
    found.append(check(paths[row]))
  found = gathered(found)           # all of them, in order, in each process
  todo = from_first(read_todo)      # what the first one finds, in each
  with together():                  # who fails in here takes the others along
    task = read_images()

The first process alone looks at the clock and at the files of a workdir, and
decides; the others are told. JAX's own communication; a run of one process
communicates nothing.
"""

import contextlib
import json
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

# What processes say to each other begins with one of these; they would differ
# only by a fault of this package.
_GATHER, _TELL, _READY, _FAILED = range(4)
_SIZES = (1 << 12, 1 << 20, 1 << 26)  # of messages: few, as each is compiled
_TEXT = 600  # characters of an error that are told
_MARK = '_daft_jax_told'


class ElsewhereError(RuntimeError):
  """Another process could not go on, and so this one cannot.

  Attributes:
    process: which.
    kind: the name of the class of its error.
  """

  def __init__(self, process: int, kind: str, text: str):
    super().__init__(text)
    self.process, self.kind = process, kind


def several() -> bool:
  """Whether there are others; where there cannot be, no device is asked."""
  return jax.distributed.is_initialized() and jax.process_count() > 1


def is_first() -> bool:
  """Whether this is the process that writes, prints and decides."""
  return not several() or jax.process_index() == 0


def mine(count: int) -> range:
  """The rows that this process does, of `count`; every n-th of n processes.

  Example:
    >>> list(mine(3))
    [0, 1, 2]
  """
  return range(jax.process_index(), count, jax.process_count())


def gathered(values: list[Any]) -> list[Any]:
  """What all processes made of their rows, in the order of the rows.

  Every process has to call it, each with one value for every row of `mine`.

  Args:
    values: what JSON can hold, and arrays; a tuple comes back as a list.

  Raises:
    ElsewhereError: a process has failed, see `together`.

  Example:
    >>> gathered([1, 'two'])
    [1, 'two']
  """
  if not several():
    return values
  data = _encode(values)
  sizes = _agree(_GATHER, len(data))
  texts = multihost_utils.process_allgather(_padded(data, _bucket(max(sizes))))
  parts = [
    _decode(text[:size].tobytes())
    for text, size in zip(texts, sizes, strict=True)
  ]
  every = [None] * sum(len(part) for part in parts)
  for index, part in enumerate(parts):
    every[index :: len(parts)] = part
  return every


def from_first(call: Callable[[], Any]) -> Any:
  """What `call()` returns in the first process, in all of them.

  The others do not call it. Every process has to come here.

  Args:
    call: returns what JSON can hold, keys being text, and arrays; in the other
      processes a tuple comes back as a list, an array as NumPy's.

  Raises:
    ElsewhereError: it failed; in the first process, its own error.

  Example:
    >>> from_first(lambda: {'lr': 0.1})
    {'lr': 0.1}
  """
  if not several():
    return call()
  value, data = None, b''
  if is_first():
    try:
      value = call()
    except Exception as error:
      _tell(error)
      raise
    data = _encode(value)
  size = _agree(_TELL, len(data))[0]
  told = bytearray()
  while len(told) < size:
    bucket = min(_bucket(size - len(told)), _SIZES[-1])
    part = _padded(data[len(told) : len(told) + bucket], bucket)
    told += multihost_utils.broadcast_one_to_all(part).tobytes()
  return value if is_first() else _decode(bytes(told[:size]))


@contextlib.contextmanager
def together() -> Iterator[None]:
  """Where one process fails in the block, all others do, at the next message.

  For what each does by itself, such as reading images; nothing is computed
  together inside.

  Raises:
    ElsewhereError: another one failed; its text names that process.
  """
  try:
    yield
  except Exception as error:
    if several() and not was_told(error):
      _tell(error)
    raise
  if several():
    _agree(_READY, 0)


def was_told(error: BaseException) -> bool:
  """Whether the other processes know of this error, and end by it too."""
  return isinstance(error, ElsewhereError) or hasattr(error, _MARK)


def mark_told(error: Exception) -> Exception:
  """Says of an error that every process raises it, each by itself."""
  setattr(error, _MARK, True)
  return error


def _tell(error: Exception) -> None:
  """The message of a process that failed, in place of any other."""
  mark_told(error)
  data = _encode([type(error).__name__, str(error)[:_TEXT]])
  with contextlib.suppress(ElsewhereError):  # Another one failed as well.
    _agree(_FAILED, len(data), data)


def _agree(op: int, size: int, failure: bytes = b'') -> list[int]:
  """Begins a message: the size of each process's part of it.

  Raises:
    ElsewhereError: a process has failed.
  """
  head = np.int32([op, size >> 20, size & 0xFFFFF])
  heads = multihost_utils.process_allgather(head)
  failed = [i for i, (other, *_) in enumerate(heads) if other == _FAILED]
  if failed:
    texts = multihost_utils.process_allgather(_padded(failure, _SIZES[0]))
    first = failed[0]
    kind, text = _decode(texts[first].tobytes())
    raise ElsewhereError(first, kind, f'{text} (process {first})')
  if any(other != op for other, *_ in heads):
    raise AssertionError(
      f'processes have parted: they do {[int(x) for x, *_ in heads]}. This is '
      'a fault of daft_jax: please report it with the config'
    )
  return [(int(high) << 20) + int(low) for _, high, low in heads]


def _bucket(size: int) -> int:
  whole = -(-size // _SIZES[-1]) * _SIZES[-1]
  return next((x for x in _SIZES if size <= x), whole)


def _padded(data: bytes, size: int) -> np.ndarray:
  padded = np.zeros(size, np.uint8)
  padded[: len(data)] = np.frombuffer(data, np.uint8)
  return padded


def _encode(value: Any) -> bytes:
  """JSON, a zero, and the arrays end to end."""
  arrays: list[np.ndarray] = []

  def plain(value: Any) -> Any:
    if isinstance(value, dict):
      return {'dict': {key: plain(x) for key, x in value.items()}}
    if isinstance(value, (list, tuple)):
      return [plain(x) for x in value]
    if isinstance(value, np.generic):
      return value.item()
    if isinstance(value, (np.ndarray, jax.Array)):
      array = np.asarray(value)
      arrays.append(array)
      return {'array': [str(array.dtype), list(array.shape)]}
    return value

  text = json.dumps(plain(value)).encode()
  return b'\0'.join([text, b''.join(x.tobytes() for x in arrays)])


def _decode(data: bytes) -> Any:
  text, _, rest = data.partition(b'\0')
  place = 0

  def value(plain: Any) -> Any:
    nonlocal place
    if isinstance(plain, list):
      return [value(x) for x in plain]
    if not isinstance(plain, dict):
      return plain
    if 'dict' in plain:
      return {key: value(x) for key, x in plain['dict'].items()}
    dtype, shape = np.dtype(plain['array'][0]), plain['array'][1]
    count = int(np.prod(shape, dtype=np.int64))
    found = np.frombuffer(rest, dtype, count, place).reshape(shape).copy()
    place += found.nbytes
    return found

  return value(json.loads(text))

"""Reads PyTorch's checkpoint files without PyTorch, as data.

  from daft_jax.pretrained import torch_file

  tree = torch_file.read_torch('resnet50.pth')
  tree['conv1.weight'].shape                     # (64, 3, 7, 7)

Three formats: the zip of `torch.save`, its older one (a row of pickles and then
the storages), and the archives of `torch.jit.save`, whose code is not read.
Nothing in a file is run, see `unpickle`; sizes are checked before memory is
taken; each storage is read once, into memory of its own.

Damage in a zip is found by its CRC-32. The older format has no checksum: there,
altered values of weights are not seen.
"""

import io
import os
import pathlib
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

import ml_dtypes
import numpy as np

from daft_jax.pretrained.torch_file import archive, tensors
from daft_jax.unpickle import allowed, pickled

PathLike = str | os.PathLike[str]

_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001
_DEEPEST = 100  # containers in each other: what reads the tree may recurse
_SHOWN = 300  # characters of an error
_MOST_VALUES = 2_000_000  # of the tree
_BIG_ENDIAN = (
  'was saved on a big-endian machine: load it in PyTorch there and save its '
  'arrays as safetensors'
)

# The first bytes of what is taken for a checkpoint, and what to do.
_AGAIN = 'download the file itself'
_LOOKS = (
  (
    b'version https://git-lfs',
    f'a pointer of git-lfs: {_AGAIN} (git lfs pull)',
  ),
  (b'<', f'a web page, perhaps an error: {_AGAIN}'),
  (b'{', f'JSON: {_AGAIN}'),
  (b'\x1f\x8b', 'compressed by gzip: unpack it first'),
  (
    b'\x89HDF',
    'HDF5, of Keras or others: convert it to PyTorch or safetensors',
  ),
  (b'\x93NUMPY', 'a NumPy array: read it with numpy.load'),
)


def read_torch(path: PathLike) -> Any:
  """Reads what `torch.save` or `torch.jit.save` wrote.

  Args:
    path: of the file.

  Returns:
    What was saved, of dicts, lists, tuples, sets, strings, bytes, numbers and
    None. Tensors and parameters are arrays of their dtype (bfloat16 is that of
    ml_dtypes); those that shared memory still do. An OrderedDict is a dict; an
    `argparse.Namespace`, and a module of TorchScript, is a dict of its
    attributes, so that a weight is at tree['visual']['conv1']['weight']; a
    path, a device and a dtype are strings.

  Raises:
    FileNotFoundError: there is no such file.
    ValueError: it asks for what is not data, is damaged or not PyTorch's, or
      holds tensors that are quantized, sparse, complex or expanded (a copy of
      the last could have any size).

  Example:
    >>> import tempfile
    >>> with tempfile.NamedTemporaryFile(suffix='.pth') as file:
    ...   read_torch(file.name)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
      ...
    ValueError: ... is empty: download or save it again
  """
  path = pathlib.Path(path)
  if not path.is_file():
    what = 'a directory' if path.is_dir() else 'no file'
    raise FileNotFoundError(f'{path} is {what}: pass the path of a checkpoint')
  try:
    with path.open('rb') as file:
      size = os.fstat(file.fileno()).st_size
      head = file.read(256)
      file.seek(0)
      if head.startswith(b'PK'):
        return _read_zip(file)
      if head.startswith(b'\x80'):
        return _read_legacy(file, size)
      problem = _look(head, file, size)
  except allowed.NotData as error:
    raise ValueError(
      f'{path} {error}. Where it holds a whole model that you trust, save its '
      'state_dict() instead'
    ) from None
  except allowed.Refused as error:
    raise ValueError(f'{path} {error}') from None
  except (ValueError, OverflowError, OSError) as error:
    raise ValueError(
      f'{path} is not a complete file of PyTorch ({str(error)[:_SHOWN]}): '
      'download or save it again'
    ) from error
  raise ValueError(f'{path} is {problem}')


def _look(head: bytes, file: BinaryIO, size: int) -> str:
  """Says what a file is that is not a checkpoint of PyTorch."""
  if not head:
    return 'empty: download or save it again'
  for start, what in _LOOKS:
    if head.lstrip().startswith(start):
      return what
  if head[8:10] == b'{"':
    return 'a safetensors file: read it as one (name it .safetensors)'
  file.seek(257)
  if file.read(5) == b'ustar':
    return (
      'a tar archive: unpack it first, or save it with PyTorch 1.6 or newer'
    )
  what = 'text' if head.isascii() and b'\0' not in head else 'bytes'
  return f'{what} ({size}) that no version of PyTorch writes: {_AGAIN}'


class _Storages:
  """The storages that a pickle names, and then their memory."""

  def __init__(self):
    self.sizes = {}  # key -> (elements, bytes of one)
    self.memory = {}  # key -> uint8 array

  def find(self, persistent_id: Any) -> tensors.Storage:
    storage = tensors.storage(persistent_id)
    size = storage.total, tensors.width(storage.dtype)
    if self.sizes.setdefault(storage.key, size) != size:
      raise ValueError(f'storage {allowed.show(storage.key)} has two sizes')
    return storage

  def array(self, leaf: Any) -> Any:
    """Turns a record into an array or a name, and leaves other values."""
    match leaf:
      case tensors.Storage(dtype=dtype, count=count):
        leaf = tensors.Tensor(leaf, dtype, 0, (count,), (1,))
      case tensors.Dtype(name=name):
        return name
      case allowed.Call(name=name) | allowed.Kind(name=name):
        raise allowed.Refused(
          f'holds {allowed.show(name)} itself, which is not a value: save '
          'weights and numbers only'
        )
    if not isinstance(leaf, tensors.Tensor):
      return leaf
    start = leaf.storage.start * tensors.width(leaf.storage.dtype)
    width = tensors.width(leaf.dtype)
    return np.ndarray(
      leaf.shape,
      ml_dtypes.bfloat16 if leaf.dtype == 'bfloat16' else leaf.dtype,
      self.memory[leaf.storage.key],
      start + leaf.offset * width,
      [step * width for step in leaf.strides],
    )


def _read_zip(file: BinaryIO) -> Any:
  """The zip of torch.save, or of torch.jit.save."""
  entries = archive.read_entries(file)
  (top, *others) = [
    name.removesuffix('/data.pkl')
    for name in entries
    if name.endswith('/data.pkl') and name.count('/') == 1
  ] or [None]
  if top is None or others:
    first = ', '.join(allowed.show(name) for name in list(entries)[-3:])
    raise allowed.Refused(
      f'is a zip without one data.pkl ({first}): it is not a checkpoint of '
      'PyTorch 1.6 or newer'
    )
  order = entries.get(f'{top}/byteorder')
  if order and archive.read(file, order).tobytes() != b'little':
    raise allowed.Refused(_BIG_ENDIAN)
  entry = entries[f'{top}/data.pkl']
  if entry.size > pickled.MOST_BYTES:
    raise ValueError(f'its data.pkl has {entry.size} bytes')
  data = io.BytesIO(archive.read(file, entry).data)
  storages = _Storages()
  stream = pickled.Stream(data, entry.size)
  tree = pickled.load(stream, tensors.find, storages.find)
  places = {}
  for key, (count, width) in storages.sizes.items():
    places[key] = entry = entries.get(f'{top}/data/{key}')
    if entry is None or entry.size != count * width:
      found = 'is missing' if entry is None else f'has {entry.size} bytes'
      raise ValueError(
        f'storage {allowed.show(key)} {found}, not {count} * {width}'
      )
  tree = _plain(tree, lambda leaf: leaf)
  storages.memory = archive.read_all(file, places)
  return _plain(tree, storages.array)


def _read_legacy(file: BinaryIO, size: int) -> Any:
  """A number, a version, a system, the tree, the keys; then the storages."""
  storages = _Storages()

  def part():
    left = min(size - file.tell(), pickled.MOST_BYTES)
    stream = pickled.Stream(file, left)
    return pickled.load(stream, tensors.find, storages.find)

  if part() != _MAGIC:
    raise allowed.Refused(
      'is a pickle, but not one that torch.save wrote: load it where you trust '
      'it and save its arrays as safetensors'
    )
  if part() != _PROTOCOL:
    raise ValueError(f'its protocol is not {_PROTOCOL}')
  match part():
    case {'little_endian': True}:
      pass
    case _:
      raise allowed.Refused(_BIG_ENDIAN)
  tree = _plain(part(), lambda leaf: leaf)
  keys = part()
  if type(keys) is not list or set(map(allowed.check_key, keys)) != set(
    storages.sizes
  ):
    raise ValueError('its list of storages is not that of its tensors')
  if len(keys) != len(storages.sizes):
    raise ValueError('its list of storages has one twice')
  needed = sum(8 + count * width for count, width in storages.sizes.values())
  if needed > size - file.tell():
    raise ValueError(
      f'its storages need {needed} bytes and {size - file.tell()} are left'
    )
  for key in keys:
    count, width = storages.sizes[key]
    if int.from_bytes(file.read(8), 'little') != count:
      raise ValueError(f'storage {allowed.show(key)} has two sizes')
    storages.memory[key] = memory = np.empty(count * width, np.uint8)
    if file.readinto(memory.data) != len(memory):
      raise ValueError(f'storage {allowed.show(key)} is cut off')
  return _plain(tree, storages.array)


def _plain(tree: Any, convert: Callable[[Any], Any]) -> Any:
  """Copies a tree with its leaves converted, without recursion.

  Records become what their state is. The copy shares no containers: a list that
  holds itself, or ten that hold the next one ten times each, are beyond the
  limits.

  Raises:
    ValueError: it is too deep, or too large.
  """
  result = []
  frames = [(result, None, iter([tree]))]  # copied, how to close, what is left
  count = 0
  while True:
    values, _, rest = frames[-1]
    for value in rest:
      count += 1
      if count > _MOST_VALUES or len(frames) > _DEEPEST:
        raise ValueError(
          f'its tree is deeper than {_DEEPEST} or larger than {_MOST_VALUES:,}'
        )
      opened = _open(value)
      if opened is not None:
        frames.append(([], *opened))
        break
      values.append(convert(value))
    else:
      values, close, _ = frames.pop()
      if close is None:
        return values[0]
      frames[-1][0].append(close(values))


def _open(value: Any) -> tuple[Callable[[list], Any], Iterator[Any]] | None:
  """Returns how to make a container of new values, and the present ones."""
  match value:
    case dict():
      return lambda new: dict(zip(value, new, strict=True)), iter(
        value.values()
      )
    case list():
      return list, iter(value)
    case tuple():
      return tuple, iter(value)
    case allowed.Record(state=state):
      return lambda new: new[0], iter([state])
  return None

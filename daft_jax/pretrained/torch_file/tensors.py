"""Tensors of PyTorch as records: where their values lie, checked, not read.

  from daft_jax.pretrained.torch_file import tensors

  tensors.find('torch.FloatStorage').dtype    # 'float32'
  tensors.find('os.system')                   # None: it is not allowed

Sources: torch/_utils.py and torch/serialization.py, for what is written, and
https://pytorch.org/docs/stable/notes/serialization.html.
"""

import dataclasses
import math
from typing import Any

import numpy as np

from daft_jax.unpickle import allowed

_MOST_AXES = 64  # of an array of NumPy
_STORAGES = {
  'Float': 'float32',
  'Double': 'float64',
  'Half': 'float16',
  'BFloat16': 'bfloat16',
  'Long': 'int64',
  'Int': 'int32',
  'Short': 'int16',
  'Char': 'int8',
  'Byte': 'uint8',
  'Bool': 'bool',
}
_DTYPES = (*_STORAGES.values(), 'uint16', 'uint32', 'uint64')


@dataclasses.dataclass(frozen=True, slots=True)
class Dtype:
  """A torch.dtype, or the dtype of a class of storages."""

  name: str
  dtype: str


@dataclasses.dataclass(frozen=True, slots=True)
class Storage:
  """A part of the flat memory that tensors are views of.

  Attributes:
    key: names the memory in its file.
    dtype: of its elements.
    total: elements in the memory.
    start: of this part, in elements; 0 but for legacy files.
    count: elements in this part.
  """

  key: str
  dtype: str
  total: int
  start: int
  count: int


@dataclasses.dataclass(frozen=True, slots=True)
class Tensor:
  """A view of a storage; offset and strides in elements of `dtype`."""

  storage: Storage
  dtype: str
  offset: int
  shape: tuple[int, ...]
  strides: tuple[int, ...]


def find(name: str) -> Any:
  """Returns what 'module.name' stands for, or None: it is not allowed.

  Raises:
    Refused: a tensor of a kind that has no dense array.

  Example:
    >>> find('argparse.Namespace').name
    'argparse.Namespace'
    >>> find('builtins.eval') is None
    True
  """
  if name.startswith('__torch__.'):
    return allowed.Kind(name)  # a module of TorchScript; its code is not read
  what = _UNSUPPORTED.get(name)
  if what is not None:
    raise allowed.Refused(
      f'holds {what} ({name}), which is not read: save dense tensors of '
      f'{", ".join(_STORAGES.values())}'
    )
  return _NAMES.get(name) or allowed.NAMES.get(name)


def storage(key: Any) -> Storage:
  """Reads the persistent id of a storage.

  Args:
    key: ('storage', class, key, location, elements), in legacy files with a
      sixth: None, or the (key, start, elements) of a part.

  Raises:
    Refused: it is on the 'meta' device, which has no values.
    ValueError: it is something else.
  """
  match key:
    case ('storage', Dtype() as kind, str(key), str(place), int(total), *rest):
      if place == 'meta':
        raise allowed.Refused(
          "holds tensors on the 'meta' device, which have no values"
        )
      start, count = 0, total
      match rest:
        case [] | [None]:
          pass
        case [(_, int(start), int(count))]:
          pass
        case _:
          raise ValueError('a part of a storage is not a triple')
      if 0 <= start <= start + count <= total < 2**62:
        return Storage(key, kind.dtype, total, start, count)
      raise ValueError(f'a storage has elements {start}+{count} of {total}')
    case ('module', *_):
      raise allowed.Refused(
        'holds a whole model and the source of its classes, not its weights: '
        'where you trust it, load it in PyTorch and save its state_dict()'
      )
  raise ValueError('a persistent id is not that of a storage')


def _tensor(args):
  match args:
    case (Storage() as source, offset, shape, strides, *_):
      return _view(source, offset, shape, strides, source.dtype)
  raise ValueError('a tensor has no storage')


def _tensor_v3(args):
  match args:
    # Between strides and dtype are requires_grad and hooks.
    case (
      Storage() as source,
      offset,
      shape,
      strides,
      _,
      _,
      Dtype() as kind,
      *_,
    ):
      return _view(source, offset, shape, strides, kind.dtype)
  raise ValueError('a tensor has no storage or no dtype')


def _view(source, offset, shape, strides, dtype):
  """Checks a view against the storage that it is of."""
  for sizes in (shape, strides):
    if type(sizes) is not tuple or len(sizes) > _MOST_AXES:
      raise ValueError('a tensor has no shape or strides')
  numbers = (offset, *shape, *strides)
  if not all(type(n) is int and 0 <= n < 2**62 for n in numbers):
    raise ValueError('a tensor has a size that is not a positive integer')
  if len(shape) != len(strides):
    raise ValueError(f'a tensor has shape {shape} but strides {strides}')
  room = source.count * width(source.dtype) // width(dtype)
  last = sum((n - 1) * step for n, step in zip(shape, strides, strict=True))
  values = math.prod(shape)
  # An empty tensor has no last element.
  inside = not values or offset + last < room
  if inside and values > room:  # A copy of one could have any size.
    raise allowed.Refused(
      f'holds an expanded tensor (shape {shape}, strides {strides}): save its '
      '.contiguous()'
    )
  if not inside:
    raise ValueError(
      f'a tensor of shape {shape}, strides {strides} and offset {offset} is '
      f'not in its storage of {room} values'
    )
  return Tensor(source, dtype, offset if values else 0, shape, strides)


def width(dtype: str) -> int:
  """Bytes of one value.

  Example:
    >>> width('bfloat16')
    2
  """
  return 2 if dtype == 'bfloat16' else np.dtype(dtype).itemsize


def _parameter(args):
  match args:
    case (Tensor() as tensor, *_):
      return tensor
  raise ValueError('a parameter has no tensor')


def _from_type(args):
  """A tensor with attributes, or of a class: the attributes are left out."""
  match args:
    case (
      allowed.Call(name=name, function=make),
      allowed.Kind(),
      tuple(inner),
      *_,
    ) if '_rebuild_tensor' in name:
      return make(inner)
  raise ValueError('a tensor is made by what makes no tensors')


def _size(args):
  match args:
    case (tuple(shape),):
      return shape
  raise ValueError('a torch.Size is not a tuple')


def _device(args):
  match args:
    case (str(kind),):
      return kind
    case (str(kind), int(index)) if abs(index) < 2**16 and len(kind) < 16:
      return f'{kind}:{index}'
  raise ValueError('a torch.device is not a name and an index')


def _identity(args):
  match args:
    case (value, *_):
      return value
  raise ValueError('a typed value of TorchScript is missing')


def _calls(module, function, names):
  return {
    f'{module}.{name}': allowed.Call(f'{module}.{name}', function)
    for name in names.split()
  }


_NAMES = {
  **{
    f'{module}.{name}Storage': Dtype(f'{module}.{name}Storage', dtype)
    for module in ('torch', 'torch.cuda')
    for name, dtype in _STORAGES.items()
  },
  **{
    f'torch.{name}': Dtype(f'torch.{name}', 'uint8')
    for name in ('storage.UntypedStorage', 'storage._UntypedStorage')
  },
  **{f'torch.{dtype}': Dtype(f'torch.{dtype}', dtype) for dtype in _DTYPES},
  **_calls('torch._utils', _tensor, '_rebuild_tensor _rebuild_tensor_v2'),
  **_calls('torch._utils', _tensor_v3, '_rebuild_tensor_v3'),
  **_calls('torch._utils', _parameter, '_rebuild_parameter'),
  **_calls('torch._utils', _parameter, '_rebuild_parameter_with_state'),
  **_calls('torch._tensor', _from_type, '_rebuild_from_type_v2'),
  **_calls('torch', _size, 'Size'),
  **_calls('torch', _device, 'device'),
  **_calls('torch.jit._pickle', _identity, 'build_intlist build_tensorlist'),
  **_calls('torch.jit._pickle', _identity, 'build_doublelist build_boollist'),
  **_calls('torch.jit._pickle', _identity, 'restore_type_tag'),
  'torch.Tensor': allowed.Kind('torch.Tensor'),
  'torch.nn.parameter.Parameter': allowed.Kind('torch.nn.parameter.Parameter'),
  'torch.nn.parameter.Buffer': allowed.Kind('torch.nn.parameter.Buffer'),
}
_UNSUPPORTED = {
  'torch._utils._rebuild_sparse_tensor': 'a sparse tensor',
  'torch._utils._rebuild_nested_tensor': 'a nested tensor',
  'torch._utils._rebuild_qtensor': 'a quantized tensor',
  'torch._utils._rebuild_meta_tensor_no_storage': 'a tensor without values',
  'torch._utils._rebuild_device_tensor_from_numpy': 'a tensor of a device',
  'torch._utils._rebuild_device_tensor_from_cpu_tensor': 'a tensor of a device',
  'torch._utils._rebuild_wrapper_subclass': 'a tensor of a class of its own',
  **{
    f'torch.{name}Storage': 'quantized values'
    for name in ('QInt8', 'QUInt8', 'QInt32', 'QUInt4x2', 'QUInt2x4')
  },
  **{f'torch.Complex{x}Storage': 'complex values' for x in ('Float', 'Double')},
  **{f'torch.complex{bits}': 'complex values' for bits in (32, 64, 128)},
  **{
    f'torch.float8_{name}': '8-bit floats'
    for name in ('e4m3fn', 'e5m2', 'e4m3fnuz', 'e5m2fnuz', 'e8m0fnu')
  },
}

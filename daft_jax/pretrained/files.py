"""Any weights file, or folder, as named arrays.

  contents = files.read('moco_v2_800ep_pretrain.pth.tar')
  contents.kind                                  # 'PyTorch'
  contents.arrays['state_dict.module.encoder_q.conv1.weight'].shape

The kind is told by the first bytes, not by the name. Nothing in a file is ever
executed. Damage is found by the checksums of PyTorch's zip and of npz; the
other formats have none, there altered values are not seen.
"""

import math
import os
import pathlib
import zipfile
from typing import Any, NamedTuple

import numpy as np

from daft_jax import trees
from daft_jax.pretrained import torch_file, weights

PathLike = str | os.PathLike[str]

_MOST = 1100  # bytes from one compressed byte: zlib's best, on zeros, is 1032


class Contents(NamedTuple):
  """What a file holds.

  Attributes:
    kind: 'safetensors', 'npz', 'PyTorch' or 'Orbax'.
    arrays: by name; the keys of nested dicts are joined with dots.
    metadata: strings beside them (safetensors).
  """

  kind: str
  arrays: dict[str, np.ndarray]
  metadata: dict[str, str]


def read(path: PathLike) -> Contents:
  """Reads a file in any of the known formats.

  Args:
    path: of a .safetensors, .npz, .pth, .pt, .th or .tar file of PyTorch's, or
      the folder of an Orbax checkpoint.

  Raises:
    FileNotFoundError: there is nothing.
    ValueError: it cannot be read, is damaged, or holds something else.
  """
  path = pathlib.Path(path).expanduser()
  if path.is_dir():
    return Contents('Orbax', _read_orbax(path), {})
  if not path.is_file():
    raise FileNotFoundError(f'no weights file at {path}')
  with open(path, 'rb') as file:
    head = file.read(16)
  # 8 bytes of length, then a JSON object.
  if head[8:9] == b'{' or path.suffix == '.safetensors':
    return Contents('safetensors', *weights.read_weights(path))
  if head.startswith(b'PK') and _is_npz(path):
    return Contents('npz', _read_npz(path), {})
  return Contents('PyTorch', flatten(torch_file.read_torch(path)), {})


def flatten(tree: Any) -> dict[str, np.ndarray]:
  """The arrays of nested dicts and sequences, by dotted names.

  Example:
    >>> flatten({'epoch': 3, 'state_dict': {'a.weight': np.ones(2)}})
    {'state_dict.a.weight': array([1., 1.])}
  """
  found, waiting = {}, [('', tree)]
  while waiting:
    name, value = waiting.pop()
    if isinstance(value, np.ndarray):
      found[name] = value
      continue
    if isinstance(value, dict):
      children = value.items()
    elif isinstance(value, (list, tuple)):
      children = enumerate(value)
    else:
      continue
    more = [(f'{name}.{k}' if name else str(k), v) for k, v in children]
    waiting += reversed(more)
  return found


def _is_npz(path: pathlib.Path) -> bool:
  try:
    with zipfile.ZipFile(path) as archive:
      names = archive.namelist()
  except zipfile.BadZipFile:
    return False  # torch_file says what is wrong with it
  return bool(names) and all(name.endswith('.npy') for name in names)


def _read_npz(path: pathlib.Path) -> dict[str, np.ndarray]:
  try:
    _check_npz(path)
    with np.load(path, allow_pickle=False) as file:
      return {name: file[name] for name in file.files}
  # NumPy's and the zip's parsers raise whatever they stumble over.
  except Exception as error:
    raise ValueError(
      f'{path} is not an npz file of plain arrays ({str(error)[:200]}): save '
      'it again with numpy.savez and arrays of numbers'
    ) from error


def _check_npz(path: pathlib.Path) -> None:
  """Refuses arrays that say they are larger than what is there."""
  with zipfile.ZipFile(path) as archive:
    for info in archive.infolist():
      with archive.open(info) as entry:
        version = np.lib.format.read_magic(entry)
        read = getattr(
          np.lib.format, f'read_array_header_{version[0]}_{version[1]}'
        )
        shape, _, dtype = read(entry)
      size = math.prod(shape) * dtype.itemsize
      if size > info.file_size or info.file_size > _MOST * info.compress_size:
        raise ValueError(f'{info.filename} says it has {size} bytes')


def _read_orbax(path: pathlib.Path) -> dict[str, np.ndarray]:
  """Of a folder as `checkpoint.save_variables` writes it."""
  from daft_jax import checkpoint, sharding  # Orbax takes a second to import.

  try:
    tree = checkpoint.load_variables(path, sharding.make_mesh(1))
  except Exception as error:  # TensorStore raises plain ones.
    raise ValueError(
      f'{path} is not an Orbax checkpoint of variables ({str(error)[:200]}): '
      "give the folder of a StandardCheckpointer's {'params': ..., "
      "'batch_stats': ...}"
    ) from error
  return {key: np.asarray(leaf) for key, leaf in trees.flatten(tree).items()}

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

from daft_jax import names, trees
from daft_jax.pretrained import torch_file, weights
from daft_jax.pretrained.torch_file import archive
from daft_jax.unpickle import npy

PathLike = str | os.PathLike[str]

# Of an npz, unpacked: weights hardly shrink, but what is masked does.
_SMALL = 1 << 28  # bytes that are read whatever they were packed to
_MOST_RATIO = 20
_LONGEST_NAME = 500  # characters


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
  if not path.is_dir() and not path.is_file():
    beside = [x.name for x in path.parent.glob('*')]
    hint = names.did_you_mean(path.name, beside, f'{path.parent}/{{}}')
    raise FileNotFoundError(
      f'no weights file at {path}: give the path of one that is there.{hint}'
    )
  contents = _read(path)
  _check_names(path, contents)
  return contents


def _read(path: pathlib.Path) -> Contents:
  if path.is_dir():
    return Contents('Orbax', _read_orbax(path), {})
  with open(path, 'rb') as file:
    head = file.read(16)
  # 8 bytes of length, then a JSON object.
  if head[8:9] == b'{' or path.suffix == '.safetensors':
    return Contents('safetensors', *weights.read_weights(path))
  if head.startswith(b'PK') and _is_npz(path):
    return Contents('npz', _read_npz(path), {})
  return Contents('PyTorch', flatten(torch_file.read_torch(path)), {})


def _check_names(path: pathlib.Path, contents: Contents) -> None:
  """Refuses what a terminal would act on, as names are printed."""
  odd = [
    ascii(name[:100])
    for name in (*contents.arrays, contents.metadata.get('preprocess', ''))
    if not name.isprintable() or len(name) > _LONGEST_NAME
  ]
  if odd:
    raise ValueError(
      f'{path} has names that cannot be printed ({names.listed(odd)}): save '
      'it with plain ones'
    )


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
    with open(path, 'rb') as file:
      archive.check_directory(file)
      with zipfile.ZipFile(file) as entries:
        inside = entries.namelist()
  except (ValueError, zipfile.BadZipFile, NotImplementedError):
    return False  # torch_file says what is wrong with it
  return bool(inside) and all(name.endswith('.npy') for name in inside)


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
  """Refuses arrays that say they are larger than what is there, and bombs."""
  total = packed = 0
  with zipfile.ZipFile(path) as entries:
    for info in entries.infolist():
      with entries.open(info) as entry:
        shape, dtype = npy.read_header(entry)
      size = math.prod(shape) * dtype.itemsize
      if size > info.file_size:
        raise ValueError(f'{info.filename} says it has {size} bytes')
      total += info.file_size
      packed += info.compress_size
  if total > max(_SMALL, _MOST_RATIO * packed):
    raise ValueError(f'{packed:,} bytes of it would become {total:,}')


def _read_orbax(path: pathlib.Path) -> dict[str, np.ndarray]:
  """Of a folder as `checkpoint.save_variables` writes it."""
  from daft_jax import checkpoint, sharding  # Orbax takes a second to import.

  try:
    _check_orbax(path.resolve())
    tree = checkpoint.load_variables(path, sharding.one_device())
  except Exception as error:  # TensorStore raises plain ones.
    raise ValueError(
      f'{path} is not an Orbax checkpoint of variables ({str(error)[:200]}): '
      "give the folder of a StandardCheckpointer's {'params': ..., "
      "'batch_stats': ...}"
    ) from error
  return {key: np.asarray(leaf) for key, leaf in trees.flatten(tree).items()}


def _check_orbax(path: pathlib.Path) -> None:
  """Refuses zeros that nothing is stored of, and files that lie elsewhere."""
  from daft_jax.checkpoint import manifest

  if not (path / manifest.NAME).is_file():
    return  # load_variables says what is wrong with it
  found = manifest.read(path, of=path.name)
  there = 0
  for name in found.files:
    file = path / name
    if not file.resolve().is_relative_to(path) or not file.is_file():
      raise ValueError(f'{name[:100]!r} is no file of it')
    there += file.stat().st_size
  leaves = (leaf for leaf in found.leaves.values() if leaf is not None)
  # Not all dtypes are NumPy's; none of weights is wider than 8 bytes.
  total = sum(math.prod(leaf.shape) * 8 for leaf in leaves)
  if total > max(_SMALL, _MOST_RATIO * there):
    raise ValueError(f'{there:,} bytes of it would become {total:,}')

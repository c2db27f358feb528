"""Weight files: safetensors of flat paths, 'params/conv1/kernel' and so on.

  from daft_jax import models
  from daft_jax.pretrained import reader

  model = models.create_model('resnet14_cifar', num_classes=62)
  variables = models.init_variables(model, image_size=24, seed=0)
  reader.save_weights(variables, '/tmp/w.safetensors', {'note': 'random'})
  variables = reader.load_pretrained(
    'resnet14_cifar.glyphs', model, '/tmp/w.safetensors'
  )

Format: https://github.com/huggingface/safetensors. Its library checks a header
against the size of the file before any memory is taken; nothing is unpickled.
"""

import hashlib
import os
import pathlib
from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import safetensors
import safetensors.numpy

from daft_jax import results, trees
from daft_jax.pretrained import registry

PyTree = Any
PathLike = str | os.PathLike[str]

WEIGHTS = pathlib.Path(__file__).parent / 'weights'
HEAD = 'params/head/'

_DTYPES = {'F16': np.float16, 'F32': np.float32}
_SHOWN = 8  # paths listed of each kind in an error


def load_pretrained(
  tag: str,
  model: Any,
  path: PathLike | None = None,
  *,
  head: str = 'auto',
) -> PyTree:
  """Loads weights into the structure of a model.

  Args:
    tag: one of `list_pretrained()`.
    model: a linen module with the tag's architecture.
    path: a file to read in place of the one that ships with the package.
    head: 'keep' takes the head of the file, 'new' a zero one of the model's
      class count; 'auto' keeps it where the class counts agree.

  Returns:
    {'params': ..., 'batch_stats': ...} with float32 NumPy leaves, which can be
    put on any devices of any number of processes.

  Raises:
    ValueError: an unknown tag or `head`, a file that cannot be read, any
      missing, extra or mis-shaped path, or class counts that differ.
    FileNotFoundError: there is no such file.
  """
  row = registry.lookup(tag)
  if head not in ('auto', 'keep', 'new'):
    raise ValueError(f"head is {head!r}: say 'auto', 'keep' or 'new'")
  path = _find(row) if path is None else pathlib.Path(path)
  leaves, _ = read_weights(path)
  images = jax.ShapeDtypeStruct(
    (1, row.image_size, row.image_size, 3), jnp.float32
  )
  wanted = jax.eval_shape(model.init, jax.random.key(0), images)
  shapes = {key: leaf.shape for key, leaf in trees.flatten(wanted).items()}
  if head == 'new':
    leaves = {k: v for k, v in leaves.items() if not k.startswith(HEAD)}
    leaves |= {
      key: np.zeros(shape, np.float32)
      for key, shape in shapes.items()
      if key.startswith(HEAD)
    }
  elif head == 'auto':
    _check_classes(path, leaves, shapes)
  _check_shapes(path, row, leaves, shapes)
  return trees.unflatten(leaves, wanted)


def read_weights(
  path: PathLike,
) -> tuple[dict[str, np.ndarray], dict[str, str]]:
  """Reads a safetensors file.

  Returns:
    {path: float32 array}, from a file of float32 and float16, and the metadata.

  Raises:
    FileNotFoundError: there is no such file.
    ValueError: not safetensors, truncated, or an array of another dtype.
  """
  path = pathlib.Path(path)
  if not path.is_file():
    raise FileNotFoundError(f'no weights file at {path}')
  try:
    with safetensors.safe_open(path, framework='numpy') as file:
      dtypes = {key: file.get_slice(key).get_dtype() for key in file.keys()}
      other = [f'{k} ({v})' for k, v in dtypes.items() if v not in _DTYPES]
      if other:
        raise ValueError(
          f'{path} holds {_listed(other)}: save weights as float32 or float16'
        )
      leaves = {key: file.get_tensor(key) for key in dtypes}
      metadata = dict(file.metadata() or {})
  except (safetensors.SafetensorError, OSError) as error:
    raise ValueError(
      f'{path} is not a complete safetensors file ({error}): get or save it '
      'again; other formats are not read'
    ) from error
  return {k: v.astype(np.float32) for k, v in leaves.items()}, metadata


def save_weights(
  variables: PyTree,
  path: PathLike,
  metadata: dict[str, str],
  dtype: str = 'float32',
) -> None:
  """Writes variables as safetensors, whole or not at all.

  Args:
    variables: {'params': ..., 'batch_stats': ...}.
    path: of the file; its directory must exist.
    metadata: strings stored beside the weights.
    dtype: 'float32', or 'float16' for half the size. Vectors (of BatchNorm,
      biases) stay float32: they are few, and small variances need the digits.

  Raises:
    ValueError: another dtype, or a weight that float16 cannot hold.
  """
  if dtype not in ('float32', 'float16'):
    raise ValueError(f"dtype is {dtype!r}: say 'float32' or 'float16'")
  stored = {}
  for key, leaf in trees.flatten(variables).items():
    leaf = np.asarray(leaf, np.float32)
    if leaf.ndim > 1 and dtype == 'float16':
      largest = np.abs(leaf).max(initial=0)
      if largest > np.finfo(np.float16).max:
        raise ValueError(
          f'{key} has a weight of magnitude {largest:g}, above the largest '
          "float16: save with dtype='float32'"
        )
      leaf = leaf.astype(np.float16)
    # safetensors writes the buffer as it lies, whatever the strides.
    stored[key] = np.ascontiguousarray(leaf).reshape(leaf.shape)
  results.atomic_write(path, safetensors.numpy.save(stored, metadata))


def _find(row: registry.Pretrained) -> pathlib.Path:
  """The file that ships with the package, checked against its sha256."""
  if not row.file:
    raise FileNotFoundError(
      f'{row.tag} does not ship with the package: get it from {row.url} and '
      'pass path='
    )
  path = WEIGHTS / row.file
  if row.sha256 and path.is_file():
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != row.sha256:
      raise ValueError(
        f'{path} has sha256 {found}, but {row.tag} is {row.sha256}: '
        'install the package again, or pass path= to use another file'
      )
  return path


def _check_classes(
  path: pathlib.Path,
  leaves: dict[str, np.ndarray],
  shapes: dict[str, tuple[int, ...]],
) -> None:
  bias = HEAD + 'bias'
  if bias not in leaves or bias not in shapes:
    return  # Said by _check_shapes.
  if leaves[bias].shape != shapes[bias]:
    raise ValueError(
      f'the head in {path} has {leaves[bias].shape[-1]} classes, the model '
      f"{shapes[bias][-1]}: pass head='new' for a zero head"
    )


def _check_shapes(
  path: pathlib.Path,
  row: registry.Pretrained,
  leaves: dict[str, np.ndarray],
  shapes: dict[str, tuple[int, ...]],
) -> None:
  missing = [key for key in shapes if key not in leaves]
  extra = [key for key in leaves if key not in shapes]
  other = [
    f'{key} (file {list(leaves[key].shape)}, model {list(shapes[key])})'
    for key in shapes
    if key in leaves and leaves[key].shape != shapes[key]
  ]
  if not (missing or extra or other):
    return
  lines = [
    f'{what}: {_listed(keys)}'
    for what, keys in (
      ('in the model but not in the file', missing),
      ('in the file but not in the model', extra),
      ('of other shape', other),
    )
    if keys
  ]
  fix = f'{row.tag} fits create_model({row.architecture!r}, ...)'
  if all(key.startswith(HEAD) for key in missing + extra + other):
    fix = "pass head='new' for a zero head"
  raise ValueError(
    '\n  '.join([f'{path} does not fit the model: {fix}', *lines])
  )


def _listed(keys: Iterable[str]) -> str:
  keys = list(keys)
  more = f' and {len(keys) - _SHOWN} more' if len(keys) > _SHOWN else ''
  return ', '.join(keys[:_SHOWN]) + more

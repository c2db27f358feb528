"""This package's own weight files: safetensors of flat paths.

  from daft_jax import models
  from daft_jax.pretrained import weights

  model = models.create_model('resnet14_cifar', num_classes=62)
  variables = models.init_variables(model, image_size=24, seed=0)
  weights.save_weights(variables, '/tmp/w.safetensors', {'note': 'random'})
  leaves, metadata = weights.read_weights('/tmp/w.safetensors')
  leaves['params/conv1/kernel'].shape        # (3, 3, 3, 16)

Format: https://github.com/huggingface/safetensors. Its library checks a header
against the size of the file before any memory is taken; nothing is unpickled.
"""

import json
import os
import pathlib
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy

from daft_jax import names, results, trees
from daft_jax.data import preprocess
from daft_jax.pretrained import rules

PyTree = Any
PathLike = str | os.PathLike[str]

_DTYPES = ('F16', 'BF16', 'F32', 'F64')
_DTYPES += ('I64', 'I32', 'I16', 'I8', 'U8', 'BOOL')


def read_weights(
  path: PathLike,
) -> tuple[dict[str, np.ndarray], dict[str, str]]:
  """Reads a safetensors file.

  Returns:
    {name: array} as they are stored, and the metadata.

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
          f'{path} holds {names.listed(other)}: save weights as float32 or '
          'float16'
        )
      leaves = {key: file.get_tensor(key) for key in dtypes}
      metadata = dict(file.metadata() or {})
  except (safetensors.SafetensorError, OSError, TypeError) as error:
    raise ValueError(
      f'{path} is not a complete safetensors file ({error}): get or save it '
      'again'
    ) from error
  return leaves, metadata


def read_preprocess(path: PathLike) -> dict[str, Any] | None:
  """The preprocessing that a safetensors file of this package states.

  Returns:
    Fields of `data.preprocess.Preprocess`; None if the file states none, or
    what is none.
  """
  if pathlib.Path(path).suffix != '.safetensors':
    return None
  try:
    with safetensors.safe_open(path, framework='numpy') as file:
      stated = json.loads((file.metadata() or {}).get('preprocess', 'null'))
    return stated if preprocess.stated(stated) else None
  except (safetensors.SafetensorError, OSError, ValueError, RecursionError):
    return None


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
    stored[key] = leaf
  write(stored, path, metadata)


def export_torch(
  variables: PyTree,
  architecture: str,
  path: PathLike,
  metadata: dict[str, str] | None = None,
  *,
  layout: str | None = None,
) -> dict[str, np.ndarray]:
  """Writes variables as a PyTorch state dict, in safetensors.

  Names and shapes are those of the architecture's usual layout (torchvision's,
  OpenAI's, ...; of `rules.layouts(architecture)` the first), so that

    module.load_state_dict(safetensors.torch.load_file(path))

  is strict and gives the same network. `load_pretrained` reads the file back
  bit for bit. Running variances go over as they are: the next training step
  updates them there by the unbiased variance of the batch, here by the biased.

  Args:
    variables: {'params': ..., 'batch_stats': ...} of a model of this package.
    architecture: its name, one of `models.list_models()`.
    path: of the file; its directory must exist.
    metadata: strings stored beside the weights.
    layout: another of the architecture's, such as 'timm'.

  Returns:
    What was written.

  Raises:
    ValueError: no such architecture or layout, or variables of another one.
  """
  layout = rules.layout(architecture, layout)
  _check_architecture(variables, architecture)
  stored = {}
  for leaf_path, leaf in trees.flatten(variables).items():
    array = rules.to_torch(leaf_path, np.asarray(leaf, np.float32))
    name = rules.key(layout, leaf_path)
    stored[name] = array
    if name.endswith('.running_var'):
      # PyTorch counts its steps; it matters only for momentum=None.
      count = name.removesuffix('running_var') + 'num_batches_tracked'
      stored[count] = np.zeros((), np.int64)
  about = {'format': 'pt', 'architecture': architecture}
  write(stored, path, about | (metadata or {}))
  return stored


def _check_architecture(variables: PyTree, architecture: str) -> None:
  from daft_jax.pretrained import shapes  # imports the models

  found = {k: np.shape(v) for k, v in trees.flatten(variables).items()}
  wanted = shapes.of(architecture)
  other = [
    path
    for path in dict.fromkeys([*wanted, *found])
    if not path.startswith(rules.HEAD) and found.get(path) != wanted.get(path)
  ]
  if other:
    raise ValueError(
      f'the variables are not of {architecture}: {names.listed(other)} differ. '
      'Give the name of the architecture they are of'
    )


def write(
  arrays: dict[str, np.ndarray], path: PathLike, metadata: dict[str, str]
) -> None:
  """Writes safetensors, whole or not at all; refuses other suffixes."""
  if pathlib.Path(path).suffix != '.safetensors':
    raise ValueError(
      f'{path} would hold safetensors, which PyTorch and others read by their '
      'name: give one that ends in .safetensors'
    )
  # The library writes a buffer as it lies, whatever the strides.
  flat = {
    key: np.ascontiguousarray(array).reshape(array.shape)
    for key, array in arrays.items()
  }
  results.atomic_write(path, safetensors.numpy.save(flat, metadata))

"""Pretrained weights: what there is, and reading and writing them.

  from daft_jax import models, pretrained

  print(pretrained.list_pretrained('resnet50'))
  model = models.create_model('resnet14_cifar', num_classes=10)
  variables = pretrained.load_pretrained(
    'resnet14_cifar.glyphs', model, head='new'
  )

From the command line, for a file from anywhere:

  python -m daft_jax.pretrained inspect FILE
  python -m daft_jax.pretrained convert FILE OUT.safetensors
  python -m daft_jax.pretrained download TAG
"""

import importlib
from typing import Any

from daft_jax.pretrained.registry import (
  PRETRAINED,
  Pretrained,
  list_pretrained,
  lookup,
)

__all__ = [
  'PRETRAINED',
  'Pretrained',
  'export_torch',
  'list_pretrained',
  'load_pretrained',
  'lookup',
  'read_preprocess',
  'read_weights',
  'save_weights',
]

# These need JAX; the registry, and what only lists it, must not.
_OWNERS = {
  'export_torch': 'weights',
  'load_pretrained': 'loading',
  'read_preprocess': 'weights',
  'read_weights': 'weights',
  'save_weights': 'weights',
}


def __getattr__(name: str) -> Any:
  if name not in _OWNERS:
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
  module = importlib.import_module(f'{__name__}.{_OWNERS[name]}')
  globals()[name] = value = getattr(module, name)
  return value

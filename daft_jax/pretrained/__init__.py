"""Pretrained weights: what there is, and reading and writing them.

from daft_jax import models, pretrained

print(pretrained.list_pretrained())
model = models.create_model('resnet14_cifar', num_classes=10)
variables = pretrained.load_pretrained(
  'resnet14_cifar.glyphs', model, head='new'
)
"""

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
  'list_pretrained',
  'load_pretrained',
  'lookup',
  'read_weights',
  'save_weights',
]


def __getattr__(name: str) -> Any:
  # The reader needs JAX; the registry, and what only lists it, must not.
  if name in ('load_pretrained', 'read_weights', 'save_weights'):
    from daft_jax.pretrained import reader

    return getattr(reader, name)
  raise AttributeError(f'module {__name__!r} has no attribute {name!r}')

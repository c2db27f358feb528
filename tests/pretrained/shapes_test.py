"""The table of shapes that ships."""

import time

import numpy as np

from daft_jax import models
from daft_jax.pretrained import identify, rules, shapes


def test_the_table_is_that_of_the_models():
  """Else: python -m daft_jax.pretrained.shapes"""
  assert shapes._table().keys() == set(models.list_models())
  for name in models.list_models():
    assert shapes.of(name) == shapes.trace(name), name


def test_a_file_is_told_at_once():
  """Of the last architecture, with a tensor less: all are compared."""
  layout = rules.layout('efficientnet_lite2')
  arrays = {
    rules.key(layout, path): rules.to_torch(path, np.zeros(shape, np.float32))
    for path, shape in shapes.of('efficientnet_lite2').items()
  }
  del arrays[next(name for name in arrays if '_blocks' in name)]
  shapes.of.cache_clear()
  shapes._table.cache_clear()
  start = time.perf_counter()
  found = identify.identify(arrays)
  assert time.perf_counter() - start < 1.5
  assert found.architecture == 'efficientnet_lite2' and found.share < 1

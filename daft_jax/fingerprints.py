"""What results depend on, as digits: weights and images.

fingerprints.of_weights(variables)       # 64 hexadecimal digits
fingerprints.of_images(task.sets)
"""

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from daft_jax import trees


def of_weights(variables: Any) -> str:
  """SHA-256 of all variables but the head, names and bytes."""
  digest = hashlib.sha256()
  for path, leaf in sorted(trees.flatten(variables).items()):
    if not path.startswith('params/head/'):
      digest.update(path.encode() + np.asarray(leaf).tobytes())
  return digest.hexdigest()


def of_images(sets: Mapping[str, Any]) -> str:
  """SHA-256 of sets: names, labels in their order, pixels that are in memory.

  What is read from disk while it runs counts by its labels alone.
  """
  digest = hashlib.sha256()
  for name, examples in sorted(sets.items()):
    digest.update(f'{name} {len(examples)} '.encode())
    digest.update(np.ascontiguousarray(examples.labels, np.int32))
    images = getattr(examples, 'images', None)
    if isinstance(images, np.ndarray):
      digest.update(np.ascontiguousarray(images))
  return digest.hexdigest()

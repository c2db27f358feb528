"""The shapes of every architecture's leaves, from a table that ships.

  shapes.of('resnet50')['params/conv1/kernel']   # (7, 7, 3, 64)

Tracing one model takes up to a second, all of them ten: too long for saying
what a wrong file is. A test compares the table with the models; after a change
of a model it is written anew by

  python -m daft_jax.pretrained.shapes
"""

import functools
import gzip
import json
import pathlib

from daft_jax import models, results, trees

TABLE = pathlib.Path(__file__).parent / 'shapes.json.gz'

Shapes = dict[str, tuple[int, ...]]


@functools.cache
def of(architecture: str) -> Shapes:
  """{path: shape} of an architecture's leaves, with one class.

  Raises:
    ValueError: no such architecture.
  """
  found = _table().get(architecture)
  return trace(architecture) if found is None else found


def trace(architecture: str) -> Shapes:
  """The same, from the model."""
  from daft_jax.pretrained import identify  # which asks this module

  model = models.create_model(architecture, num_classes=1)
  leaves = trees.flatten(identify.abstract_variables(model))
  return {path: leaf.shape for path, leaf in leaves.items()}


@functools.cache
def _table() -> dict[str, Shapes]:
  if not TABLE.is_file():  # While it is being made.
    return {}
  read = json.loads(gzip.decompress(TABLE.read_bytes()))
  return {
    architecture: {path: tuple(shape) for path, shape in shapes.items()}
    for architecture, shapes in read.items()
  }


def write() -> None:
  """Traces all models and writes the table."""
  table = {name: trace(name) for name in models.list_models()}
  # Without the time, so that the same table is the same file.
  packed = gzip.compress(json.dumps(table).encode(), mtime=0)
  results.atomic_write(TABLE, packed)


if __name__ == '__main__':
  write()

"""Which architecture a file is of, told by names and shapes alone.

found = identify.identify(files.read('resnet50-0676ba61.pth').arrays)
found.architecture, found.match.head           # 'resnet50', 1000
"""

import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from daft_jax import models
from daft_jax.pretrained import matching, rules, shapes


class Identity(NamedTuple):
  """The architecture that fits a file best.

  Attributes:
    architecture: one of `models.list_models()`.
    match: how the file fits it, the head left out of account.
    share: tensors in common / tensors in either, in [0, 1].
  """

  architecture: str
  match: matching.Match
  share: float


def identify(arrays: Mapping[str, np.ndarray]) -> Identity | None:
  """Compares a file with every architecture; None if none has much in common.

  Args:
    arrays: as `files.read` returns them.

  Raises:
    matching.Ambiguous: the file holds several networks of one kind.
  """
  found: list[Identity] = []
  for family, layouts in rules.LAYOUTS.items():
    for architecture in models.list_models(family):
      tried = _compare(architecture, arrays, layouts)
      if tried is None:  # Not even the names: nor will those of its siblings.
        break
      found.append(tried)
      if tried.share == 1:
        return tried
  best = max(found, key=lambda identity: identity.share, default=None)
  return best if best is not None and best.share >= 0.5 else None


def abstract_variables(model: Any) -> Any:
  """The structure of a model's variables, with shapes for leaves."""
  try:
    return _abstract(model)
  except TypeError:  # A field of the model is not hashable.
    return _abstract.__wrapped__(model)


@functools.lru_cache(maxsize=64)
def _abstract(model: Any) -> Any:
  # The sizes of parameters do not depend on that of the images.
  images = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)
  return jax.eval_shape(model.init, jax.random.key(0), images)


def _compare(
  architecture: str,
  arrays: Mapping[str, np.ndarray],
  layouts: tuple[rules.Layout, ...],
) -> Identity | None:
  wanted = shapes.of(architecture)
  match = matching.match(arrays, wanted, layouts)
  body = [path for path in wanted if not path.startswith(rules.HEAD)]
  same = sum(path in match.leaves for path in body)
  if not same and not match.misshapen:
    return None
  extra = [x for x in match.extra if not x.startswith(('fc.', 'classifier.'))]
  return Identity(architecture, match, same / (len(body) + len(extra)))

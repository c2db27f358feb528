"""Models by name: every one returns logits and a dict of features.

  from daft_jax import models

  model = models.create_model('resnet14_cifar', num_classes=10)
  variables = models.init_variables(model, image_size=24, seed=0)

A family is one file with a table `MODELS` (name -> constructor that takes
`num_classes`, `dtype` and `remat`) and one entry of `FAMILIES` below.
"""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from daft_jax import names
from daft_jax.models import clip_resnet, efficientnet, mobilenet, resnet

PyTree = Any

FAMILIES = (resnet, clip_resnet, mobilenet, efficientnet)
DTYPES = ('float32', 'bfloat16')
REMATS = ('none', 'stages')

_MODELS = {
  name: build for family in FAMILIES for name, build in family.MODELS.items()
}
_FAMILY = {name: family for family in FAMILIES for name in family.MODELS}


def create_model(
  name: str, num_classes: int, *, dtype: str = 'float32', remat: str = 'none'
) -> nn.Module:
  """Builds a model: `logits, features = model.apply(variables, images)`.

  Args:
    name: one of `list_models()`.
    num_classes: outputs of the head, `params/head/{kernel,bias}`.
    dtype: of the computation, 'float32' or 'bfloat16'. Parameters, statistics,
      logits and features['pre_logits'] are float32 in both.
    remat: 'stages' keeps of each stage only its input for the gradient, and
      computes the stage once more: less memory, a third more time. Parameters
      and results are those of 'none'.

  Returns:
    A hashable linen module; equal arguments give equal modules, so a jitted
    function with the model as a static argument compiles once.

  Raises:
    ValueError: no such model, dtype or remat, or no classes.

  Example:
    >>> create_model('resnet20_cifar', num_classes=10).stage_sizes
    (3, 3, 3)
  """
  names.check(name, _MODELS, 'model')
  if dtype not in DTYPES:
    raise ValueError(f'dtype is {dtype!r}: say one of {", ".join(DTYPES)}')
  if remat not in REMATS:
    raise ValueError(f'remat is {remat!r}: say one of {", ".join(REMATS)}')
  if num_classes < 1:
    raise ValueError(f'num_classes is {num_classes}: a model needs 1 or more')
  return _MODELS[name](num_classes=num_classes, dtype=dtype, remat=remat)


def list_models(family: str | None = None) -> list[str]:
  """Names for `create_model`, family by family, small to large.

  Args:
    family: only those of this one, a name that `family` returns.

  Example:
    >>> list_models('resnet')[:3]
    ['resnet18', 'resnet34', 'resnet50']
  """
  return [
    name for name in _MODELS if family is None or _name(_FAMILY[name]) == family
  ]


def family(name: str) -> str:
  """The family of a model, by the name of its file.

  Raises:
    ValueError: no such model.

  Example:
    >>> family('resnet20_cifar')
    'resnet'
  """
  return _name(_FAMILY[names.check(name, _MODELS, 'model')])


def _name(family: Any) -> str:
  return family.__name__.rpartition('.')[2]


def init_variables(model: nn.Module, image_size: int, seed: int) -> PyTree:
  """Random variables, {'params': ..., 'batch_stats': ...}, float32 leaves.

  Args:
    model: from `create_model`, or any linen module that takes [B, H, W, 3].
    image_size: height and width of the images it will see.
    seed: equal seeds give equal variables.
  """
  return _init(model, image_size, jax.random.key(seed))


@functools.partial(jax.jit, static_argnums=(0, 1))
def _init(model: nn.Module, image_size: int, rng: jax.Array) -> PyTree:
  # Compiled: the layers' outputs are never used, so only the draws remain.
  return model.init(rng, jnp.zeros((1, image_size, image_size, 3)))

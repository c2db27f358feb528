"""MobileNetV2 of width 1.0, as torchvision computes it.

  import jax.numpy as jnp
  from daft_jax import models

  model = models.create_model('mobilenet_v2', num_classes=10)
  variables = models.init_variables(model, image_size=64, seed=0)
  images = jnp.zeros((2, 64, 64, 3))
  logits, features = model.apply(variables, images, train=False)

Padding is symmetric, BatchNorm has epsilon 1e-5 and keep rate 0.9. torchvision
drops out a fifth of 'pre_logits' in train mode; this network drops nothing, so
that train mode is the same function here as there with `Dropout(p=0)`.

Source: Sandler et al., arXiv 1801.04381, table 2; parameters are named as
`daft_jax.models.inverted` says.
"""

import functools
from collections.abc import Callable, Mapping

import flax.linen as nn

from daft_jax.models import inverted

# blocks, expansion, kernel, stride, width
_STAGES = tuple(
  inverted.Stage(*row)
  for row in (
    (1, 1, 3, 1, 16),
    (2, 6, 3, 2, 24),
    (3, 6, 3, 2, 32),
    (4, 6, 3, 2, 64),
    (3, 6, 3, 1, 96),
    (3, 6, 3, 2, 160),
    (1, 6, 3, 1, 320),
  )
)

MODELS: Mapping[str, Callable[..., nn.Module]] = {
  'mobilenet_v2': functools.partial(inverted.InvertedNet, stages=_STAGES),
}

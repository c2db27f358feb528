"""EfficientNet-Lite 0, 1 and 2: no squeeze-and-excitation, ReLU6.

  import jax.numpy as jnp
  from daft_jax import models

  model = models.create_model('efficientnet_lite0', num_classes=10)
  variables = models.init_variables(model, image_size=64, seed=0)
  images = jnp.zeros((2, 64, 64, 3))
  logits, features = model.apply(variables, images, train=False)

Published for images of 224, 240 and 260 pixels. As in TensorFlow, where the
weights come from: 'SAME' padding (at stride 2 it depends on the image's size,
and one side may get more), BatchNorm with epsilon 1e-3. Its keep rate is 0.9 as
in all models here (and in timm), not the recipe's 0.99: that is for training
from nothing, and in a short fine-tuning the statistics of evaluation would lag
behind what training sees. The recipe's dropout before the classifier and its
drop-connect (whole blocks skipped at random) are left out of train mode.

Sources: Tan and Le, arXiv 1905.11946; the Lite variants of TensorFlow's
`efficientnet/lite`. Parameters are named as `daft_jax.models.inverted` says.
"""

import functools
import math
from collections.abc import Callable, Mapping

import flax.linen as nn

from daft_jax.models import inverted

# Lite0: blocks, expansion, kernel, stride, width
_STAGES = tuple(
  inverted.Stage(*row)
  for row in (
    (1, 1, 3, 1, 16),
    (2, 6, 3, 2, 24),
    (2, 6, 5, 2, 40),
    (3, 6, 3, 2, 80),
    (3, 6, 5, 1, 112),
    (4, 6, 5, 2, 192),
    (1, 6, 3, 1, 320),
  )
)


def scaled_stages(width: float, depth: float) -> tuple[inverted.Stage, ...]:
  """The stages of Lite0 with more channels and blocks.

  Channels are rounded to the nearest multiple of 8, upwards if that loses more
  than a tenth; blocks are rounded upwards. Lite variants keep the blocks of
  the first and the last stage (and 32 and 1280 channels in stem and head).

  Args:
    width: multiplies channels.
    depth: multiplies blocks.

  Example:
    >>> [stage.width for stage in scaled_stages(1.1, 1.2)]
    [16, 24, 48, 88, 120, 208, 352]
    >>> [stage.blocks for stage in scaled_stages(1.1, 1.2)]
    [1, 3, 3, 4, 4, 5, 1]
  """
  stages = [
    stage._replace(
      blocks=math.ceil(depth * stage.blocks), width=_round(width * stage.width)
    )
    for stage in _STAGES
  ]
  for i in (0, -1):
    stages[i] = stages[i]._replace(blocks=_STAGES[i].blocks)
  return tuple(stages)


def _round(channels: float) -> int:
  nearest = max(8, int(channels + 4) // 8 * 8)
  return nearest if nearest >= 0.9 * channels else nearest + 8


def _lite(width: float, depth: float) -> Callable[..., nn.Module]:
  return functools.partial(
    inverted.InvertedNet,
    stages=scaled_stages(width, depth),
    padding='SAME',
    epsilon=1e-3,
  )


MODELS: Mapping[str, Callable[..., nn.Module]] = {
  'efficientnet_lite0': _lite(1.0, 1.0),
  'efficientnet_lite1': _lite(1.0, 1.1),
  'efficientnet_lite2': _lite(1.1, 1.2),
}

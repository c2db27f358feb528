"""Networks of inverted residual blocks: MobileNetV2, EfficientNet-Lite.

They differ in a table of stages, in padding and in BatchNorm. Written out:

  import jax
  import jax.numpy as jnp
  from daft_jax.models import inverted

  stages = (inverted.Stage(1, 1, 3, 1, 16), inverted.Stage(2, 6, 3, 2, 24))
  model = inverted.InvertedNet(num_classes=10, stages=stages)
  images = jnp.zeros((2, 64, 64, 3))
  variables = model.init(jax.random.key(0), images)
  logits, features = model.apply(variables, images, train=False)

Parameters are named conv_stem, bn_stem, block0/depthwise_conv,
block0/depthwise_bn, block0/project_conv, block0/project_bn,
block1/expand_conv, ..., conv_head, bn_head, head. Blocks are numbered through
the network, as in most published files; features are by stage.

Source: Sandler et al., arXiv 1801.04381.
"""

import functools
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from daft_jax.models import layers


class Stage(NamedTuple):
  """Consecutive blocks of one width.

  Attributes:
    blocks: how many.
    expansion: channels inside a block, as a multiple of those it is given.
    size: of the depthwise kernels, in pixels.
    stride: of the first block; the others have 1.
    width: channels that each block returns.
  """

  blocks: int
  expansion: int
  size: int
  stride: int
  width: int


class Block(nn.Module):
  """1x1 expansion, depthwise convolution, 1x1 projection; BatchNorm, ReLU6.

  The projection has no activation. The input is added where the shape stays.
  Without an expansion (1) the block has no first convolution.

  Attributes:
    expansion, size, stride, width: see `Stage`.
    padding: of the depthwise convolution, see `layers.conv`.
    epsilon: of BatchNorm.
    dtype: dtype of the computation.
  """

  expansion: int
  size: int
  stride: int
  width: int
  padding: str | None
  epsilon: float
  dtype: str

  @nn.compact
  def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
    """[B, H, W, in] -> [B, ceil(H / stride), ceil(W / stride), width]."""
    wide = self.expansion * x.shape[-1]
    y = x
    if self.expansion != 1:
      y = layers.conv(wide, 1, dtype=self.dtype, name='expand_conv')(y)
      y = nn.relu6(self._norm(train, 'expand_bn')(y))
    y = layers.conv(
      wide,
      self.size,
      self.stride,
      groups=wide,
      padding=self.padding,
      dtype=self.dtype,
      name='depthwise_conv',
    )(y)
    y = nn.relu6(self._norm(train, 'depthwise_bn')(y))
    y = layers.conv(self.width, 1, dtype=self.dtype, name='project_conv')(y)
    y = self._norm(train, 'project_bn')(y)
    return x + y if x.shape == y.shape else y

  def _norm(self, train: bool, name: str) -> nn.BatchNorm:
    return layers.batch_norm(
      train,
      dtype=self.dtype,
      name=name,
      epsilon=self.epsilon,
    )


class InvertedNet(nn.Module):
  """A network of inverted residual blocks that returns logits and features.

  No dropout and no drop-connect in either mode: published recipes have both
  when they train.

  Attributes:
    num_classes: outputs of the head.
    stages: the blocks between stem and head.
    stem_width: channels of the stem, a 3x3 convolution of stride 2.
    head_width: channels of the last 1x1 convolution, D of 'pre_logits'.
    padding: of convolutions wider than one pixel, see `layers.conv`.
    epsilon: of every BatchNorm.
    dtype: dtype of the computation; parameters and statistics are float32.
    remat: 'none' or 'stages', see `layers.stages`.
  """

  num_classes: int
  stages: tuple[Stage, ...]
  stem_width: int = 32
  head_width: int = 1280
  padding: str | None = None
  epsilon: float = 1e-5
  dtype: str = 'float32'
  remat: str = 'none'

  @nn.compact
  def __call__(
    self, images: jax.Array, train: bool = False
  ) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Computes logits and features.

    Args:
      images: floating [B, H, W, 3], normalised as the weights want it.
      train: BatchNorm normalises by the batch and updates its running
        statistics (apply with `mutable=['batch_stats']`).

    Returns:
      Logits, float32 [B, num_classes], and features: 'stem', 'stage1', ... in
      `dtype` [B, h, w, c], and 'pre_logits', float32 [B, head_width], the
      global mean of the last convolution's output.

    Raises:
      ValueError: images of another shape, or integers.
    """
    layers.check_images(images)
    stage = functools.partial(InvertedNet._stage, train=train)
    features = layers.stages(self, images, len(self.stages), stage)
    *_, x = features.values()
    x = self._conv_norm(x, train, self.head_width, 'head')
    # Half precision ends here: at least float32 from the mean on.
    wide = jnp.promote_types(self.dtype, jnp.float32)
    x = features['pre_logits'] = x.astype(wide).mean((1, 2))
    logits = layers.head(self.head_width, self.num_classes, dtype=wide)(x)
    return logits, features

  def _stage(self, x: jax.Array, number: int, train: bool) -> jax.Array:
    """The stem (0) or a stage of blocks."""
    if not number:
      return self._conv_norm(x, train, self.stem_width, 'stem')
    row = self.stages[number - 1]
    before = sum(each.blocks for each in self.stages[: number - 1])
    for i in range(row.blocks):
      x = Block(
        expansion=row.expansion,
        size=row.size,
        stride=1 if i else row.stride,
        width=row.width,
        padding=self.padding,
        epsilon=self.epsilon,
        dtype=self.dtype,
        name=f'block{before + i}',
      )(x, train)
    return x

  def _conv_norm(
    self, x: jax.Array, train: bool, width: int, name: str
  ) -> jax.Array:
    """The first convolution (3x3, stride 2) or the last (1x1), BatchNorm."""
    size, stride = (3, 2) if name == 'stem' else (1, 1)
    x = layers.conv(
      width,
      size,
      stride,
      padding=self.padding,
      dtype=self.dtype,
      name=f'conv_{name}',
    )(x)
    x = layers.batch_norm(
      train,
      dtype=self.dtype,
      name=f'bn_{name}',
      epsilon=self.epsilon,
    )(x)
    return nn.relu6(x)

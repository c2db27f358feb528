"""ResNet: the ImageNet family (v1.5, as torchvision) and the CIFAR family.

  import jax.numpy as jnp
  from daft_jax import models

  model = models.create_model('resnet18', num_classes=10)
  variables = models.init_variables(model, image_size=64, seed=0)
  images = jnp.zeros((2, 64, 64, 3))
  logits, features = model.apply(variables, images, train=False)

Parameters are named conv1, bn1, layer1_0/conv1, layer1_0/bn1, ...,
layer2_0/downsample_conv, layer2_0/downsample_bn, ..., head: those of
torchvision with its `layer2.0.downsample.0` spelt out and `fc` called `head`.

Sources: He et al., arXiv 1512.03385; v1.5 (the stride of a bottleneck on its
3x3 convolution) as in torchvision; CIFAR networks of 6n + 2 layers with
parameter-free shortcuts (option A) as in section 4.2 of the paper. Wide
ResNet: Zagoruyko and Komodakis, arXiv 1605.07146. ResNeXt: Xie et al., arXiv
1611.05431.
"""

import functools
from collections.abc import Callable, Mapping

import flax.linen as nn
import jax
import jax.numpy as jnp

from daft_jax.models import layers


class Block(nn.Module):
  """A residual block: two 3x3 convolutions, or 1x1, 3x3, 1x1 (bottleneck).

  Attributes:
    width: channels of a basic block; a bottleneck returns 4 x as many.
    stride: of the first 3x3 convolution and of the shortcut.
    bottleneck: which of the two.
    shortcut: where the shape changes, 'projection' (1x1 convolution and
      BatchNorm) or 'pad' (option A: subsampled, zero channels on both sides).
    dtype: dtype of the computation.
    inner: channels of a bottleneck's 3x3 convolution; 0: `width`.
    groups: of the same convolution.
  """

  width: int
  stride: int
  bottleneck: bool
  shortcut: str
  dtype: str
  inner: int = 0
  groups: int = 1

  @nn.compact
  def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
    """[B, H, W, in] -> [B, ceil(H / stride), ceil(W / stride), out]."""
    if self.bottleneck:
      inner = self.inner or self.width
      shapes = [(1, 1, inner), (3, self.stride, inner)]
      shapes += [(1, 1, 4 * self.width)]
    else:
      shapes = [(3, self.stride, self.width), (3, 1, self.width)]
    y = x
    for i, (size, stride, features) in enumerate(shapes, start=1):
      y = nn.relu(y) if i > 1 else y
      y = layers.conv(
        features,
        size,
        stride,
        groups=self.groups if size == 3 else 1,
        dtype=self.dtype,
        name=f'conv{i}',
      )(y)
      y = layers.batch_norm(train, dtype=self.dtype, name=f'bn{i}')(y)
    return nn.relu(y + self._shortcut(x, y.shape[-1], train))

  def _shortcut(self, x: jax.Array, features: int, train: bool) -> jax.Array:
    if self.stride == 1 and x.shape[-1] == features:
      return x
    if self.shortcut == 'projection':
      x = layers.conv(
        features, 1, self.stride, dtype=self.dtype, name='downsample_conv'
      )(x)
      return layers.batch_norm(train, dtype=self.dtype, name='downsample_bn')(x)
    before = (features - x.shape[-1]) // 2
    after = features - x.shape[-1] - before
    x = x[:, :: self.stride, :: self.stride]
    return jnp.pad(x, ((0, 0), (0, 0), (0, 0), (before, after)))


class ResNet(nn.Module):
  """A residual network that returns logits and features.

  Attributes:
    num_classes: outputs of the head.
    stage_sizes: blocks per stage; each stage after the first halves the image
      and doubles the width.
    bottleneck: bottleneck blocks instead of basic ones.
    stem: 'imagenet' (7x7 convolution of stride 2, max pool) or 'cifar' (3x3).
    shortcut: 'projection' or 'pad', see `Block`.
    width: channels of the first stage.
    groups: of every 3x3 convolution in a bottleneck (ResNeXt).
    group_width: channels of each group in the first stage, for `width` 64.
    dtype: dtype of the computation; parameters and statistics are float32.
    remat: 'none' or 'stages', see `layers.stages`.
  """

  num_classes: int
  stage_sizes: tuple[int, ...]
  bottleneck: bool = False
  stem: str = 'imagenet'
  shortcut: str = 'projection'
  width: int = 64
  groups: int = 1
  group_width: int = 64
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
      `dtype` [B, h, w, c], and 'pre_logits', float32 [B, D], the global mean.

    Raises:
      ValueError: images of another shape, or integers.
    """
    layers.check_images(images)
    stage = functools.partial(ResNet._stage, train=train)
    features = layers.stages(self, images, len(self.stage_sizes), stage)
    *_, x = features.values()
    # Half precision ends here: at least float32 from the mean on.
    wide = jnp.promote_types(self.dtype, jnp.float32)
    x = features['pre_logits'] = x.astype(wide).mean((1, 2))
    logits = layers.head(x.shape[-1], self.num_classes, dtype=wide)(x)
    return logits, features

  def _stage(self, x: jax.Array, number: int, train: bool) -> jax.Array:
    """The stem (0) or a stage of blocks."""
    if not number:
      return self._stem(x, train)
    width = self.width * 2 ** (number - 1)
    for i in range(self.stage_sizes[number - 1]):
      x = Block(
        width=width,
        inner=width * self.group_width // 64 * self.groups,
        groups=self.groups,
        stride=2 if number > 1 and i == 0 else 1,
        bottleneck=self.bottleneck,
        shortcut=self.shortcut,
        dtype=self.dtype,
        name=f'layer{number}_{i}',
      )(x, train)
    return x

  def _stem(self, x: jax.Array, train: bool) -> jax.Array:
    size, stride = (7, 2) if self.stem == 'imagenet' else (3, 1)
    x = layers.conv(self.width, size, stride, dtype=self.dtype, name='conv1')(x)
    x = nn.relu(layers.batch_norm(train, dtype=self.dtype, name='bn1')(x))
    return layers.max_pool(x) if self.stem == 'imagenet' else x


def _imagenet(
  *stage_sizes: int, bottleneck: bool, **fields: int
) -> Callable[..., nn.Module]:
  return functools.partial(
    ResNet, stage_sizes=stage_sizes, bottleneck=bottleneck, **fields
  )


def _cifar(depth: int) -> Callable[..., nn.Module]:
  return functools.partial(
    ResNet,
    stage_sizes=((depth - 2) // 6,) * 3,
    stem='cifar',
    shortcut='pad',
    width=16,
  )


MODELS: Mapping[str, Callable[..., nn.Module]] = {
  'resnet18': _imagenet(2, 2, 2, 2, bottleneck=False),
  'resnet34': _imagenet(3, 4, 6, 3, bottleneck=False),
  'resnet50': _imagenet(3, 4, 6, 3, bottleneck=True),
  'resnet101': _imagenet(3, 4, 23, 3, bottleneck=True),
  'resnet152': _imagenet(3, 8, 36, 3, bottleneck=True),
  'wide_resnet50_2': _imagenet(3, 4, 6, 3, bottleneck=True, group_width=128),
  'resnext50_32x4d': _imagenet(
    3, 4, 6, 3, bottleneck=True, groups=32, group_width=4
  ),
  'resnet14_cifar': _cifar(14),
  'resnet20_cifar': _cifar(20),
  'resnet32_cifar': _cifar(32),
  'resnet44_cifar': _cifar(44),
  'resnet56_cifar': _cifar(56),
  'resnet110_cifar': _cifar(110),
}

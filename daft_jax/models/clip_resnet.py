"""CLIP's ResNets: the image encoders of OpenAI's RN50 and RN101.

  import jax.numpy as jnp
  from daft_jax import models

  model = models.create_model('clip_resnet50', num_classes=10)
  variables = models.init_variables(model, image_size=64, seed=0)
  images = jnp.zeros((2, 64, 64, 3))
  logits, features = model.apply(variables, images, train=False)
  embedding = features['pre_logits']  # [2, 1024], not normalised

Three things differ from `resnet.py`: a stem of three 3x3 convolutions with an
average pool, every stride after it an average pool in front of a 1x1
convolution, and attention in place of the global mean.

Parameters are named conv1, bn1, ..., bn3, layer1_0/conv1, layer1_0/bn1, ...,
layer1_0/downsample_conv, layer1_0/downsample_bn, ...,
attnpool/positional_embedding, attnpool/q_proj, ..., attnpool/c_proj, head. The
published files are the encoder: all but the head.

Sources: Radford et al., arXiv 2103.00020, section 2.4; He et al., arXiv
1812.01187, section 4 ('ResNet-D').
"""

import functools
from collections.abc import Callable, Mapping

import flax.linen as nn
import jax
import jax.numpy as jnp

from daft_jax.models import layers

SMALLEST = 31  # pixels a side that leave one position for the attention


def resize_positions(
  positions: jax.Array, side: int, grid: tuple[int, int]
) -> jax.Array:
  """Positional embeddings of a square grid, resized to another grid.

  Bicubic with antialiasing, as is usual for vision transformers; the row of
  the mean token is kept. The grid they were learnt on gives them unchanged.

  Args:
    positions: [1 + side * side, D], the mean token's first, then row by row.
    side: of the square grid.
    grid: rows and columns wanted.

  Returns:
    [1 + rows * columns, D], of the same dtype.

  Example:
    >>> resize_positions(jnp.ones((5, 8)), 2, (3, 4)).shape
    (13, 8)
  """
  if grid == (side, side):
    return positions
  depth = positions.shape[1]
  squares = positions[1:].reshape(side, side, depth)
  squares = jax.image.resize(squares, (*grid, depth), 'bicubic')
  return jnp.concatenate([positions[:1], squares.reshape(-1, depth)])


class Linear(nn.Module):
  """The kernel [in, out] and bias [out] of a linear map, unapplied.

  The kernel starts normal of deviation in^-0.5, the bias at zero.
  """

  in_features: int
  features: int

  @nn.compact
  def __call__(self) -> tuple[jax.Array, jax.Array]:
    normal = nn.initializers.normal(self.in_features**-0.5)
    shape = (self.in_features, self.features)
    kernel = self.param('kernel', normal, shape)
    return kernel, self.param('bias', nn.initializers.zeros, shape[1:])


class AttentionPool(nn.Module):
  """Multi-head attention whose only query is the mean over positions.

  With tokens t_0 (the mean), t_1, ... (the positions), each plus its positional
  embedding, and for each head

    a_i = softmax_i(q(t_0) . k(t_i) / sqrt(d)),  y = sum_i a_i v(t_i)

  the output is c(y of all heads). q, k, v, c are affine.

  Attributes:
    features: of the output.
    heads: number of heads; must divide the channels of the input.
    side: of the grid that the positional embedding is of.
    dtype: dtype of the computation. In half precision the means, the softmax
      and the output projection are float32 nevertheless.
  """

  features: int
  heads: int
  side: int
  dtype: str

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """[B, h, w, C] -> [B, features], float32 or wider."""
    depth = x.shape[-1]
    wide = jnp.promote_types(self.dtype, jnp.float32)
    tokens = self._tokens(x)
    # One query lets the kernels of k and v act on a vector a head instead of
    # on every token, in 1/25 of the products at 224 pixels. The bias of k adds
    # the same to each score of a head, which the softmax takes away: it has
    # no part in the output, and its gradient is zero.
    query, key, _, value, shift = (
      array.astype(self.dtype).reshape(*array.shape[:-1], self.heads, -1)
      for array in (
        self._query(tokens[:, 0]),
        *Linear(depth, depth, name='k_proj')(),
        *Linear(depth, depth, name='v_proj')(),
      )
    )
    query = jnp.einsum('bhd,chd->bhc', query, key)
    scores = jnp.einsum(
      'bhc,btc->bht', query, tokens, preferred_element_type=wide
    )
    weights = nn.softmax(scores * (depth // self.heads) ** -0.5)
    y = jnp.einsum('bht,btc->bhc', weights.astype(self.dtype), tokens)
    y = jnp.einsum('bhc,chd->bhd', y, value) + shift
    kernel, bias = Linear(depth, self.features, name='c_proj')()
    return y.reshape(len(y), depth).astype(wide) @ kernel + bias

  def _query(self, token: jax.Array) -> jax.Array:
    depth = token.shape[-1]
    kernel, bias = Linear(depth, depth, name='q_proj')()
    return token @ kernel.astype(self.dtype) + bias.astype(self.dtype)

  def _tokens(self, x: jax.Array) -> jax.Array:
    """[B, h, w, C] -> [B, 1 + h * w, C]: mean and positions, embedded."""
    batch, *grid, depth = x.shape
    positions = self.param(
      'positional_embedding',
      nn.initializers.normal(depth**-0.5),
      (1 + self.side**2, depth),
    )
    positions = resize_positions(positions, self.side, tuple(grid))
    x = x.reshape(batch, -1, depth)
    x = jnp.concatenate([x.mean(1, keepdims=True), x], axis=1)
    return x + positions.astype(self.dtype)


class Block(nn.Module):
  """A bottleneck of stride-1 convolutions and, for a stride, average pools.

  Attributes:
    width: channels of the 3x3 convolution; the block returns 4 x as many.
    stride: of the pools before the third convolution and in the shortcut.
    dtype: dtype of the computation.
  """

  width: int
  stride: int
  dtype: str

  @nn.compact
  def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
    """[B, H, W, in] -> [B, H // stride, W // stride, 4 * width]."""
    conv = functools.partial(layers.conv, dtype=self.dtype)
    norm = functools.partial(layers.batch_norm, train, dtype=self.dtype)
    out = 4 * self.width
    y = nn.relu(norm(name='bn1')(conv(self.width, 1, name='conv1')(x)))
    y = nn.relu(norm(name='bn2')(conv(self.width, 3, name='conv2')(y)))
    y = conv(out, 1, name='conv3')(layers.avg_pool(y, self.stride))
    y = norm(name='bn3')(y)
    if self.stride > 1 or x.shape[-1] != out:
      x = conv(out, 1, name='downsample_conv')(layers.avg_pool(x, self.stride))
      x = norm(name='downsample_bn')(x)
    return nn.relu(y + x)


class CLIPResNet(nn.Module):
  """The image encoder of CLIP and a linear head.

  Attributes:
    num_classes: outputs of the head.
    stage_sizes: blocks per stage; each of the four stages doubles the width,
      each after the first halves the image.
    width: channels of the stem and of the first stage's 3x3 convolutions; even.
    embed_dim: size of the embedding, features['pre_logits'].
    heads: of the attention pool; must divide 32 * width.
    image_size: of the images that the positional embedding is of, which has
      (image_size // 32)^2 + 1 rows; 32 or more. Images that give another grid
      are taken too: see `resize_positions`.
    dtype: dtype of the computation; parameters and statistics are float32, the
      embedding and what follows it too.
    remat: 'none' or 'stages', see `layers.stages`.
  """

  num_classes: int
  stage_sizes: tuple[int, ...]
  width: int = 64
  embed_dim: int = 1024
  heads: int = 32
  image_size: int = 224
  dtype: str = 'float32'
  remat: str = 'none'

  @nn.compact
  def __call__(
    self, images: jax.Array, train: bool = False
  ) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Computes logits and features.

    Args:
      images: floating [B, H, W, 3], normalised as the weights want it; H and W
        are 31 or more.
      train: BatchNorm normalises by the batch and updates its running
        statistics (apply with `mutable=['batch_stats']`).

    Returns:
      Logits, float32 [B, num_classes], and features: 'stem', 'stage1', ...,
      'stage4' in `dtype` [B, h, w, c], and 'pre_logits', float32
      [B, embed_dim], the output of the attention pool. CLIP divides it by its
      norm to compare it with text; here it is as it comes.

    Raises:
      ValueError: images of another shape, too small, or integers, or an
        `image_size` below 32.
    """
    layers.check_images(images)
    self._check_sizes(images)
    stage = functools.partial(CLIPResNet._stage, train=train)
    features = layers.stages(self, images, len(self.stage_sizes), stage)
    *_, x = features.values()
    x = features['pre_logits'] = AttentionPool(
      features=self.embed_dim,
      heads=self.heads,
      side=self.image_size // 32,
      dtype=self.dtype,
      name='attnpool',
    )(x)
    logits = layers.head(x.shape[-1], self.num_classes, dtype=x.dtype)(x)
    return logits, features

  def _stage(self, x: jax.Array, number: int, train: bool) -> jax.Array:
    """The stem (0) or a stage of blocks."""
    if not number:
      return self._stem(x, train)
    for i in range(self.stage_sizes[number - 1]):
      x = Block(
        width=self.width * 2 ** (number - 1),
        stride=2 if number > 1 and i == 0 else 1,
        dtype=self.dtype,
        name=f'layer{number}_{i}',
      )(x, train)
    return x

  def _stem(self, x: jax.Array, train: bool) -> jax.Array:
    """[B, H, W, 3] -> [B, (H + 1) // 4, (W + 1) // 4, width]."""
    shapes = ((self.width // 2, 2), (self.width // 2, 1), (self.width, 1))
    for i, (features, stride) in enumerate(shapes, start=1):
      x = layers.conv(features, 3, stride, dtype=self.dtype, name=f'conv{i}')(x)
      x = layers.batch_norm(train, dtype=self.dtype, name=f'bn{i}')(x)
      x = nn.relu(x)
    return layers.avg_pool(x, 2)

  def _check_sizes(self, images: jax.Array) -> None:
    if min(images.shape[1:3]) < SMALLEST:
      raise ValueError(
        f'images are {images.shape[1]} x {images.shape[2]} pixels, but five '
        f'halvings need {SMALLEST} or more on each side: resize them, best to '
        f'the {self.image_size} of the positional embedding'
      )
    if self.image_size < 32:
      raise ValueError(
        f'image_size is {self.image_size}: the positional embedding needs 32 '
        'or more'
      )


MODELS: Mapping[str, Callable[..., nn.Module]] = {
  'clip_resnet50': functools.partial(
    CLIPResNet, stage_sizes=(3, 4, 6, 3), embed_dim=1024
  ),
  'clip_resnet101': functools.partial(
    CLIPResNet, stage_sizes=(3, 4, 23, 3), embed_dim=512
  ),
}

"""Layers that the model families share: convolution, BatchNorm, max pool, head.

All follow PyTorch: explicit symmetric padding (linen's 'SAME' pads otherwise
for stride 2), BatchNorm with keep rate 0.9, max pool padded by -inf. Where XLA
is slow the same function is written so that it is fast.

  import jax.numpy as jnp
  from daft_jax.models import layers

  pooled = layers.max_pool(jnp.ones((1, 8, 8, 3)))  # [1, 4, 4, 3]

Inside a linen module:

  x = layers.conv(64, 7, 2, dtype=dtype, name='conv1')(x)
  x = layers.batch_norm(train, dtype=dtype, name='bn1')(x)
"""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from daft_jax.models import depthwise


def kaiming_normal(
  key: jax.Array, shape: Sequence[int], dtype: Any = jnp.float32
) -> jax.Array:
  """Normal of variance 2 / (kernel area * output channels), not truncated.

  torchvision's `kaiming_normal_(mode='fan_out', nonlinearity='relu')`, for a
  kernel [height, width, in, out].
  """
  deviation = (2 / math.prod((*shape[:2], shape[3]))) ** 0.5
  # The bits are those of a draw of `shape`, but XLA's CPU compiler takes up to
  # 3 s for one small array of four axes, and 0.2 s for the same numbers flat.
  flat = jax.random.normal(key, (math.prod(shape),), dtype)
  return deviation * flat.reshape(shape)


def conv(
  features: int,
  size: int,
  stride: int = 1,
  *,
  groups: int = 1,
  padding: str | None = None,
  dtype: Any,
  name: str,
) -> nn.Conv:
  """A convolution without bias, padded by `size // 2` on every side.

  The kernel is float32 [size, size, in / groups, features]; it computes in
  `dtype`. With padding='SAME' it is padded as TensorFlow does.
  """
  return nn.Conv(
    features,
    (size, size),
    strides=(stride, stride),
    padding=padding or ((size // 2, size // 2),) * 2,
    feature_group_count=groups,
    use_bias=False,
    dtype=dtype,
    kernel_init=kaiming_normal,
    conv_general_dilated=conv_or_dot,
    name=name,
  )


def batch_norm(
  train: bool,
  *,
  dtype: Any,
  name: str,
  epsilon: float = 1e-5,
) -> nn.BatchNorm:
  """BatchNorm as in torchvision: epsilon 1e-5, keep rate 0.9 (torch: 0.1).

  Parameters and statistics are float32 whatever `dtype` is. The running
  variance takes the biased variance of a batch (PyTorch: the unbiased one).
  """
  return nn.BatchNorm(
    use_running_average=not train,
    momentum=0.9,
    epsilon=epsilon,
    dtype=dtype,
    # E[x^2] - E[x]^2 cancels where |mean| is far above the deviation.
    use_fast_variance=False,
    name=name,
  )


def head(in_features: int, num_classes: int, *, dtype: Any) -> nn.Dense:
  """The linear classifier, named 'head', initialised as `torch.nn.Linear`.

  Kernel [in_features, num_classes] and bias [num_classes] are float32 and
  uniform in +-1 / sqrt(in_features).
  """
  bound = in_features**-0.5

  def uniform(key: jax.Array, shape: Sequence[int], dtype: Any) -> jax.Array:
    # Flat: see `kaiming_normal`.
    flat = jax.random.uniform(key, (math.prod(shape),), dtype, -bound, bound)
    return flat.reshape(shape)

  return nn.Dense(
    num_classes,
    dtype=dtype,
    kernel_init=uniform,
    bias_init=uniform,
    name='head',
  )


def check_images(images: jax.Array) -> None:
  """Raises ValueError unless images are floating [B, H, W, 3]."""
  if images.ndim != 4 or images.shape[-1] != 3:
    raise ValueError(
      f'images have shape {tuple(images.shape)}, but a model takes '
      '[B, H, W, 3]. Add the batch axis (images[None]), put channels last, or '
      'repeat the channel of grey images three times.'
    )
  if not jnp.issubdtype(images.dtype, jnp.floating):
    raise ValueError(
      f'images are {images.dtype}, but a model takes normalised floats: apply '
      "the weights' preprocessing ((image / 255 - mean) / std) first."
    )


def stages(
  module: nn.Module,
  images: jax.Array,
  count: int,
  stage: Callable[..., jax.Array],
) -> dict[str, jax.Array]:
  """What the stem and each stage of a model return: 'stem', 'stage1', ...

  The field `remat` of the model says what is kept for the gradient: 'none', all
  that it needs; 'stages', of each only its input, and it is computed once more
  where the gradient is. Names of submodules are the same.

  Args:
    module: the model; `stage(module, x, number)` is its stem (0) or a stage.
    images: [B, H, W, 3].
    count: stages, without the stem.
  """
  x, features = images, {}
  for number in range(count + 1):
    part = functools.partial(stage, number=number)
    x = (nn.remat(part) if module.remat == 'stages' else part)(module, x)
    features[f'stage{number}' if number else 'stem'] = x
  return features


def conv_or_dot(
  x: jax.Array,
  kernel: jax.Array,
  window_strides: Sequence[int],
  padding: str | Sequence[tuple[int, int]],
  **kwargs: Any,
) -> jax.Array:
  """`lax.conv_general_dilated`; on CPU, 1x1 and depthwise ones are rewritten.

  XLA's CPU convolution has a slow gradient for kernels of one pixel: as a
  matrix product, the gradient of a bottleneck block takes 0.35 to 0.65 of the
  time, a training step of ResNet-50 at 112 pixels 0.69. Depthwise ones are
  slow in both directions: see `depthwise.convolve`.
  The kernel keeps its shape [height, width, in / groups, out].
  """

  def convolve(x: jax.Array, kernel: jax.Array) -> jax.Array:
    return lax.conv_general_dilated(
      x, kernel, window_strides, padding, **kwargs
    )

  def multiply(x: jax.Array, kernel: jax.Array) -> jax.Array:
    rows, columns = window_strides
    return lax.dot_general(
      x[:, ::rows, ::columns],
      kernel[0, 0],
      (((3,), (0,)), ((), ())),
      precision=kwargs.get('precision'),
    )

  def shift(x: jax.Array, kernel: jax.Array) -> jax.Array:
    return depthwise.convolve(x, kernel, tuple(window_strides), sides)

  dilations = kwargs.get('lhs_dilation'), kwargs.get('rhs_dilation')
  if kernel.ndim != 4 or any(step != 1 for d in dilations for step in d or ()):
    return convolve(x, kernel)
  if isinstance(padding, str):
    padding = lax.padtype_to_pads(
      x.shape[1:3], kernel.shape[:2], window_strides, padding
    )
  sides = tuple((int(before), int(after)) for before, after in padding)
  groups = kwargs.get('feature_group_count', 1)
  if kernel.shape[:2] == (1, 1) and groups == 1 and not any(sum(sides, ())):
    return lax.platform_dependent(x, kernel, cpu=multiply, default=convolve)
  if kernel.shape[2:] == (1, groups) and groups > 1:
    return lax.platform_dependent(x, kernel, cpu=shift, default=convolve)
  return convolve(x, kernel)


def avg_pool(x: jax.Array, size: int) -> jax.Array:
  """Means of disjoint squares: [B, H, W, C] -> [B, H // size, W // size, C].

  Rows and columns that do not fill a square are left out, as in
  `torch.nn.AvgPool2d(size)`. Half precision is rounded once, and on CPU its
  gradient takes a tenth of that of `nn.avg_pool`.

  Example:
    >>> avg_pool(jnp.arange(6.0).reshape(1, 2, 3, 1), 2).tolist()
    [[[[2.0]]]]
  """
  if size == 1:
    return x
  batch, height, width, channels = x.shape
  rows, columns = height // size, width // size
  x = x[:, : rows * size, : columns * size]
  return x.reshape(batch, rows, size, columns, size, channels).mean((2, 4))


@jax.custom_jvp
def max_pool(x: jax.Array) -> jax.Array:
  """Max pool 3x3, stride 2, padded by 1: [B, H, W, C] -> [B, H', W', C].

  H' = (H - 1) // 2 + 1. The padding is -inf and the gradient goes to the first
  maximum of a window in row-major order, as in PyTorch and `nn.max_pool`.

  XLA differentiates a max pool by select-and-scatter, which on CPU takes 3 to
  5 times as long as the nine masks used here, and on GPU adds in an order that
  changes from run to run.
  """
  return nn.max_pool(x, (3, 3), (2, 2), ((1, 1), (1, 1)))


@max_pool.defjvp
def _max_pool_jvp(
  primals: tuple[jax.Array], tangents: tuple[jax.Array]
) -> tuple[jax.Array, jax.Array]:
  (x,), (dx,) = primals, tangents
  y = max_pool(x)
  free = jnp.ones(y.shape, bool)  # windows whose maximum is not yet found
  terms = []
  for value, tangent in zip(_taps(x, -jnp.inf), _taps(dx, 0), strict=True):
    first = free & (value == y)
    free = free & ~first
    terms.append(jnp.where(first, tangent, 0))
  return y, functools.reduce(jnp.add, terms)


def _taps(x: jax.Array, fill: float) -> list[jax.Array]:
  """The nine pixels of every pooling window, each as [B, H', W', C]."""
  x = jnp.pad(
    x,
    ((0, 0), (1, 1), (1, 1), (0, 0)),
    constant_values=jnp.array(fill, x.dtype),
  )
  # Index of the last window's first pixel, plus one.
  height, width = ((size - 3) // 2 * 2 + 1 for size in x.shape[1:3])
  return [
    x[:, row : row + height : 2, column : column + width : 2]
    for row in range(3)
    for column in range(3)
  ]

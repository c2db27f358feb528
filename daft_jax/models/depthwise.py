"""Depthwise convolution for CPU, as a sum of shifted images.

  import jax.numpy as jnp
  from daft_jax.models import depthwise

  x, kernel = jnp.ones((1, 8, 8, 4)), jnp.ones((3, 3, 1, 4))
  depthwise.convolve(x, kernel, (2, 2), ((1, 1), (1, 1)))  # [1, 4, 4, 4]

`layers.conv` uses it: only where it runs on a CPU.
"""

import functools
import operator

import jax
import jax.numpy as jnp
from jax import lax

Pair = tuple[int, int]


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def convolve(
  x: jax.Array, kernel: jax.Array, strides: Pair, padding: tuple[Pair, Pair]
) -> jax.Array:
  """Filters every channel by itself: [B, H, W, C] -> [B, H', W', C].

    y[:, i, j] = sum_ab kernel[a, b, 0] * padded[:, rows i + a, columns j + b]

  It equals `lax.conv_general_dilated` with C groups, which XLA's CPU backend
  runs and differentiates slowly: on two cores that takes 5 to 20 times as long
  forward and 3 to 10 times as long with both gradients, at the shapes of
  EfficientNet-Lite and batches of 8 and 32. A training step of Lite0 (96
  pixels, batch 8) takes 7.5 times as long, one of MobileNetV2 3.9 times.

  The gradient is written out because XLA would make one reduction of each
  pixel of the kernel. It has reverse mode only.

  Args:
    x: floating [B, H, W, C].
    kernel: [height, width, 1, C] of the same dtype.
    strides: of rows and of columns.
    padding: pixels of zeros before and after rows and columns.

  Returns:
    The dtype of x, summed in at least float32.
  """
  wide = jnp.promote_types(x.dtype, jnp.float32)
  taps = _taps(x, kernel.shape[:2], strides, padding)
  pixels = kernel.reshape(-1, kernel.shape[3]).astype(wide)
  y = functools.reduce(operator.add, map(operator.mul, taps, pixels))
  return y.astype(x.dtype)


def _forward(x, kernel, strides, padding):
  return convolve(x, kernel, strides, padding), (x, kernel)


def _backward(strides, padding, saved, dy):
  x, kernel = saved
  # To x: dy with its pixels as far apart as in x, by the kernel turned around.
  config = [(0, 0, 0)]
  for axis in (0, 1):
    size, step = kernel.shape[axis], strides[axis]
    before = size - 1 - padding[axis][0]
    spread = (dy.shape[1 + axis] - 1) * step + 1
    after = x.shape[1 + axis] + size - 1 - before - spread
    config.append((before, after, step - 1))
  spread = lax.pad(dy, jnp.zeros((), dy.dtype), (*config, (0, 0, 0)))
  turned = jnp.flip(kernel, (0, 1))
  dx = convolve(spread, turned, (1, 1), ((0, 0), (0, 0)))
  # To the kernel: all its pixels in one pass over x and dy.
  wide = jnp.promote_types(x.dtype, jnp.float32)
  taps = _taps(x, kernel.shape[:2], strides, padding)
  sums = lax.reduce(
    tuple(tap * dy.astype(wide) for tap in taps),
    (jnp.zeros((), wide),) * len(taps),
    lambda a, b: tuple(map(operator.add, a, b)),
    (0, 1, 2),
  )
  return dx, jnp.stack(sums).reshape(kernel.shape).astype(kernel.dtype)


convolve.defvjp(_forward, _backward)


def _taps(
  x: jax.Array, size: Pair, strides: Pair, padding: tuple[Pair, Pair]
) -> list[jax.Array]:
  """What each pixel of the kernel meets, as [B, H', W', C], row by row."""
  x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
  x = jnp.pad(x, ((0, 0), *padding, (0, 0)))
  # Where the last window starts, plus one.
  rows, columns = (n - k + 1 for n, k in zip(x.shape[1:3], size, strict=True))
  return [
    x[:, a : a + rows : strides[0], b : b + columns : strides[1]]
    for a in range(size[0])
    for b in range(size[1])
  ]

"""The layers that are written otherwise than linen's, against linen's."""

import functools

import flax.linen as nn
import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from daft_jax.models import layers

DIMENSIONS = ('NHWC', 'HWIO', 'NHWC')


def normal(*shape, seed=0):
  rng = np.random.default_rng(seed)
  return rng.normal(size=shape).astype(np.float32)


def linen_max_pool(x):
  return nn.max_pool(x, (3, 3), (2, 2), ((1, 1), (1, 1)))


@functools.partial(jax.jit, static_argnums=0)
def value_and_pullback(function, x, dy):
  y, pullback = jax.vjp(function, x)
  return y, pullback(dy)[0]


@pytest.mark.parametrize('stride', [1, 2])
@pytest.mark.parametrize('side', [6, 7])
def test_1x1_convolution_equals_lax(stride, side):
  x, kernel = normal(2, side, side, 5), normal(1, 1, 5, 4, seed=1)

  def loss(convolve, x, kernel):
    y = convolve(
      x,
      kernel,
      (stride, stride),
      ((0, 0), (0, 0)),
      dimension_numbers=DIMENSIONS,
    )
    return jnp.sum(jnp.sin(y)), y

  grad = functools.partial(jax.value_and_grad, argnums=(0, 1), has_aux=True)
  ours = grad(functools.partial(loss, layers.conv_or_dot))(x, kernel)
  plain = grad(functools.partial(loss, lax.conv_general_dilated))(x, kernel)
  assert ours[0][1].shape == (2, -(-side // stride), -(-side // stride), 4)
  jax.tree.map(
    functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-5),
    ours,
    plain,
  )


@pytest.mark.parametrize(
  ('platform', 'size', 'operation'),
  [
    ('cpu', 1, 'dot_general'),
    ('cpu', 3, 'convolution'),
    ('cuda', 1, 'convolution'),
    ('tpu', 1, 'convolution'),
  ],
)
def test_only_cpu_multiplies_and_only_1x1(platform, size, operation):
  conv = layers.conv(8, size, dtype=jnp.float32, name=None)
  x = jnp.ones((1, 6, 6, 4))
  variables = conv.init(jax.random.key(0), x)
  assert variables['params']['kernel'].shape == (size, size, 4, 8)
  exported = jax.export.export(jax.jit(conv.apply), platforms=[platform])
  text = exported(variables, x).mlir_module()
  found = {
    op for op in ('dot_general', 'convolution') if f'stablehlo.{op}' in text
  }
  assert found == {operation}


@pytest.mark.parametrize('shape', [(2, 8, 8, 3), (2, 9, 7, 3), (1, 1, 2, 1)])
@pytest.mark.parametrize('kind', ['distinct', 'ties', 'constant', 'negative'])
def test_max_pool_and_its_gradient_equal_linen(shape, kind):
  x = {
    'distinct': normal(*shape),
    'ties': np.round(np.maximum(normal(*shape), 0)),
    'constant': np.zeros(shape, np.float32),
    'negative': -1 - np.abs(normal(*shape)),  # padding must never win
  }[kind]
  dy = normal(shape[0], *((n + 1) // 2 for n in shape[1:3]), shape[3], seed=1)
  y, dx = value_and_pullback(layers.max_pool, x, dy)
  expected, expected_dx = value_and_pullback(linen_max_pool, x, dy)
  np.testing.assert_array_equal(y, expected)
  np.testing.assert_allclose(dx, expected_dx, rtol=1e-6, atol=1e-6)


def test_max_pool_gradient_goes_to_the_first_of_equals():
  """By NumPy alone, in row-major order of the window."""
  x = np.random.default_rng(0).integers(0, 3, (1, 7, 6, 1)).astype(np.float32)
  padded = np.pad(x[0, :, :, 0], ((1, 1), (1, 1)), constant_values=-np.inf)
  dy = normal(1, 4, 3, 1)
  expected = np.zeros(padded.shape)
  for i in range(4):
    for j in range(3):
      window = padded[2 * i : 2 * i + 3, 2 * j : 2 * j + 3]
      row, column = np.unravel_index(window.argmax(), (3, 3))
      expected[2 * i + row, 2 * j + column] += dy[0, i, j, 0]
  _, dx = value_and_pullback(layers.max_pool, x, dy)
  np.testing.assert_allclose(dx[0, :, :, 0], expected[1:-1, 1:-1], rtol=1e-6)


def test_max_pool_in_bfloat16_under_jit_and_vmap():
  x = jnp.asarray(normal(3, 2, 8, 8, 4), jnp.bfloat16)

  def loss(pool, x):
    return jnp.sum(pool(x).astype(jnp.float32) ** 2)

  ours = jax.jit(jax.vmap(jax.grad(functools.partial(loss, layers.max_pool))))
  linen = jax.vmap(jax.grad(functools.partial(loss, linen_max_pool)))
  assert ours(x).dtype == jnp.bfloat16
  np.testing.assert_allclose(
    ours(x).astype(np.float32), linen(x).astype(np.float32), rtol=0.02
  )


def test_max_pool_forward_mode_agrees_with_reverse_mode():
  x, dx, dy = normal(2, 8, 8, 3), normal(2, 8, 8, 3, seed=1), normal(2, 4, 4, 3)
  push = jax.jit(functools.partial(jax.jvp, layers.max_pool))
  _, tangent = push((x,), (dx,))
  _, cotangent = value_and_pullback(layers.max_pool, x, dy)
  assert np.vdot(tangent, dy) == pytest.approx(np.vdot(dx, cotangent), rel=1e-4)


@pytest.mark.parametrize('shape', [(6, 6), (7, 9), (5, 4)])
@pytest.mark.parametrize('size', [1, 2, 3])
def test_avg_pool(shape, size):
  x = np.random.default_rng(0).normal(size=(2, *shape, 3)).astype(np.float32)
  expected = nn.avg_pool(x, (size, size), (size, size))
  found = layers.avg_pool(jnp.asarray(x), size)
  np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)

"""Depthwise convolution by shifts, against XLA's."""

import functools

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from daft_jax.models import depthwise, layers


def normal(*shape, seed=0):
  rng = np.random.default_rng(seed)
  return rng.normal(size=shape).astype(np.float32)


def plain(x, kernel, strides, padding):
  return lax.conv_general_dilated(
    x,
    kernel,
    strides,
    padding,
    dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
    feature_group_count=x.shape[-1],
  )


@functools.partial(jax.jit, static_argnums=(0, 3, 4))
def value_and_grads(convolve, x, kernel, strides, padding):
  def loss(x, kernel):
    y = convolve(x, kernel, strides, padding)
    return jnp.sum(jnp.sin(y)), y

  grad = jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)
  (_, y), (dx, dkernel) = grad(x, kernel)
  return y, dx, dkernel


@pytest.mark.parametrize(
  ('shape', 'size', 'strides', 'padding'),
  [
    ((2, 8, 8, 3), (3, 3), (1, 1), ((1, 1), (1, 1))),
    ((2, 7, 8, 3), (3, 3), (2, 2), ((1, 1), (1, 1))),
    ((2, 8, 7, 3), (3, 3), (2, 2), ((0, 1), (1, 1))),  # 'SAME'
    ((1, 9, 6, 2), (5, 5), (2, 2), ((2, 2), (1, 2))),
    ((1, 3, 2, 2), (5, 5), (1, 1), ((2, 2), (2, 2))),  # larger than the image
    ((2, 1, 1, 4), (5, 5), (2, 2), ((2, 2), (2, 2))),
    ((2, 9, 9, 2), (3, 3), (3, 1), ((0, 0), (0, 0))),
    ((1, 8, 8, 2), (2, 3), (4, 3), ((0, 0), (0, 1))),  # pixels never seen
    ((1, 5, 5, 2), (3, 1), (1, 2), ((4, 0), (3, 3))),  # more than the kernel
  ],
)
def test_values_and_gradients_equal_lax(shape, size, strides, padding):
  arguments = normal(*shape), normal(*size, 1, shape[-1], seed=1)
  found = value_and_grads(depthwise.convolve, *arguments, strides, padding)
  expected = value_and_grads(plain, *arguments, strides, padding)
  for ours, theirs in zip(found, expected, strict=True):
    assert ours.shape == theirs.shape
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)


def test_bfloat16_is_summed_in_float32():
  x = jnp.asarray(normal(2, 9, 9, 8), jnp.bfloat16)
  kernel = jnp.asarray(normal(5, 5, 1, 8, seed=1), jnp.bfloat16)
  how = (1, 1), ((2, 2), (2, 2))
  found = value_and_grads(depthwise.convolve, x, kernel, *how)
  wide = x.astype(jnp.float32), kernel.astype(jnp.float32)
  y, _, dkernel = value_and_grads(plain, *wide, *how)
  assert {array.dtype for array in found} == {jnp.dtype(jnp.bfloat16)}
  # One rounding to 8 bits, not 25.
  np.testing.assert_allclose(found[0].astype(np.float32), y, rtol=2**-8)
  np.testing.assert_allclose(
    found[2].astype(np.float32), dkernel, rtol=0.05, atol=0.3
  )


def test_vmap_and_second_derivatives():
  x, kernel = normal(3, 1, 5, 5, 2), normal(3, 3, 1, 2, seed=1)

  def curvature(convolve, x):
    def loss(kernel):
      return jnp.sum(convolve(x, kernel, (2, 2), ((1, 1), (1, 1))) ** 3)

    return jax.grad(lambda kernel: jnp.sum(jax.grad(loss)(kernel) ** 2))(kernel)

  found = jax.vmap(functools.partial(curvature, depthwise.convolve))(x)
  expected = jax.vmap(functools.partial(curvature, plain))(x)
  np.testing.assert_allclose(found, expected, rtol=2e-4)


@pytest.mark.parametrize(
  ('platform', 'groups', 'features', 'padding', 'convolves'),
  [
    ('cpu', 4, 4, None, False),
    ('cpu', 4, 4, 'SAME', False),
    ('cpu', 2, 4, None, True),  # groups of two
    ('cpu', 4, 8, None, True),  # two filters a channel
    ('cuda', 4, 4, None, True),
    ('tpu', 4, 4, 'SAME', True),
  ],
)
def test_only_cpu_shifts(platform, groups, features, padding, convolves):
  conv = layers.conv(
    features,
    3,
    2,
    groups=groups,
    padding=padding,
    dtype=jnp.float32,
    name=None,
  )
  x = jnp.ones((1, 6, 6, 4))
  variables = conv.init(jax.random.key(0), x)
  assert variables['params']['kernel'].shape == (3, 3, 4 // groups, features)
  exported = jax.export.export(jax.jit(conv.apply), platforms=[platform])
  text = exported(variables, x).mlir_module()
  assert ('stablehlo.convolution' in text) == convolves


@pytest.mark.parametrize('side', [6, 7])
@pytest.mark.parametrize('stride', [1, 2])
@pytest.mark.parametrize('size', [1, 3, 5])
def test_same_padding_is_that_of_xla(side, stride, size):
  x = normal(1, side, side, 4)
  conv = layers.conv(
    4, size, stride, groups=4, padding='SAME', dtype=jnp.float32, name=None
  )
  variables = conv.init(jax.random.key(0), x)
  kernel = variables['params']['kernel']
  expected = plain(x, kernel, (stride, stride), 'SAME')
  found = conv.apply(variables, x)
  np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_1x1_with_same_padding_is_still_a_product():
  conv = layers.conv(8, 1, padding='SAME', dtype=jnp.float32, name=None)
  x = jnp.ones((1, 6, 6, 4))
  variables = conv.init(jax.random.key(0), x)
  exported = jax.export.export(jax.jit(conv.apply), platforms=['cpu'])
  assert 'stablehlo.convolution' not in exported(variables, x).mlir_module()

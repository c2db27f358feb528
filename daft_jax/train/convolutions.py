"""Convolutions of a gradient in the order of axes that a CPU is fast with.

  gradient = in_order(gradient)

XLA's CPU backend has a fast convolution for [B, H, W, C] by [H, W, in, out].
It brings others into this order, as the gradients of kernels, but not those in
loops and conditions: there they take up to sixty times as long.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax import lax
from jax.extend import core

# What these call is done in their place: it is differentiated already.
_CALLS = ('jit', 'pjit', 'closed_call', 'custom_jvp_call', 'custom_vjp_call')
_CALLS += ('custom_vjp_call_jaxpr',)


def in_order(fn: Callable[..., Any]) -> Callable[..., Any]:
  """`fn` with every convolution that is not of groups in that order.

  Args:
    fn: a pure function of arrays, in which gradients are taken already; it is
      traced anew at each call.

  Example:
    >>> def channels_first(x, y):
    ...   return lax.conv(x, y, (1, 1), 'VALID')
    >>> x, y = np.ones((2, 3, 8, 8)), np.ones((5, 3, 3, 3))
    >>> in_order(channels_first)(x, y).shape
    (2, 5, 6, 6)
  """

  @functools.wraps(fn)
  def ordered(*args: Any) -> Any:
    closed, shape = jax.make_jaxpr(fn, return_shape=True)(*args)
    found = _run(closed, jax.tree.leaves(args))
    return jax.tree.unflatten(jax.tree.structure(shape), found)

  return ordered


def _run(closed: core.ClosedJaxpr, args: Sequence[Any]) -> list[Any]:
  """What a traced function returns, its convolutions in order."""
  jaxpr = closed.jaxpr
  values = dict(zip(jaxpr.constvars, closed.consts, strict=True))
  values |= zip(jaxpr.invars, args, strict=True)

  def value(atom: Any) -> Any:
    return atom.val if isinstance(atom, core.Literal) else values[atom]

  for eqn in jaxpr.eqns:
    given = [value(atom) for atom in eqn.invars]
    if eqn.primitive is core.primitives.conv_general_dilated_p:
      found = [_convolve(*given, **eqn.params)]
    elif eqn.primitive.name in _CALLS:
      called = [x for x in eqn.params.values() if _is_traced(x)]
      found = _run(_closed(called[0]), given)
    else:
      params = {key: _changed(x) for key, x in eqn.params.items()}
      found = eqn.primitive.bind(*given, **params)
      found = found if eqn.primitive.multiple_results else [found]
    values |= zip(eqn.outvars, found, strict=True)
  return [value(atom) for atom in jaxpr.outvars]


def _is_traced(param: Any) -> bool:
  return isinstance(param, (core.Jaxpr, core.ClosedJaxpr))


def _closed(traced: Any) -> core.ClosedJaxpr:
  if isinstance(traced, core.ClosedJaxpr):
    return traced
  return core.ClosedJaxpr(traced, ())


def _changed(param: Any) -> Any:
  """A parameter of a call; what is traced in it, in order."""
  if type(param) is tuple and all(map(_is_traced, param)):
    return tuple(map(_changed, param))
  if not _is_traced(param):
    return param
  closed = _closed(param)
  changed = jax.make_jaxpr(lambda *args: _run(closed, args))(*closed.in_avals)
  return changed if param is closed else changed.jaxpr


def _convolve(lhs: jax.Array, rhs: jax.Array, **params: Any) -> jax.Array:
  if params['feature_group_count'] * params['batch_group_count'] > 1:
    return lax.conv_general_dilated_p.bind(lhs, rhs, **params)
  images, kernel, out = params['dimension_numbers']
  last = lambda spec: (spec[0], *spec[2:], spec[1])  # noqa: E731
  found = lax.conv_general_dilated(
    lhs.transpose(last(images)),
    rhs.transpose(last(kernel)[1:] + kernel[:1]),
    *(params[name] for name in ('window_strides', 'padding')),
    *(params[name] for name in ('lhs_dilation', 'rhs_dilation')),
    ('NHWC', 'HWIO', 'NHWC'),
    precision=params['precision'],
    preferred_element_type=params['preferred_element_type'],
  )
  return found.transpose(np.argsort(last(out)))

"""What every BatchNorm and every stage of a model returns, averaged over space.

  step = get_step(model)
  unpack(step(variables, images))['layer1_0/bn1'].shape       # (64, 256)

For any linen model that `daft_jax.bn` can record; see `bn/recording.py` for
how what is recorded gets out of its lifted transforms.
"""

import functools
import math
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from daft_jax.bn import recording

PyTree = Any

OUTPUT = 'daft_output'


def unpack(found: Mapping[str, Any]) -> dict[str, np.ndarray]:
  """Returns {name: float32 [N, C]} of what the step returned, in forward order.

  A value is the mean over all axes but examples and channels.

  A BatchNorm has its path, such as 'layer1_0/bn1', a stage its name among the
  features. Where both are the same, the stage is called 'name (stage)'.
  """
  layers: dict[str, np.ndarray] = {}
  for key, values in sorted(jax.device_get(dict(found)).items()):
    _, kind, name = key.split(' ', 2)
    taken = kind == 'stage' and name in layers
    layers[f'{name} (stage)' if taken else name] = np.asarray(values)
  return layers


@functools.lru_cache(maxsize=32)
def get_step(model: nn.Module) -> Callable[[PyTree, jax.Array], dict[str, Any]]:
  """The jitted pass over one batch, in eval mode.

  Args:
    model: `apply(variables, images, train=False)` returns logits and a dict of
      features [B, ..., C].

  Returns:
    A function of (variables, images [B, ...]) that returns what `unpack`
    takes. Left out is what cannot be told by example: a BatchNorm whose axis 0
    is its feature axis, a feature whose axis 0 has not the length of the batch.
  """

  @jax.jit
  def step(variables: PyTree, images: jax.Array) -> dict[str, Any]:
    seen: list[tuple[str | None, Any]] = []
    rows, trace = len(images), recording.trace_name()

    def empty(shape: tuple[int, ...]) -> dict[str, Any]:
      lead, channels = shape[:-1], shape[-1:]
      record = jnp.zeros((*lead, rows, *channels))
      return {OUTPUT: record, trace: jnp.zeros(shape, jnp.int32)}

    stats = recording.augment(variables.get('batch_stats', {}), empty)
    with nn.intercept_methods(_recorder(rows, seen)):
      (_, features), updated = model.apply(
        {**variables, 'batch_stats': stats},
        images,
        train=False,
        mutable=['batch_stats'],
      )
    updated = updated.get('batch_stats', {})
    return _in_order(_norms(updated, seen) + _stages(features, seen, rows))

  return step


def _recorder(rows: int, seen: list[tuple[str | None, Any]]) -> Any:
  """An interceptor that keeps each BatchNorm's output.

  `seen` gets, in forward order, its path, and what other modules take and
  return.
  """

  def record(next_fun, args, kwargs, context):
    if not recording.is_norm_call(context):
      if context.method_name != '__call__':
        return next_fun(*args, **kwargs)
      seen.append((None, args[0] if args else None))
      found = next_fun(*args, **kwargs)
      seen.append((None, found))
      return found
    found, module = next_fun(*args, **kwargs), context.module
    kept = recording.feature_axes(module, found.ndim)
    by_example = 0 not in kept and found.shape[0] == rows
    if by_example and module.has_variable('batch_stats', OUTPUT):
      axes = [i for i in range(1, found.ndim) if i not in kept]
      module.put_variable('batch_stats', OUTPUT, _mean(found, axes))
      seen.append(('/'.join(module.path), found))
    return found

  return record


def _mean(x: jax.Array, axes: list[int]) -> jax.Array:
  """float32 [B, C]."""
  x = x.astype(jnp.promote_types(x.dtype, jnp.float32)).mean(axes)
  return x.astype(jnp.float32).reshape(len(x), -1)


def _norms(
  stats: PyTree, seen: list[tuple[str | None, Any]]
) -> list[tuple[tuple, str, jax.Array]]:
  """Place, name and values of each BatchNorm; of a stack, of its layers."""
  found, places = [], {}
  for place, (path, _) in enumerate(seen):
    if path is not None:
      places.setdefault(path, place)
  for path, place in places.items():
    values = recording.at(stats, path)[OUTPUT]
    if values.ndim == 2:
      found.append(((place, 0, 0), f'norm {path}', values))
      continue
    stack = values.reshape(math.prod(values.shape[:-2]), *values.shape[-2:])
    for i, part in enumerate(stack):
      found.append(((place, 0, i), f'norm {path}[{i}]', part))
  return found


def _stages(
  features: Mapping[str, Any], seen: list[tuple[str | None, Any]], rows: int
) -> list[tuple[tuple, str, jax.Array]]:
  """Those of each stage: where its output is first returned or taken."""
  found = []
  for number, (name, values) in enumerate(features.items()):
    if jnp.ndim(values) < 2 or values.shape[0] != rows:
      continue
    places = (i for i, (_, x) in enumerate(seen) if x is values)
    place = next(places, len(seen))
    values = _mean(values, list(range(1, values.ndim - 1)))
    found.append(((place, 1, number), f'stage {name}', values))
  return found


def _in_order(found: list[tuple[tuple, str, jax.Array]]) -> dict[str, Any]:
  """Numbered names: JAX sorts the keys of what a jitted function returns."""
  ordered = sorted(found, key=lambda item: item[0])
  return {
    f'{i:05d} {name}': values for i, (_, name, values) in enumerate(ordered)
  }

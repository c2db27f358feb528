"""The pass over the batches behind `bn.bn_moments`, and its estimators.

  found = estimate(model, variables, batches, 'pooled', {'train': False})

All layers' channels lie end to end in flat arrays [N]: one transfer a batch,
one merge for the whole model.
"""

import functools
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from daft_jax import sharding
from daft_jax.bn import recording, reductions

Part = tuple[np.ndarray, np.ndarray, np.ndarray]  # count, mean, m2: float64 [N]

# The arguments by which models are told to evaluate.
_EVAL_MODE = {
  'train': False,
  'training': False,
  'is_training': False,
  'use_running_average': True,
  'deterministic': True,
}


class BNMoments(NamedTuple):
  """Moments of the input of one BatchNorm.

  Attributes:
    mean: float64, in the shape of the layer's `mean` in `batch_stats`.
    var: float64, the same shape.
    count: values per channel that went in; an int64 array in the shape of
      `mean` where a mask of the model's own makes channels differ.
    epsilon: the layer's epsilon, exactly.
  """

  mean: np.ndarray
  var: np.ndarray
  count: int | np.ndarray
  epsilon: float


def estimate(
  model: nn.Module,
  variables: Any,
  batches: Iterable[Any],
  estimator: str,
  apply_kwargs: dict[str, Any],
  over: recording.Over | None = None,
) -> dict[str, BNMoments]:
  """Runs the pass; `bn.bn_moments` says what the arguments are.

  With `over` (see `recording.get_step`) a batch is recorded in parts, which are
  merged in their order.
  """
  if estimator not in _ESTIMATORS:
    raise ValueError(
      f'estimator={estimator!r} is unknown; choose one of '
      f'{", ".join(map(repr, _ESTIMATORS))}.'
    )
  layers = recording.find_layers(variables.get('batch_stats', {}))
  if not layers:
    raise ValueError(
      "variables['batch_stats'] holds no BatchNorm, so there is nothing to "
      'record. Pass the variables of a model that uses nn.BatchNorm.'
    )
  kwargs = _in_eval_mode(model, apply_kwargs)
  one_pass = _Pass(model, variables, layers, kwargs, over)
  with np.errstate(invalid='ignore', over='ignore'):  # convert_bn names them.
    count, mean, var = _ESTIMATORS[estimator](
      one_pass.run(batches), one_pass.names
    )
  epsilon = one_pass.epsilon
  found, start = {}, 0
  for path, stats in layers.items():
    shape = stats['mean'].shape
    part = slice(start, start := start + stats['mean'].size)
    counts = count[part].astype(np.int64)
    same = (counts == counts[0]).all()
    found[path] = BNMoments(
      mean[part].reshape(shape),
      var[part].reshape(shape),
      int(counts[0]) if same else counts.reshape(shape),
      float(epsilon[part][0]),
    )
  return found


def _in_eval_mode(
  model: nn.Module, apply_kwargs: dict[str, Any]
) -> dict[str, Any]:
  """Fills in the switch to eval mode by the signature of the method."""
  method = apply_kwargs.get('method') or '__call__'
  if isinstance(method, str):
    method = getattr(type(model), method)
  accepted = inspect.signature(method).parameters
  filled = {
    name: value
    for name, value in _EVAL_MODE.items()
    # A switch set on the module must not be given a second time.
    if name in accepted
    and accepted[name].kind is not inspect.Parameter.POSITIONAL_ONLY
    and getattr(model, name, None) is None
  }
  return {**filled, **apply_kwargs}


def _is_traced(value: Any) -> bool:
  """Whether an argument goes into the jitted step as arrays."""
  leaves = jax.tree.leaves(value)
  return bool(leaves) and all(
    isinstance(leaf, (jax.Array, np.ndarray)) for leaf in leaves
  )


def _unpack(batch: Any) -> tuple[Any, Any]:
  """Returns image [B, ...] and mask bool [B] of a batch."""
  mask = None
  if isinstance(batch, Mapping):
    if 'image' not in batch:
      raise ValueError(
        "a batch has no 'image', only "
        f'{", ".join(map(repr, batch))}. Pass '
        "{'image': ..., 'mask': ...} or the array alone."
      )
    batch, mask = batch['image'], batch.get('mask')
  if not hasattr(batch, 'shape'):
    raise ValueError(
      f'a batch is a {type(batch).__name__}; pass an array [B, ...] or a dict '
      "with 'image' and, optionally, 'mask'."
    )
  if mask is None:
    mask = np.ones(batch.shape[0], bool)
  if mask.shape != batch.shape[:1]:
    raise ValueError(
      f"'mask' has shape {mask.shape} beside images {batch.shape}; pass one "
      'bool for each image.'
    )
  return batch, mask.astype(bool)


def _pad_like(array: Any, first: Any) -> Any:
  """Adds rows of zeros up to the length of `first`, placed as it is."""
  widths = [(0, first.shape[0] - array.shape[0])] + [(0, 0)] * (array.ndim - 1)
  padded = np.pad(np.asarray(array), widths)
  sharding = getattr(first, 'sharding', None)
  return padded if sharding is None else jax.device_put(padded, sharding)


class _Pass:
  """One pass: starts the step of each batch and fetches one behind."""

  def __init__(self, model, variables, layers, kwargs, over):
    sizes = [stats['mean'].size for stats in layers.values()]
    self.names = np.repeat(np.array(list(layers), object), sizes)
    dynamic = {k: v for k, v in kwargs.items() if _is_traced(v)}
    static = {k: v for k, v in kwargs.items() if k not in dynamic}
    step = recording.get_step(model, tuple(layers), static, over)
    # NumPy leaves go to the device once, not with every batch.
    variables = jax.tree.map(jnp.asarray, variables)
    self._step = lambda *batch: step(variables, *batch, dynamic)
    self._in_parts = over is not None
    self._first = None  # (image, mask) of the first batch
    self._started = None  # what its step returned

  def run(self, batches: Iterable[Any]) -> Iterator[Part]:
    """Yields the moments of each batch, after the next one was started."""
    waiting = None
    for batch in batches:
      started = self._start(*_unpack(batch))
      if waiting is not None:
        yield self._fetch(waiting)
      waiting = started
    if waiting is None:
      raise ValueError(
        'batches is empty. Pass at least one batch of images; an iterator '
        'that was used up has to be made again.'
      )
    yield self._fetch(waiting)

  @property
  def epsilon(self) -> np.ndarray:
    """Each channel's epsilon, put together again from its bits."""
    halves = np.ascontiguousarray(self._facts[1:].T)
    return halves.view(np.float64)[:, 0]

  @property
  def _facts(self) -> np.ndarray:
    """Of each channel: rows, and the halves of epsilon."""
    facts = np.asarray(self._started[2])
    return facts[0] if self._in_parts else facts

  def _layers(self, channels: np.ndarray) -> list[str]:
    """The layers that some of these channels belong to: bool [N]."""
    names = dict.fromkeys(self.names[channels])
    return [recording.layer_name(name) for name in names]

  def _start(self, image: Any, mask: Any) -> tuple[Any, ...]:
    if self._first is None:
      self._first = image, mask
    first = self._first[0]
    short = image.shape[0] < first.shape[0]
    if short and image.shape[1:] == first.shape[1:]:
      if not (self._facts[0] == recording.MIXED).any():
        image = _pad_like(image, first)
        mask = _pad_like(mask, self._first[1])
    with jax.debug_nans(False):  # Masked rows are NaN.
      started = self._step(image, mask)
    sharding.settle(started)
    if self._started is None:
      self._started = started
    return started

  def _fetch(self, started: tuple[Any, ...]) -> Part:
    found = jax.device_get(started)
    if not self._in_parts:
      return self._checked(*found)
    parts = (self._checked(*part) for part in zip(*found, strict=True))
    return functools.reduce(reductions.chan, parts)

  def _checked(
    self, floats: np.ndarray, count: np.ndarray, facts: np.ndarray, whole: bool
  ) -> Part:
    rows = facts[0]
    mean, m2 = floats.astype(np.float64)
    if unseen := self._layers(rows == recording.UNSEEN):
      raise ValueError(
        f'not called in this pass, though in batch_stats: {", ".join(unseen)}. '
        'Pass method= or arguments that run every layer, or variables '
        'without the batch_stats of these.'
      )
    if not whole and (mixed := self._layers(rows == recording.MIXED)):
      raise ValueError(
        f'{mixed[0]} cannot ignore masked rows: axis 0 of its input is its '
        'feature axis or has not the length of the batch. Pass batches without '
        'masked rows.'
      )
    if not whole and (reached := self._layers(~np.isfinite(m2))):
      raise ValueError(
        f'{reached[0]} has moments that are not finite in a batch with masked '
        'rows, which are NaN in this pass. Look for NaN or infinity in the '
        'images. If there is none, examples mix before this layer: pass '
        'batches without masked rows and of one size.'
      )
    return count.astype(np.float64), mean, m2


def _pooled(parts: Iterable[Part], names: np.ndarray) -> Part:
  total = (np.zeros(len(names)),) * 3
  for part in parts:
    total = reductions.chan(total, part)
  count, mean, m2 = total
  _check_counts(count, names)
  return count, mean, m2 / count


def _batch_mean(parts: Iterable[Part], names: np.ndarray) -> Part:
  batches, *total = (np.zeros(len(names)) for _ in range(4))
  for count, mean, m2 in parts:
    if (count == 1).any():
      name = recording.layer_name(names[count == 1][0])
      raise ValueError(
        f'{name} got a batch with a single value per channel, which has no '
        "unbiased variance. Use larger batches or estimator='pooled'."
      )
    batches += count > 0  # Where there is no value, mean and m2 are 0.
    for i, value in enumerate((count, mean, m2 / (count - 1))):
      total[i] += value
  _check_counts(total[0], names)
  return total[0], total[1] / batches, total[2] / batches


_ESTIMATORS: dict[str, Callable[..., tuple[np.ndarray, ...]]] = {
  'pooled': _pooled,
  'batch_mean': _batch_mean,
}


def _check_counts(count: np.ndarray, names: np.ndarray) -> None:
  if (count == 0).all():
    raise ValueError(
      'batches has no example: every row is masked. Pass at least one row '
      "whose 'mask' is True."
    )
  if (count == 0).any():
    name = recording.layer_name(names[count == 0][0])
    raise ValueError(
      f'{name} has channels that no value reached: the mask the model gives '
      'it is False everywhere there. Pass batches that cover them.'
    )

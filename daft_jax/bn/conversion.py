"""New BatchNorm statistics for the same function: behind `daft_jax.bn`.

  moments = bn_moments(model, variables, batches)
  variables = convert_bn(variables, moments)

Pure transforms of `variables`, computed on the host; nothing is traced.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from daft_jax import trees
from daft_jax.bn import recording
from daft_jax.bn.estimators import BNMoments

PyTree = Any


def convert_bn(variables: PyTree, moments: dict[str, BNMoments]) -> PyTree:
  """Gives every BatchNorm new statistics without changing the function.

  For each layer, with e its epsilon and (m, v) its new moments:

    mean' = m,  var' = v
    scale' = scale sqrt(var' + e) / sqrt(var + e)
    bias' = bias + scale (mean' - mean) / sqrt(var + e)

  so that the eval-mode output stays as it was. With pooled moments of one
  batch, the train-mode output on that batch is the same too. Computed in
  float64 with `mean'` and `var'` as they are stored, and rounded once.

  Args:
    variables: `params` and `batch_stats` of a linen model; never changed.
    moments: what `bn_moments` returned for it.

  Returns:
    Variables of the same structure, shapes, dtypes and shardings. Leaves that
    belong to no BatchNorm are the very same objects.

  Raises:
    ValueError: naming the layer: moments missing or extra, of other shape, not
      finite (with the channels) or negative; no scale or bias, or of other
      shape than the statistics; var + epsilon not positive; a result beyond
      the range of its dtype.

  Source: DAFT, arXiv 2308.07728, section "batch normalization conversion".

  Example:
    >>> import flax.linen as nn
    >>> from daft_jax.bn import bn_moments
    >>> x = jnp.arange(6.0).reshape(1, 3, 2)
    >>> model = nn.BatchNorm(use_running_average=True)
    >>> before = model.init(jax.random.key(0), x[0])
    >>> after = convert_bn(before, bn_moments(model, before, x))
    >>> after['batch_stats']['mean'].tolist()
    [2.0, 3.0]
    >>> bool(jnp.allclose(model.apply(before, x[0]), model.apply(after, x[0])))
    True
  """
  new = {}
  for path, stats in _matched(variables, moments).items():
    found = moments[path]
    params = _affine(variables, path, stats[0].shape)
    mean, var, scale, bias = (
      np.asarray(leaf).astype(np.float64) for leaf in (*stats, *params)
    )
    new_mean, new_var = _as_stored(found, stats)
    old_std = _std(var, found.epsilon, path, 'stored')
    new_std = _std(new_var, found.epsilon, path, 'new')
    at = f'{path}/' if path else ''
    new[f'batch_stats/{at}mean'] = new_mean
    new[f'batch_stats/{at}var'] = new_var
    with np.errstate(invalid='ignore', over='ignore'):  # _replaced reports it
      new[f'params/{at}scale'] = scale * (new_std / old_std)
      new[f'params/{at}bias'] = bias + scale * ((new_mean - mean) / old_std)
  return _replaced(variables, new)


def replace_bn(variables: PyTree, moments: dict[str, BNMoments]) -> PyTree:
  """Replaces mean and var and keeps scale and bias: AdaBN.

  This changes the function; it is the control for `convert_bn`, whose
  arguments, return value and errors it shares (layers without scale or bias
  are fine here).

  Source: Li et al. 2016, "Revisiting Batch Normalization For Practical Domain
  Adaptation", arXiv 1603.04779.

  Example:
    >>> import flax.linen as nn
    >>> from daft_jax.bn import bn_moments
    >>> model = nn.BatchNorm(use_running_average=True)
    >>> x = jnp.arange(6.0).reshape(1, 3, 2)
    >>> variables = model.init(jax.random.key(0), x[0])
    >>> after = replace_bn(variables, bn_moments(model, variables, x))
    >>> after['batch_stats']['mean'].tolist()
    [2.0, 3.0]
  """
  new = {}
  for path, stats in _matched(variables, moments).items():
    at = f'{path}/' if path else ''
    mean, var = _as_stored(moments[path], stats)
    new[f'batch_stats/{at}mean'], new[f'batch_stats/{at}var'] = mean, var
  return _replaced(variables, new)


def _matched(
  variables: PyTree, moments: dict[str, BNMoments]
) -> dict[str, tuple[Any, Any]]:
  """The stored (mean, var) of each layer, once the moments were checked."""
  layers = recording.find_layers(variables.get('batch_stats', {}))
  missing = [path for path in layers if path not in moments]
  extra = [path for path in moments if path not in layers]
  if missing or extra:
    raise ValueError(
      'moments and variables are not of the same model. BatchNorms without '
      f'moments: {missing or "none"}; moments without BatchNorm: '
      f'{extra or "none"}. Call bn_moments with these variables.'
    )
  for path, stats in layers.items():
    name, found = recording.layer_name(path), moments[path]
    for key in ('mean', 'var'):
      value, shape = np.asarray(getattr(found, key)), stats[key].shape
      if value.shape != shape:
        raise ValueError(
          f'{name}: the moments have {key} of shape {value.shape}, the '
          f'variables {shape}. Call bn_moments with these variables.'
        )
      _check_finite(value, f'{name}: {key} of the moments', 'images')
      _check_finite(np.asarray(stats[key]), f'{name}: stored {key}', 'weights')
    if (np.asarray(found.var) < 0).any():
      raise ValueError(
        f'{name}: var of the moments is negative in channels '
        f'{_channels(np.asarray(found.var) < 0)}. Take the moments from '
        'bn_moments.'
      )
  return {path: (stats['mean'], stats['var']) for path, stats in layers.items()}


def _check_finite(value: np.ndarray, what: str, cause: str) -> None:
  bad = ~np.isfinite(value.astype(np.float64))
  if bad.any():
    raise ValueError(
      f'{what} is not finite in channels {_channels(bad)}. Look for NaN or '
      f'infinity in the {cause}.'
    )


def _channels(chosen: np.ndarray) -> list[Any]:
  """The numbers of the channels that are True; of a stack, [layer, channel]."""
  found = np.argwhere(chosen)
  return (found.squeeze(-1) if chosen.ndim == 1 else found).tolist()


def _affine(
  variables: PyTree, path: str, shape: tuple[int, ...]
) -> tuple[Any, Any]:
  """The scale and bias of a layer with statistics of this shape."""
  params = variables.get('params', {})
  for name in filter(None, path.split('/')):
    params = params.get(name, {})
  lacking = [name for name in ('scale', 'bias') if name not in params]
  if lacking:
    raise ValueError(
      f'{recording.layer_name(path)} has no {" and no ".join(lacking)}, and '
      'conversion moves the change of statistics into both. Build the model '
      'with use_scale=True and use_bias=True and add scale 1 and bias 0: the '
      'same function.'
    )
  if params['scale'].shape != shape:
    raise ValueError(
      f'{recording.layer_name(path)} has a scale of shape '
      f'{params["scale"].shape} and statistics of shape {shape}, so it cannot '
      'be converted channel by channel. Lift params and batch_stats in the '
      'same way, both stacked on axis 0 or both shared.'
    )
  return params['scale'], params['bias']


def _as_stored(found: BNMoments, stats: tuple[Any, Any]) -> tuple:
  """The new mean and var, rounded as they will be stored, in float64.

  Scale and bias then make up for this rounding as well.
  """
  with np.errstate(over='ignore'):  # _replaced reports it
    return tuple(
      np.asarray(value).astype(leaf.dtype).astype(np.float64)
      for value, leaf in zip(found[:2], stats, strict=True)
    )


def _std(var: np.ndarray, epsilon: float, path: str, which: str) -> np.ndarray:
  if (var + epsilon <= 0).any():
    raise ValueError(
      f'{recording.layer_name(path)}: var + epsilon of the {which} statistics '
      'is not positive, so it divides by zero. Build the model with an '
      'epsilon > 0.'
    )
  return np.sqrt(var + epsilon)


def _replaced(variables: PyTree, new: dict[str, np.ndarray]) -> PyTree:
  """Puts new leaves in, in the dtype and place of the old ones."""

  def put(path, leaf):
    if path not in new:
      return leaf
    with np.errstate(over='ignore'):  # reported by _check_finite
      value = new[path].astype(leaf.dtype)
    _check_finite(value, f"new '{path}' in {leaf.dtype}", 'moments')
    if not isinstance(leaf, jax.Array):
      return value
    # What was free to move between devices stays so.
    if not getattr(leaf, 'committed', True):
      return jnp.asarray(value)
    return jax.device_put(value, leaf.sharding)

  return trees.map_with_path(put, variables)

"""BN conversion: new BatchNorm statistics, the same function.

For any linen model that uses `nn.BatchNorm`, without editing it:

  import flax.linen as nn
  import jax
  import numpy as np
  from daft_jax import bn

  class Net(nn.Module):
    @nn.compact
    def __call__(self, x, train=False):
      x = nn.Dense(8)(x)
      return nn.BatchNorm(use_running_average=not train)(x)

  images = np.random.default_rng(0).normal(size=(4, 16, 3))
  variables = Net().init(jax.random.key(0), images[0])
  moments = bn.bn_moments(Net(), variables, images)    # 4 batches of 16
  variables = bn.convert_bn(variables, moments)

Method: Domain-Aware Fine-Tuning (DAFT), AAAI 2024, arXiv 2308.07728.
"""

import contextlib
from collections.abc import Iterable, Iterator
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from daft_jax.bn import estimators, recording
from daft_jax.bn.conversion import convert_bn, replace_bn
from daft_jax.bn.estimators import BNMoments

__all__ = ['BNMoments', 'batch_mask', 'bn_moments', 'convert_bn', 'replace_bn']

PyTree = Any
Batch = Any  # an array [B, ...], or a dict with 'image' and maybe 'mask'


def bn_moments(
  model: nn.Module,
  variables: PyTree,
  batches: Iterable[Batch],
  *,
  estimator: str = 'pooled',
  **apply_kwargs: Any,
) -> dict[str, BNMoments]:
  """Records the input moments of every BatchNorm in one eval-mode pass.

  Each input is reduced in float32 (float64 if it is float64) around its own
  means, and merged over examples, calls and, in float64, batches by Chan's
  formula, so that nothing cancels.

  `'pooled'` is the mean and population variance over all examples, whatever
  the batch size, order or padding:

    mean = sum x / n,  var = sum (x - mean)^2 / n

  `'batch_mean'` is the DAFT authors' estimator: plain averages of the batch
  means and the unbiased batch variances, a short last batch weighing as much
  as any other. It leaves out the variance between batch means.

  It compiles once, for all calls with an equal model: a short batch is padded
  and masked, unless values cannot be told by example (axis 0 of a BatchNorm's
  input is its feature axis, or has not the batch's length). Masked rows are
  NaN in the pass: an error, not a wrong number, if they reach the moments.

  Args:
    model: a linen module that is or has an `nn.BatchNorm`, at any depth, also
      in `nn.remat`, `nn.scan` or `nn.vmap`.
    variables: its variables, `params` and `batch_stats` among them.
    batches: iterable of NumPy or (sharded) JAX arrays [B, ...], or of dicts of
      'image' [B, ...] and perhaps 'mask' bool [B] (False: row ignored).
    estimator: 'pooled' or 'batch_mean'.
    **apply_kwargs: further arguments of `model.apply`. `train`, `training` or
      `is_training=False`, `use_running_average` or `deterministic=True` are
      filled in where the method has an argument of that name.

  Returns:
    The moments of each BatchNorm by its path, such as 'layer1_0/bn1'.

  Raises:
    ValueError: no BatchNorm or no batch; and naming the layer: it was not
      called or ran on batch statistics, masked rows reach its moments, a batch
      gives it one value per channel ('batch_mean').

  Sources: DAFT, arXiv 2308.07728; Chan, Golub, LeVeque 1979 and 1983.

  Example:
    >>> model = nn.BatchNorm()
    >>> x = jnp.arange(6.0).reshape(1, 3, 2)
    >>> variables = model.init(
    ...   jax.random.key(0), x[0], use_running_average=True
    ... )
    >>> found = bn_moments(model, variables, x)['']
    >>> found.mean.tolist(), found.count
    ([2.0, 3.0], 3)
  """
  return estimators.estimate(model, variables, batches, estimator, apply_kwargs)


@contextlib.contextmanager
def batch_mask(mask: jax.Array) -> Iterator[None]:
  """Makes every BatchNorm called inside ignore the rows that are padding.

  Each `nn.BatchNorm` on batch statistics gets `mask`, in the shape [B, 1, ..,
  1], as its own `mask` argument, so that the output of the true rows, the
  updated statistics and the gradients are those of the batch without padding.
  A mask that the model gives itself is kept: both must be True.

  Not for models with `nn.jit` inside: JAX keeps the trace of that part, and
  the mask of then with it.

  Args:
    mask: bool [B]; may be traced, so this works inside `jax.jit`.

  Raises:
    ValueError: naming the layer: axis 0 of its input is not the examples.

  Example:
    >>> model = nn.BatchNorm(use_running_average=False)
    >>> x = jnp.array([[1.0], [3.0], [100.0]])
    >>> variables = model.init(jax.random.key(0), x)
    >>> with batch_mask(jnp.array([True, True, False])):
    ...   y, _ = model.apply(variables, x, mutable=['batch_stats'])
    >>> y[:2, 0].round(3).tolist()
    [-1.0, 1.0]
  """

  def add_mask(next_fun, args, kwargs, context):
    if not recording.is_norm_call(context):
      return next_fun(*args, **kwargs)
    module = context.module
    x, running, own = recording.norm_call(module, *args, **kwargs)
    if running:
      return next_fun(*args, **kwargs)
    if x.shape[:1] != mask.shape or 0 in recording.feature_axes(module, x.ndim):
      raise ValueError(
        f'{recording.layer_name("/".join(module.path))} cannot ignore padded '
        f'rows: its input {x.shape} has no axis 0 of {mask.shape[0]} examples. '
        'Train this model on full batches, without batch_mask.'
      )
    rows = mask.reshape((-1,) + (1,) * (x.ndim - 1))
    both = rows if own is None else jnp.logical_and(rows, own)
    return next_fun(*args, **{**kwargs, 'mask': both})

  with nn.intercept_methods(add_mask):
    yield

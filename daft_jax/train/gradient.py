"""The gradient of a batch, computed in parts that add up to it exactly.

  found = gradients(model, 'batch', parts, (trained, frozen, stats), batch)
  found.grads, found.batch_stats, found.sums

By default the batch is one part. Where it is several, each adds the gradient
of its own rows in the mean loss of the whole batch, so that nothing depends on
how many rows of a part are padding.
"""

import contextlib
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from daft_jax import bn, metrics, sharding, shards, trees
from daft_jax.data import mixing
from daft_jax.train import convolutions
from daft_jax.train.parts import WHOLE, Parts

PyTree = Any
Rows = dict[str, jax.Array]  # each [B, ...]


class Found(NamedTuple):
  """Of a batch, or what a part of it adds.

  Attributes:
    grads: of the mean loss of the batch, to what trains.
    batch_stats: new running statistics, a mean over the parts; () where they do
      not move.
    sums: `metrics.batch_sums`.
  """

  grads: PyTree
  batch_stats: PyTree
  sums: dict[str, jax.Array]


def gradients(
  model: Any,
  norm: str,
  parts: Parts,
  variables: tuple[PyTree, PyTree, PyTree],
  batch: dict[str, Any],
  mesh: Any = None,
) -> Found:
  """The gradient of the mean loss of a batch, and what is found on the way.

  Where BatchNorm is on batch statistics, a micro-batch, or each group of it, is
  normalised by its own. The running statistics move once, by the mean over them
  of where each alone would move them, weighted by examples: mean of means, and
  mean of variances, as of devices that do not share statistics.

  Args:
    model, norm: see `train_step`.
    parts: in which the batch is computed.
    variables: parameters that train, those that do not (`trees.split`), and
      running statistics.
    batch: see `train_step`.
    mesh: that of the batch.
  """
  rows = _rows(batch)
  mask = rows.get('mask')
  count = jnp.asarray(len(rows['label'])) if mask is None else mask.sum()

  in_loop = parts.elastic or parts.grad_accum_steps > 1

  def compute(given: tuple[PyTree, jax.Array], rows: Rows) -> Found:
    part = functools.partial(_part, model, norm, parts, *given)
    if in_loop and jax.default_backend() == 'cpu':
      part = convolutions.in_order(part)
    if parts.grad_accum_steps == 1:
      return part(rows)
    return _in_turn(part, rows, parts.grad_accum_steps)

  given = (variables, count), rows
  if parts.elastic:
    return shards.over_shards(
      lambda *given: (compute(*given), ()), *given, mesh
    )[0]
  if parts.grad_accum_steps > 1 and _apart(norm, parts, rows, mesh):
    return shards.over_devices(compute, *given, mesh)
  return compute(*given)


def _apart(norm: str, parts: Parts, rows: Rows, mesh: Any) -> bool:
  """Whether devices need nothing of each other until the gradient is there.

  Then they add it once: XLA would after every micro-batch.
  """
  devices = mesh.shape[sharding.DATA] if mesh else 1
  if devices == 1 or mesh.shape[sharding.MODEL] > 1:
    return False
  own = len(rows['label']) // parts.grad_accum_steps // devices
  size = parts.bn_group_size
  return norm != 'batch' or (size > 0 and own % size == 0)


def features(
  model: Any,
  norm: str,
  parts: Parts,
  variables: PyTree,
  batch: dict[str, Any],
  mesh: Any = None,
) -> jax.Array:
  """'pre_logits' [B, D] of a batch as a step has them, images not mixed."""
  count = parts.grad_accum_steps

  def compute(variables: PyTree, rows: Rows) -> jax.Array:
    image, mask = rows['image'], rows.get('mask')
    if norm != 'batch':
      return model.apply(variables, image, train=False)[1]['pre_logits']
    size = parts.bn_group_size or len(image) // count

    def group(image: jax.Array, mask: jax.Array | None) -> jax.Array:
      (_, found), _ = _normed_group(model, variables, image, mask)
      return found['pre_logits']

    groups = jax.tree.map(
      lambda x: _micro(x, count).reshape(-1, size, *x.shape[1:]), (image, mask)
    )
    found = jax.vmap(group)(*groups)
    found = found.reshape(count, -1, found.shape[-1]).swapaxes(0, 1)
    return found.reshape(len(image), -1)

  if not parts.elastic:
    return compute(variables, batch)
  return shards.over_shards(
    lambda variables, rows: ((), compute(variables, rows)),
    *(variables, batch, mesh),
  )[1]


def _micro(x: jax.Array, count: int) -> jax.Array:
  """[B, ...] -> [count, B / count, ...], see `Parts`."""
  return x.reshape(-1, count, *x.shape[1:]).swapaxes(0, 1)


def _rows(batch: dict[str, Any]) -> Rows:
  """The batch by row, images mixed: no row refers to another one."""
  rows = {key: batch[key] for key in ('image', 'label', 'mask') if key in batch}
  if 'partner' in batch:
    rows['image'] = mixing.mix(batch['image'], batch)
    rows |= {'other': batch['label'][batch['partner']], 'lam': batch['lam']}
  return rows


def _in_turn(part: Any, rows: Rows, count: int) -> Found:
  """The sum over micro-batches, of which one is in memory at a time."""
  micro = jax.tree.map(lambda x: _micro(x, count), rows)
  one = jax.eval_shape(part, jax.tree.map(lambda x: x[0], micro))
  zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), one)

  def add(total: Found, rows: Rows) -> tuple[Found, None]:
    return jax.tree.map(jnp.add, total, part(rows)), None

  return jax.lax.scan(add, zeros, micro)[0]


def _part(
  model: Any,
  norm: str,
  parts: Parts,
  variables: tuple[PyTree, PyTree, PyTree],
  count: jax.Array,
  rows: Rows,
) -> Found:
  """What the rows of a micro-batch add to a batch of `count` examples."""
  trained, frozen, batch_stats = variables
  mask = rows.get('mask')
  valid = jnp.ones(len(rows['label']), bool) if mask is None else mask

  def loss_fn(trained: PyTree) -> tuple[jax.Array, Any]:
    variables = {
      'params': trees.merge(trained, frozen),
      'batch_stats': batch_stats,
    }
    if norm != 'batch':
      logits, _ = model.apply(variables, rows['image'], train=False)
      stats = ()
    elif parts == WHOLE:
      (logits, _), stats = _normed(model, variables, rows['image'], mask)
    else:
      size = parts.bn_group_size or len(valid)
      logits, stats = _grouped(
        model, variables, rows['image'], mask, size, count
      )
    sums = metrics.batch_sums(logits, rows['label'], valid)
    if 'other' in rows:
      sums['loss'] = _mixed_loss(logits, rows, valid)
    # At least 1: a batch of nothing but padding has loss 0.
    loss = sums['loss'] / jnp.maximum(count, 1)
    return loss, (stats, sums)

  grads, (stats, sums) = jax.grad(loss_fn, has_aux=True)(trained)
  return Found(grads, stats, sums)


def _normed(
  model: Any, variables: PyTree, image: jax.Array, mask: jax.Array | None
) -> tuple[Any, PyTree]:
  """What a model returns by batch statistics, and new running statistics."""
  masked = bn.batch_mask(mask) if mask is not None else contextlib.nullcontext()
  with masked:
    found, updated = model.apply(
      variables, image, train=True, mutable=['batch_stats']
    )
  return found, updated['batch_stats']


def _normed_group(
  model: Any, variables: PyTree, image: jax.Array, mask: jax.Array | None
) -> tuple[Any, PyTree]:
  """The same of rows that may all be padding: finite, and not to be used."""
  mask = None if mask is None else mask | ~mask.any()
  return _normed(model, variables, image, mask)


def _grouped(
  model: Any,
  variables: PyTree,
  image: jax.Array,
  mask: jax.Array | None,
  size: int,
  count: jax.Array,
) -> tuple[jax.Array, PyTree]:
  """Logits by groups; statistics are weighted by their share of `count`."""

  def group(image: jax.Array, mask: jax.Array | None) -> Any:
    share = (len(image) if mask is None else mask.sum()) / count
    (logits, _), stats = _normed_group(model, variables, image, mask)
    return logits, jax.tree.map(lambda x: share * x, stats)

  groups = jax.tree.map(
    lambda x: x.reshape(-1, size, *x.shape[1:]), (image, mask)
  )
  logits, stats = jax.vmap(group)(*groups)
  logits = logits.reshape(-1, logits.shape[-1])
  return logits, jax.tree.map(lambda x: x.sum(0), stats)


def _mixed_loss(logits: jax.Array, rows: Rows, valid: jax.Array) -> jax.Array:
  """The sum over the rows that count, of the loss to both labels."""
  logits = jnp.where(valid[:, None], logits, 0)
  own, partner = (
    metrics.cross_entropy(logits, rows[key]) for key in ('label', 'other')
  )
  losses = mixing.mixed_loss(own, partner, rows['lam'])
  return jnp.where(valid, losses, 0).sum()

"""Evaluation: one pass in eval mode, sums and features.

found = evaluate(model, variables, batches, mesh)
found.metrics['accuracy'], found.features.shape     # 0.97, (797, 64)
"""

import collections
import functools
from collections.abc import Callable, Iterable
from typing import Any, BinaryIO, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from daft_jax import metrics, sharding, shards, signals

PyTree = Any


class Evaluation(NamedTuple):
  """What one pass over a set gives.

  Attributes:
    metrics: `metrics.summarize` of the set.
    sums: `metrics.batch_sums` of the set, on the host.
    features: float32 [N, D], 'pre_logits' of every example, in order.
    labels: int32 [N].
  """

  metrics: dict[str, Any]
  sums: dict[str, np.ndarray]
  features: np.ndarray
  labels: np.ndarray


def evaluate(
  model: Any,
  variables: PyTree,
  batches: Iterable[dict[str, Any]],
  mesh: Any,
  *,
  among: np.ndarray | None = None,
  into: BinaryIO | None = None,
  elastic: bool = False,
) -> Evaluation:
  """Evaluates variables on a set, in eval mode.

  Args:
    model: linen module that returns logits and a dict with 'pre_logits'.
    variables: never changed.
    batches: dicts of 'image' [B, H, W, 3], 'label' int32 [B], 'mask' bool [B],
      all of one shape; masked rows count nowhere.
    mesh: from `sharding.make_mesh`; B is a multiple of its size.
    among: bool [C], the classes that compete; default: all.
    elastic: the same bits on 1, 2, 4 and 8 devices, see `shards`.
    into: a file that features are written to, and then not returned: [0, D].

  Raises:
    ValueError: there is no example.
  """
  step = get_step(model, mesh, elastic)
  variables = on_mesh(variables, mesh)
  total: dict[str, Any] = {}
  features, labels = [], []
  # Fetched one behind: the device computes while the host prepares the next.
  waiting: collections.deque[Any] = collections.deque()

  def fetch() -> None:
    nonlocal total
    sums, found, label, mask = jax.device_get(waiting.popleft())
    total = metrics.add(total, sums)
    found = np.asarray(found, np.float32)[mask]
    if into is not None:
      into.write(found.tobytes())
      found = found[:0]
    features.append(found)
    labels.append(label[mask])

  for batch in batches:
    signals.check()
    started = step(variables, sharding.shard_batch(batch, mesh), among)
    sharding.settle(started)
    waiting.append(started)
    if len(waiting) > 1:
      fetch()
  while waiting:
    fetch()
  summary = metrics.summarize(total)  # Says so where there is no example.
  return Evaluation(
    summary, total, np.concatenate(features), np.concatenate(labels)
  )


def on_mesh(variables: PyTree, mesh: Any) -> PyTree:
  """Variables on every device of the mesh; the same arrays if they are.

  A head that is split over 'model' stays so.
  """
  there = all(
    isinstance(leaf, jax.Array) and getattr(leaf.sharding, 'mesh', None) == mesh
    for leaf in jax.tree.leaves(variables)
  )
  if there:
    return sharding.gather(variables)
  return sharding.replicate(variables, mesh)


@functools.lru_cache(maxsize=32)
def get_step(
  model: Any, mesh: Any, elastic: bool = False
) -> Callable[..., Any]:
  """The jitted pass over one batch: sums, features, labels and mask.

  Every device, and so every process, gets those of all rows.
  """

  def compute(given: tuple[PyTree, Any], rows: dict[str, Any]) -> Any:
    variables, among = given
    logits, features = model.apply(variables, rows['image'], train=False)
    if among is not None:
      logits = jnp.where(among, logits, -jnp.inf)
    sums = metrics.batch_sums(logits, rows['label'], rows['mask'])
    return sums, (features['pre_logits'], rows['label'], rows['mask'])

  def eval_step(variables: PyTree, batch: dict[str, Any], among: Any) -> Any:
    given = (variables, among), batch
    if elastic:
      sums, each = shards.over_shards(compute, *given, mesh)
    else:
      sums, each = compute(*given)
    return sums, *each

  return jax.jit(
    eval_step,
    out_shardings=sharding.replicated(mesh),
    compiler_options=shards.COMPILER_OPTIONS if elastic else None,
  )

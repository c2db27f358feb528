"""Evaluation: one pass in eval mode, sums and features.

found = evaluate(model, variables, batches, mesh)
found.metrics['accuracy'], found.features.shape     # 0.97, (797, 64)

Of several processes each has the features of the rows that it computed.

l2 = np.linalg.norm(found.features, axis=1)         # of its own rows
l2 = of_all(found.rows, l2)                         # float32 [797]
"""

import collections
import functools
from collections.abc import Callable, Iterable
from typing import Any, BinaryIO, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from daft_jax import metrics, processes, sharding, shards, signals

PyTree = Any


class Evaluation(NamedTuple):
  """What one pass over a set gives.

  Attributes:
    metrics: `metrics.summarize` of the set.
    sums: `metrics.batch_sums` of the set, on the host.
    features: float32 [n, D], 'pre_logits' of this process's examples.
    labels: int32 [N], of all.
    rows: int64 [n], which of the N examples are this process's, ascending; all
      of them where there is no other.
  """

  metrics: dict[str, Any]
  sums: dict[str, np.ndarray]
  features: np.ndarray
  labels: np.ndarray
  rows: np.ndarray


def evaluate(
  model: Any,
  variables: PyTree,
  batches: Iterable[dict[str, Any]],
  mesh: Any,
  *,
  among: np.ndarray | None = None,
  into: BinaryIO | None = None,
  elastic: bool = False,
  whole: bool = False,
) -> Evaluation:
  """Evaluates variables on a set, in eval mode.

  Args:
    model: linen module that returns logits and a dict with 'pre_logits'.
    variables: never changed.
    batches: dicts of 'image' [B, H, W, 3], 'label' int32 [B], 'mask' bool [B],
      all of one shape; masked rows count nowhere.
    mesh: from `sharding.make_mesh`; B is a multiple of its size.
    among: bool [C], the classes that compete; default: all.
    into: a file that features are written to, and then not returned: [0, D].
    elastic: the same bits on 1, 2, 4 and 8 devices, see `shards`.
    whole: every process gets the features of all examples.

  Raises:
    ValueError: there is no example.
  """
  step = get_step(model, mesh, elastic, whole)
  variables = on_mesh(variables, mesh)
  total: dict[str, Any] = {}
  features, labels, rows = [], [], []
  # Fetched one behind: the device computes while the host prepares the next.
  waiting: collections.deque[Any] = collections.deque()

  def fetch() -> None:
    nonlocal total
    found, *rest = waiting.popleft()
    found, mine = sharding.own_rows(found)
    sums, label, mask = jax.device_get(rest)
    total = metrics.add(total, sums)
    before = sum(map(len, labels))
    found = np.asarray(found, np.float32)[mask[mine]]
    rows.append((before + np.cumsum(mask) - 1)[mine][mask[mine]])
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
    summary, total, *map(np.concatenate, (features, labels, rows))
  )


def of_all(
  rows: np.ndarray, each: np.ndarray, wanted: np.ndarray | None = None
) -> np.ndarray:
  """What all processes found of their rows, in the order of the rows.

  Every process has to call it.

  Args:
    rows: int [n], this process's.
    each: [n, ...], what it found of them.
    wanted: int, the rows that are needed; default: all.

  Example:
    >>> of_all(np.array([0, 1, 2]), np.array([5.0, 6.0, 7.0]), [0, 2]).tolist()
    [5.0, 7.0]
  """
  if wanted is not None:
    here = np.isin(rows, wanted)
    rows, each = rows[here], each[here]
  parts = processes.gathered([[rows, each]])
  rows, each = (np.concatenate(x) for x in zip(*parts, strict=True))
  return each[np.argsort(rows)]


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
  model: Any, mesh: Any, elastic: bool = False, whole: bool = False
) -> Callable[..., Any]:
  """The jitted pass over one batch: features, sums, labels and mask.

  Features stay on the devices that computed them unless all are wanted, the
  rest is on every one.
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
    found, label, mask = each
    return found, sums, label, mask

  everywhere = sharding.replicated(mesh)
  return jax.jit(
    eval_step,
    out_shardings=(
      everywhere if whole else sharding.split_rows(mesh),
      *[everywhere] * 3,
    ),
    compiler_options=shards.COMPILER_OPTIONS if elastic else None,
  )

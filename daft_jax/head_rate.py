"""The learning rate of a fast head, from the features it is trained on.

  found = curvature(task, stage, variables, seed=0)
  rates(found, optimizer)          # {'kernel': 0.062, 'bias': 3.8}
  largest(found, optimizer)        # 0.124: above it, a head may diverge

The Hessian of a linear head W on features f is E[(diag(p) - p p') x f f'], with
p the probabilities, and so at most half of the largest eigenvalue L of E[f f']
(Böhning 1992, doi 10.1007/BF00048682). SGD with momentum m is stable on a
curvature h below 2 (1 + m) / h (Polyak 1964), Nesterov's below 2 (1 + m) /
((1 + 2 m) h). So a head is stable up to 4 (1 + m) / L, whatever the labels.
'auto' is half of it: the tuned rates of two networks whose L differs tenfold
were 0.8 of it (README.md). The bias is a feature that is always 1.
"""

import functools
import itertools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from daft_jax import evaluate, processes, sharding, shards
from daft_jax.methods import Stage
from daft_jax.task import Task
from daft_jax.train import Parts, gradient

PyTree = Any

AUTO = 'auto'

_IMAGES = 1024  # the mean of features alone is most of L: 500 give it to 1 %


def curvature(
  task: Task, stage: Stage, variables: PyTree, *, seed: int
) -> float:
  """The largest eigenvalue of E[f f'], over the first training batches.

  Features are those of the stage's own pass: normalised by the batch, or by
  the running statistics.
  """
  step = _get_step(task.model, stage.norm, task.parts, task.mesh)
  variables = evaluate.on_mesh(variables, task.mesh)
  count = -(-_IMAGES // task.batch_size)
  found = []
  for batch in itertools.islice(task.step_batches(seed, 0), count):
    batch = {key: batch[key] for key in ('image', 'mask') if key in batch}
    features, mask = jax.device_get(
      step(variables, sharding.shard_batch(batch, task.mesh))
    )
    found.append(np.asarray(features[mask], np.float64))
  features = np.concatenate(found)
  # The last digits depend on the processor.
  return processes.from_first(lambda: _largest_eigenvalue(features))


def _largest_eigenvalue(features: np.ndarray) -> float:
  count, width = features.shape
  # The smaller of the two matrices that have this eigenvalue.
  gram = features @ features.T if count < width else features.T @ features
  return float(np.linalg.eigvalsh(gram)[-1]) / count


def largest(curvature: float, optimizer: Mapping[str, Any]) -> float:
  """The rate up to which a head is stable, see above.

  Args:
    curvature: of `curvature`; 1 for the bias.
    optimizer: fields of `optim.Optimizer`; those of SGD count.

  Example:
    >>> round(largest(61.1, {'momentum': 0.9}), 3)
    0.124
  """
  momentum = optimizer.get('momentum', 0.9)
  ahead = 1 + 2 * momentum if optimizer.get('nesterov') else 1
  # Features may be all zero; then any rate is the same.
  return 4 * (1 + momentum) / (ahead * max(curvature, 1e-12))


def too_fast(rate: float, largest: float) -> str:
  """What is said of a head whose rate is above the largest stable one."""
  return (
    f'Its rate, {rate:g}, is above {largest:.2g}, up to which SGD is stable on '
    f'these features: try --config.head_lrs={AUTO}, here {largest / 2:.2g}'
  )


def rates(curvature: float, optimizer: Mapping[str, Any]) -> dict[str, float]:
  """What 'auto' stands for: a rate for the head's kernel and for its bias.

  Features that are c times as large give a kernel rate 1 / c^2 as large, and so
  the same logits at every step.

  Example:
    >>> found = rates(61.1, {'momentum': 0.9})
    >>> round(found['kernel'], 3), round(found['bias'], 3)
    (0.062, 3.8)
  """
  return {
    'kernel': largest(curvature, optimizer) / 2,
    'bias': largest(1.0, optimizer) / 2,
  }


@functools.lru_cache(maxsize=32)
def _get_step(
  model: Any, norm: str, parts: Parts, mesh: Any
) -> Callable[..., Any]:
  """The jitted features of one batch, and which of its rows count."""

  def step(variables: PyTree, batch: dict[str, Any]) -> Any:
    mask = batch.get('mask')
    rows = jnp.ones(len(batch['image']), bool) if mask is None else mask
    found = gradient.features(model, norm, parts, variables, batch, mesh)
    return found, rows

  return jax.jit(
    step,
    out_shardings=sharding.replicated(mesh),
    compiler_options=shards.COMPILER_OPTIONS if parts.elastic else None,
  )

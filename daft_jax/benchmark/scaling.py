"""Weak scaling of a step, by a model of what devices tell each other.

python -m daft_jax.benchmark scaling
"""

import argparse
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax

from daft_jax import models, trees

_FLOAT = 4  # bytes
_DEVICES = tuple(4**n for n in range(6))  # 1 to 1,024
# Of each BatchNorm over all devices: mean and variance, forward and backward.
_BN_MESSAGES = 4


class Assumptions(NamedTuple):
  """What nobody can compute here: it is given.

  Attributes:
    rate: examples per second of one device alone.
    rows: examples of a batch on each device.
    bandwidth: bytes per second that a device sends, and receives.
    latency: seconds of one hop between neighbours.
  """

  rate: float = 2500.0
  rows: float = 128
  bandwidth: float = 100e9
  latency: float = 1e-6


def step_seconds(
  devices: int, messages: Sequence[float], given: Assumptions
) -> float:
  """Time of a step, of which nothing that is told overlaps the computation.

  A torus of s x s devices adds along one axis, then along the other, each time
  by a ring that scatters and one that gathers:

    rows / rate + sum_m (2 (n - 1) / n bytes_m / bandwidth + 4 (s - 1) latency)

  Args:
    devices: n = s * s.
    messages: bytes of each reduction.
    given: see `Assumptions`.

  Example:
    >>> step_seconds(1, [1e9], Assumptions(rate=100, rows=50))
    0.5
    >>> round(step_seconds(4, [1e9], Assumptions(rate=100, rows=50)), 3)
    0.515
  """
  computed = given.rows / given.rate
  hops = 4 * (devices**0.5 - 1)
  sent = 2 * (devices - 1) / devices * sum(messages) / given.bandwidth
  return computed + sent + len(messages) * hops * given.latency


def messages(model: Any, size: int, bn_over_devices: bool) -> list[int]:
  """Bytes of each reduction of a step, as tests count them in compiled steps.

  Args:
    model: linen module.
    size: of its images.
    bn_over_devices: whether BatchNorm is over the whole batch.
  """
  variables = jax.eval_shape(lambda: models.init_variables(model, size, 0))
  params = jax.tree.leaves(variables['params'])
  found = [_FLOAT * sum(leaf.size for leaf in params), _FLOAT]
  if bn_over_devices:
    for path, leaf in trees.flatten(variables['batch_stats']).items():
      if path.endswith('/mean'):
        found += [_FLOAT * leaf.size] * _BN_MESSAGES
  return found


def bench_scaling(args: argparse.Namespace) -> None:
  """Prints throughput of n devices over n times that of one, as modelled."""
  name = args.model or 'resnet50'
  model = models.create_model(name, 1000)
  fields = Assumptions._fields
  named = {x: getattr(args, x) for x in fields if getattr(args, x) is not None}
  given = Assumptions(**named)
  print(
    f'{name}; assumed: each device {given.rate:g} images/s alone, batches of '
    f'{given.rows:g} on it, {given.bandwidth / 1e9:g} GB/s, '
    f'{1e6 * given.latency:g} us a hop'
  )
  sides = [messages(model, 64, over_devices) for over_devices in (True, False)]
  for whom, sent in zip(('all devices', 'one device'), sides, strict=True):
    print(
      f'BatchNorm over {whom}: {len(sent)} reductions, '
      f'{sum(sent) / 1e6:.1f} MB a step'
    )
  print('devices  over all  over one')
  for devices in _DEVICES:
    alone, *steps = (
      step_seconds(count, sent, given)
      for count, sent in ((1, sides[0]), *((devices, sent) for sent in sides))
    )
    shares = (f'{100 * alone / step:8.1f}' for step in steps)
    print(f'{devices:7d}', *shares)

"""What devices tell each other in a step, and what memory it takes on each.

Numbers are of what XLA compiles for CPU devices. It puts reductions of one kind
that wait for nothing else of each other into one message.
"""

import collections
import functools
import re

import jax
import numpy as np
import pytest

from daft_jax import models, optim, sharding, train
from daft_jax.train import Parts

SIZE, CLASSES, ROWS, NORMS = 8, 5, 64, 3
OPTIMIZER = optim.Optimizer(epochs=1, steps_per_epoch=1)
COLLECTIVE = re.compile(
  r' (all-reduce|all-gather|all-to-all|reduce-scatter|collective-permute)'
  r'(?:-start)?\('
)
# A message of floats (the gradient, the loss) and one of counts.
TOTALS = 2
# Of each BatchNorm: mean, then variance; and twice where the gradient is taken.
NORM = 4


NET = models.resnet.ResNet(CLASSES, (1,), stem='cifar', shortcut='pad', width=8)


@functools.cache
def compiled(devices, norm='batch', parts=train.Parts()):  # noqa: B008
  mesh = sharding.make_mesh(devices)
  start = models.init_variables(NET, SIZE, 0)
  state = train.init_state(start, '', OPTIMIZER, mesh)
  rows = {
    'image': np.zeros((ROWS, SIZE, SIZE, 3), np.float32),
    'label': np.zeros(ROWS, np.int32),
  }
  rates = {'lr': np.float32(0.1), 'head_lr': np.float32(0.1)}
  step = train.get_step(NET, '', norm, OPTIMIZER, sharding.Layout(mesh), parts)
  return step.lower(state, sharding.shard_batch(rows, mesh), rates).compile()


def messages(program, where=''):
  text = program.as_text()
  return collections.Counter(COLLECTIVE.findall(text[text.index(where) :]))


@pytest.mark.parametrize('devices', [2, 4])
def test_a_step_adds_the_gradient_once_and_batchnorm_four_times(devices):
  found = messages(compiled(devices))
  assert found == {'all-reduce': NORM * NORMS + TOTALS}


@pytest.mark.parametrize('parts', [Parts(bn_group_size=16), Parts(2)])
def test_without_common_statistics_only_totals_are_told(parts):
  norm = 'batch' if parts.bn_group_size else 'running'
  program = compiled(4, norm, parts)
  assert messages(program) == {'all-reduce': TOTALS}
  # And that once, after all micro-batches, which are computed in a loop.
  assert messages(program, 'ENTRY') == {'all-reduce': TOTALS}


def test_micro_batches_with_common_statistics_are_told_of_in_turn():
  program = compiled(4, 'batch', Parts(2))
  assert messages(program) == {'all-reduce': NORM * NORMS + TOTALS}
  assert not messages(program, 'ENTRY')


@pytest.mark.parametrize(('devices', 'rounds'), [(2, 1), (4, 2)])
def test_virtual_shards_are_added_in_rounds(devices, rounds):
  program = compiled(devices, 'batch', Parts(elastic=True))
  assert messages(program) == {'collective-permute': TOTALS * rounds}


@pytest.mark.parametrize('devices', [2, 4])
def test_memory_is_shared(devices):
  """But for what is of the size of the parameters: gradients and updates."""
  alone, shared = (
    x.memory_analysis().temp_size_in_bytes
    for x in (compiled(1), compiled(devices))
  )
  params = jax.tree.leaves(models.init_variables(NET, SIZE, 0)['params'])
  size = sum(leaf.nbytes for leaf in params)
  assert 4 * size < alone  # So that it means something.
  assert shared <= 1.05 * alone / devices + 2 * size

"""What trials share is computed once: moments of the training images."""

import jax
import numpy as np
import pytest

from daft_jax import assemble, measure, settings, stages
from daft_jax.bn import estimators
from daft_jax.methods import METHODS


@pytest.fixture
def task(tiny_config):
  return assemble.make_task(settings.check(tiny_config()), None, recorded=None)


@pytest.fixture
def passes(monkeypatch):
  """The estimator of each pass over the training images."""
  found, estimate = [], estimators.estimate

  def counted(model, variables, batches, estimator, *rest):
    found.append(estimator)
    return estimate(model, variables, batches, estimator, *rest)

  monkeypatch.setattr(estimators, 'estimate', counted)
  return found


def prepared(task, variables, **options):
  (stage,) = METHODS['daft']
  options = {'seed': 0, 'estimator': 'pooled'} | options
  return stages.prepare(task, stage, variables, **options)


def test_trials_of_a_seed_and_the_shift_share_a_pass(task, passes):
  first = prepared(task, task.variables)
  again = prepared(task, task.variables)
  measured = measure.measure(task, first, first)
  assert passes == ['pooled'] and 'bn_shift/mean' in measured.arrays
  jax.tree.map(np.testing.assert_array_equal, first, again)
  prepared(task, task.variables, seed=1)
  prepared(task, task.variables, estimator='batch_mean')
  assert passes == ['pooled', 'pooled', 'batch_mean']


def test_what_is_kept_is_what_a_pass_finds(task, passes):
  prepared(task, task.variables)
  kept = prepared(task, task.variables)
  # Equal, and not the same arrays: another backbone, as far as one can tell.
  new = prepared(task, jax.tree.map(np.array, task.variables))
  assert passes == ['pooled'] * 2
  jax.tree.map(np.testing.assert_array_equal, kept, new)


def test_a_backbone_that_has_moved_has_moments_of_its_own(task, passes):
  start = prepared(task, task.variables)
  moved = {
    **task.variables,
    'params': jax.tree.map(lambda x: 1.5 * x, task.variables['params']),
  }
  other = prepared(task, moved)
  assert len(passes) == 2
  first, second = (jax.tree.leaves(x['batch_stats']) for x in (start, other))
  assert any(not np.allclose(a, b) for a, b in zip(first, second, strict=True))

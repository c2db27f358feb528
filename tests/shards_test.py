"""Virtual shards: the same bits on any number of devices."""

import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from daft_jax import sharding, shards
from tests.fixtures import processes

SCRIPT = pathlib.Path(__file__).parent / 'programs' / 'elastic_steps.py'


def steps(count, devices):
  outputs = processes.run(count, SCRIPT, devices=devices)
  return [json.loads(output.splitlines()[-1]) for output in outputs]


@pytest.fixture(scope='module')
def alone():
  (found,) = steps(1, 1)
  return found


# Processes and devices of each.
@pytest.mark.parametrize(('count', 'devices'), [(1, 2), (1, 4), (1, 8), (2, 1)])
def test_steps_give_the_same_bits(alone, count, devices):
  assert steps(count, devices) == [alone] * count


@pytest.mark.parametrize('devices', [1, 2, 4, 8])
def test_sums_are_in_pairs_and_rows_stay(devices):
  rows = np.random.default_rng(0).normal(size=(8, 100)).astype(np.float32)

  @jax.jit
  def compute(factor, rows):
    return shards.over_shards(
      lambda factor, part: (part[0], factor * part),
      *(factor, rows, sharding.make_mesh(devices)),
    )

  total, each = compute(np.float32(3), rows)
  np.testing.assert_array_equal(each, 3 * rows)
  a, b, c, d, e, f, g, h = rows
  pairs = ((a + b) + (c + d)) + ((e + f) + (g + h))
  np.testing.assert_array_equal(total, pairs)


def test_nothing_is_fused_with_what_is_apart():
  """A product and a sum: rounded twice, where fused ones are rounded once."""
  x = np.float32([1 + 2**-12])
  product, rest = x * x, np.float32([-1])

  @jax.jit
  def compute(x, rest, count):
    return shards.apart(lambda x: x * x, count)(x) + rest

  np.testing.assert_array_equal(compute(x, rest, jnp.int32(0)), product + rest)


def test_a_few_cores_get_eight_threads(monkeypatch):
  monkeypatch.delenv('NPROC', raising=False)
  monkeypatch.setattr(shards.os, 'cpu_count', lambda: 2)
  shards.fix_threads()
  assert shards.os.environ['NPROC'] == '8'
  monkeypatch.setenv('NPROC', '3')
  shards.fix_threads()
  assert shards.os.environ['NPROC'] == '3'

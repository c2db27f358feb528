"""Virtual shards: the same bits on any number of devices."""

import functools
import hashlib
import json
import pathlib
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from daft_jax import evaluate, models, optim, sharding, shards, train
from daft_jax.bn import recording
from tests.fixtures import processes

SIZE, ROWS = 8, 32
NET = models.resnet.ResNet(5, (1,), stem='cifar', shortcut='pad', width=8)
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


def graphs(compiled):
  """What each program that is `apart` in a compiled one computes, as digests.

  An operation counts as itself and its operands, wherever it stands and however
  it is named; of a parameter its shape counts, and of results not their order.
  """
  text = re.sub(
    r', (metadata|sharding|frontend_attributes)={.*|/\*index=\d+\*/',
    '',
    compiled.as_text(),
  )
  bodies = re.findall(r'^(?:ENTRY )?%(\S+) \(.*{\n((?:  .*\n)+)', text, re.M)
  computations = {
    name: {x: (bool(root), what) for root, x, what in _OPERATION.findall(body)}
    for name, body in bodies
  }

  @functools.cache
  def digest(computation, name):
    what = computations[computation][name][1]
    taken = re.match(r'(\S+) get-tuple-element\(%(\S+)\)', what)
    if taken and 'parameter(' in computations[computation][taken[2]][1]:
      return taken[1]
    what = re.sub(r'(?<==)%([\w.-]+)', lambda x: '+'.join(results(x[1])), what)
    what = re.sub(r'%([\w.-]+)', lambda x: digest(computation, x[1]), what)
    return hashlib.sha256(what.encode()).hexdigest()

  def results(computation):
    operations = computations[computation]
    (root,) = (name for name, (root, _) in operations.items() if root)
    tuples = re.match(r'.* tuple\((.*)\)$', operations[root][1])
    names = re.findall(r'%([\w.-]+)', tuples[1]) if tuples else [root]
    return sorted(digest(computation, name) for name in names)

  branches = re.findall(r'branch_computations={%\S+, %(\S+)}', text)
  return sorted(map(results, branches))


_OPERATION = re.compile(r'^  (ROOT )?%(\S+) = (.*)', re.M)


def programs(devices):
  """Compiled for so many devices: a step, an evaluation, a recording."""
  mesh = sharding.make_mesh(devices)
  start = models.init_variables(NET, SIZE, 0)
  optimizer = optim.Optimizer(epochs=1, steps_per_epoch=1, clip_norm=1.0)
  state = train.init_state(start, '', optimizer, mesh)
  rows = {
    'image': np.zeros((ROWS, SIZE, SIZE, 3), np.float32),
    'label': np.zeros(ROWS, np.int32),
    'mask': np.ones(ROWS, bool),
  }
  rows = sharding.shard_batch(rows, mesh)
  variables = sharding.replicate(start, mesh)
  layout, parts = sharding.Layout(mesh), train.Parts(elastic=True)
  step = train.get_step(NET, '', 'batch', optimizer, layout, parts)
  rates = {'lr': np.float32(0.1), 'head_lr': np.float32(0.1)}
  layers = tuple(recording.find_layers(variables['batch_stats']))
  record = recording.get_step(NET, layers, {'train': False}, shards.Each(mesh))
  evaluation = evaluate.get_step(NET, mesh, True)
  lowered = (
    step.lower(state, rows, rates),
    evaluation.lower(variables, rows, None),
    record.lower(variables, rows['image'], rows['mask'], {}),
  )
  return [graphs(one.compile()) for one in lowered]


@pytest.fixture(scope='module')
def on_one():
  return programs(1)


@pytest.mark.parametrize('devices', [2, 8])
def test_a_shard_has_the_same_program(on_one, devices):
  step, evaluation, record = programs(devices)
  assert (len(step), len(evaluation), len(record)) == (2, 1, 1)
  assert [step, evaluation, record] == on_one


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

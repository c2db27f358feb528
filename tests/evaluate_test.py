"""Evaluation does not depend on batch size, padding or devices."""

import functools

import jax
import numpy as np
import pytest

from daft_jax import evaluate, models, sharding
from daft_jax.data import feed, sources
from daft_jax.data.preprocess import Preprocess
from daft_jax.data.recipe import Recipe

PREPROCESS = Preprocess(16, (0.5,) * 3, (0.5,) * 3)


@functools.cache
def net():
  model = models.resnet.ResNet(
    10, (1, 1), stem='cifar', shortcut='pad', width=8
  )
  return model, models.init_variables(model, 16, 0)


@functools.cache
def images(count=37):
  found = sources.load('digits:val', image_size=16)
  return sources.ImageSet(found.images[:count], found.labels[:count])


def run(batch_size, devices=1, variables=None):
  model, own = net()
  mesh = sharding.make_mesh(devices)
  found = feed.Feed({'test': images()}, PREPROCESS, Recipe(), mesh)
  batches = found.test('test', batch_size=batch_size)
  return evaluate.evaluate(model, variables or own, batches, mesh)


def test_against_the_definition():
  model, variables = net()
  logits, features = model.apply(variables, PREPROCESS(images().images))
  found = run(37)
  hits = np.argmax(logits, axis=1) == images().labels
  assert found.metrics['accuracy'] == pytest.approx(hits.mean())
  np.testing.assert_allclose(
    found.features, features['pre_logits'], rtol=1e-5, atol=1e-6
  )
  np.testing.assert_array_equal(found.labels, images().labels)


@pytest.mark.parametrize(('batch_size', 'devices'), [(8, 1), (16, 8), (64, 8)])
def test_batch_size_and_devices_do_not_matter(batch_size, devices):
  expected, found = run(37), run(batch_size, devices)
  assert found.metrics['count'] == 37
  assert found.metrics['accuracy'] == expected.metrics['accuracy']
  assert found.metrics['loss'] == pytest.approx(expected.metrics['loss'])
  np.testing.assert_allclose(
    found.features, expected.features, rtol=1e-5, atol=1e-6
  )
  np.testing.assert_array_equal(found.labels, expected.labels)


def test_equal_variables_give_equal_bits():
  copy = jax.tree.map(np.array, net()[1])
  np.testing.assert_array_equal(
    run(16).features, run(16, variables=copy).features
  )


def test_one_size_compiles_once():
  step = evaluate.get_step(net()[0], sharding.make_mesh(1))
  run(5)
  before = step._cache_size()
  run(5)
  run(5, variables=jax.tree.map(np.array, net()[1]))
  assert step._cache_size() == before


def test_no_batch_is_an_error():
  with pytest.raises(ValueError, match='no examples'):
    evaluate.evaluate(*net(), [], sharding.make_mesh(1))

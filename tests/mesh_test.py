"""What is computed on a mesh is what one device computes.

Tolerances: 1e-5 of the largest value for what takes one pass (conversion,
features, distortion, probe); for two epochs of training, in which rounding
grows, 1e-3 of the losses.
"""

import functools
import json

import jax
import numpy as np
import pytest

from daft_jax import (
  assemble,
  distortion,
  experiment,
  models,
  probe,
  sharding,
  stages,
  trees,
)
from daft_jax.data.preprocess import Preprocess
from daft_jax.methods import METHODS
from daft_jax.settings import check

SIZE = 12
MESHES = {'2': (2, 1), '4': (4, 1), '8': (8, 1), '4x2': (4, 2)}


@functools.cache
def own():
  """A network that compiles in a second, with what `experiment.run` takes."""
  net = models.resnet.ResNet(10, (1, 1), stem='cifar', shortcut='pad', width=8)
  grey = (0.5, 0.5, 0.5)
  return {
    'model': net,
    'variables': models.init_variables(net, SIZE, 0),
    'preprocess': Preprocess(SIZE, grey, grey),
  }


@pytest.fixture(autouse=True)
def small(monkeypatch):
  """The tiny network is worth splitting, and its head of ten classes."""
  monkeypatch.setattr(sharding, '_SMALL', 64)
  monkeypatch.setattr(sharding, 'MANY_CLASSES', 10)


@pytest.fixture(scope='module')
def measured(tiny_config):
  """Mesh -> all that one pass over images gives."""

  def measure(data, model):
    config = tiny_config(mesh__data=data, mesh__model=model)
    task = assemble.make_task(check(config), assemble.Backbone(*own().values()))
    stage = METHODS['daft'][0]
    converted = stages.prepare(
      task, stage, task.variables, seed=0, estimator='pooled'
    )
    val, test = (task.evaluate(converted, x) for x in ('id_val', 'id_test'))
    reference = task.reference('id_test')
    moved = distortion.compare_layers(
      task.layers(converted, 'id_test'), task.reference_layers('id_test')
    )
    l2, cosine = distortion.feature_distortion(test.features, reference)
    found = probe.fit_probe(
      *(val.features, val.labels, test.features, test.labels),
      num_classes=task.num_classes,
      mesh=task.mesh,
    )
    variables = trees.flatten(jax.device_get(converted))
    return {
      **variables,
      'features': test.features,
      'labels': test.labels,
      'accuracy': test.metrics['accuracy'],
      'loss': test.metrics['loss'],
      'l2': l2,
      'cosine': cosine,
      'layers': np.array([*moved.values()]),
      'kernel': found.kernel,
      'C': found.C,
    }

  kept = {}

  def get(*mesh):
    if mesh not in kept:
      kept[mesh] = measure(*mesh)
    return kept[mesh]

  return get


@pytest.mark.parametrize('mesh', MESHES)
def test_a_pass_gives_what_one_device_gives(measured, mesh):
  one, many = measured(1, 1), measured(*MESHES[mesh])
  assert one.keys() == many.keys()
  for name, value in one.items():
    value, found = np.asarray(value), np.asarray(many[name])
    assert value.shape == found.shape
    np.testing.assert_allclose(
      found, value, rtol=0, atol=1e-5 * (1 + np.abs(value).max()), err_msg=name
    )


def losses(workdir):
  (path,) = workdir.glob('trials/*/metrics.jsonl')
  lines = [json.loads(text) for text in path.read_text().splitlines()]
  return [line[key] for line in lines for key in ('loss', 'id_val_loss')]


def run(tiny_config, workdir, data, model=1, params='replicated', **more):
  config = tiny_config(
    methods=('daft',),
    keep='all',
    mesh__data=data,
    mesh__model=model,
    mesh__params=params,
    **more,
  )
  return experiment.run(config, workdir, **own())['daft']


@pytest.fixture(scope='module')
def one(tiny_config, tmp_path_factory):
  workdir = tmp_path_factory.mktemp('one')
  return run(tiny_config, workdir, 1), losses(workdir)


@pytest.mark.parametrize(
  ('data', 'model', 'params'),
  [(8, 1, 'fsdp'), (4, 2, 'replicated')],
)
def test_a_run_gives_what_one_device_gives(
  one, tiny_config, tmp_path, data, model, params
):
  found = run(tiny_config, tmp_path, data, model, params)
  np.testing.assert_allclose(losses(tmp_path), one[1], rtol=1e-3)
  assert found['id_test'] == pytest.approx(one[0]['id_test'], abs=0.02)
  assert found['feature_l2'] == pytest.approx(one[0]['feature_l2'], rel=1e-3)


def test_a_run_goes_on_with_parts_that_were_whole(one, tiny_config, tmp_path):
  """Two meshes save the same trial: what one wrote the other restores."""
  run(tiny_config, tmp_path, 1)
  (trial,) = tmp_path.glob('trials/*')
  (trial / 'result.json').unlink()
  (tmp_path / 'results.jsonl').unlink()
  for path in trial.glob('checkpoints/*_*/2'):
    path.rename(tmp_path / 'gone')
  run(tiny_config, tmp_path, 8, params='fsdp')
  np.testing.assert_allclose(losses(tmp_path), one[1], rtol=1e-3)

"""Exported weights are the chosen trial's."""

import json

import jax
import numpy as np
import pytest

import daft_jax
from daft_jax import experiment, export, models, pretrained, results
from daft_jax.pretrained import locate


@pytest.fixture(scope='module')
def workdir(tiny_config, tmp_path_factory):
  found = tmp_path_factory.mktemp('run')
  experiment.run(tiny_config(methods=('lp_sgd',)), found)
  return found


def test_what_is_exported_can_be_loaded(workdir, tmp_path, capsys):
  path = tmp_path / 'mine.safetensors'
  assert export.main([str(workdir), str(path)]) == 0
  assert 'bytes, ID test' in capsys.readouterr().out
  model, expected, _ = daft_jax.load_run(workdir, 'lp_sgd')
  found = daft_jax.load_pretrained('resnet14_cifar.glyphs', model, path)
  jax.tree.map(np.testing.assert_array_equal, found, expected)
  _, metadata = pretrained.read_weights(path)
  (line,) = results.read(workdir)
  assert json.loads(metadata['id_test']) == line['id_test']
  assert json.loads(metadata['config'])['epochs'] == 2
  assert json.loads(metadata['preprocess'])['image_size'] == 24


def test_half_precision_is_half_the_size(workdir, tmp_path):
  paths = [tmp_path / 'a.safetensors', tmp_path / 'b.safetensors']
  for path, dtype in zip(paths, ('float32', 'float16'), strict=True):
    export.export(workdir, path, dtype=dtype)
  sizes = [path.stat().st_size for path in paths]
  assert 0.45 < sizes[1] / sizes[0] < 0.6


def test_what_was_fine_tuned_runs_in_torch(workdir, tmp_path):
  torch = pytest.importorskip('torch', reason='parity needs torch')
  import safetensors.torch

  from tests.cases import resnet as reference

  path = tmp_path / 'torch.safetensors'
  assert export.main([str(workdir), str(path), '--torch']) == 0
  module = reference.cifar(2, 16, 10)
  module.load_state_dict(safetensors.torch.load_file(path))  # strict
  model, variables, _ = daft_jax.load_run(workdir, 'lp_sgd')
  x = np.random.default_rng(0).normal(size=(4, 24, 24, 3)).astype(np.float32)
  logits, _ = model.apply(variables, x, train=False)
  with torch.no_grad():
    found = module.eval()(torch.from_numpy(x.transpose(0, 3, 1, 2).copy()))
  np.testing.assert_allclose(found.numpy(), logits, rtol=1e-4, atol=1e-4)
  again = daft_jax.load_pretrained('resnet14_cifar', model, path)
  jax.tree.map(np.testing.assert_array_equal, again, variables)


def test_mistakes_are_one_line(workdir, tmp_path, capsys):
  path = str(tmp_path / 'a.safetensors')
  assert export.main([str(workdir), path, '--method=ft']) == 2
  assert "no finished trial of 'ft'" in capsys.readouterr().err
  assert export.main([str(tmp_path), path]) == 2
  assert 'is not a workdir' in capsys.readouterr().err


def test_the_weights_that_ship_are_those_of_the_config():
  path = locate.SHIPPED / 'resnet14_cifar_glyphs.safetensors'
  assert path.stat().st_size <= 1_000_000
  _, metadata = pretrained.read_weights(path)
  config = json.loads(metadata['config'])
  from daft_jax import main

  made = main.load_config(
    str(locate.SHIPPED.parents[2] / 'configs/glyphs_pretrain.py')
  )
  for name in ('suite', 'backbone', 'epochs', 'batch_size', 'weights'):
    assert config[name] == made[name], name
  assert config['optimizer'] == made.optimizer.to_dict()
  assert json.loads(metadata['seed']) in made.seeds
  row = pretrained.lookup('resnet14_cifar.glyphs')
  preprocess = json.loads(metadata['preprocess'])
  assert preprocess['mean'] == list(row.mean)
  assert preprocess['image_size'] == row.image_size


def test_the_weights_that_ship_have_the_accuracy_they_state():
  from daft_jax import evaluate, sharding
  from daft_jax.data import feed, sources
  from daft_jax.data.preprocess import Preprocess
  from daft_jax.data.recipe import Recipe

  row = pretrained.lookup('resnet14_cifar.glyphs')
  model = models.create_model(row.architecture, row.num_classes)
  variables = daft_jax.load_pretrained(row.tag, model, head='keep')
  _, metadata = pretrained.read_weights(locate.SHIPPED / row.file)
  mesh = sharding.make_mesh(1)
  images = sources.load('glyphs:test', image_size=row.image_size)
  preprocess = Preprocess(row.image_size, row.mean, row.std)
  batches = feed.Feed({'test': images}, preprocess, Recipe(), mesh).test(
    'test', batch_size=256
  )
  found = evaluate.evaluate(model, variables, batches, mesh)
  # Another version of matplotlib or Pillow may draw a pixel otherwise.
  stated = json.loads(metadata['id_test'])
  assert found.metrics['accuracy'] == pytest.approx(stated, abs=0.01)
  assert stated > 0.95

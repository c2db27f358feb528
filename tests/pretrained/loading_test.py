"""Loading: every container and layout that is published, and every misfit."""

import functools
import logging
import tracemalloc
import warnings

import jax
import numpy as np
import pytest

import daft_jax
from daft_jax import checkpoint, models, pretrained, trees
from daft_jax.models import resnet
from daft_jax.pretrained import files, identify, rules

GLYPHS = 'resnet14_cifar.glyphs'
TORCHVISION, AKAMASTER = rules.LAYOUTS['resnet']
NARROW = resnet.ResNet(7, (1, 1, 1, 1), bottleneck=True, width=4)


@functools.cache
def leaves_of(model, seed=0):
  spec = jax.ShapeDtypeStruct((1, 32, 32, 3), np.float32)
  shapes = jax.eval_shape(model.init, jax.random.key(0), spec)
  rng = np.random.default_rng(seed)
  found = {
    path: rng.normal(size=leaf.shape).astype(np.float32)
    for path, leaf in trees.flatten(shapes).items()
  }
  return {p: np.abs(x) if p.endswith('/var') else x for p, x in found.items()}


def as_torch(model, layout, seed=0, head=True):
  """A state dict as its publisher would save it, counters among it."""
  state = {}
  for path, leaf in leaves_of(model, seed).items():
    if head or not path.startswith(rules.HEAD):
      name = rules.key(layout, path)
      state[name] = rules.to_torch(path, leaf)
      if name.endswith('running_var'):
        counter = name.replace('running_var', 'num_batches_tracked')
        state[counter] = np.array(7)
  return state


def under(prefix, state):
  return {prefix + name: array for name, array in state.items()}


def projection(*names):
  return {name: np.ones((4, 128), np.float32) for name in names}


BODY = as_torch(NARROW, TORCHVISION, head=False)
OTHER = as_torch(NARROW, TORCHVISION, seed=1, head=False)
WHOLE = as_torch(NARROW, TORCHVISION)

# What the published checkpoints look like: (nested dicts, has a head).
CHECKPOINTS = {
  'torchvision': (WHOLE, True),
  'timm': (WHOLE, True),
  'lightning': ({'epoch': 3, 'state_dict': under('model.', WHOLE)}, True),
  'compiled': ({'model': under('_orig_mod.module.', WHOLE)}, True),
  'moco_v2': (
    {
      'epoch': 800,
      'arch': 'resnet50',
      'state_dict': {
        **under('module.encoder_q.', BODY),
        **projection(
          'module.encoder_q.fc.0.weight', 'module.encoder_q.fc.2.weight'
        ),
        **under('module.encoder_k.', OTHER),
        **projection('module.encoder_k.fc.0.weight', 'module.queue'),
        'module.queue_ptr': np.zeros(1, np.int64),
      },
      'optimizer': {'state': {0: {'momentum_buffer': np.ones(3)}}},
    },
    False,
  ),
  'moco_tp': ({'state_dict': under('module.encoder_q.', BODY)}, False),
  'swav': (
    {
      **under('module.', BODY),
      **projection(
        'module.projection_head.0.weight', 'module.prototypes.weight'
      ),
    },
    False,
  ),
  'barlow_twins': (BODY, False),
  'barlow_twins_full': (
    {
      'model': {
        **under('module.backbone.', BODY),
        **projection('module.projector.0.weight'),
      }
    },
    False,
  ),
  'dino_full': (
    {
      'student': under('module.backbone.', OTHER),
      'teacher': {**under('backbone.', BODY), **projection('head.mlp.weight')},
    },
    False,
  ),
  'averages_beside': (
    {'state_dict': WHOLE, 'state_dict_ema': under('', OTHER)},
    True,
  ),
}


def save(nested, path):
  """As npz: the names are those that any container would have."""
  np.savez(path, **files.flatten(nested))
  return path


def assert_loaded(variables, model, head=True):
  found, expected = trees.flatten(variables), leaves_of(model)
  assert found.keys() == expected.keys()
  for path, leaf in found.items():
    assert leaf.dtype == np.float32 and isinstance(leaf, np.ndarray)
    if head or not path.startswith(rules.HEAD):
      np.testing.assert_array_equal(leaf, expected[path], err_msg=path)
    else:
      assert not leaf.any()


@pytest.mark.parametrize('name', CHECKPOINTS)
def test_published_checkpoints(name, tmp_path, caplog):
  nested, head = CHECKPOINTS[name]
  path = save(nested, tmp_path / 'w.npz')
  with caplog.at_level(logging.INFO, 'daft_jax'):
    variables = daft_jax.load_pretrained('resnet50', NARROW, path)
  assert_loaded(variables, NARROW, head)
  assert ('has no head: a new one' in caplog.text) is not head
  assert 'num_batches_tracked' in caplog.text
  for part, shown in {
    'moco_v2': ('encoder_k', 'module.queue', 'fc (2)', 'optimizer'),
    'swav': ('projection_head (1)', 'prototypes (1)'),
    'dino_full': ('student', 'teacher.head'),
  }.items():
    assert part != name or all(x in caplog.text for x in shown), caplog.text


@pytest.mark.parametrize('name', CHECKPOINTS)
@pytest.mark.parametrize('legacy', [False, True])
def test_the_same_from_files_of_torch(name, legacy, tmp_path):
  torch = pytest.importorskip('torch', reason='parity needs torch')
  nested, head = CHECKPOINTS[name]
  tensors = jax.tree.map(
    lambda x: torch.from_numpy(x.copy()) if isinstance(x, np.ndarray) else x,
    nested,
  )
  path = tmp_path / 'checkpoint.pth.tar'
  torch.save(tensors, path, _use_new_zipfile_serialization=not legacy)
  variables = daft_jax.load_pretrained('resnet50', NARROW, path)
  assert_loaded(variables, NARROW, head)


def test_cifar_files_of_akamaster(tmp_path):
  model = models.create_model('resnet20_cifar', 10)
  nested = {
    'state_dict': under('module.', as_torch(model, AKAMASTER)),
    'best_prec1': 91.7,
  }
  path = save(nested, tmp_path / 'resnet20.npz')
  variables = daft_jax.load_pretrained('resnet20_cifar.akamaster', model, path)
  assert_loaded(variables, model)


def test_half_and_double_precision_become_float32(tmp_path):
  state = {
    name: array.astype(np.float16 if array.ndim > 1 else np.float64)
    for name, array in WHOLE.items()
  }
  path = save(state, tmp_path / 'w.npz')
  found = trees.flatten(daft_jax.load_pretrained('resnet50', NARROW, path))
  for name, leaf in leaves_of(NARROW).items():
    expected = leaf.astype(np.float16) if leaf.ndim > 1 else leaf
    np.testing.assert_array_equal(found[name], expected)
    assert found[name].dtype == np.float32


def test_every_format_of_ones_own_variables(tmp_path):
  variables = variables_of(NARROW)
  pretrained.save_weights(variables, tmp_path / 'w.safetensors', {})
  np.savez(tmp_path / 'w.npz', **trees.flatten(variables))
  checkpoint.save_variables(tmp_path / 'orbax', variables)
  for name in ('w.safetensors', 'w.npz', 'orbax'):
    loaded = daft_jax.load_pretrained('resnet50', NARROW, tmp_path / name)
    assert_loaded(loaded, NARROW)


def spec(size=32):
  return jax.ShapeDtypeStruct((1, size, size, 3), np.float32)


@pytest.mark.parametrize('head', ['auto', 'keep'])
def test_head_is_kept(head, tmp_path):
  path = save(WHOLE, tmp_path / 'w.npz')
  assert_loaded(
    daft_jax.load_pretrained('resnet50', NARROW, path, head=head), NARROW
  )


@pytest.mark.parametrize('classes', [3, 7])
@pytest.mark.parametrize('name', ['torchvision', 'moco_v2'])
def test_new_head_is_zero_and_the_rest_is_kept(name, classes, tmp_path, caplog):
  path = save(CHECKPOINTS[name][0], tmp_path / 'w.npz')
  model = NARROW.clone(num_classes=classes)
  loaded = daft_jax.load_pretrained('resnet50', model, path, head='new')
  head = loaded['params']['head']
  assert head['kernel'].shape == (128, classes)
  assert not any(leaf.any() for leaf in jax.tree.leaves(head))
  body = {k: v for k, v in loaded['params'].items() if k != 'head'}
  for key, leaf in trees.flatten({'params': body}).items():
    np.testing.assert_array_equal(leaf, leaves_of(NARROW)[key])
  assert 'has no head' not in caplog.text  # it was asked for


@pytest.mark.parametrize('head', ['auto', 'keep'])
def test_other_class_count_is_refused(head, tmp_path):
  path = save(WHOLE, tmp_path / 'w.npz')
  model = NARROW.clone(num_classes=10)
  with pytest.raises(ValueError, match="7 classes, the model 10: .*head='new'"):
    daft_jax.load_pretrained('resnet50', model, path, head=head)


def test_a_head_that_is_not_there_cannot_be_kept(tmp_path):
  path = save(BODY, tmp_path / 'w.npz')
  with pytest.raises(ValueError, match="has no head to keep: pass head='new'"):
    daft_jax.load_pretrained('resnet50', NARROW, path, head='keep')
  with pytest.raises(ValueError, match="'auto', 'keep' or 'new'"):
    daft_jax.load_pretrained('resnet50', NARROW, path, head='zero')


def spoiled():
  state = dict(WHOLE)
  del state['bn1.running_mean'], state['layer2.0.conv1.weight']
  state['layer9.weight'] = np.ones(3, np.float32)
  state['conv1.weight'] = state['conv1.weight'].transpose(2, 3, 1, 0)
  return state


def test_one_error_lists_both_sides(tmp_path):
  path = save({'state_dict': under('module.', spoiled())}, tmp_path / 'w.npz')
  with pytest.raises(ValueError) as error:
    daft_jax.load_pretrained('resnet50', NARROW, path)
  first, *rest = str(error.value).splitlines()
  assert first.startswith(f"{path} under 'state_dict.module.' does not fit")
  assert len(rest) == 3 and 'in the model but not in the file' in rest[0]
  assert 'bn1.running_mean' in rest[0] and 'layer2.0.conv1.weight' in rest[0]
  assert rest[1].endswith(': layer9.weight')
  assert 'conv1.weight (file [7, 7, 3, 4], model [4, 3, 7, 7])' in rest[2]


def test_in_part_only_when_asked(tmp_path, caplog):
  path = save(spoiled(), tmp_path / 'w.npz')
  loaded = daft_jax.load_pretrained('resnet50', NARROW, path, strict=False)
  found = trees.flatten(loaded)
  anew = {
    'params/conv1/kernel',
    'params/layer2_0/conv1/kernel',
    'batch_stats/bn1/mean',
  }
  for key, leaf in leaves_of(NARROW).items():
    same = np.array_equal(found[key], leaf)
    assert found[key].shape == leaf.shape and same is (key not in anew), key
  assert all(key in caplog.text for key in anew)
  assert 'layer9.weight' in caplog.text and 'loaded in part' in caplog.text


@pytest.mark.parametrize('is_a', ['resnet18', 'resnet20_cifar', 'resnet34'])
def test_the_nearest_architecture_is_named(is_a, tmp_path):
  layout = AKAMASTER if 'cifar' in is_a else TORCHVISION
  state = as_torch(models.create_model(is_a, 10), layout)
  path = save({'state_dict': under('module.', state)}, tmp_path / 'w.npz')
  model = models.create_model('resnet50', 10)
  with pytest.raises(ValueError, match=f"create_model\\('{is_a}'\\)"):
    daft_jax.load_pretrained('resnet50', model, path)


def test_a_file_of_something_else(tmp_path):
  state = {f'encoder.layer.{i}.weight': np.ones((3, 4)) for i in range(9)}
  path = save(state, tmp_path / 'w.npz')
  with pytest.raises(ValueError, match='nor any other model of this package'):
    daft_jax.load_pretrained('resnet50', NARROW, path)


def test_two_networks_that_fit_alike_are_refused(tmp_path):
  state = {'first': WHOLE, 'second': OTHER}
  path = save(state, tmp_path / 'w.npz')
  with pytest.raises(ValueError, match="'first.', 'second.'.*file of its own"):
    daft_jax.load_pretrained('resnet50', NARROW, path)


def test_unknown_names(tmp_path):
  model = models.create_model('resnet14_cifar', 10)
  with pytest.raises(ValueError, match=f'Did you mean {GLYPHS!r}.*Known: '):
    daft_jax.load_pretrained('resnet14_cifar.glyph', model)
  with pytest.raises(ValueError, match=f'pass the path= .*{GLYPHS}'):
    daft_jax.load_pretrained('resnet14_cifar', model)
  for path in (tmp_path / 'none.safetensors', tmp_path):
    with pytest.raises((FileNotFoundError, ValueError), match=str(path)):
      daft_jax.load_pretrained(GLYPHS, model, path)


def test_an_architecture_is_told_by_its_file():
  for name in ('resnet18', 'resnet34', 'resnet20_cifar'):
    layout = AKAMASTER if 'cifar' in name else TORCHVISION
    model = models.create_model(name, 12)
    found = identify.identify(under('net.', as_torch(model, layout)))
    assert (found.architecture, found.share) == (name, 1)
    assert found.match.head == 12 and found.match.prefix == 'net.'
  assert identify.identify({'a.weight': np.ones(3)}) is None


def variables_of(model):
  return trees.unflatten(
    leaves_of(model), jax.eval_shape(model.init, jax.random.key(0), spec())
  )


def test_export_and_back_is_bit_identical(tmp_path):
  model = models.create_model('resnet18', 7)
  path = tmp_path / 'torch.safetensors'
  written = daft_jax.export_torch(variables_of(model), 'resnet18', path)
  assert written['layer2.0.downsample.1.running_var'].shape == (128,)
  loaded = daft_jax.load_pretrained('resnet18', model, path)
  assert_loaded(loaded, model)


@pytest.mark.parametrize('name', ['mobilenet_v2', 'efficientnet_lite0'])
def test_export_in_every_layout(name, tmp_path):
  model = models.create_model(name, 7)
  for layout in rules.layouts(name):
    if layout.name == 'timm lite1 lite2':
      continue  # numbers blocks as these two have them
    path = tmp_path / 'w.safetensors'
    written = daft_jax.export_torch(
      variables_of(model), name, path, layout=layout.name
    )
    assert rules.key(layout, 'params/head/kernel') in written
    assert_loaded(daft_jax.load_pretrained(name, model, path), model)
  with pytest.raises(ValueError, match=f"no layout of {name} named 'tim'"):
    daft_jax.export_torch(variables_of(model), name, path, layout='tim')


def test_export_refuses_another_architecture_and_name(tmp_path):
  model = models.create_model('resnet18', 7)
  path = tmp_path / 'w.safetensors'
  for other in ('resnet34', 'resnet50'):
    with pytest.raises(ValueError, match=f'the variables are not of {other}'):
      daft_jax.export_torch(variables_of(model), other, path)
  with pytest.raises(ValueError, match='one that ends in .safetensors'):
    daft_jax.export_torch(variables_of(model), 'resnet18', tmp_path / 'w.pth')
  assert not list(tmp_path.iterdir())


@pytest.mark.parametrize('name', ['resnet18', 'resnext50_32x4d'])
def test_torchvision_loads_what_is_exported(name, tmp_path):
  """Strictly, and computes the same; the published file gives it back."""
  from tests import parity

  torchvision = parity.torchvision()
  import safetensors.torch
  import torch

  model = models.create_model(name, 1000)
  variables = models.init_variables(model, 64, seed=3)
  path = tmp_path / 'w.safetensors'
  daft_jax.export_torch(variables, name, path)
  module = getattr(torchvision.models, name)()
  module.load_state_dict(safetensors.torch.load_file(path))
  x = parity.images(65)
  expected, _ = jax.jit(model.apply)(variables, x)
  with torch.no_grad():
    found = module.eval()(torch.from_numpy(x.transpose(0, 3, 1, 2).copy()))
  assert parity.difference(np.asarray(expected), found.numpy()) <= 1e-4
  torch.save(module.state_dict(), tmp_path / f'{name}.pth')
  again = daft_jax.load_pretrained(name, model, tmp_path / f'{name}.pth')
  jax.tree.map(np.testing.assert_array_equal, again, variables)


@pytest.fixture(scope='module')
def clip(tmp_path_factory):
  """A narrow CLIP as OpenAI saves it: TorchScript, weights in float16."""
  torch = pytest.importorskip('torch', reason='parity needs torch')
  from tests.cases import clip_resnet as reference

  case = reference.NARROW['clip_resnet']

  class Clip(torch.nn.Module):
    def __init__(self):
      super().__init__()
      self.visual = case.module()
      self.visual.head = torch.nn.Identity()
      self.transformer = torch.nn.Linear(4, 4)
      self.token_embedding = torch.nn.Embedding(5, 4)
      self.ln_final = torch.nn.LayerNorm(4)
      self.positional_embedding = torch.nn.Parameter(torch.ones(77, 4))
      self.text_projection = torch.nn.Parameter(torch.ones(4, 6))
      self.logit_scale = torch.nn.Parameter(torch.ones([]))
      self.register_buffer('input_resolution', torch.tensor(64))

    def forward(self, image):
      return self.visual(image)

  module = Clip().eval()
  with torch.no_grad(), warnings.catch_warnings():
    warnings.simplefilter('ignore')  # TorchScript is deprecated
    archive = torch.jit.trace(module, torch.zeros(1, 3, 64, 64))
    for name, value in archive.named_parameters():
      if value.ndim > 1 and name.startswith('visual.'):
        value.data = value.data.half()
    path = tmp_path_factory.mktemp('clip') / 'RN50.pt'
    torch.jit.save(archive, path)
  state = {k: v.numpy() for k, v in archive.state_dict().items()}
  torch.save(archive.state_dict(), path.with_suffix('.pth'))
  return case.model, path, state


@pytest.mark.parametrize('suffix', ['.pt', '.pth'])
def test_clip_as_an_archive_and_as_a_state_dict(clip, suffix, caplog):
  model, path, state = clip
  path = path.with_suffix(suffix)
  with caplog.at_level(logging.INFO, 'daft_jax'):
    variables = daft_jax.load_pretrained('clip_resnet50.openai', model, path)
  found = trees.flatten(variables)
  layout = rules.LAYOUTS['clip_resnet'][0]
  for key, leaf in found.items():
    assert leaf.dtype == np.float32
    if key.startswith(rules.HEAD):
      assert not leaf.any()  # CLIP has no classifier
    else:
      expected = state[f'visual.{rules.key(layout, key)}']
      np.testing.assert_array_equal(rules.to_torch(key, leaf), expected)
  assert 'transformer (2)' in caplog.text and 'logit_scale' in caplog.text


@pytest.mark.parametrize('legacy', [False, True])
def test_memory_is_that_of_the_file(legacy, tmp_path):
  torch = pytest.importorskip('torch', reason='parity needs torch')
  model = models.create_model('resnet18', 1000)
  state = {
    name: torch.from_numpy(np.ascontiguousarray(array))
    for name, array in as_torch(model, TORCHVISION).items()
    if array.ndim
  }
  path = tmp_path / 'w.pth'
  torch.save(state, path, _use_new_zipfile_serialization=not legacy)
  identify.abstract_variables(model)  # traced once a process
  tracemalloc.start()
  variables = daft_jax.load_pretrained('resnet18', model, path)
  _, peak = tracemalloc.get_traced_memory()
  tracemalloc.stop()
  assert_loaded(variables, model)
  assert peak <= 1.1 * path.stat().st_size


def test_an_average_does_not_make_up_for_what_the_weights_lack(tmp_path):
  lacking = {k: v for k, v in WHOLE.items() if not k.startswith('layer4.')}
  path = save({'model': lacking, 'model_ema': OTHER}, tmp_path / 'w.npz')
  with pytest.raises(ValueError, match=r"'model.'(.|\n)*layer4.0.bn1.running"):
    daft_jax.load_pretrained('resnet50', NARROW, path, head='new')


@pytest.mark.parametrize(
  'spoil',
  [
    lambda state: state.pop('fc.bias'),
    lambda state: state.update({'fc.weight': np.ones((7, 100), np.float32)}),
  ],
)
def test_a_head_that_is_not_whole_is_a_misfit(spoil, tmp_path, caplog):
  state = dict(WHOLE)
  spoil(state)
  path = save(state, tmp_path / 'w.npz')
  with pytest.raises(ValueError, match='fc.'):
    daft_jax.load_pretrained('resnet50', NARROW, path)
  assert 'has no head' not in caplog.text
  daft_jax.load_pretrained('resnet50', NARROW, path, head='new')


@pytest.mark.parametrize(
  ('name', 'value', 'says'),
  [
    ('conv1.weight', np.nan, 'params/conv1/kernel'),
    ('bn1.bias', np.inf, 'params/bn1/bias'),
    ('bn1.running_var', -1.0, 'negative variances: batch_stats/bn1/var'),
    ('conv1.weight', 1e300, 'infinite in float32'),
    ('conv1.weight', np.int8(3), r'no floats: params/conv1/kernel .int8.'),
  ],
)
def test_values_that_are_no_weights_are_refused(name, value, says, tmp_path):
  spoiled = np.full(WHOLE[name].shape, value)
  path = save({**WHOLE, name: spoiled}, tmp_path / 'w.npz')
  with pytest.raises(ValueError, match=says):
    daft_jax.load_pretrained('resnet50', NARROW, path)


def test_the_projection_of_moco_v1_is_no_head(tmp_path, caplog):
  state = under('module.encoder_q.', WHOLE)  # `fc` maps to 7 dimensions
  path = save({'state_dict': state}, tmp_path / 'w.npz')
  variables = daft_jax.load_pretrained('resnet50', NARROW, path)
  assert not variables['params']['head']['kernel'].any()
  assert 'has no head' in caplog.text


def test_the_model_may_be_what_is_wrong(tmp_path):
  model = models.create_model('resnet18', 10)
  state = as_torch(model, TORCHVISION)
  path = save(state, tmp_path / 'w.npz')
  with pytest.raises(
    ValueError, match='the file is of resnet18, the model is not'
  ):
    daft_jax.load_pretrained('resnet18', NARROW.clone(num_classes=10), path)


def test_names_that_do_not_tell_the_network_apart_are_cautioned(
  tmp_path, caplog
):
  model = models.create_model('efficientnet_lite0', 5)
  path = tmp_path / 'w.safetensors'
  daft_jax.export_torch(
    variables_of(model), 'efficientnet_lite0', path, layout='timm lite0'
  )
  daft_jax.load_pretrained('efficientnet_lite0', model, path)
  assert 'tf_efficientnet_lite' in caplog.text

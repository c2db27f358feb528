"""The published architectures against PyTorch, at odd and even sizes."""

import pytest

from tests import parity

pytest.importorskip('torch', reason='parity needs torch')
CASES = parity.cases('FULL')
# The others are longer rows of the same blocks.
SHORT = {'resnet18', 'resnet50', 'resnext50_32x4d', 'resnet20_cifar'}
SHORT |= {'clip_resnet50', 'mobilenet_v2', 'efficientnet_lite0'}


def _marked(name):
  slow = name not in SHORT
  return pytest.param(name, marks=[pytest.mark.nightly] * slow)


@pytest.mark.parametrize('name', [*map(_marked, CASES)])
def test_eval_mode(name):
  case = CASES[name]
  module = parity.randomise(case.module())
  state = parity.state_of(module)
  for size in (case.size, case.size + 13):
    x = parity.images(size, 2)
    expected = parity.run_torch(module, x, case.maps, train=False)
    found = parity.run_flax(case, state, x, train=False)
    parity.check_maps(found, expected, 1e-4)


@pytest.mark.parametrize('name', [*map(_marked, CASES)])
def test_train_mode_in_float64(name):
  case = CASES[name]
  module = parity.randomise(case.module())
  state = parity.state_of(module)
  x = parity.images(case.size + 13, 2)
  expected = parity.run_torch(module, x, case.maps, train=True)
  found = parity.run_flax(case, state, x, train=True)
  parity.check_maps(found, expected, 1e-8)
  parity.check_statistics(state, found, expected)

"""Narrow networks against what PyTorch gave, with and without PyTorch."""

import importlib.util

import numpy as np
import pytest

from tests import parity

CASES = parity.cases('NARROW')
HAS_TORCH = importlib.util.find_spec('torch') is not None


@pytest.mark.parametrize('name', CASES)
def test_eval_mode(name):
  case, golden = CASES[name], parity.read_golden(name)
  x = parity.images(case.size)
  found = parity.run_flax(case, golden['weights'], x, train=False)
  expected = parity.Outputs(golden['eval'], {})
  parity.check_maps(found, expected, 1e-4)


@pytest.mark.parametrize('name', CASES)
def test_train_mode_in_float64(name):
  case, golden = CASES[name], parity.read_golden(name)
  x = parity.images(case.size)
  found = parity.run_flax(case, golden['weights'], x, train=True)
  expected = parity.Outputs(golden['train'], golden['after'])
  parity.check_maps(found, expected, 1e-9)
  parity.check_statistics(golden['weights'], found, expected)


@pytest.mark.skipif(not HAS_TORCH, reason='parity needs torch')
@pytest.mark.parametrize('name', CASES)
def test_the_file_is_what_torch_gives(name):
  golden = parity.read_golden(name)
  stored = {
    f'{g}/{k}': v for g, values in golden.items() for k, v in values.items()
  }
  made = parity.make_golden(CASES[name])
  assert stored.keys() == made.keys()
  for key, value in made.items():
    tolerance = {'weights': 0, 'eval': 1e-5}.get(key.split('/')[0], 1e-9)
    assert parity.difference(stored[key], value) <= tolerance, key


def test_the_files_are_small_and_all_used():
  files = list(parity.GOLDEN.glob('*.npz'))
  assert {path.stem for path in files} == set(CASES)
  assert sum(path.stat().st_size for path in files) <= 4_000_000


def test_differences_are_seen():
  """The checks fail where networks differ by little."""
  case, golden = CASES['resnet_basic'], parity.read_golden('resnet_basic')
  weights = dict(golden['weights'])
  weights['layer2.1.bn1.weight'] = weights['layer2.1.bn1.weight'] + 1e-2
  x = parity.images(case.size)
  found = parity.run_flax(case, weights, x, train=False)
  with pytest.raises(AssertionError, match='stage2'):
    parity.check_maps(found, parity.Outputs(golden['eval'], {}), 1e-4)
  assert np.isfinite(found.maps['logits']).all()

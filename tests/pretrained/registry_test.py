"""The rows: consistent, complete, listed without JAX."""

import re
import subprocess
import sys

import pytest

from daft_jax import models, pretrained
from daft_jax.data.preprocess import Preprocess
from daft_jax.pretrained import registry, rules


def test_rows_are_consistent():
  assert pretrained.list_pretrained() == list(pretrained.PRETRAINED)
  for tag, row in pretrained.PRETRAINED.items():
    assert row.tag == tag and tag.startswith(f'{row.architecture}.')
    assert row.architecture in models.list_models()
    assert rules.layouts(row.architecture)
    assert re.fullmatch('[0-9a-f]{8,64}|', row.sha256)
    assert row.file or row.package or row.url.startswith('https://')
    assert Preprocess(**row.preprocess).image_size == row.image_size


def test_preprocessing_of_the_paper():
  for name in ('mocov2_800ep', 'mocotp_fmow', 'swav_800ep'):
    assert registry.lookup(f'resnet50.{name}').std == (0.228, 0.224, 0.225)
  clip = registry.lookup('clip_resnet50.openai')
  assert clip.mean == (0.48145466, 0.4578275, 0.40821073)
  assert clip.interpolation == 'bicubic' and clip.resize == 224


def test_rows_of_torchvision_are_its_own():
  from tests import parity

  published = parity.torchvision().models
  checked = 0
  for row in pretrained.PRETRAINED.values():
    if 'download.pytorch.org' not in row.url:
      continue
    builder = published.get_model_weights(row.architecture)
    (found,) = [weights for weights in builder if weights.url == row.url]
    transform = found.transforms()
    assert [row.image_size] == transform.crop_size
    assert [row.resize] == transform.resize_size
    assert list(row.mean) == transform.mean and list(row.std) == transform.std
    assert row.interpolation == transform.interpolation.value
    checked += 1
  assert checked >= 10


def test_listing_imports_no_jax():
  program = (
    'import sys; from daft_jax import pretrained; '
    'print(*pretrained.list_pretrained(), "jax" in sys.modules)'
  )
  result = subprocess.run(
    [sys.executable, '-c', program], capture_output=True, text=True, check=True
  )
  assert result.stdout.split() == [*pretrained.list_pretrained(), 'False']


def test_unknown_tag():
  with pytest.raises(ValueError, match="Did you mean 'resnet50.vicreg"):
    registry.lookup('resnet50.vicerg')

import subprocess
import sys

import numpy as np
import pytest

from daft_jax.data import sources

SIZES = {
  'digits:train': 600,
  'digits:val': 400,
  'digits:test': 797,
  'digits:all': 1_797,
  'digits_noise:test': 797,
  'mnist:test': 5_000,
  'mnist_parts:train': 600,
  'mnist_parts:val': 400,
  'mnist_parts:test': 4_000,
  'mnist_inverted:test': 5_000,
  'glyphs:train': 20_000,
  'glyphs:val': 2_000,
  'glyphs:test': 2_000,
  'other_faces:test': 2_000,
}


def test_the_list_is_complete():
  # 'tiny' is what other tests add (conftest.py).
  names = [x for x in sources.list_sources() if not x.startswith('tiny:')]
  assert names == list(SIZES)


@pytest.mark.parametrize('name', SIZES)
def test_load(name):
  images = sources.load(name, image_size=24)
  assert len(images) == SIZES[name]
  assert images.images.shape == (SIZES[name], 24, 24, 3)
  assert images.images.dtype == np.uint8
  assert images.labels.shape == (SIZES[name],)
  assert images.labels.dtype == np.int32
  with pytest.raises(ValueError, match='read-only'):
    images.images[0] = 0
  with pytest.raises(ValueError, match='read-only'):
    images.labels[0] = 0


def test_loaded_once_and_scans_whatever_the_seed():
  digits = sources.load('digits:val', image_size=24)
  assert sources.load('digits:val', image_size=24, seed=5) is digits
  glyphs = sources.load('glyphs:val', image_size=24)
  other = sources.load('glyphs:val', image_size=24, seed=5)
  assert sources.load('glyphs:val', image_size=24) is glyphs
  assert (other.images != glyphs.images).mean() > 0.5


@pytest.mark.parametrize(
  ('name', 'near'),
  [
    ('digit:train', 'digits:train'),
    ('mnist:tset', 'mnist:test'),
    ('glyphs', 'glyphs:val'),
  ],
)
def test_unknown_source_names_the_nearest(name, near):
  with pytest.raises(ValueError, match=f'Did you mean {near!r}') as error:
    sources.load(name, image_size=24)
  assert 'other_faces:test' in str(error.value)


def test_bad_size_and_seed():
  with pytest.raises(ValueError, match='image_size must be at least 1, not 0'):
    sources.load('mnist:test', image_size=0)
  with pytest.raises(ValueError, match='seed must be 0 or more, not -1'):
    sources.load('mnist:test', image_size=24, seed=-1)


def test_image_set_leaves_the_arrays_it_was_given_writable():
  pixels = np.zeros((2, 4, 4, 3), np.uint8)
  images = sources.ImageSet(pixels, np.zeros(2, np.int32))
  pixels[0] = 1
  assert images.images[0, 0, 0, 0] == 1 and len(images) == 2


@pytest.mark.parametrize(
  ('images', 'labels', 'error', 'match'),
  [
    (np.zeros((2, 4, 4, 3)), np.zeros(2, np.int32), TypeError, 'uint8'),
    (np.zeros((2, 4, 4, 3), np.uint8), np.zeros(2), TypeError, 'int32'),
    (np.zeros((2, 4, 4), np.uint8), np.zeros(2, np.int32), ValueError, 'N, H'),
    (
      np.zeros((2, 4, 4, 3), np.uint8),
      np.zeros(3, np.int32),
      ValueError,
      'one an image',
    ),
  ],
)
def test_image_set_checks_what_it_holds(images, labels, error, match):
  with pytest.raises(error, match=match):
    sources.ImageSet(images, labels)


def test_loading_imports_none_of_the_packages_that_bring_the_images():
  program = """
import sys
from daft_jax.data import sources
for name in ('digits:train', 'mnist:test', 'other_faces:test'):
  sources.load(name, image_size=24)
heavy = {'matplotlib', 'sklearn', 'mlxtend', 'pandas', 'tensorflow', 'torch'}
print(sorted(heavy & set(sys.modules)))
"""
  done = subprocess.run(
    [sys.executable, '-c', program], capture_output=True, text=True, check=True
  )
  assert done.stdout.strip() == '[]'

import dataclasses

import numpy as np
import pytest
from PIL import Image

from daft_jax.data.preprocess import Preprocess

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def random_images(*shape):
  return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def test_values_without_resizing():
  images = random_images(5, 24, 24, 3)
  result = Preprocess(24, MEAN, STD)(images)
  want = (images / 255 - np.array(MEAN)) / np.array(STD)
  assert result.dtype == np.float32 and result.shape == (5, 24, 24, 3)
  np.testing.assert_allclose(result, want, rtol=1e-5, atol=1e-6)


def test_resizing_is_pil_bilinear_image_by_image():
  images = random_images(3, 30, 17, 3)
  result = Preprocess(24, (0, 0, 0), (1, 1, 1))(images)
  for image, got in zip(images, result, strict=True):
    want = Image.fromarray(image).resize((24, 24), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(got, np.asarray(want, np.float32) / 255)


def test_downscaling_is_antialiased():
  stripes = np.zeros((1, 48, 48), np.uint8)
  stripes[:, :, ::2] = 255
  result = Preprocess(12, (0, 0, 0), (1, 1, 1))(stripes)
  np.testing.assert_allclose(result, 0.5, atol=0.05)


@pytest.mark.parametrize('size', [24, 28])
def test_grey_is_repeated_over_the_channels(size):
  images = random_images(2, 28, 28)
  preprocess = Preprocess(size, MEAN, STD)
  result = preprocess(images)
  rgb = np.repeat(images[..., None], 3, axis=-1)
  np.testing.assert_array_equal(result, preprocess(images[..., None]))
  np.testing.assert_array_equal(result, preprocess(rgb))


def test_the_images_are_left_alone():
  images = random_images(2, 24, 24, 3)
  before = images.copy()
  images.setflags(write=False)
  Preprocess(24, MEAN, STD)(images)[:] = 7
  np.testing.assert_array_equal(images, before)


def test_a_batch_of_none_is_fine():
  empty = np.zeros((0, 28, 28, 3), np.uint8)
  assert Preprocess(24, MEAN, STD)(empty).shape == (0, 24, 24, 3)


@pytest.mark.parametrize(
  ('shape', 'match'),
  [
    ((28, 28), r'Add the batch axis: preprocess\(image\[None\]\)'),
    ((28, 28, 1), 'Add the batch axis'),
    ((28, 28, 3), 'Add the batch axis'),
    ((2, 3, 28, 28), r'channels first.*transpose\(0, 2, 3, 1\)'),
    ((2, 28, 28, 4), r'not \(2, 28, 28, 4\)'),
    ((28,), r'not \(28,\)'),
    ((2, 0, 28, 3), r'not \(2, 0, 28, 3\)'),
  ],
)
def test_wrong_shapes(shape, match):
  with pytest.raises(ValueError, match=match):
    Preprocess(24, MEAN, STD)(np.zeros(shape, np.uint8))


@pytest.mark.parametrize('dtype', [np.float32, np.int64, bool])
def test_wrong_dtype(dtype):
  with pytest.raises(TypeError, match=r'must be uint8.*images \* 255'):
    Preprocess(24, MEAN, STD)(np.zeros((2, 24, 24, 3), dtype))


@pytest.mark.parametrize(
  ('changes', 'match'),
  [
    ({'image_size': 0}, 'image_size must be at least 1'),
    ({'mean': (0.5,)}, 'mean must be three finite numbers'),
    ({'mean': (0.5, 0.5, float('nan'))}, 'mean must be three finite numbers'),
    ({'std': (1, 1, 1, 1)}, 'std must be three finite numbers'),
    ({'std': (1, 0, 1)}, 'std must be positive'),
  ],
)
def test_wrong_settings(changes, match):
  with pytest.raises(ValueError, match=match):
    dataclasses.replace(Preprocess(24, MEAN, STD), **changes)


def test_settings_from_json_compare_and_hash_equal():
  one, other = Preprocess(24, MEAN, STD), Preprocess(24, list(MEAN), list(STD))
  assert one == other and hash(one) == hash(other)


@pytest.mark.parametrize('shape', [(40, 61), (61, 40), (33, 33), (24, 24)])
@pytest.mark.parametrize('interpolation', ['bilinear', 'bicubic'])
def test_resize_and_cut_are_those_of_torchvision(shape, interpolation):
  from tests import parity

  transforms = parity.torchvision().transforms
  image = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
  mode = transforms.InterpolationMode(interpolation)
  cut = transforms.Compose(
    [transforms.Resize(28, interpolation=mode), transforms.CenterCrop(24)]
  )
  expected = np.asarray(cut(Image.fromarray(image)), np.float32) / 255
  preprocess = Preprocess(24, (0.5,) * 3, (0.5,) * 3, 28, interpolation)
  if shape == (24, 24):  # Already as it has to be: not touched.
    expected = image.astype(np.float32) / 255
  found = preprocess(image[None])[0]
  np.testing.assert_allclose(found, (expected - 0.5) / 0.5, atol=1e-6)


def test_the_middle_is_cut_out():
  image = np.zeros((20, 40, 3), np.uint8)
  image[:, 15:25] = 255
  preprocess = Preprocess(10, (0.0,) * 3, (1.0,) * 3, resize=20)
  np.testing.assert_array_equal(preprocess(image[None])[0], 1)


@pytest.mark.parametrize(
  ('fields', 'says'),
  [
    ({'resize': 20}, 'resize must be 0 or at least image_size .24., not 20'),
    ({'interpolation': 'cubic'}, "'cubic'; say one of bilinear, bicubic"),
  ],
)
def test_wrong_resizing(fields, says):
  with pytest.raises(ValueError, match=says):
    Preprocess(24, (0.5,) * 3, (0.5,) * 3, **fields)


def test_another_size_keeps_the_share_that_is_cut():
  preprocess = Preprocess(224, (0.5,) * 3, (0.5,) * 3, 256, 'bicubic')
  found = preprocess.at_size(112)
  assert (found.image_size, found.resize) == (112, 128)
  assert found.interpolation == 'bicubic' and found.mean == preprocess.mean

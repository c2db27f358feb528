import re
import sys

import numpy as np
import pytest
from PIL import Image

from daft_jax.data import crops, preprocess

INTERPOLATIONS = ['bilinear', 'bicubic']

# Width and height: as photos are, narrow, and too extreme for any try to fit.
SHAPES = [(640, 427), (31, 33), (1, 500), (500, 1), (7, 9), (1, 1), (90, 400)]


def noise(width, height, seed=0):
  rng = np.random.default_rng(seed)
  return rng.integers(0, 256, (height, width, 3), np.uint8)


def transforms():
  from tests import parity

  # Skips without it; `importorskip` would import one that torch refuses.
  return parity.torchvision().transforms


def boxes(width, height, count=300, seed=0):
  rng = np.random.default_rng(seed)
  return [crops.draw_box(width, height, rng) for _ in range(count)]


def moments(found, width, height):
  """What a box is described by, [N, 6]: share, ratio, place and a square."""
  left, top, w, h = np.array(found, float).T
  share, ratio = w * h / (width * height), np.log(w / h)
  middle = (left + w / 2) / width, (top + h / 2) / height
  return np.stack([share, ratio, share**2, ratio**2, *middle], axis=1)


@pytest.mark.parametrize('shape', [(640, 427), (90, 400), (31, 33)])
def test_boxes_are_distributed_as_those_of_torchvision(shape):
  draw = transforms().RandomResizedCrop.get_params
  import torch

  torch.manual_seed(0)
  picture = Image.new('RGB', shape)
  theirs = []
  for _ in range(4000):
    top, left, height, width = draw(picture, [0.08, 1.0], [3 / 4, 4 / 3])
    theirs.append((left, top, width, height))
  ours = moments(boxes(*shape, count=4000), *shape)
  theirs = moments(theirs, *shape)
  error = np.sqrt((ours.var(axis=0) + theirs.var(axis=0)) / 4000)
  np.testing.assert_array_less(
    np.abs(ours.mean(axis=0) - theirs.mean(axis=0)), 4 * error
  )


def test_area_and_ratio_are_uniform_as_documented():
  rng = np.random.default_rng(0)
  limits = {'scale': (0.1, 0.3), 'ratio': (1 / 2, 2.0)}
  found = [crops.draw_box(4000, 4000, rng, **limits) for _ in range(4000)]
  share, ratio = moments(found, 4000, 4000)[:, :2].T
  # The uniform distribution's quantiles; one of 4000 is off by 1/126 or so.
  at = np.linspace(0, 1, 21)
  uniform = np.quantile((share - 0.1) / 0.2, at)
  np.testing.assert_allclose(uniform, at, atol=0.03)
  uniform = np.quantile(ratio / np.log(4) + 0.5, at)
  np.testing.assert_allclose(uniform, at, atol=0.03)


@pytest.mark.parametrize('shape', SHAPES)
def test_boxes_are_in_the_picture(shape):
  width, height = shape
  for left, top, w, h in boxes(width, height):
    assert w >= 1 and 0 <= left <= width - w
    assert h >= 1 and 0 <= top <= height - h


def test_boxes_reach_every_corner():
  found = np.array(boxes(8, 8, count=2000))
  assert (found[:, :2].min(axis=0) == 0).all()
  assert ((found[:, :2] + found[:, 2:]).max(axis=0) == 8).all()


@pytest.mark.parametrize('shape', [(1, 500), (500, 1), (3, 40), (401, 17)])
def test_where_no_try_fits_the_box_is_the_middle_one_of_torchvision(shape):
  draw = transforms().RandomResizedCrop.get_params
  # Shares near 1 of a long picture: a box of an allowed ratio is too wide.
  limits = [0.9, 1.0], [3 / 4, 4 / 3]
  top, left, height, width = draw(Image.new('RGB', shape), *limits)
  found = crops.draw_box(*shape, np.random.default_rng(0), *limits)
  assert found == (left, top, width, height)


def test_the_middle_of_a_strip():
  rng = np.random.default_rng(0)
  assert crops.draw_box(1, 500, rng) == (0, 249, 1, 1)
  assert crops.draw_box(40, 2, rng, (1.0, 1.0)) == (18, 0, 3, 2)
  # Its own ratio is allowed, but is never drawn: the whole picture.
  assert crops.draw_box(4000, 3000, rng, (1.0, 1.0)) == (0, 0, 4000, 3000)


def test_the_same_generator_draws_the_same_box():
  assert boxes(640, 427, seed=1) == boxes(640, 427, seed=1)
  assert boxes(640, 427, seed=1) != boxes(640, 427, seed=2)
  assert {type(value) for value in boxes(640, 427, count=1)[0]} == {int}


@pytest.mark.parametrize('shape', SHAPES)
@pytest.mark.parametrize('interpolation', INTERPOLATIONS)
def test_pixels_are_those_of_torchvision(shape, interpolation):
  functional = transforms().functional
  mode = transforms().InterpolationMode(interpolation)
  picture = Image.fromarray(noise(*shape))
  for box, size in zip(boxes(*shape, count=8), [24, 33] * 4, strict=True):
    left, top, width, height = box
    expected = functional.resized_crop(
      picture, top, left, height, width, [size, size], mode
    )
    found = crops.cut(picture, box, size, interpolation)
    assert found.dtype == np.uint8 and found.shape == (size, size, 3)
    np.testing.assert_array_equal(found, np.asarray(expected))


@pytest.mark.parametrize('interpolation', INTERPOLATIONS)
def test_nothing_outside_of_the_box_is_seen(interpolation):
  pixels = np.zeros((60, 60, 3), np.uint8)
  pixels[20:40, 10:50] = 255
  picture, box = Image.fromarray(pixels), (10, 20, 40, 20)
  for size in (8, 64):
    assert (crops.cut(picture, box, size, interpolation) == 255).all()


def test_random_resized_crop_cuts_the_box_that_is_drawn():
  picture = Image.fromarray(noise(80, 50))
  limits = {'scale': (0.2, 0.4), 'ratio': (1.0, 1.5)}
  for seed in range(5):
    found = crops.random_resized_crop(
      picture,
      16,
      interpolation='bicubic',
      rng=np.random.default_rng(seed),
      **limits,
    )
    box = crops.draw_box(80, 50, np.random.default_rng(seed), **limits)
    expected = crops.cut(picture, box, 16, 'bicubic')
    np.testing.assert_array_equal(found, expected)
  found[:] = 0  # It may be written to, and the picture is another's.
  np.testing.assert_array_equal(np.asarray(picture), noise(80, 50))


# Measured: 0.81 and 0.95 at 224, 1.83 and 1.36 at 64, where bilinear, a
# triangle two areas wide, blurs more than the area does.
@pytest.mark.parametrize(('size', 'most'), [(224, 1.0), (64, 2.0)])
@pytest.mark.parametrize('interpolation', INTERPOLATIONS)
def test_opencv_is_near_to_pil_on_photos(interpolation, size, most):
  pytest.importorskip('cv2')
  datasets = pytest.importorskip('sklearn.datasets')
  rng, found = np.random.default_rng(0), []
  for pixels in datasets.load_sample_images().images:
    picture = Image.fromarray(pixels)
    for _ in range(40):
      box = crops.draw_box(*picture.size, rng)
      near = crops.cut_array(pixels, box, size, interpolation).astype(int)
      exact = crops.cut(picture, box, size, interpolation)
      found.append(np.abs(near - exact).mean())
  assert np.mean(found) < most and np.max(found) < 4


@pytest.mark.parametrize('shape', [(48, 12), (12, 48), (48, 48), (5, 24)])
def test_opencv_does_not_alias_where_one_side_shrinks(shape):
  pytest.importorskip('cv2')
  width, height = shape
  stripes = np.zeros((height, width, 3), np.uint8)
  if width > 24:
    stripes[:, ::2] = 255
  else:
    stripes[::2] = 255
  found = crops.cut_array(stripes, (0, 0, *shape), 12, 'bicubic')
  assert found.dtype == np.uint8 and found.shape == (12, 12, 3)
  np.testing.assert_allclose(found, 127.5, atol=1)


def test_opencv_leaves_pixels_of_the_size_alone():
  pytest.importorskip('cv2')
  pixels = noise(40, 30)
  found = crops.cut_array(pixels, (5, 7, 16, 16), 16, 'bilinear')
  np.testing.assert_array_equal(found, pixels[7:23, 5:21])
  found[:] = 0
  np.testing.assert_array_equal(pixels, noise(40, 30))


def test_opencv_takes_one_thread():
  cv2 = pytest.importorskip('cv2')
  cv2.setNumThreads(2)
  crops.cut_array(noise(40, 30), (0, 0, 40, 30), 16, 'bilinear')
  assert cv2.getNumThreads() == 1


def test_without_opencv(monkeypatch):
  monkeypatch.setitem(sys.modules, 'cv2', None)
  with pytest.raises(ImportError, match='pip install opencv-python-headless'):
    crops.cut_array(noise(40, 30), (0, 0, 40, 30), 16, 'bilinear')


@pytest.mark.parametrize(
  ('arguments', 'says'),
  [
    ((0, 9), 'the picture is empty: 0 x 9'),
    ((9, 9, (0.0, 1.0)), 'scale must be two shares of the area'),
    ((9, 9, (0.5, 0.4)), 'least <= largest <= 1, not (0.5, 0.4)'),
    ((9, 9, (0.5, 1.1)), 'scale must be'),
    ((9, 9, (0.5, 1.0), (2.0, 1.0)), 'ratio must be two of width / height'),
    ((9, 9, (0.5, 1.0), (0.0, 1.0)), 'ratio must be'),
    ((9, 9, (0.5, float('nan'))), 'scale must be'),
  ],
)
def test_wrong_limits(arguments, says):
  width, height, *limits = arguments
  with pytest.raises(ValueError, match=re.escape(says)):
    crops.draw_box(width, height, np.random.default_rng(0), *limits)


@pytest.mark.parametrize(
  ('box', 'size', 'interpolation', 'says'),
  [
    ((0, 0, 9, 8), 4, 'bicubc', "'bicubc'. Did you mean 'bicubic'?"),
    ((0, 0, 9, 8), 0, 'bicubic', 'size must be at least 1, not 0'),
    ((1, 0, 9, 8), 4, 'bicubic', 'box of 9 x 8 at (1, 0) is not in'),
    ((0, 1, 9, 8), 4, 'bicubic', 'not in the picture of 9 x 8'),
    ((0, -1, 9, 8), 4, 'bicubic', 'at (0, -1)'),
    ((0, 0, 0, 8), 4, 'bicubic', 'a box of 0 x 8'),
  ],
)
def test_wrong_cuts(box, size, interpolation, says):
  with pytest.raises(ValueError, match=re.escape(says)):
    crops.cut(Image.new('RGB', (9, 8)), box, size, interpolation)
  with pytest.raises(ValueError, match=re.escape(says)):
    crops.cut_array(np.zeros((8, 9, 3), np.uint8), box, size, interpolation)


def test_wrong_pictures():
  with pytest.raises(ValueError, match=r'mode L; say picture.convert\("RGB"\)'):
    crops.cut(Image.new('L', (9, 8)), (0, 0, 9, 8), 4, 'bicubic')
  for pixels in (np.zeros((8, 9, 3)), np.zeros((8, 9, 4), np.uint8)):
    with pytest.raises(ValueError, match=r'uint8 \[H, W, 3\], not'):
      crops.cut_array(pixels, (0, 0, 9, 8), 4, 'bicubic')


def test_crop_and_evaluation_resize_by_the_same_filters():
  """What a model is trained on and judged on: the box is the whole picture."""
  for interpolation in INTERPOLATIONS:
    pixels = noise(57, 43)
    whole = preprocess.Preprocess(
      24, (0.0,) * 3, (1.0,) * 3, interpolation=interpolation
    ).cut(pixels[None])[0]
    picture = Image.fromarray(pixels)
    found = crops.cut(picture, (0, 0, 57, 43), 24, interpolation)
    np.testing.assert_array_equal(found, whole)


@pytest.mark.parametrize('interpolation', INTERPOLATIONS)
@pytest.mark.parametrize('resize', [0, 24, 28])
def test_evaluation_is_that_of_torchvision_at_odd_sizes(resize, interpolation):
  """`Preprocess` at sizes that round: 60 of them between 1 and 90 pixels."""
  of = transforms()
  mode = of.InterpolationMode(interpolation)
  expected = of.Resize(resize or (24, 24), interpolation=mode)
  if resize:
    expected = of.Compose([expected, of.CenterCrop(24)])
  found = preprocess.Preprocess(
    24, (0.0,) * 3, (1.0,) * 3, resize, interpolation
  )
  shapes = np.random.default_rng(0).integers(1, 90, (60, 2))
  for width, height in shapes[(shapes != 24).any(axis=1)]:
    pixels = noise(width, height)
    np.testing.assert_allclose(
      found(pixels[None])[0],
      np.asarray(expected(Image.fromarray(pixels)), np.float32) / 255,
      atol=1e-6,
      err_msg=f'{width} x {height}',
    )

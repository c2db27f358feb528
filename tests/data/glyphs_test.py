import dataclasses

import numpy as np
import pytest

from daft_jax.data import glyphs

COUNT = 4_000


@pytest.fixture(scope='module')
def train():
  return glyphs.render('train', image_size=24, count=COUNT)


def test_shapes_and_class_balance(train):
  images, labels = train
  assert images.shape == (COUNT, 24, 24, 3) and images.dtype == np.uint8
  assert labels.dtype == np.int32
  counts = np.bincount(labels, minlength=62)
  assert len(counts) == 62 and counts.max() - counts.min() <= 1


def test_default_counts():
  counts = {name: split.count for name, split in glyphs.SPLITS.items()}
  assert counts == {
    'train': 20_000,
    'val': 2_000,
    'test': 2_000,
    'other_faces': 2_000,
  }
  images, _ = glyphs.render('val', image_size=16)
  assert images.shape == (2_000, 16, 16, 3)


def test_an_example_depends_on_seed_and_index_alone(train):
  # 2,500 crosses the border of a chunk, and ends within one.
  for count in (7, 2_500):
    images, labels = glyphs.render('train', image_size=24, count=count)
    np.testing.assert_array_equal(images, train[0][:count])
    np.testing.assert_array_equal(labels, train[1][:count])


def test_seeds_and_splits_differ(train):
  for split, seed in (('train', 1), ('val', 0), ('test', 0)):
    other, _ = glyphs.render(split, image_size=24, seed=seed, count=200)
    same = (other == train[0][:200]).all(axis=(1, 2, 3))
    assert not same.any()


@pytest.mark.parametrize('split', ['train', 'other_faces'])
def test_contrast_and_polarity(split):
  draws = glyphs.draw(split, 20_000)
  luma = (draws.ink - draws.paper) @ glyphs.LUMA
  assert np.abs(luma).min() >= glyphs.MIN_CONTRAST - 1e-9
  assert 0.48 < (luma > 0).mean() < 0.52
  for colour in (draws.ink, draws.paper):
    assert colour.min() >= -1e-9 and colour.max() <= 1 + 1e-9
    assert (colour.max(axis=1) - colour.min(axis=1)).mean() > 0.15


def test_paper_and_ink_have_the_colours_drawn(train):
  images, labels = train
  draws = glyphs.draw('train', COUNT)
  corner = images[:, [0, 0, -1, -1], [0, -1, 0, -1]] / 255
  miss = np.abs(np.median(corner, axis=1) - draws.paper).max(axis=1)
  assert np.median(miss) < 0.06
  # The pixel most like the ink, in sharp pictures without much noise.
  clear = (draws.blur < 0.02) & (draws.noise < 0.02)
  ink = draws.ink[clear][:, None, None]
  nearest = np.abs(images[clear] / 255 - ink).max(axis=-1).min(axis=(1, 2))
  assert clear.sum() > 100 and np.quantile(nearest, 0.9) < 0.1


def test_glyphs_are_as_large_as_said_and_inside_the_picture():
  draws = glyphs.draw('train', COUNT)
  cover = glyphs._place(draws, glyphs.FACES, 24)
  # None is cut off: each has as much ink where it is as in the middle.
  centred = dataclasses.replace(draws, shift=np.zeros((COUNT, 2)))
  ink = glyphs._place(centred, glyphs.FACES, 24).sum(axis=(1, 2))
  # A row cut off is 5 % of the ink; resampling thin strokes moves 3 % either
  # way, and nothing on average.
  ratio = cover.sum(axis=(1, 2)) / ink
  assert np.abs(ratio - 1).max() < 0.04 and abs(ratio.mean() - 1) < 1e-3
  high = (cover > 0.3).any(axis=2)
  rows = high.shape[1] - high.argmax(1) - high[:, ::-1].argmax(1)
  digits = draws.label < 10
  assert 12 <= rows[digits].min() and rows[digits].max() <= 22
  assert 16 < rows[digits].mean() < 21


def test_held_out_faces_are_never_trained_on():
  assert not set(glyphs.FACES) & set(glyphs.OTHER_FACES)
  assert glyphs.SPLITS['other_faces'].faces == glyphs.OTHER_FACES
  for split in ('train', 'val', 'test'):
    assert glyphs.SPLITS[split].faces == glyphs.FACES
    used = np.bincount(glyphs.draw(split, 2_000).face)
    assert len(used) == len(glyphs.FACES) and used.min() > 50


def test_blur_keeps_the_ink_and_spreads_it():
  picture = np.zeros((3, 15, 15), np.float32)
  picture[:, 7, 7] = 1
  blurred = glyphs._blur(picture, np.array([0.0, 0.8, 1.2]))
  np.testing.assert_array_equal(blurred[0], picture[0])
  np.testing.assert_allclose(blurred.sum(axis=(1, 2)), 1, rtol=1e-6)
  y = np.arange(15) - 7
  spread = (blurred.sum(axis=2) * y**2).sum(axis=1)
  np.testing.assert_allclose(spread, [0, 0.8**2, 1.2**2], rtol=0.06)
  np.testing.assert_allclose(blurred, blurred.swapaxes(1, 2), atol=1e-7)

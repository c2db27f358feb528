import numpy as np
import pytest

from daft_jax.data import augment


def coded_images(count=64, size=16):
  """Pictures whose two channels hold the row and the column of a pixel."""
  rows, columns = np.mgrid[:size, :size]
  image = np.stack([rows, columns, rows * 0], axis=-1).astype(np.uint8)
  return np.repeat(image[None], count, axis=0)


def test_none_changes_nothing():
  images = coded_images()
  numbers = augment.draw(64, seed=0, epoch=0)
  np.testing.assert_array_equal(augment.apply('none', images, numbers), images)


def test_shift_moves_each_picture_as_a_whole():
  images = coded_images()
  numbers = augment.draw(64, seed=0, epoch=0)
  moved = augment.apply('shift', images, numbers).astype(int)
  assert moved.shape == images.shape
  steps = np.floor(numbers[:, :2] * 5) - 2
  assert set(steps.ravel()) == {-2, -1, 0, 1, 2}
  inside = slice(2, -2)
  np.testing.assert_array_equal(
    moved[:, inside, inside, :2] - images[:, inside, inside, :2],
    np.broadcast_to(steps[:, None, None], (64, 12, 12, 2)),
  )
  # Beyond the border its pixels are repeated.
  assert moved[..., 0].min() == 0 and moved[..., 0].max() == 15
  down = np.flatnonzero(steps[:, 0] == -2)[0]
  assert moved[down, :4, 0, 0].tolist() == [0, 0, 0, 1]


def test_flip_crop_mirrors_half_of_them_and_crops():
  images = coded_images(400)
  numbers = augment.draw(400, seed=0, epoch=0)
  result = augment.apply('flip_crop', images, numbers).astype(int)
  slope = result[:, 8, 9, 1] - result[:, 8, 8, 1]
  assert set(slope) == {-1, 1} and 0.4 < (slope < 0).mean() < 0.6
  np.testing.assert_array_equal(slope < 0, numbers[:, 2] < 0.5)
  steps = result[:, 8, 8, 0] - 8
  assert set(steps) == {-2, -1, 0, 1, 2}  # an eighth of 16
  up = np.flatnonzero(steps == -2)[0]
  assert result[up, :4, 0, 0].tolist() == [2, 1, 0, 1]


PLACED = [n for n, row in augment.AUGMENTATIONS.items() if row.places]


@pytest.mark.parametrize('name', PLACED)
def test_an_example_is_augmented_alike_alone_and_among_others(name):
  images = np.random.default_rng(0).integers(0, 256, (9, 12, 10, 3), np.uint8)
  numbers = augment.draw(9, seed=1, epoch=2)
  together = augment.apply(name, images, numbers)
  assert together.dtype == np.uint8 and together.shape == images.shape
  for i in range(9):
    alone = augment.apply(name, images[i : i + 1], numbers[i : i + 1])
    np.testing.assert_array_equal(alone[0], together[i])


def test_draws_depend_on_seed_epoch_and_example_alone():
  numbers = augment.draw(50, seed=1, epoch=2)
  np.testing.assert_array_equal(numbers, augment.draw(50, seed=1, epoch=2))
  np.testing.assert_array_equal(numbers[:20], augment.draw(20, seed=1, epoch=2))
  assert (numbers != augment.draw(50, seed=2, epoch=2)).all()
  assert (numbers != augment.draw(50, seed=1, epoch=3)).all()
  assert (numbers != augment.draw(50, seed=2, epoch=1)).all()


def test_unknown_name():
  with pytest.raises(ValueError, match="'shfit'. Did you mean 'shift'"):
    augment.apply('shfit', coded_images(), augment.draw(64, seed=0, epoch=0))

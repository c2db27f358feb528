"""Training augmentations, by name, as functions of (seed, epoch, example).

An augmentation first draws a few numbers for every example of an epoch, then
applies them to whichever examples a batch holds. So an example looks the same
in an epoch whatever the batch size, and wherever a run was resumed.

  numbers = augment.draw(len(images), seed=0, epoch=3)     # [N, 3] in [0, 1)
  augment.apply('shift', images[rows], numbers[rows])
"""

from collections.abc import Callable

import numpy as np

from daft_jax import names

SHIFT = 2  # pixels, to each side
CROP_PAD = 1 / 8  # of the side: 4 pixels of 32, the custom on CIFAR

_STREAM = 1  # the order of the epoch is stream 0
_NUMBERS = 3  # what the augmentations use of an example: y, x, flip


def draw(count: int, *, seed: int, epoch: int) -> np.ndarray:
  """Returns uniform numbers, float64 [count, 3]; row i is example i's."""
  rng = np.random.default_rng([seed, epoch, _STREAM])
  return rng.random((count, _NUMBERS))


def apply(name: str, images: np.ndarray, numbers: np.ndarray) -> np.ndarray:
  """Augments a batch.

  Args:
    name: one of `AUGMENTATIONS`.
    images: [B, H, W, C] of any dtype; not changed.
    numbers: [B, 3], the rows of `draw` that belong to these examples.

  Returns:
    An array of the shape and dtype of `images`.

  Raises:
    ValueError: an unknown name.
  """
  check(name)
  return AUGMENTATIONS[name](images, numbers)


def check(name: str) -> None:
  """Raises ValueError, with the nearest name, if there is no such one."""
  names.check(name, AUGMENTATIONS, 'augmentation')


def _none(images: np.ndarray, numbers: np.ndarray) -> np.ndarray:
  return images


def _shift(images: np.ndarray, numbers: np.ndarray) -> np.ndarray:
  """Moves by up to `SHIFT` pixels; the border's pixels are repeated."""
  height, width = images.shape[1:3]
  rows = np.clip(_moved(numbers[:, 0], height, SHIFT), 0, height - 1)
  columns = np.clip(_moved(numbers[:, 1], width, SHIFT), 0, width - 1)
  return _gather(images, rows, columns)


def _flip_crop(images: np.ndarray, numbers: np.ndarray) -> np.ndarray:
  """Pads by mirroring, crops to the size it was, mirrors every other one."""
  height, width = images.shape[1:3]
  pad = round(CROP_PAD * min(height, width))
  rows = _reflected(_moved(numbers[:, 0], height, pad), height)
  columns = _reflected(_moved(numbers[:, 1], width, pad), width)
  flip = numbers[:, 2] < 0.5
  columns = np.where(flip[:, None], columns[:, ::-1], columns)
  return _gather(images, rows, columns)


AUGMENTATIONS: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
  'none': _none,
  'shift': _shift,
  'flip_crop': _flip_crop,
}


def _moved(uniform: np.ndarray, length: int, most: int) -> np.ndarray:
  """Pixel numbers moved by -most..most, each as likely: int [B, length]."""
  step = np.floor(uniform * (2 * most + 1)).astype(int) - most
  return step[:, None] + np.arange(length)


def _reflected(index: np.ndarray, length: int) -> np.ndarray:
  """Pixel numbers outside 0..length-1, mirrored at the border pixel."""
  index = np.abs(index)
  return np.where(index >= length, 2 * (length - 1) - index, index)


def _gather(
  images: np.ndarray, rows: np.ndarray, columns: np.ndarray
) -> np.ndarray:
  """images[b, rows[b], columns[b]] for every b."""
  batch = np.arange(len(images))[:, None, None]
  return images[batch, rows[:, :, None], columns[:, None, :]]

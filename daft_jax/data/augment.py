"""Training augmentations, by name, as functions of (seed, epoch, example).

An augmentation first draws a few numbers for every example of an epoch, then
applies them to whichever examples a batch holds. So an example looks the same
in an epoch whatever the batch size, and wherever a run was resumed.

  numbers = augment.draw(len(images), seed=0, epoch=3)     # [N, 3] in [0, 1)
  augment.apply('shift', images[rows], numbers[rows])

All but one say, for every pixel of the result, which pixel of the image it is
(`places`), so that a whole set can be augmented where it is held, on the host
or on an accelerator, with the same bits.
"""

import dataclasses
from collections.abc import Callable

import numpy as np

from daft_jax import names
from daft_jax.data.preprocess import Preprocess

SHIFT = 2  # pixels, to each side
CROP_PAD = 1 / 8  # of the side: 4 pixels of 32, the custom on CIFAR
MARGIN = 8 / 7  # of the side: 256 pixels, of which 224 are cut

_STREAM = 1  # the order of the epoch is stream 0
_NUMBERS = 3  # what the augmentations use of an example: y, x, flip

Size = tuple[int, int]  # height and width
Places = tuple[np.ndarray, np.ndarray]  # rows [B, H], columns [B, W]


@dataclasses.dataclass(frozen=True)
class Augmentation:
  """One way to vary a training image.

  Attributes:
    places: (numbers [B, 3], size of the image, size of the result) -> which
      rows and which columns are taken. None: a part of the whole image is
      resized, see `crops`.
    margin: side of the image that it cuts from / side of the result; above 1
      the whole image is brought to that square, else as for a test.
  """

  places: Callable[[np.ndarray, Size, Size], Places] | None
  margin: float = 1.0


def draw(count: int, *, seed: int, epoch: int) -> np.ndarray:
  """Returns uniform numbers, float64 [count, 3]; row i is example i's."""
  rng = np.random.default_rng([seed, epoch, _STREAM])
  return rng.random((count, _NUMBERS))


def apply(
  name: str, images: np.ndarray, numbers: np.ndarray, size: Size | None = None
) -> np.ndarray:
  """Augments a batch.

  Args:
    name: one of `AUGMENTATIONS` that has `places`.
    images: [B, H, W, C] of any dtype; not changed.
    numbers: [B, 3], the rows of `draw` that belong to these examples.
    size: of the result; default: that of the images.

  Returns:
    An array [B, *size, C] of the dtype of `images`.

  Raises:
    ValueError: an unknown name.
  """
  check(name)
  given = images.shape[1:3]
  if name == 'none' and size in (None, given):
    return images
  rows, columns = places(name, numbers, given, size or given)
  shape = (len(images), *(size or given), images.shape[3])
  found = np.empty(shape, images.dtype)
  # Whole rows, then whole pixels: one index of all axes copies bytes, and takes
  # five times as long at 224 pixels.
  for i, image in enumerate(images):
    # 'clip': where errors are raised, `out` is written to through a buffer.
    np.take(image[rows[i]], columns[i], 1, found[i], mode='clip')
  return found


def places(name: str, numbers: np.ndarray, given: Size, size: Size) -> Places:
  """Which pixels of images of one size make the augmented ones.

  Returns:
    int32 rows [B, size[0]] and columns [B, size[1]].
  """
  found = AUGMENTATIONS[name].places(numbers, given, size)
  rows, columns = (index.astype(np.int32) for index in found)
  return rows, columns


def stored(name: str, preprocess: Preprocess) -> Preprocess | None:
  """How an image is resized before the augmentation; None: not at all."""
  row = AUGMENTATIONS[name]
  if row.places is None:
    return None
  if row.margin == 1:
    return preprocess
  side = round(row.margin * preprocess.image_size)
  return dataclasses.replace(preprocess, image_size=side, resize=0)


def check(name: str) -> None:
  """Raises ValueError, with the nearest name, if there is no such one."""
  names.check(name, AUGMENTATIONS, 'augmentation')


def _none(numbers: np.ndarray, given: Size, size: Size) -> Places:
  """The middle of the image, or all of it."""
  half = np.full(len(numbers), 0.5)
  return _cut(half, given[0], size[0]), _cut(half, given[1], size[1])


def _flip(numbers: np.ndarray, given: Size, size: Size) -> Places:
  """Mirrors every other one."""
  rows, columns = _none(numbers, given, size)
  return rows, _mirrored(columns, numbers)


def _crop_flip(numbers: np.ndarray, given: Size, size: Size) -> Places:
  """Cuts anywhere, mirrors every other one."""
  rows = _cut(numbers[:, 0], given[0], size[0])
  columns = _cut(numbers[:, 1], given[1], size[1])
  return rows, _mirrored(columns, numbers)


def _shift(numbers: np.ndarray, given: Size, size: Size) -> Places:
  """Moves by up to `SHIFT` pixels; the border's pixels are repeated."""
  height, width = given
  rows = np.clip(_moved(numbers[:, 0], height, SHIFT), 0, height - 1)
  columns = np.clip(_moved(numbers[:, 1], width, SHIFT), 0, width - 1)
  return rows, columns


def _flip_crop(numbers: np.ndarray, given: Size, size: Size) -> Places:
  """Pads by mirroring, crops to the size it was, mirrors every other one."""
  height, width = given
  pad = round(CROP_PAD * min(height, width))
  rows = _reflected(_moved(numbers[:, 0], height, pad), height)
  columns = _reflected(_moved(numbers[:, 1], width, pad), width)
  return rows, _mirrored(columns, numbers)


AUGMENTATIONS: dict[str, Augmentation] = {
  'none': Augmentation(_none),
  'shift': Augmentation(_shift),
  'flip': Augmentation(_flip),
  'flip_crop': Augmentation(_flip_crop),
  'crop_flip': Augmentation(_crop_flip, MARGIN),
  'random_resized_crop': Augmentation(None),
}


def _cut(uniform: np.ndarray, given: int, size: int) -> np.ndarray:
  """Pixel numbers of a cut, each place as likely: int [B, size]."""
  first = np.floor(uniform * (given - size + 1)).astype(int)
  return first[:, None] + np.arange(size)


def _moved(uniform: np.ndarray, length: int, most: int) -> np.ndarray:
  """Pixel numbers moved by -most..most, each as likely: int [B, length]."""
  step = np.floor(uniform * (2 * most + 1)).astype(int) - most
  return step[:, None] + np.arange(length)


def _mirrored(columns: np.ndarray, numbers: np.ndarray) -> np.ndarray:
  flip = numbers[:, 2] < 0.5
  return np.where(flip[:, None], columns[:, ::-1], columns)


def _reflected(index: np.ndarray, length: int) -> np.ndarray:
  """Pixel numbers outside 0..length-1, mirrored at the border pixel."""
  index = np.abs(index)
  return np.where(index >= length, 2 * (length - 1) - index, index)

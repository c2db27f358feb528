"""Random resized crops: a part of a picture, brought to a square.

  rng = np.random.default_rng(0)
  picture = Image.new('RGB', (640, 427))
  image = random_resized_crop(picture, 224, interpolation='bicubic', rng=rng)
  image.shape                                                # (224, 224, 3)

Drawing the box and cutting it out are apart, so that a box can be looked at,
kept, or cut out of pixels that another decoder gave:

  box = draw_box(640, 427, rng)
  cut_array(np.asarray(picture), box, 224, 'bicubic').shape  # (224, 224, 3)
"""

import math
from types import ModuleType
from typing import NamedTuple

import numpy as np
from PIL import Image

from daft_jax import names
from daft_jax.data.preprocess import FILTERS

SCALE = (0.08, 1.0)  # share of the picture's area
RATIO = (3 / 4, 4 / 3)  # width / height
TRIES = 10

_FAR = 2  # a side that shrinks by more is averaged over areas


class Box(NamedTuple):
  """A part of a picture, in pixels from the upper left corner."""

  left: int
  top: int
  width: int
  height: int


def random_resized_crop(
  picture: Image.Image,
  size: int,
  *,
  interpolation: str,
  rng: np.random.Generator,
  scale: tuple[float, float] = SCALE,
  ratio: tuple[float, float] = RATIO,
) -> np.ndarray:
  """Draws a box, cuts it out and resizes it: `cut` of `draw_box`.

  Args:
    picture: of mode RGB; not changed.
    size: height and width of the result, in pixels.
    interpolation: 'bilinear' or 'bicubic'.
    rng: what is drawn from; it moves on.
    scale: the least and the largest share of the area.
    ratio: the least and the largest width / height.

  Returns:
    uint8 [size, size, 3].

  Raises:
    ValueError: as `draw_box` and `cut`.
  """
  box = draw_box(*picture.size, rng, scale, ratio)
  return cut(picture, box, size, interpolation)


def draw_box(
  width: int,
  height: int,
  rng: np.random.Generator,
  scale: tuple[float, float] = SCALE,
  ratio: tuple[float, float] = RATIO,
) -> Box:
  """Draws a part of a picture, as torchvision's RandomResizedCrop does.

  The share of the area is uniform in `scale`, the logarithm of width / height
  uniform in those of `ratio`, and the place uniform among those that fit. If
  none of ten such boxes fits, it is the largest one in the middle that has an
  allowed ratio. The "Inception crop" of arXiv 1409.4842, section 6.

  Args:
    width: of the picture, in pixels.
    height: likewise.
    rng: what is drawn from; how many numbers depends on the picture's shape.
    scale: the least and the largest share of the area, in (0, 1].
    ratio: the least and the largest width / height, positive.

  Returns:
    A box of at least one pixel that lies in the picture.

  Raises:
    ValueError: an empty picture, or limits out of order or range.

  Example:
    >>> draw_box(1, 500, np.random.default_rng(0))  # none of ten fits
    Box(left=0, top=249, width=1, height=1)
  """
  _check_limits(width, height, scale, ratio)
  low, high = math.log(ratio[0]), math.log(ratio[1])
  for _ in range(TRIES):
    area = width * height * rng.uniform(*scale)
    shape = math.exp(rng.uniform(low, high))
    w, h = round(math.sqrt(area * shape)), round(math.sqrt(area / shape))
    if 0 < w <= width and 0 < h <= height:
      top = int(rng.integers(height - h + 1))
      left = int(rng.integers(width - w + 1))
      return Box(left, top, w, h)
  return _middle(width, height, ratio)


def cut(
  picture: Image.Image,
  box: tuple[int, int, int, int],
  size: int,
  interpolation: str,
) -> np.ndarray:
  """Cuts out a box, then resizes it with PIL's antialiased filter.

  The same pixels as torchvision's `resized_crop` of the PIL image.

  Args:
    picture: of mode RGB.
    box: left, top, width and height, in the picture.
    size: height and width of the result, in pixels.
    interpolation: 'bilinear' or 'bicubic'.

  Returns:
    uint8 [size, size, 3].

  Raises:
    ValueError: a picture of another mode, a box that is empty or not in the
      picture, a size below 1, or an unknown interpolation.
  """
  if picture.mode != 'RGB':
    raise ValueError(
      f'cut: the picture has mode {picture.mode}; say picture.convert("RGB")'
    )
  left, top, width, height = _check(box, picture.size, size, interpolation)
  # `resize(box=...)` would be one call, but there the filter reaches over the
  # edge of the box into the rest of the picture.
  part = picture.crop((left, top, left + width, top + height))
  return np.array(part.resize((size, size), FILTERS[interpolation]))


def cut_array(
  pixels: np.ndarray,
  box: tuple[int, int, int, int],
  size: int,
  interpolation: str,
) -> np.ndarray:
  """Cuts and resizes by OpenCV: in less time than `cut`, not the same pixels.

  OpenCV's filters read a few pixels around a point and would alias where a side
  shrinks by a factor f. There three pixels are first weighed by a, 1 - 2a and
  a = (f^2 - 1) / 12, which together with the interpolation blurs as much as
  PIL's wider filter does (its variance grows with f^2); beyond f = 2, areas are
  averaged. Of white noise no more than 1.1 x of what PIL lets through is left
  up to f = 2, of 1.5 x beyond. OpenCV's cubic has a = -0.75, PIL's -0.5.
  Over the boxes of `draw_box` in the two photos of scikit-learn, at 224
  pixels, it differs from `cut` by 0.7 of 255 on average for bilinear and 0.9
  for bicubic, and takes 1/3 and 1/4 of the time.

  OpenCV's threads are switched off for the whole process: batches are made by
  several processes or threads of which each has a core.

  Args:
    pixels: uint8 [H, W, 3]; any strides between rows.
    box: left, top, width and height, in the picture.
    size: height and width of the result, in pixels.
    interpolation: 'bilinear' or 'bicubic'.

  Returns:
    uint8 [size, size, 3].

  Raises:
    ImportError: OpenCV is not installed.
    ValueError: pixels of another shape or dtype, a box that is empty or not in
      the picture, a size below 1, or an unknown interpolation.
  """
  if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[-1] != 3:
    raise ValueError(
      f'cut_array: pixels must be uint8 [H, W, 3], not {pixels.dtype} '
      f'{list(pixels.shape)}'
    )
  shape = (pixels.shape[1], pixels.shape[0])
  left, top, width, height = _check(box, shape, size, interpolation)
  cv2 = _opencv()
  part = pixels[top : top + height, left : left + width]
  if (width, height) == (size, size):
    return part.copy()  # not a view that keeps the whole picture
  sides = [size if side > _FAR * size else side for side in (width, height)]
  if sides != [width, height]:
    part = cv2.resize(part, sides, interpolation=cv2.INTER_AREA)
  if max(sides) > size:
    across, down = (_weights(side / size) for side in sides)
    edge = cv2.BORDER_REFLECT_101  # repeated, the border's pixel would alias
    part = cv2.sepFilter2D(part, -1, across, down, borderType=edge)
  if sides != [size, size]:
    how = {'bilinear': cv2.INTER_LINEAR, 'bicubic': cv2.INTER_CUBIC}
    part = cv2.resize(part, (size, size), interpolation=how[interpolation])
  return part


def mirror_array(pixels: np.ndarray) -> np.ndarray:
  """Left and right exchanged, in a twentieth of the time that NumPy takes."""
  return _opencv().flip(pixels, 1)


def _weights(factor: float) -> np.ndarray:
  """Of three pixels, before a side is divided by a factor; see `cut_array`."""
  a = (max(factor, 1.0) ** 2 - 1) / 12
  return np.array([a, 1 - 2 * a, a], np.float32)


def _opencv() -> ModuleType:
  """Imports OpenCV and keeps it to the calling thread."""
  try:
    import cv2
  except ImportError as error:
    raise ImportError(
      'cut_array needs OpenCV: pip install opencv-python-headless; or use '
      '`cut`, which needs only Pillow'
    ) from error
  if cv2.getNumThreads() > 1:
    cv2.setNumThreads(0)
  return cv2


def _middle(width: int, height: int, ratio: tuple[float, float]) -> Box:
  """The largest box in the middle whose ratio is allowed."""
  low, high = ratio
  w, h = width, height
  if width / height < low:
    h = round(width / low)
  elif width / height > high:
    w = round(height * high)
  return Box((width - w) // 2, (height - h) // 2, w, h)


def _check_limits(
  width: int,
  height: int,
  scale: tuple[float, float],
  ratio: tuple[float, float],
) -> None:
  if min(width, height) < 1:
    raise ValueError(f'draw_box: the picture is empty: {width} x {height}')
  if not 0 < scale[0] <= scale[1] <= 1:
    raise ValueError(
      f'draw_box: scale must be two shares of the area, 0 < least <= largest '
      f'<= 1, not {scale}'
    )
  if not 0 < ratio[0] <= ratio[1] < math.inf:
    raise ValueError(
      f'draw_box: ratio must be two of width / height, 0 < least <= largest, '
      f'not {ratio}'
    )


def _check(
  box: tuple[int, int, int, int],
  shape: tuple[int, int],
  size: int,
  interpolation: str,
) -> Box:
  """Returns the box of a picture of (width, height), or says what is wrong."""
  names.check(interpolation, FILTERS, 'interpolation')
  if size < 1:
    raise ValueError(f'size must be at least 1, not {size}')
  left, top, width, height = box
  inside = min(left, top) >= 0 and min(width, height) >= 1
  if not inside or left + width > shape[0] or top + height > shape[1]:
    raise ValueError(
      f'a box of {width} x {height} at ({left}, {top}) is not in the picture '
      f'of {shape[0]} x {shape[1]}'
    )
  return Box(left, top, width, height)

"""Turns uint8 images into what a pretrained model was trained to see.

preprocess = Preprocess(24, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))
preprocess(np.zeros((8, 28, 28), np.uint8)).shape      # (8, 24, 24, 3)
"""

import dataclasses
import functools
from typing import Any

import numpy as np
from PIL import Image

_LARGEST = 4096  # pixels, of images that a file may ask for

FILTERS = {
  'bilinear': Image.Resampling.BILINEAR,
  'bicubic': Image.Resampling.BICUBIC,
}


@dataclasses.dataclass(frozen=True)
class Preprocess:
  """Resize where needed, then `(x / 255 - mean) / std`, in float32.

  An image that is `image_size` high and wide is taken as it is. Any other is
  resized by PIL's antialiased filter: with `resize` so that its shorter side
  is that long, and the middle is cut out, as torchvision does; else the whole
  is brought to the square.

  Attributes:
    image_size: height and width of the result, in pixels.
    mean: three numbers, one a channel (RGB), of values in [0, 1].
    std: three positive numbers, likewise.
    resize: length of the shorter side before the cut, or 0.
    interpolation: 'bilinear' or 'bicubic'.

  Raises:
    ValueError: `mean` or `std` is not three finite numbers, a `std` is not
      positive, `image_size` is below 1, `resize` is neither 0 nor at least
      `image_size`, or `interpolation` is another word.

  Example:
    >>> preprocess = Preprocess(2, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    >>> preprocess(np.full((1, 2, 2), 255, np.uint8))[0, 0, 0].tolist()
    [1.0, 1.0, 1.0]
  """

  image_size: int
  mean: tuple[float, float, float]
  std: tuple[float, float, float]
  resize: int = 0
  interpolation: str = 'bilinear'

  def __post_init__(self):
    if self.resize and self.resize < self.image_size:
      raise ValueError(
        f'Preprocess: resize must be 0 or at least image_size '
        f'({self.image_size}), not {self.resize}'
      )
    if self.interpolation not in FILTERS:
      raise ValueError(
        f'Preprocess: interpolation is {self.interpolation!r}; say one of '
        f'{", ".join(FILTERS)}'
      )
    if self.image_size < 1:
      raise ValueError(
        f'Preprocess: image_size must be at least 1, not {self.image_size}'
      )
    for name in ('mean', 'std'):
      values = tuple(float(v) for v in np.ravel(getattr(self, name)))
      if len(values) != 3 or not np.isfinite(values).all():
        raise ValueError(
          f'Preprocess: {name} must be three finite numbers, one a channel, '
          f'not {getattr(self, name)!r}'
        )
      object.__setattr__(self, name, values)  # lists from JSON become tuples
    if min(self.std) <= 0:
      raise ValueError(f'Preprocess: std must be positive, not {self.std}')

  def __call__(self, images: np.ndarray) -> np.ndarray:
    """Applies it to a batch.

    Args:
      images: uint8 [B, H, W], [B, H, W, 1] (grey, repeated over the channels)
        or [B, H, W, 3].

    Returns:
      float32 [B, image_size, image_size, 3].

    Raises:
      TypeError: the images are not uint8.
      ValueError: a single image, or another shape.
    """
    images = self.cut(images)
    result = images.astype(np.float32)
    result /= np.float32(255)
    if images.shape[-1] == 1:
      result = np.repeat(result, 3, axis=-1)
    result -= np.array(self.mean, np.float32)
    result /= np.array(self.std, np.float32)
    return result

  @functools.cached_property
  def table(self) -> np.ndarray:
    """What each of the 256 values becomes, float32 [256, 3].

    Looked up in it, images have the same bits wherever that is done; what a
    compiler makes of the formula has not.
    """
    plain = dataclasses.replace(self, image_size=1, resize=0)
    values = np.arange(256, dtype=np.uint8)
    return plain(values[:, None, None, None])[:, 0, 0]

  def cut(self, images: np.ndarray) -> np.ndarray:
    """Only the resizing: uint8 [B, image_size, image_size, 1 or 3]."""
    images = _check(np.asarray(images))
    if images.shape[1:3] == (self.image_size, self.image_size):
      return images
    return self._resized(images)

  def at_size(self, image_size: int) -> 'Preprocess':
    """The same for images of another size: the cut keeps its share."""
    resize = round(self.resize * image_size / self.image_size)
    return dataclasses.replace(self, image_size=image_size, resize=resize)

  def _resized(self, images: np.ndarray) -> np.ndarray:
    """uint8 [B, H, W, C] -> uint8 [B, image_size, image_size, C]."""
    size, how = self.image_size, FILTERS[self.interpolation]
    channels = images.shape[-1]
    resized = np.empty((len(images), size, size, channels), np.uint8)
    for i, image in enumerate(images):
      picture = Image.fromarray(image[..., 0] if channels == 1 else image)
      if self.resize:
        picture = _middle(_shorter(picture, self.resize, how), size)
      else:
        picture = picture.resize((size, size), how)
      resized[i] = np.asarray(picture).reshape(size, size, -1)
    return resized


def _shorter(picture: Image.Image, length: int, how: int) -> Image.Image:
  """Resizes so that the shorter side has this length, as torchvision rounds."""
  width, height = picture.size
  if width <= height:
    return picture.resize((length, int(length * height / width)), how)
  return picture.resize((int(length * width / height), length), how)


def stated(fields: Any) -> Preprocess | None:
  """What a stranger's JSON says; None where it makes none of usual sizes.

  Example:
    >>> stated({'image_size': 10**9, 'mean': [0.5] * 3, 'std': [1, 1, 1]})
  """
  try:
    made = Preprocess(**fields)
  except (TypeError, ValueError, OverflowError):  # other fields, or values
    return None
  sizes = made.image_size, made.resize
  usual = all(type(size) is int and size <= _LARGEST for size in sizes)
  return made if usual else None


def _middle(picture: Image.Image, size: int) -> Image.Image:
  """Cuts a square out of the middle, as torchvision rounds."""
  width, height = picture.size
  left, top = round((width - size) / 2), round((height - size) / 2)
  return picture.crop((left, top, left + size, top + size))


def _check(images: np.ndarray) -> np.ndarray:
  """Returns the images as [B, H, W, 1 or 3], or says what is wrong."""
  shape = images.shape
  if images.ndim == 2 or (images.ndim == 3 and shape[-1] in (1, 3, 4)):
    raise ValueError(
      f'Preprocess: {shape} is a single image; it takes a batch. '
      'Add the batch axis: preprocess(image[None])'
    )
  if images.dtype != np.uint8:
    raise TypeError(
      f'Preprocess: images must be uint8 in 0..255, not {images.dtype}. '
      'From floats in [0, 1]: np.round(images * 255).astype(np.uint8)'
    )
  if images.ndim == 3:
    return images[..., None]
  if images.ndim == 4 and shape[-1] in (1, 3) and min(shape[1:3]) > 0:
    return images
  if images.ndim == 4 and shape[1] in (1, 3):
    raise ValueError(
      f'Preprocess: {shape} has its channels first. '
      'Put them last: images.transpose(0, 2, 3, 1)'
    )
  raise ValueError(
    'Preprocess: images must be [B, H, W], [B, H, W, 1] or [B, H, W, 3], '
    f'not {shape}'
  )

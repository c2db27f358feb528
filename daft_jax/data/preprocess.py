"""Turns uint8 images into what a pretrained model was trained to see.

preprocess = Preprocess(24, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))
preprocess(np.zeros((8, 28, 28), np.uint8)).shape      # (8, 24, 24, 3)
"""

import dataclasses

import numpy as np
from PIL import Image


@dataclasses.dataclass(frozen=True)
class Preprocess:
  """Resize where needed, then `(x / 255 - mean) / std`, in float32.

  Attributes:
    image_size: height and width of the result, in pixels.
    mean: three numbers, one a channel (RGB), of values in [0, 1].
    std: three positive numbers, likewise.

  Raises:
    ValueError: `mean` or `std` is not three finite numbers, a `std` is not
      positive, or `image_size` is below 1.

  Example:
    >>> preprocess = Preprocess(2, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    >>> preprocess(np.full((1, 2, 2), 255, np.uint8))[0, 0, 0].tolist()
    [1.0, 1.0, 1.0]
  """

  image_size: int
  mean: tuple[float, float, float]
  std: tuple[float, float, float]

  def __post_init__(self):
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
        or [B, H, W, 3]. Where H or W is not `image_size`, each image is resized
        to a square by PIL's antialiased bilinear filter.

    Returns:
      float32 [B, image_size, image_size, 3].

    Raises:
      TypeError: the images are not uint8.
      ValueError: a single image, or another shape.
    """
    images = _check(np.asarray(images))
    if images.shape[1:3] != (self.image_size, self.image_size):
      images = _resize(images, self.image_size)
    result = images.astype(np.float32)
    result /= np.float32(255)
    if images.shape[-1] == 1:
      result = np.repeat(result, 3, axis=-1)
    result -= np.array(self.mean, np.float32)
    result /= np.array(self.std, np.float32)
    return result


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


def _resize(images: np.ndarray, size: int) -> np.ndarray:
  """uint8 [B, H, W, C] -> uint8 [B, size, size, C]."""
  resized = np.empty((len(images), size, size, images.shape[-1]), np.uint8)
  grey = images.shape[-1] == 1
  for i, image in enumerate(images):
    picture = Image.fromarray(image[..., 0] if grey else image)
    small = picture.resize((size, size), Image.Resampling.BILINEAR)
    resized[i] = np.asarray(small).reshape(size, size, -1)
  return resized

"""Augmentations of colour and shape: jitter and RandAugment, off by default.

  colour = Colour(jitter=0.4, ops=2, magnitude=9)
  image = np.zeros((224, 224, 3), np.uint8)
  colour(image, np.random.default_rng(0)).shape              # (224, 224, 3)

`jitter` changes brightness, contrast and saturation, never the hue, which
tells classes apart. `OPS` are the operations that RandAugment draws from.
"""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

BINS = 30  # the largest magnitude
MOST_OPS = 10

JITTERS = {
  'brightness': ImageEnhance.Brightness,
  'contrast': ImageEnhance.Contrast,
  'saturation': ImageEnhance.Color,
}


@dataclasses.dataclass(frozen=True)
class Colour:
  """Jitter, then RandAugment; each image is drawn for on its own.

  Attributes:
    jitter: s in [0, 1): brightness, contrast and saturation are multiplied,
      in a random order, by factors uniform in [1 - s, 1 + s], as by
      torchvision's ColorJitter(s, s, s). The hue is left alone. 0: none.
    ops: how many operations of `OPS` are drawn, with replacement, each as
      likely and, where it has two directions, either as likely, as by
      torchvision's RandAugment (arXiv 1909.13719), 0 to 10. 0: none.
    magnitude: how strong they are, 0 to 30; 9 is what torchvision takes.

  Raises:
    ValueError: a field out of its range.

  Example:
    >>> Colour().off, Colour(ops=2).off
    (True, False)
  """

  jitter: float = 0.0
  ops: int = 0
  magnitude: int = 9

  def __post_init__(self):
    if not 0 <= self.jitter < 1:
      raise ValueError(
        f'Colour: jitter is {self.jitter}; say 0 for none, or a number below '
        '1: factors are in [1 - jitter, 1 + jitter]'
      )
    for name, most in {'ops': MOST_OPS, 'magnitude': BINS}.items():
      value = getattr(self, name)
      if value not in range(most + 1):
        raise ValueError(
          f'Colour: {name} is {value}; say a whole number from 0 to {most}'
        )
      object.__setattr__(self, name, int(value))  # 2.0 is in the range

  @property
  def off(self) -> bool:
    """Whether it changes nothing, whatever is drawn."""
    return not (self.jitter or self.ops)

  def __call__(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Augments one image.

    Args:
      image: uint8 [S, S, 3] (other rectangles too); not changed.
      rng: what is drawn from; it moves on, unless this is `off`.

    Returns:
      uint8 [S, S, 3]; `image` itself if this is `off`.

    Raises:
      ValueError: another shape or dtype.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[-1] != 3:
      raise ValueError(
        f'Colour: an image must be uint8 [S, S, 3], not {image.dtype} '
        f'{list(image.shape)}'
      )
    if self.off:
      return image
    picture = Image.fromarray(image)
    if self.jitter:
      factors = rng.uniform(1 - self.jitter, 1 + self.jitter, len(JITTERS))
      named = list(zip(JITTERS, factors, strict=True))
      order = rng.permutation(len(named))
      picture = jittered(picture, dict(named[i] for i in order))
    for name, m in draw_ops(rng, self.ops, self.magnitude):
      picture = OPS[name].apply(picture, m)
    return np.array(picture)


def jittered(picture: Image.Image, factors: dict[str, float]) -> Image.Image:
  """Multiplies by given factors, in the order of the dict.

  A factor f of brightness blends the picture with black, of contrast with its
  mean grey, of saturation with itself in grey: f x + (1 - f) y, cut to 0..255.

  Args:
    picture: of mode RGB.
    factors: keys of `JITTERS` to numbers >= 0; 1 changes nothing.

  Returns:
    A picture of the same size and mode.

  Raises:
    KeyError: there is no such key.

  Example:
    >>> grey = Image.new('RGB', (1, 1), (100, 100, 100))
    >>> jittered(grey, {'brightness': 1.5}).getpixel((0, 0))
    (150, 150, 150)
  """
  for name, factor in factors.items():
    picture = JITTERS[name](picture).enhance(float(factor))
  return picture


def draw_ops(
  rng: np.random.Generator, count: int, magnitude: int
) -> list[tuple[str, int]]:
  """Draws operations for one image.

  Args:
    rng: what is drawn from.
    count: how many, with replacement.
    magnitude: 0 to 30.

  Returns:
    `count` pairs of a key of `OPS` and the magnitude, which is negative for
    half of those that have two directions.
  """
  names = list(OPS)
  drawn = []
  for _ in range(count):
    name = names[rng.integers(len(names))]
    sign = -1 if OPS[name].signed and rng.integers(2) else 1
    drawn.append((name, sign * magnitude))
  return drawn


def _moved(
  picture: Image.Image, x: tuple[float, ...], y: tuple[float, ...]
) -> Image.Image:
  """Puts at (c, r) what is at (x . (c, r, 1), y . (c, r, 1)), or black.

  c counts columns, r rows, and both are halves in the middle of a pixel.
  """
  return picture.transform(
    picture.size,
    Image.Transform.AFFINE,
    (*x, *y),
    Image.Resampling.NEAREST,
    fillcolor=(0, 0, 0),
  )


def _shear_x(picture: Image.Image, m: int) -> Image.Image:
  return _moved(picture, (1, 0.3 * m / BINS, 0), (0, 1, 0))


def _shear_y(picture: Image.Image, m: int) -> Image.Image:
  return _moved(picture, (1, 0, 0), (0.3 * m / BINS, 1, 0))


def _step(side: int, m: int) -> int:
  """Whole pixels: up to 150 of 331, towards zero."""
  return int(150 * side * m / (331 * BINS))


def _translate_x(picture: Image.Image, m: int) -> Image.Image:
  return _moved(picture, (1, 0, -_step(picture.width, m)), (0, 1, 0))


def _translate_y(picture: Image.Image, m: int) -> Image.Image:
  return _moved(picture, (1, 0, 0), (0, 1, -_step(picture.height, m)))


def _rotate(picture: Image.Image, m: int) -> Image.Image:
  """Counterclockwise about the middle, by up to 30 degrees."""
  return picture.rotate(30 * m / BINS, fillcolor=(0, 0, 0))


def _enhance(kind: Callable) -> Callable[[Image.Image, int], Image.Image]:
  """By a factor of 1 to 1.9, or to 0.1; torchvision's is rounded to float32."""
  return lambda picture, m: kind(picture).enhance(1 + 0.9 * m / BINS)


def _posterize(picture: Image.Image, m: int) -> Image.Image:
  """Keeps 8 to 4 bits of every value."""
  return ImageOps.posterize(picture, 8 - round(4 * m / BINS))


def _solarize(picture: Image.Image, m: int) -> Image.Image:
  """Inverts the values from 255 on, to those from 0 on: all."""
  return ImageOps.solarize(picture, 255 - 255 * m / BINS)


class Op(NamedTuple):
  """An operation of RandAugment.

  Attributes:
    apply: (picture, m) -> picture of the same size; m is the magnitude, in
      0..30.
    signed: whether it has two directions: then m is in -30..30.
  """

  apply: Callable[[Image.Image, int], Image.Image]
  signed: bool = False


OPS: dict[str, Op] = {
  'Identity': Op(lambda picture, m: picture),
  'ShearX': Op(_shear_x, signed=True),
  'ShearY': Op(_shear_y, signed=True),
  'TranslateX': Op(_translate_x, signed=True),
  'TranslateY': Op(_translate_y, signed=True),
  'Rotate': Op(_rotate, signed=True),
  'Brightness': Op(_enhance(ImageEnhance.Brightness), signed=True),
  'Color': Op(_enhance(ImageEnhance.Color), signed=True),
  'Contrast': Op(_enhance(ImageEnhance.Contrast), signed=True),
  'Sharpness': Op(_enhance(ImageEnhance.Sharpness), signed=True),
  'Posterize': Op(_posterize),
  'Solarize': Op(_solarize),
  'AutoContrast': Op(lambda picture, m: ImageOps.autocontrast(picture)),
  'Equalize': Op(lambda picture, m: ImageOps.equalize(picture)),
}

"""What is done with images before they are normalised, as picklable jobs.

  job = Job(examples.take(rows), preprocess)                     # for a test
  job = Job(examples.take(rows), preprocess, Recipe('flip'), Draw(...))
  job().shape                                    # (64, 224, 224, 3), uint8

A job is all that a worker needs for a batch, and its result depends on nothing
else: not on the worker, the batch size, or what was asked for before.
"""

import dataclasses
from typing import NamedTuple

import numpy as np
from PIL import Image

from daft_jax.data import augment, crops, images, records
from daft_jax.data.colour import Colour
from daft_jax.data.preprocess import Preprocess
from daft_jax.data.records import Records
from daft_jax.data.sources import ImageSet

Examples = ImageSet | Records

DECODERS = ('pillow', 'fast')

_STREAM = 3  # of examples; orders are 0, augmentations 1, mixing 2


@dataclasses.dataclass(frozen=True)
class Recipe:
  """How a training image is varied.

  Attributes:
    augment: a name of `augment.AUGMENTATIONS`.
    colour: colour jitter and RandAugment, off by default.
    decoder: 'pillow' (as in tests), or 'fast': libjpeg-turbo and OpenCV, where
      a part of the whole image is resized.

  Raises:
    ValueError: an unknown name.
  """

  augment: str = 'none'
  colour: Colour = Colour()
  decoder: str = 'pillow'

  def __post_init__(self):
    augment.check(self.augment)
    if self.decoder not in DECODERS:
      raise ValueError(
        f'Recipe: decoder is {self.decoder!r}; say one of {", ".join(DECODERS)}'
      )


class Draw(NamedTuple):
  """What the examples of a job are varied by.

  Attributes:
    numbers: [B, 3], their rows of `augment.draw`.
    rows: int [B], which examples of the set they are.
    seed, epoch: from which and the row the other numbers are drawn.
  """

  numbers: np.ndarray
  rows: np.ndarray
  seed: int
  epoch: int

  def generators(self) -> list[np.random.Generator]:
    """One an example: whether it is mirrored, its box, its colours."""
    return [
      np.random.default_rng([self.seed, self.epoch, _STREAM, row])
      for row in self.rows
    ]


@dataclasses.dataclass(frozen=True, eq=False)
class Job:
  """Examples to be made ready: calling it returns uint8 [B, S, S, 3].

  Raises:
    records.UnreadableImage: an image that is not there, or damaged.
  """

  examples: Examples
  preprocess: Preprocess
  recipe: Recipe | None = None
  draw: Draw | None = None

  def __call__(self) -> np.ndarray:
    if self.recipe is None:
      return resized(self.examples, self.preprocess)
    numbers = self.draw.numbers
    size = self.preprocess.image_size
    before = augment.stored(self.recipe.augment, self.preprocess)
    vary = before is None or not self.recipe.colour.off
    rngs = self.draw.generators() if vary else []
    if before is None:
      found = self._cropped(rngs)
    else:
      found = resized(self.examples, before)
      found = augment.apply(self.recipe.augment, found, numbers, (size, size))
    if not self.recipe.colour.off:
      pairs = zip(found, rngs, strict=True)
      found = np.stack([self.recipe.colour(image, rng) for image, rng in pairs])
    return found

  def at(self, row: int) -> 'Job':
    """The same for one of its examples alone."""
    one = np.array([row])
    draw = self.draw and self.draw._replace(
      numbers=self.draw.numbers[one], rows=self.draw.rows[one]
    )
    some = self.examples.take(one)
    return dataclasses.replace(self, examples=some, draw=draw)

  def _cropped(self, rngs: list[np.random.Generator]) -> np.ndarray:
    """Parts of the whole images, mirrored every other one."""
    size, how = self.preprocess.image_size, self.preprocess.interpolation
    fast = self.recipe.decoder == 'fast'
    found = np.empty((len(rngs), size, size, 3), np.uint8)
    for i, rng in enumerate(rngs):
      flip = rng.random() < 0.5
      if fast:
        pixels = _pixels(self.examples, i)
        box = crops.draw_box(pixels.shape[1], pixels.shape[0], rng)
        image = crops.cut_array(pixels, box, size, how)
        found[i] = crops.mirror_array(image) if flip else image
      else:
        picture = _picture(self.examples, i)
        image = crops.random_resized_crop(
          picture, size, interpolation=how, rng=rng
        )
        found[i] = _mirrored(image) if flip else image
    return found


def resized(examples: Examples, preprocess: Preprocess) -> np.ndarray:
  """The images at the size of a `Preprocess`, uint8 [B, S, S, 3]."""
  if isinstance(examples, ImageSet):
    return preprocess.cut(examples.images)
  size = preprocess.image_size
  found = np.empty((len(examples), size, size, 3), np.uint8)
  for i in range(len(examples)):
    picture = np.asarray(_picture(examples, i))
    found[i] = preprocess.cut(picture[None])[0]
  return found


def _mirrored(image: np.ndarray) -> np.ndarray:
  """uint8 [H, W, 3], left and right exchanged; a pixel is moved as one item."""
  return image.view('V3')[:, ::-1].copy().view(np.uint8)


def _picture(examples: Examples, row: int) -> Image.Image:
  if isinstance(examples, ImageSet):
    return Image.fromarray(examples.images[row])
  return records.decode(examples.items, row)


def _pixels(examples: Examples, row: int) -> np.ndarray:
  if isinstance(examples, ImageSet):
    return examples.images[row]
  return records.decode(examples.items, row, images.decode_fast)

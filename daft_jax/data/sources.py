"""Turns a source string into images and labels in memory.

  from daft_jax.data import sources
  images = sources.load('digits:train', image_size=24)
  images.images.shape, len(images)      # (600, 24, 24, 3), 600

A source is a row of `SOURCES`. Everything here is small enough for memory; a
set of one's own is an `ImageSet` made from two arrays:

  sources.ImageSet(images, labels)
"""

import dataclasses
import functools
from collections.abc import Callable

import numpy as np

from daft_jax import names
from daft_jax.data import digits, glyphs


@dataclasses.dataclass(frozen=True, eq=False)
class ImageSet:
  """Images and their labels; `len` is the number of examples.

  The attributes are read-only views, so that a cached set cannot be changed by
  one of those who share it.

  Attributes:
    images: uint8 [N, H, W, 3].
    labels: int32 [N].

  Raises:
    ValueError: another shape, or lengths that differ.
    TypeError: another dtype.
  """

  images: np.ndarray
  labels: np.ndarray

  def __post_init__(self):
    for name, dtype in (('images', np.uint8), ('labels', np.int32)):
      array = np.asarray(getattr(self, name))
      if array.dtype != dtype:
        raise TypeError(
          f'ImageSet: {name} must be {np.dtype(dtype)}, not {array.dtype}: '
          f'{name}.astype(np.{np.dtype(dtype)})'
        )
      view = array.view()
      view.setflags(write=False)
      object.__setattr__(self, name, view)
    if self.images.ndim != 4 or self.images.shape[-1] != 3:
      raise ValueError(
        f'ImageSet: images must be [N, H, W, 3], not {self.images.shape}'
      )
    if self.labels.shape != self.images.shape[:1]:
      raise ValueError(
        f'ImageSet: labels must be [{len(self.images)}], one an image, '
        f'not {self.labels.shape}'
      )

  def __len__(self) -> int:
    return len(self.images)

  def take(self, rows: np.ndarray) -> 'ImageSet':
    """Those examples alone, in the order of `rows`."""
    return ImageSet(self.images[rows], self.labels[rows])


@dataclasses.dataclass(frozen=True)
class Source:
  """A place images come from.

  Attributes:
    read: (split, image_size, seed) -> images uint8 [N, H, W, 3], labels [N].
    splits: the names that may follow the colon.
    drawn: whether `seed` changes the images (drawn or noisy ones) or not.
  """

  read: Callable[[str, int, int], tuple[np.ndarray, np.ndarray]]
  splits: tuple[str, ...]
  drawn: bool = False


SOURCES: dict[str, Source] = {
  'digits': Source(
    lambda split, size, seed: digits.scans(split, image_size=size),
    (*digits.SPLITS, digits.ALL),
  ),
  'digits_noise': Source(
    lambda split, size, seed: digits.noisy_scans(
      split, image_size=size, seed=seed
    ),
    ('test',),
    drawn=True,
  ),
  'mnist': Source(
    lambda split, size, seed: digits.mnist(image_size=size), ('test',)
  ),
  'mnist_parts': Source(
    lambda split, size, seed: digits.mnist_parts(split, image_size=size),
    digits.SPLITS,
  ),
  'mnist_inverted': Source(
    lambda split, size, seed: digits.inverted_mnist(image_size=size), ('test',)
  ),
  'glyphs': Source(
    lambda split, size, seed: glyphs.render(split, image_size=size, seed=seed),
    ('train', 'val', 'test'),
    drawn=True,
  ),
  'other_faces': Source(
    lambda split, size, seed: glyphs.render(
      'other_faces', image_size=size, seed=seed
    ),
    ('test',),
    drawn=True,
  ),
}


def list_sources() -> list[str]:
  """Returns every source string that `load` knows."""
  return [f'{name}:{s}' for name, row in SOURCES.items() for s in row.splits]


def load(name: str, *, image_size: int, seed: int = 0) -> ImageSet:
  """Returns the images of a source, read once a process and then shared.

  Args:
    name: a source string such as 'digits:train', one of `list_sources()`.
    image_size: height and width of the images, in pixels.
    seed: what drawn images (glyphs, noise) are drawn from; scans and their
      splits do not depend on it.

  Returns:
    `ImageSet`: images uint8 [N, image_size, image_size, 3] and labels int32
    [N], both read-only.

  Raises:
    ValueError: an unknown source, an image size below 1, a negative seed.
    ModuleNotFoundError: the package that brings the images is not installed.

  Example:
    >>> load('mnist:test', image_size=24).images.shape
    (5000, 24, 24, 3)
  """
  names.check(name, list_sources(), 'source')
  if image_size < 1:
    raise ValueError(f'{name}: image_size must be at least 1, not {image_size}')
  if seed < 0:
    raise ValueError(f'{name}: seed must be 0 or more, not {seed}')
  source = SOURCES[name.partition(':')[0]]
  return _load(name, int(image_size), int(seed) if source.drawn else 0)


@functools.cache
def _load(name: str, image_size: int, seed: int) -> ImageSet:
  source, _, split = name.partition(':')
  return ImageSet(*SOURCES[source].read(split, image_size, seed))

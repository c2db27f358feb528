"""Batches as pure functions of their arguments: no state, nothing to save.

  for batch in train_batches(images, preprocess, batch_size=64, seed=0,
                             epoch=3, augment='shift', start=5):
    batch['image'], batch['label'], batch['mask']

The order of an epoch is a permutation drawn from (seed, epoch), and an
example's augmentation is drawn from (seed, epoch, example), so a resumed run
asks for `start` and gets the batches it would have seen. Every batch has
`batch_size` rows: the last one is padded with zeros, which `mask` marks False.
"""

from collections.abc import Iterator

import numpy as np

from daft_jax.data import augment as augmentation
from daft_jax.data.preprocess import Preprocess
from daft_jax.data.sources import ImageSet

Batch = dict[str, np.ndarray]

_STREAM = 0  # augmentations are stream 1


def train_batches(
  images: ImageSet,
  preprocess: Preprocess,
  *,
  batch_size: int,
  seed: int,
  epoch: int,
  augment: str,
  start: int = 0,
) -> Iterator[Batch]:
  """Yields the batches of one epoch, each example once.

  Args:
    images: the training set, N examples.
    preprocess: applied after the augmentation.
    batch_size: rows of every batch.
    seed: integer >= 0.
    epoch: integer >= 0; another epoch has another order.
    augment: a name of `augment.AUGMENTATIONS`.
    start: number of batches to leave out at the beginning, at no cost.

  Yields:
    {'image': float32 [batch_size, S, S, 3], 'label': int32 [batch_size],
    'mask': bool [batch_size]}, `steps_per_epoch(N, batch_size) - start` times.

  Raises:
    ValueError: an empty set, a batch size below 1, a negative seed or epoch, an
      unknown augmentation, or a `start` beyond the epoch. Raised by the call,
      before the first batch is asked for.
  """
  steps = steps_per_epoch(len(images), batch_size)
  augmentation.check(augment)
  if seed < 0 or epoch < 0:
    raise ValueError(
      f'train_batches: seed and epoch must be 0 or more, not {seed} and {epoch}'
    )
  if not 0 <= start <= steps:
    raise ValueError(
      f'train_batches: start={start}, but an epoch has {steps} batches '
      f'({len(images)} examples, {batch_size} a batch)'
    )
  rng = np.random.default_rng([seed, epoch, _STREAM])
  order = rng.permutation(len(images))
  numbers = augmentation.draw(len(images), seed=seed, epoch=epoch)

  def batches() -> Iterator[Batch]:
    for step in range(start, steps):
      rows = order[step * batch_size : (step + 1) * batch_size]
      augmented = augmentation.apply(
        augment, images.images[rows], numbers[rows]
      )
      yield _pad(preprocess(augmented), images.labels[rows], batch_size)

  return batches()


def eval_batches(
  images: ImageSet, preprocess: Preprocess, *, batch_size: int
) -> Iterator[Batch]:
  """Yields all examples once, in their order, without augmentation.

  Yields:
    The same dicts as `train_batches`.

  Raises:
    ValueError: an empty set, or a batch size below 1 (raised by the call).
  """
  steps = steps_per_epoch(len(images), batch_size)

  def batches() -> Iterator[Batch]:
    for step in range(steps):
      rows = slice(step * batch_size, (step + 1) * batch_size)
      yield _pad(
        preprocess(images.images[rows]), images.labels[rows], batch_size
      )

  return batches()


def steps_per_epoch(count: int, batch_size: int) -> int:
  """Returns how many batches hold `count` examples: the quotient, rounded up.

  Raises:
    ValueError: no examples, or a batch size below 1.

  Example:
    >>> steps_per_epoch(600, 64)
    10
  """
  if count < 1:
    raise ValueError('no examples: the image set is empty')
  if batch_size < 1:
    raise ValueError(f'batch_size must be at least 1, not {batch_size}')
  return -(-count // batch_size)


def _pad(image: np.ndarray, label: np.ndarray, batch_size: int) -> Batch:
  """Makes a batch of exactly `batch_size` rows; what is added is zero."""
  count = len(image)
  missing = batch_size - count
  if missing:
    image = np.concatenate(
      [image, np.zeros((missing, *image.shape[1:]), image.dtype)]
    )
  # np.pad copies: a consumer may write to what it gets.
  return {
    'image': image,
    'label': np.pad(label, (0, missing)),
    'mask': np.arange(batch_size) < count,
  }

"""Batches as pure functions of their arguments: no state, nothing to save.

  for batch in train_batches(images, preprocess, batch_size=64, seed=0,
                             epoch=3, recipe=Recipe('shift'), start=5):
    batch['image'], batch['label'], batch['mask']

The order of an epoch is a permutation drawn from (seed, epoch), and how an
example is varied is drawn from (seed, epoch, example), so a resumed run asks
for `start` and gets the batches it would have seen. Every batch has
`batch_size` rows: the last one is padded with zeros, which `mask` marks False.
Images are uint8: `preprocess.normalize` makes them what a model takes.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from daft_jax.data import augment as augmentation
from daft_jax.data.preprocess import Preprocess
from daft_jax.data.recipe import Draw, Examples, Job, Recipe
from daft_jax.data.workers import Pool

Batch = dict[str, np.ndarray]
Process = tuple[int, int]

ALONE: Process = (0, 1)

_STREAM = 0  # augmentations are stream 1


def train_batches(
  examples: Examples,
  preprocess: Preprocess,
  *,
  batch_size: int,
  seed: int,
  epoch: int,
  recipe: Recipe,
  start: int = 0,
  pool: Pool | None = None,
  process: Process = ALONE,
) -> Iterator[Batch]:
  """Yields the batches of one epoch, each example once.

  Args:
    examples: the training set, N examples.
    preprocess: how large images become.
    batch_size: rows of every batch, over all processes.
    seed: integer >= 0.
    epoch: integer >= 0; another epoch has another order.
    recipe: how images are varied.
    start: number of batches to leave out at the beginning, at no cost.
    pool: prepares batches ahead of time; the batches are the same.
    process: (i, n): only the i-th of n equal parts of each batch is read, that
      of the i-th process of a run.

  Yields:
    {'image': uint8 [B, S, S, 3], 'label': int32 [B], 'mask': bool [B]} with B =
    batch_size / n, `steps_per_epoch(N, batch_size) - start` times.

  Raises:
    ValueError: an empty set, a batch size below 1 or not a multiple of n, a
      negative seed or epoch, or a `start` beyond the epoch. Raised by the call,
      before the first batch is asked for.
  """
  orders = epoch_rows(
    len(examples), batch_size=batch_size, seed=seed, epoch=epoch, start=start
  )
  numbers = augmentation.draw(len(examples), seed=seed, epoch=epoch)
  jobs = _parts(orders, batch_size, process)
  return _batches(
    (
      Job(
        examples.take(rows),
        preprocess,
        recipe,
        Draw(numbers[rows], rows, seed, epoch),
      )
      for rows in jobs
    ),
    batch_size // process[1],
    pool,
  )


def eval_batches(
  examples: Examples,
  preprocess: Preprocess,
  *,
  batch_size: int,
  pool: Pool | None = None,
  process: Process = ALONE,
) -> Iterator[Batch]:
  """Yields all examples once, in their order, without augmentation.

  Yields:
    The same dicts as `train_batches`.

  Raises:
    ValueError: an empty set, or a batch size below 1 (raised by the call).
  """
  orders = ordered_rows(len(examples), batch_size)
  jobs = _parts(orders, batch_size, process)
  return _batches(
    (Job(examples.take(rows), preprocess) for rows in jobs),
    batch_size // process[1],
    pool,
  )


def epoch_rows(
  count: int, *, batch_size: int, seed: int, epoch: int, start: int = 0
) -> list[np.ndarray]:
  """Which examples each batch of an epoch has; see `train_batches`."""
  steps = steps_per_epoch(count, batch_size)
  if seed < 0 or epoch < 0:
    raise ValueError(
      f'train_batches: seed and epoch must be 0 or more, not {seed} and {epoch}'
    )
  if not 0 <= start <= steps:
    raise ValueError(
      f'train_batches: start={start}, but an epoch has {steps} batches '
      f'({count} examples, {batch_size} a batch)'
    )
  order = np.random.default_rng([seed, epoch, _STREAM]).permutation(count)
  return _cut(order, batch_size)[start:]


def ordered_rows(count: int, batch_size: int) -> list[np.ndarray]:
  """Which examples each batch of a test has."""
  steps_per_epoch(count, batch_size)
  return _cut(np.arange(count), batch_size)


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


def _cut(order: np.ndarray, batch_size: int) -> list[np.ndarray]:
  return [
    order[first : first + batch_size]
    for first in range(0, len(order), batch_size)
  ]


def _parts(
  orders: Sequence[np.ndarray], batch_size: int, process: Process
) -> list[np.ndarray]:
  """What one process reads of each batch; of the last, perhaps nothing."""
  index, count = process
  if batch_size % count:
    raise ValueError(
      f'batch_size is {batch_size}, which {count} processes cannot share '
      'equally'
    )
  size = batch_size // count
  return [rows[index * size : (index + 1) * size] for rows in orders]


def _batches(
  jobs: Iterator[Job], batch_size: int, pool: Pool | None
) -> Iterator[Batch]:
  labels = []

  def noted() -> Iterator[Job]:
    for job in jobs:
      labels.append(job.examples.labels)
      yield job

  made = pool.map(noted()) if pool else (job() for job in noted())
  for image in made:
    yield pad(image, labels.pop(0), batch_size)


def pad(image: np.ndarray, label: np.ndarray, batch_size: int) -> Batch:
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

"""From the sets of a task to batches on its devices.

  feed = Feed(sets, preprocess, Recipe('flip'), mesh, residency='host')
  for batch in feed.train(seed=0, epoch=3, batch_size=64):
    batch['image']                      # float32, on the devices
  feed.waited, feed.elapsed             # seconds: the stall is their ratio

Images travel as uint8 and are normalised where they are used, which is a fourth
of the traffic. 'stream' makes every batch anew, 'host' resizes once and keeps,
'device' keeps on the devices, and there crops, flips and normalises.
"""

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from daft_jax import processes, sharding
from daft_jax.data import augment, mixing, pipeline
from daft_jax.data.preprocess import Preprocess
from daft_jax.data.recipe import Examples, Job, Recipe
from daft_jax.data.sources import ImageSet
from daft_jax.data.workers import Pool

Batch = dict[str, Any]

_HOLD = 256  # images of a job when a set is read into memory


class Feed:
  """Batches of a task's sets.

  Args:
    sets: name -> examples; 'train' is the training set.
    preprocess: what the model expects.
    recipe: how training images are varied.
    mesh: from `sharding.make_mesh`.
    residency: one of `residency.RESIDENCIES`.
    mix: mixup and cutmix of training steps.
    workers, timeout: see `workers.Pool`.

  Attributes:
    waited: seconds that training waited for images.
    elapsed: seconds from the first to the last batch of all epochs.
  """

  def __init__(
    self,
    sets: Mapping[str, Examples],
    preprocess: Preprocess,
    recipe: Recipe,
    mesh: Any,
    *,
    residency: str = 'host',
    mix: mixing.Mixing = mixing.Mixing(),  # noqa: B008 (frozen)
    workers: int | None = None,
    timeout: float = 120.0,
  ):
    self.waited = self.elapsed = 0.0
    self._sets, self._preprocess = sets, preprocess
    self._recipe, self._mesh, self._mix = recipe, mesh, mix
    self._residency = residency
    self._pool = Pool(workers, timeout)
    self._process = jax.process_index(), jax.process_count()
    self._held: dict[tuple, Any] = {}

  def train(self, *, seed: int, epoch: int, batch_size: int) -> Iterator[Batch]:
    """One epoch of augmented batches.

    Yields:
      'image' float32 [B, S, S, 3] over the devices; 'label' int32 and 'mask'
      bool of this process's rows.
    """
    return self._train(seed, epoch, batch_size, 0)

  def steps(
    self, *, seed: int, epoch: int, batch_size: int, first: int = 0
  ) -> Iterator[Batch]:
    """The same as training steps take them, from step `first` of the epoch on.

    'mask' is left out where no batch of the epoch is padded (BatchNorm is
    faster so, and as all batches of a run have the same keys the step compiles
    once), and what images are mixed by is added.
    """
    batches = self._train(seed, epoch, batch_size, first)
    return self._timed(self._steps(batches, seed, epoch, batch_size, first))

  def _train(
    self, seed: int, epoch: int, batch_size: int, first: int
  ) -> Iterator[Batch]:
    before = augment.stored(self._recipe.augment, self._preprocess)
    if self._residency == 'device':
      orders = pipeline.epoch_rows(
        len(self._sets['train']),
        batch_size=batch_size,
        seed=seed,
        epoch=epoch,
        start=first,
      )
      numbers = augment.draw(len(self._sets['train']), seed=seed, epoch=epoch)
      how = self._recipe.augment
      return self._on_device('train', before, orders, batch_size, how, numbers)
    return self._put(
      pipeline.train_batches(
        self._examples('train', before),
        self._preprocess,
        batch_size=batch_size,
        seed=seed,
        epoch=epoch,
        recipe=self._recipe,
        start=first,
        pool=self._pool,
        process=self._process,
      )
    )

  def test(self, name: str, *, batch_size: int) -> Iterator[Batch]:
    """All examples of a set, in order, without augmentation."""
    if self._residency == 'device':
      count = len(self._sets[name])
      orders = pipeline.ordered_rows(count, batch_size)
      still = np.zeros((count, 3))
      return self._on_device(
        name, self._preprocess, orders, batch_size, 'none', still
      )
    return self._put(
      pipeline.eval_batches(
        self._examples(name, self._preprocess),
        self._preprocess,
        batch_size=batch_size,
        pool=self._pool,
        process=self._process,
      )
    )

  def sample(self, name: str, rows: np.ndarray) -> jax.Array:
    """Some images of a set, float32 [n, S, S, 3], on every device."""
    if self._residency == 'device':
      images = self._held_or_made(name, self._preprocess)[rows]
    else:
      mine = rows[np.array(processes.mine(len(rows)), int)]
      some = self._examples(name, self._preprocess).take(mine)
      made = np.stack(processes.gathered([*Job(some, self._preprocess)()]))
      images = sharding.replicate(made, self._mesh)
    return normalize(images, self._preprocess.table)

  def close(self) -> None:
    """Ends the workers and lets go of what is held."""
    self._pool.close()
    self._held.clear()

  def _put(self, batches: Iterator[dict[str, np.ndarray]]) -> Iterator[Batch]:
    """Images to the devices, and there to floating point."""
    for batch in batches:
      image = sharding.shard_batch(batch['image'], self._mesh)
      yield {**batch, 'image': normalize(image, self._preprocess.table)}

  def _examples(self, name: str, before: Preprocess | None) -> Examples:
    """A set as batches are made from it."""
    examples = self._sets[name]
    if self._residency == 'stream' or before is None:
      return examples
    return self._once(
      ('host', id(examples), before), lambda: self._hold(examples, before)
    )

  def _hold(self, examples: Examples, before: Preprocess) -> ImageSet:
    """Resizes a set once."""
    size = before.image_size
    if isinstance(examples, ImageSet) and examples.images.shape[1:3] == (
      size,
      size,
    ):
      return examples
    held = np.empty((len(examples), size, size, 3), np.uint8)
    rows = range(0, len(examples), _HOLD)
    jobs = (
      Job(examples.take(np.arange(len(examples))[i : i + _HOLD]), before)
      for i in rows
    )
    for first, made in zip(rows, self._pool.map(jobs), strict=True):
      held[first : first + len(made)] = made
    return ImageSet(held, examples.labels)

  def _once(self, key: tuple, make: Any) -> Any:
    if key not in self._held:
      self._held[key] = make()
    return self._held[key]

  def _on_device(
    self,
    name: str,
    before: Preprocess,
    orders: Sequence[np.ndarray],
    batch_size: int,
    how: str,
    numbers: np.ndarray,
  ) -> Iterator[Batch]:
    """Batches of what is kept on the devices, by these rows and numbers."""
    held = self._held_or_made(name, before)
    labels = self._sets[name].labels
    size = (self._preprocess.image_size,) * 2
    given = (before.image_size,) * 2
    index, processes = self._process
    mine = batch_size // processes

    def batches() -> Iterator[Batch]:
      for rows in orders:
        rows = rows[index * mine : (index + 1) * mine]
        places = augment.places(how, numbers[rows], given, size)
        where = pipeline.pad(rows.astype(np.int32), labels[rows], mine)
        places = [np.pad(x, ((0, mine - len(rows)), (0, 0))) for x in places]
        take, mask, *places = sharding.shard_batch(
          [where['image'], where['mask'], *places], self._mesh
        )
        image = _gather(held, self._preprocess.table, take, mask, *places)
        yield {'image': image, 'label': where['label'], 'mask': where['mask']}

    return batches()

  def _held_or_made(self, name: str, before: Preprocess) -> jax.Array:
    examples = self._sets[name]
    return self._once(
      ('device', id(examples), before),
      lambda: sharding.replicate(
        self._hold(examples, before).images, self._mesh
      ),
    )

  def _steps(
    self,
    batches: Iterator[Batch],
    seed: int,
    epoch: int,
    batch_size: int,
    first: int,
  ) -> Iterator[Batch]:
    count = len(self._sets['train'])
    size = self._preprocess.image_size
    index, processes = self._process
    mine = batch_size // processes
    for number, batch in enumerate(batches, first):
      if count % batch_size == 0:
        batch = {key: batch[key] for key in ('image', 'label')}
      if not self._mix.off:
        real = min(batch_size, count - number * batch_size)
        drawn = mixing.draw(
          self._mix,
          real,
          size,
          batch_size=batch_size,
          seed=seed,
          epoch=epoch,
          step=number,
        )
        part = slice(index * mine, (index + 1) * mine)
        batch |= {key: value[part] for key, value in drawn.items()}
      yield batch

  def _timed(self, batches: Iterator[Batch]) -> Iterator[Batch]:
    """Counts the seconds that are spent in `next`."""
    with contextlib.closing(batches):
      start = asked = time.perf_counter()
      for batch in batches:
        self.waited += time.perf_counter() - asked
        yield batch
        asked = time.perf_counter()
      self.elapsed += time.perf_counter() - start


@jax.jit
def normalize(images: jax.Array, table: jax.Array) -> jax.Array:
  """uint8 [B, H, W, 3] -> float32, by `Preprocess.table`."""
  return table[images, jnp.arange(3)]


@jax.jit
def _gather(
  held: jax.Array,
  table: jax.Array,
  take: jax.Array,
  mask: jax.Array,
  rows: jax.Array,
  columns: jax.Array,
) -> jax.Array:
  """Cuts [B, S, S, 3] out of uint8 [N, H, W, 3], and normalises it."""
  images = held[take[:, None, None], rows[:, :, None], columns[:, None, :]]
  images = jnp.where(mask[:, None, None, None], images, 0)
  return normalize(images, table)

"""Threads and processes give the same batches, and say where they die."""

import os
import shutil
import signal
import time

import numpy as np
import pytest
from PIL import Image

from daft_jax.data import buffers, pipeline, records
from daft_jax.data.preprocess import Preprocess
from daft_jax.data.recipe import Job, Recipe
from daft_jax.data.records import Files, Records
from daft_jax.data.sources import ImageSet
from daft_jax.data.workers import Pool
from tests.fixtures import items

PREPROCESS = Preprocess(16, (0.5,) * 3, (0.5,) * 3, resize=18)
SIZES = [(20, 30), (31, 19), (24, 24)]


@pytest.fixture(scope='module')
def paths(tmp_path_factory):
  """Thirteen photographs of noise, of three sizes."""
  folder = tmp_path_factory.mktemp('images')
  rng = np.random.default_rng(0)
  found = []
  for i in range(13):
    height, width = SIZES[i % 3]
    pixels = rng.integers(0, 256, (height, width, 3), np.uint8)
    found.append(str(folder / f'{i}.png'))
    Image.fromarray(pixels).save(found[-1])
  return tuple(found)


def examples(paths, kind=Files):
  return Records(kind(paths), np.arange(len(paths), dtype=np.int32))


@pytest.fixture(scope='module')
def pool():
  found = Pool(workers=2, timeout=60)
  yield found
  found.close()


def batches(paths, pool, augment, **more):
  return list(
    pipeline.train_batches(
      examples(paths),
      PREPROCESS,
      batch_size=4,
      seed=1,
      epoch=2,
      recipe=Recipe(augment),
      pool=pool,
      **more,
    )
  )


def assert_same(first, second):
  assert len(first) == len(second) > 0
  for a, b in zip(first, second, strict=True):
    for key in ('image', 'label', 'mask'):
      np.testing.assert_array_equal(a[key], b[key])


@pytest.mark.parametrize('augment', ['random_resized_crop', 'crop_flip'])
def test_any_number_of_workers_gives_the_same(paths, pool, augment):
  alone = batches(paths, None, augment)
  assert_same(batches(paths, pool, augment), alone)
  assert_same(batches(paths, pool, augment, start=2), alone[2:])
  for workers in (0, 1, 3):
    other = Pool(workers=workers)
    assert_same(batches(paths, other, augment), alone)
    other.close()


@pytest.mark.parametrize('augment', ['random_resized_crop', 'flip_crop'])
def test_examples_do_not_depend_on_the_batch_size(paths, augment):
  def by_label(batch_size):
    made = pipeline.train_batches(
      examples(paths),
      PREPROCESS,
      batch_size=batch_size,
      seed=0,
      epoch=0,
      recipe=Recipe(augment),
    )
    return {
      int(label): image
      for batch in made
      for image, label, real in zip(*batch.values(), strict=True)
      if real
    }

  want = by_label(13)
  assert len(want) == 13
  for size in (1, 5):
    for label, image in by_label(size).items():
      np.testing.assert_array_equal(image, want[label])


def test_epochs_seeds_and_examples_are_cropped_otherwise(paths):
  same = (paths[0],) * 8

  def images(**changes):
    settings = {'seed': 0, 'epoch': 0} | changes
    made = pipeline.train_batches(
      examples(same),
      PREPROCESS,
      batch_size=8,
      recipe=Recipe('random_resized_crop'),
      **settings,
    )
    (batch,) = made
    return batch['image'][np.argsort(batch['label'])]

  first = images()
  assert len({image.tobytes() for image in first}) == 8
  for changes in ({'seed': 1}, {'epoch': 1}):
    other = images(**changes)
    assert not any((a == b).all() for a, b in zip(first, other, strict=True))


def test_processes_together_read_what_one_reads(paths):
  whole = batches(paths, None, 'random_resized_crop')
  halves = [
    batches(paths, None, 'random_resized_crop', process=(i, 2))
    for i in range(2)
  ]
  joined = [
    {key: np.concatenate([a[key], b[key]]) for key in a}
    for a, b in zip(*halves, strict=True)
  ]
  assert_same(joined, whole)
  # The last batch has one example: the second process reads nothing of it.
  assert not halves[1][-1]['mask'].any()
  with pytest.raises(ValueError, match='3 processes cannot share'):
    batches(paths, None, 'none', process=(0, 3))


def test_a_job_for_one_example_is_that_of_its_batch(paths):
  (job, *_) = (
    Job(
      examples(paths).take(rows),
      PREPROCESS,
      Recipe('random_resized_crop'),
      pipeline.Draw(np.zeros((4, 3)), rows, 0, 0),
    )
    for rows in pipeline.epoch_rows(13, batch_size=4, seed=0, epoch=0)
  )
  for row in range(4):
    np.testing.assert_array_equal(job.at(row)()[0], job()[row])


def run_dangerous(paths, name, folder, timeout=60.0):
  bad = folder / name
  bad.write_bytes(b'')
  pool = Pool(workers=2, timeout=timeout)
  # In the second batch of four: the first, with a slow one, is then cut off.
  paths = (paths[0], str(folder / 'late.png'), *paths[1:4], str(bad))
  shutil.copy(paths[0], paths[1])
  chosen = Records(items.Dangerous(paths), np.zeros(6, np.int32))
  start = time.monotonic()
  with pytest.raises(records.DataError) as caught:
    list(pipeline.eval_batches(chosen, PREPROCESS, batch_size=4, pool=pool))
  pool.close()
  return str(bad), str(caught.value), time.monotonic() - start


def test_a_worker_that_dies_says_at_which_file(paths, tmp_path):
  bad, message, _ = run_dangerous(paths, 'deadly.png', tmp_path)
  assert message.startswith(f'{bad}: the process that read it died')


def test_a_worker_that_hangs_is_given_up(paths, tmp_path):
  bad, message, seconds = run_dangerous(paths, 'slow.png', tmp_path, 4.0)
  assert message.startswith(f'{bad}: the process that read it took more than')
  assert seconds < 40


@pytest.mark.parametrize('content', [b'', b'no image', b'\xff\xd8\xff\xe0cut'])
def test_a_damaged_file_is_named(paths, tmp_path, pool, content):
  bad = tmp_path / 'bad.jpg'
  bad.write_bytes(content)
  chosen = Records(Files((*paths, str(bad))), np.zeros(14, np.int32))
  for where in (pool, None):
    with pytest.raises(records.UnreadableImage, match=f'^{bad} '):
      list(pipeline.eval_batches(chosen, PREPROCESS, batch_size=4, pool=where))
  # The pool goes on.
  assert len(batches(paths, pool, 'none')) == 4


def test_what_has_no_end_is_not_read(tmp_path):
  pipe, link, hole = (tmp_path / x for x in ('a\x1b[2J.jpg', 'b', 'c'))
  os.mkfifo(pipe)
  link.symlink_to('/dev/zero')
  with open(hole, 'wb') as file:
    file.truncate(1 << 40)
  files = Files(tuple(map(str, (pipe, link, hole))))
  for row, why in enumerate(('is no file', 'is no file', 'has 1,099,511,627')):
    with pytest.raises(records.UnreadableImage, match=why) as error:
      records.decode(files, row)
    assert str(error.value).isprintable()


def test_workers_do_not_import_jax(paths, pool):
  batches(paths, pool, 'none')
  loaded = pool._processes.submit(items.modules).result()
  assert 'daft_jax' in loaded and 'PIL' in loaded
  assert not loaded & {'jax', 'flax', 'optax', 'matplotlib'}


def test_an_interrupt_is_for_the_program_alone(paths, pool):
  """Ctrl-C reaches all processes of a terminal: these go on until told."""
  whole = batches(paths, pool, 'none')
  workers = pool._processes.submit(items.siblings).result()
  assert len(workers) >= 2
  working = [pool._processes.submit(items.nap, 2) for _ in workers]
  time.sleep(0.5)
  for pid in workers:
    os.kill(pid, signal.SIGINT)
  assert [future.result(timeout=60) for future in working] == [2] * len(workers)
  assert_same(batches(paths, pool, 'none'), whole)


def test_what_is_in_memory_needs_no_process():
  images = ImageSet(np.zeros((9, 16, 16, 3), np.uint8), np.zeros(9, np.int32))
  pool = Pool(workers=2)
  made = pipeline.eval_batches(images, PREPROCESS, batch_size=4, pool=pool)
  assert len(list(made)) == 3
  assert pool._processes is None
  pool.close()


def test_a_consumer_may_stop_early(paths, pool):
  made = pipeline.train_batches(
    examples(paths * 5),
    PREPROCESS,
    batch_size=4,
    seed=0,
    epoch=0,
    recipe=Recipe(),
    pool=pool,
  )
  next(made)
  made.close()
  assert_same(batches(paths, pool, 'none'), batches(paths, None, 'none'))


needs_memory = pytest.mark.skipif(
  not hasattr(os, 'memfd_create'), reason='this system has no such memory'
)


@needs_memory
def test_buffers_are_used_again():
  pool = buffers.Buffers()
  images = np.arange(48, dtype=np.uint8).reshape(1, 4, 4, 3)
  first = pool.take(48)
  assert buffers.write(first.place, images)
  np.testing.assert_array_equal(first.array((1, 4, 4, 3)), images)
  pool.give_back(first)
  assert pool.take(40) is first
  pool.give_back(first)
  assert pool.take(49) is not first
  pool.close()


@needs_memory
def test_a_buffer_that_is_gone_is_never_taken_for_another_file(tmp_path):
  pool = buffers.Buffers()
  place = pool.take(48).place
  pool.close()
  images = np.full((1, 4, 4, 3), 7, np.uint8)
  assert not buffers.write(place, images)
  # Its number now belongs to a file of the user.
  number = int(place.path.rpartition('/')[2])
  path = tmp_path / 'precious'
  path.write_bytes(b'precious' * 8)
  held = []
  with path.open('r+b') as file:
    while file.fileno() != number and len(held) < 64:
      held.append(os.dup(file.fileno()))
      if held[-1] == number:
        break
    assert number in [file.fileno(), *held]
    assert not buffers.write(place, images)
    for other in held:
      os.close(other)
  assert path.read_bytes() == b'precious' * 8

"""What making batches of images costs, on one core and by workers.

python -m daft_jax.benchmark data
python -m daft_jax.benchmark data --rounds=9 --images=16

The rates of one core are images / CPU second, all threads counted, so that a
busy machine changes them little; TensorFlow is measured where it is installed.
"""

import argparse
import contextlib
import functools
import importlib.util
import io
import itertools
import os
import pathlib
import tempfile
import time
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from PIL import Image

from daft_jax import benchmark, sharding
from daft_jax.data import augment, crops, pipeline
from daft_jax.data.feed import Feed
from daft_jax.data.preprocess import Preprocess
from daft_jax.data.recipe import Draw, Job, Recipe
from daft_jax.data.records import Files, Records
from daft_jax.data.sources import ImageSet
from daft_jax.data.workers import Pool

IMAGES = 32  # different photographs

_SIZE = 224
_PREPROCESS = Preprocess(
  _SIZE, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), resize=256
)
_WIDTH, _HEIGHT, _BYTES, _QUALITY = 500, 375, 115_000, 92  # as in ImageNet
_BATCH = 64
_CACHED = 4 * _BATCH
_JOBS = 8  # for each worker
_STARTS = 3


def bench_data(args: argparse.Namespace) -> None:
  """Prints images/s; floors: TensorFlow's antialiased rate, 3,000 cached."""
  if importlib.util.find_spec('sklearn') is None:
    raise SystemExit(
      'the photographs are those of scikit-learn: pip install scikit-learn'
    )
  with tempfile.TemporaryDirectory() as folder:
    records = _photographs(pathlib.Path(folder), args.images or IMAGES)
    with _one_core():
      _decoding(records, args.rounds)
      _caching(args.rounds)
    _working(records, args.rounds)


def _decoding(records: Records, rounds: int) -> None:
  """JPEG to a part of it at 224 pixels, by Pillow, OpenCV and TensorFlow."""
  count = len(records)
  sides = {'pillow': _jobs(records, 'pillow')}
  notes = []
  if _has('simplejpeg', 'cv2'):
    sides['fast'] = _jobs(records, 'fast')
  else:
    notes.append("fast: pip install 'daft_jax[fast]' to measure it")
  if _has('tensorflow'):
    sides['tf, antialiased'] = _tensorflow(records, True)
    sides['tf, aliased'] = _tensorflow(records, False)
  else:
    notes.append('tf: pip install tensorflow-cpu to compare with it')
  calls = [functools.partial(next, side) for side in sides.values()]
  times = benchmark.compare(rounds, *calls, clock=time.process_time)
  size = np.mean([len(records.items.read(i)) for i in range(count)])
  print(
    f'{count} JPEGs of {_WIDTH} x {_HEIGHT} and {size / 1000:.0f} kB, '
    f'random_resized_crop to {_SIZE}, images / CPU second'
  )
  found = dict(zip(sides, times, strict=True))
  for name, seconds in found.items():
    _print(name, [count / x for x in seconds])
  for other in ('pillow', 'tf, antialiased', 'tf, aliased'):
    for name in ('pillow', 'fast'):
      if name in found and other in found and name != other:
        ratio = zip(found[other], found[name], strict=True)
        _print(f'{name} / {other}', [a / b for a, b in ratio], 2)
  for note in notes:
    print(f'  {note}', flush=True)


def _caching(rounds: int) -> None:
  """Batches of what is in memory, resized."""
  rng = np.random.default_rng(0)  # copying takes as long for any pixels
  images = rng.integers(0, 256, (_CACHED, _SIZE, _SIZE, 3), np.uint8)
  examples = ImageSet(images, np.zeros(_CACHED, np.int32))
  recipe, mesh = Recipe('flip_crop'), sharding.make_mesh(1)
  asked = {'seed': 0, 'epoch': 0, 'batch_size': _BATCH}

  def made() -> None:
    batches = pipeline.train_batches(
      examples, _PREPROCESS, recipe=recipe, **asked
    )
    for _ in batches:
      pass

  def fed(feed: Feed) -> None:
    for batch in feed.steps(**asked):
      jax.block_until_ready(batch['image'])

  host, device = (
    Feed({'train': examples}, _PREPROCESS, recipe, mesh, residency=where)
    for where in ('host', 'device')
  )
  calls = [made, functools.partial(fed, host), functools.partial(fed, device)]
  times = benchmark.compare(rounds, *calls[:2], clock=time.process_time)
  times += benchmark.compare(rounds, *calls[1:])
  for feed in (host, device):
    feed.close()
  print(f'{_SIZE} px in memory, flip_crop, batches of {_BATCH}')
  kind = jax.devices()[0].device_kind
  for name, seconds in zip(
    (
      'uint8 batch, / CPU second',
      'host to float, / CPU second',
      f'host to float on {kind}, / s',
      f'held on {kind}, / s',
    ),
    times,
    strict=True,
  ):
    _print(name, [_CACHED / x for x in seconds])


def _working(records: Records, rounds: int) -> None:
  """Worker processes: images/s of all together, and how long they start."""
  decoder = 'fast' if _has('simplejpeg', 'cv2') else 'pillow'
  count, numbers = len(records), (1, 2)
  pools = [Pool(workers) for workers in numbers]
  job = _job(records, decoder, 0)

  def done(pool: Pool) -> None:
    for _ in pool.map([job] * (_JOBS * pool.workers)):
      pass

  times = benchmark.compare(
    rounds, *(functools.partial(done, pool) for pool in pools)
  )
  print(f'the same JPEGs, {decoder}, by processes, images / s')
  rates = [
    [_JOBS * workers * count / x for x in seconds]
    for workers, seconds in zip(numbers, times, strict=True)
  ]
  for workers, rate in zip(numbers, rates, strict=True):
    _print(_workers(workers), rate)
  _print('2 workers / 1', [b / a for a, b in zip(*rates, strict=True)], 2)
  for pool in pools:
    starts = [_start(pool, job) for _ in range(_STARTS)]
    _print(f'start of {_workers(pool.workers)}', starts, 2, ' s')


def _start(pool: Pool, job: Job) -> float:
  """Seconds until new processes have made an image each."""
  pool.close()
  start = time.perf_counter()
  for _ in pool.map([job.at(0)] * pool.workers):
    pass
  seconds = time.perf_counter() - start
  pool.close()
  return seconds


def _job(records: Records, decoder: str, epoch: int) -> Job:
  rows = np.arange(len(records))
  numbers = augment.draw(len(rows), seed=0, epoch=epoch)
  recipe = Recipe('random_resized_crop', decoder=decoder)
  return Job(records, _PREPROCESS, recipe, Draw(numbers, rows, 0, epoch))


def _jobs(records: Records, decoder: str) -> Iterator[np.ndarray]:
  """Does one epoch after the other."""
  epoch = 0
  while True:
    yield _job(records, decoder, epoch)()
    epoch += 1


def _tensorflow(records: Records, antialias: bool) -> Iterator[np.ndarray]:
  """The boxes of `_jobs` by TensorFlow, which need not mirror."""
  os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '2')
  os.environ.setdefault('TF_ENABLE_ONEDNN_OPTS', '0')  # or it writes about it
  import tensorflow as tf

  with contextlib.suppress(RuntimeError):  # by the second of two calls
    tf.config.set_visible_devices([], 'GPU')
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)

  def one(path: Any, box: Any) -> Any:
    image = tf.io.decode_and_crop_jpeg(tf.io.read_file(path), box, channels=3)
    image = tf.image.resize(
      image, (_SIZE, _SIZE), method='bilinear', antialias=antialias
    )
    return tf.cast(image, tf.uint8)

  # One graph of all images; tf.data would go ahead while others are measured.
  @tf.function
  def batch(boxes: Any) -> Any:
    paths = records.items.paths
    return tf.stack([one(path, boxes[i]) for i, path in enumerate(paths)])

  for epoch in itertools.count():
    boxes = []
    for rng in _job(records, 'pillow', epoch).draw.generators():
      rng.random()  # whether it is mirrored
      left, top, width, height = crops.draw_box(_WIDTH, _HEIGHT, rng)
      boxes.append((top, left, height, width))
    yield batch(tf.constant(boxes, tf.int32)).numpy()


def _photographs(folder: pathlib.Path, count: int) -> Records:
  """JPEGs of about `_BYTES`: parts of two photographs, with noise."""
  from sklearn import datasets

  pictures = [Image.fromarray(x) for x in datasets.load_sample_images().images]
  rng, paths = np.random.default_rng(0), []
  for number in range(count):
    picture = pictures[number % len(pictures)]
    share = rng.uniform(0.6, 1)
    height = round(share * picture.height)
    width = round(height * _WIDTH / _HEIGHT)
    left = int(rng.integers(picture.width - width + 1))
    top = int(rng.integers(picture.height - height + 1))
    part = picture.crop((left, top, left + width, top + height))
    part = part.resize((_WIDTH, _HEIGHT), Image.Resampling.BICUBIC)
    paths.append(str(folder / f'{number}.jpg'))
    pathlib.Path(paths[-1]).write_bytes(_noisy(part, rng))
  return Records(Files(tuple(paths)), np.zeros(count, np.int32))


def _noisy(picture: Image.Image, rng: np.random.Generator) -> bytes:
  """Grey noise, as much as makes the file long enough."""
  pixels, noise = np.asarray(picture), rng.normal(size=(_HEIGHT, _WIDTH, 1))
  for deviation in range(0, 64, 2):
    noisy = np.clip(np.round(pixels + deviation * noise), 0, 255)
    file = io.BytesIO()
    Image.fromarray(noisy.astype(np.uint8)).save(file, 'JPEG', quality=_QUALITY)
    if len(file.getvalue()) >= _BYTES:
      break
  return file.getvalue()


@contextlib.contextmanager
def _one_core() -> Iterator[None]:
  """Keeps this thread, and those it starts, to one core."""
  if not hasattr(os, 'sched_setaffinity'):  # macOS
    yield
    return
  before = os.sched_getaffinity(0)
  os.sched_setaffinity(0, {max(before)})
  try:
    yield
  finally:
    os.sched_setaffinity(0, before)


def _has(*modules: str) -> bool:
  return all(importlib.util.find_spec(name) for name in modules)


def _workers(count: int) -> str:
  return f'{count} worker{"s" if count > 1 else ""}'


def _print(
  name: str, values: list[float], digits: int = 0, unit: str = ''
) -> None:
  print(f'  {name:34s}{benchmark.spread(values, unit, digits)}', flush=True)

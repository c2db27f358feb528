import inspect

import numpy as np
import pytest

from daft_jax.data import pipeline
from daft_jax.data.preprocess import Preprocess
from daft_jax.data.recipe import Recipe
from daft_jax.data.sources import ImageSet

PLAIN = Preprocess(8, (0, 0, 0), (1, 1, 1))


def image_set(count=23):
  """Random images; the label of an example is its index."""
  rng = np.random.default_rng(0)
  images = rng.integers(0, 256, (count, 8, 8, 3), np.uint8)
  return ImageSet(images, np.arange(count, dtype=np.int32))


def train(images=None, **changes):
  settings = dict(batch_size=5, seed=0, epoch=0, augment='shift') | changes
  recipe = Recipe(settings.pop('augment'))
  return list(
    pipeline.train_batches(
      images or image_set(), PLAIN, recipe=recipe, **settings
    )
  )


def by_example(batches):
  """{label: image} of the rows that count."""
  return {
    int(label): image
    for batch in batches
    for image, label, keep in zip(
      batch['image'], batch['label'], batch['mask'], strict=True
    )
    if keep
  }


def labels(batches):
  return np.concatenate([b['label'][b['mask']] for b in batches])


def assert_same(first, second):
  assert len(first) == len(second)
  for a, b in zip(first, second, strict=True):
    assert a.keys() == b.keys() == {'image', 'label', 'mask'}
    for key in a:
      np.testing.assert_array_equal(a[key], b[key])


def test_batches_have_one_shape_and_the_last_is_masked():
  batches = train()
  assert len(batches) == 5
  for batch in batches:
    assert batch['image'].shape == (5, 8, 8, 3)
    assert batch['image'].dtype == np.uint8
    assert batch['label'].shape == batch['mask'].shape == (5,)
    assert batch['label'].dtype == np.int32 and batch['mask'].dtype == bool
  assert all(batch['mask'].all() for batch in batches[:-1])
  last = batches[-1]
  assert last['mask'].tolist() == [True] * 3 + [False] * 2
  assert not last['image'][3:].any() and not last['label'][3:].any()


def test_a_full_last_batch_is_not_padded():
  batches = train(image_set(20))
  assert len(batches) == 4 and all(b['mask'].all() for b in batches)


@pytest.mark.parametrize('count', [1, 5, 23])
def test_every_example_comes_once_an_epoch(count):
  for epoch in range(3):
    seen = labels(train(image_set(count), epoch=epoch))
    np.testing.assert_array_equal(np.sort(seen), np.arange(count))


def test_repeated_calls_give_the_same():
  assert_same(train(seed=3, epoch=4), train(seed=3, epoch=4))


def test_seed_and_epoch_change_order_and_augmentation():
  first = train(seed=1, epoch=2)
  for other in (dict(seed=2, epoch=2), dict(seed=1, epoch=3)):
    second = train(**other)
    assert labels(first).tolist() != labels(second).tolist()
    a, b = by_example(first), by_example(second)
    assert np.mean([np.array_equal(a[i], b[i]) for i in a]) < 0.5


@pytest.mark.parametrize('start', range(6))
def test_start_gives_the_tail(start):
  assert_same(train(start=start), train()[start:])


@pytest.mark.parametrize('augment', ['shift', 'flip_crop'])
def test_augmentation_does_not_depend_on_the_batch_size(augment):
  want = by_example(train(batch_size=5, augment=augment))
  for batch_size in (1, 7, 64):
    got = by_example(train(batch_size=batch_size, augment=augment))
    assert got.keys() == want.keys()
    for label in want:
      np.testing.assert_array_equal(got[label], want[label])


def test_augmentation_leaves_the_order_alone():
  np.testing.assert_array_equal(
    labels(train(augment='none')), labels(train(augment='shift'))
  )


def test_without_augmentation_images_are_the_preprocessed_ones():
  images = image_set()
  for label, image in by_example(train(images, augment='none')).items():
    np.testing.assert_array_equal(image, images.images[label])


def test_eval_batches_keep_the_order():
  images = image_set()
  batches = list(pipeline.eval_batches(images, PLAIN, batch_size=5))
  assert [len(b['label']) for b in batches] == [5] * 5
  np.testing.assert_array_equal(labels(batches), images.labels)
  rows = np.concatenate([b['image'][b['mask']] for b in batches])
  np.testing.assert_array_equal(rows, images.images)
  again = list(pipeline.eval_batches(images, PLAIN, batch_size=5))
  assert_same(batches, again)


def test_what_is_yielded_is_a_copy():
  images = image_set()
  before = images.images.copy()
  for batch in pipeline.eval_batches(images, PLAIN, batch_size=5):
    for value in batch.values():
      if value.flags.writeable:
        value[:] = 1
      assert not np.shares_memory(value, images.images)
  np.testing.assert_array_equal(images.images, before)
  np.testing.assert_array_equal(images.labels, np.arange(23))


def test_nothing_is_left_to_choice_by_default():
  parameters = inspect.signature(pipeline.train_batches).parameters
  without = {n for n, p in parameters.items() if p.default is p.empty}
  assert without == set(parameters) - {'start', 'pool', 'process'}


@pytest.mark.parametrize(
  ('count', 'batch_size', 'steps'), [(1, 1, 1), (64, 64, 1), (65, 64, 2)]
)
def test_steps_per_epoch(count, batch_size, steps):
  assert pipeline.steps_per_epoch(count, batch_size) == steps


@pytest.mark.parametrize(
  ('changes', 'match'),
  [
    (dict(batch_size=0), 'batch_size must be at least 1, not 0'),
    (dict(seed=-1), 'seed and epoch must be 0 or more'),
    (dict(epoch=-1), 'seed and epoch must be 0 or more'),
    (dict(start=-1), 'start=-1, but an epoch has 5 batches'),
    (dict(start=6), r'start=6, but an epoch has 5 batches \(23 examples'),
  ],
)
def test_errors_come_with_the_call(changes, match):
  settings = dict(batch_size=5, seed=0, epoch=0, recipe=Recipe())
  with pytest.raises(ValueError, match=match):
    pipeline.train_batches(image_set(), PLAIN, **{**settings, **changes})


def test_empty_sets():
  with pytest.raises(ValueError, match='the image set is empty'):
    pipeline.train_batches(
      image_set(0), PLAIN, batch_size=5, seed=0, epoch=0, recipe=Recipe()
    )
  with pytest.raises(ValueError, match='the image set is empty'):
    pipeline.eval_batches(image_set(0), PLAIN, batch_size=5)
  with pytest.raises(ValueError, match='batch_size must be at least 1'):
    pipeline.eval_batches(image_set(), PLAIN, batch_size=0)

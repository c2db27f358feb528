"""Wherever images stay, batches have the same bits."""

import jax
import numpy as np
import pytest
from PIL import Image

from daft_jax import sharding
from daft_jax.data import augment, residency
from daft_jax.data.colour import Colour
from daft_jax.data.feed import Feed
from daft_jax.data.mixing import Mixing
from daft_jax.data.preprocess import Preprocess
from daft_jax.data.recipe import Recipe
from daft_jax.data.records import Files, Records
from daft_jax.data.sources import ImageSet

PREPROCESS = Preprocess(
  16, (0.485, 0.456, 0.406), (0.228, 0.224, 0.225), resize=18
)
PLACED = [n for n, row in augment.AUGMENTATIONS.items() if row.places]


@pytest.fixture(scope='module')
def arrays():
  rng = np.random.default_rng(0)
  images = rng.integers(0, 256, (21, 20, 26, 3), np.uint8)
  return ImageSet(images, rng.integers(0, 5, 21).astype(np.int32))


@pytest.fixture(scope='module')
def files(arrays, tmp_path_factory):
  """The same images, as PNG."""
  folder = tmp_path_factory.mktemp('images')
  paths = []
  for i, image in enumerate(arrays.images):
    paths.append(str(folder / f'{i}.png'))
    Image.fromarray(image).save(paths[-1])
  return Records(Files(tuple(paths)), arrays.labels)


def feed(examples, where, name='flip_crop', devices=1, **more):
  return Feed(
    {'train': examples, 'id_val': examples},
    PREPROCESS,
    Recipe(name),
    sharding.make_mesh(devices),
    residency=where,
    workers=0,
    **more,
  )


def collected(batches):
  return [{k: np.asarray(v) for k, v in batch.items()} for batch in batches]


def assert_same(first, second):
  assert len(first) == len(second) > 1
  for a, b in zip(first, second, strict=True):
    assert a.keys() == b.keys()
    for key in a:
      assert a[key].tobytes() == b[key].tobytes(), key


@pytest.mark.parametrize('name', PLACED)
def test_residency_does_not_change_a_bit(arrays, files, name):
  want = None
  for examples in (arrays, files):
    for where in residency.RESIDENCIES:
      found = feed(examples, where, name)
      made = collected(found.train(seed=3, epoch=1, batch_size=8))
      made += collected(found.test('id_val', batch_size=8))
      want = want or made
      assert_same(made, want)
      found.close()
  assert want[0]['image'].dtype == np.float32


@pytest.mark.parametrize('where', residency.RESIDENCIES)
def test_a_sample_is_those_rows_of_the_set(arrays, files, where):
  rows = np.array([1, 8, 20])
  for examples in (arrays, files):
    found = feed(examples, where, devices=8)
    batches = collected(found.test('id_val', batch_size=8))
    want = np.concatenate([batch['image'] for batch in batches])[rows]
    assert np.asarray(found.sample('id_val', rows)).tobytes() == want.tobytes()


@pytest.mark.parametrize('where', residency.RESIDENCIES)
def test_devices_do_not_change_a_bit(arrays, where):
  one, eight = (
    collected(found.train(seed=0, epoch=0, batch_size=8))
    for found in (feed(arrays, where, devices=n) for n in (1, 8))
  )
  assert_same(one, eight)


def test_images_are_on_all_devices(arrays):
  for where in residency.RESIDENCIES:
    (batch, *_) = feed(arrays, where, devices=8).train(
      seed=0, epoch=0, batch_size=8
    )
    assert len(batch['image'].sharding.device_set) == 8
    assert batch['image'].addressable_shards[0].data.shape == (1, 16, 16, 3)


def test_images_are_normalised_as_preprocess_does(arrays):
  made = collected(feed(arrays, 'host').test('id_val', batch_size=8))
  images = np.concatenate([b['image'][b['mask']] for b in made])
  assert images.tobytes() == PREPROCESS(arrays.images).tobytes()


def test_steps_have_no_mask_where_no_batch_is_padded(arrays):
  found = feed(arrays, 'host')
  for size, keys in ((7, {'image', 'label'}), (8, {'image', 'label', 'mask'})):
    batches = list(found.steps(seed=0, epoch=0, batch_size=size))
    assert all(batch.keys() == keys for batch in batches)


@pytest.mark.parametrize('where', residency.RESIDENCIES)
def test_an_epoch_can_be_begun_in_its_middle(arrays, where):
  found = feed(arrays, where, mix=Mixing(mixup=0.2))
  whole = collected(found.steps(seed=0, epoch=1, batch_size=4))
  assert len(whole) == 6
  for first in (1, 4):
    rest = collected(found.steps(seed=0, epoch=1, batch_size=4, first=first))
    assert_same(rest, whole[first:])
  assert list(found.steps(seed=0, epoch=1, batch_size=4, first=6)) == []


def test_what_images_are_mixed_by(arrays):
  found = feed(arrays, 'device', mix=Mixing(mixup=0.2, cutmix=1.0))
  batches = collected(found.steps(seed=0, epoch=0, batch_size=8))
  for batch in batches:
    assert {'partner', 'lam', 'box', 'blend'} <= batch.keys()
    assert sorted(batch['partner']) == list(range(8))
  # The last batch has five examples; padding stays by itself.
  assert batches[-1]['partner'][5:].tolist() == [5, 6, 7]
  assert len({batch['lam'].tobytes() for batch in batches}) > 1
  plain = collected(found.train(seed=0, epoch=0, batch_size=8))
  assert 'partner' not in plain[0]  # for statistics and probes


def test_colours_are_changed_after_the_cut(arrays):
  mesh = sharding.make_mesh(1)
  recipe = Recipe('flip', Colour(jitter=0.4, ops=2))
  made = {}
  for where in ('stream', 'host'):
    found = Feed({'train': arrays}, PREPROCESS, recipe, mesh, residency=where)
    made[where] = collected(found.train(seed=0, epoch=0, batch_size=8))
    found.close()
  assert_same(made['stream'], made['host'])
  found = feed(arrays, 'host', 'flip')
  plain = collected(found.train(seed=0, epoch=0, batch_size=8))
  assert (plain[0]['image'] != made['host'][0]['image']).mean() > 0.5


def test_the_stall_is_counted(arrays):
  found = feed(arrays, 'host')
  assert found.waited == found.elapsed == 0
  for _ in range(2):
    list(found.steps(seed=0, epoch=0, batch_size=8))
  assert 0 < found.waited <= found.elapsed


def test_a_set_is_resized_once(files, arrays):
  found = feed(files, 'host')
  list(found.test('id_val', batch_size=8))
  for path in files.items.paths:  # No file is opened any more.
    assert path
  held = found._examples('id_val', PREPROCESS)
  assert found._examples('id_val', PREPROCESS) is held
  np.testing.assert_array_equal(held.images, PREPROCESS.cut(arrays.images))


def choose(wanted, needed=1000, encoded=True, name='flip', **colour):
  recipe = Recipe(name, Colour(**colour))
  mesh = sharding.make_mesh(1)
  return residency.choose(wanted, needed, encoded, recipe, mesh)


def test_auto_goes_by_size():
  assert choose('auto').residency == 'host'
  assert choose('auto', 10**15).residency == 'stream'
  assert choose('auto', name='random_resized_crop').residency == 'stream'
  small = choose('auto', encoded=False, name='random_resized_crop')
  assert small.residency == 'host'
  assert str(choose('auto', 151_000_000)).startswith('images: host (151 MB, ')


@pytest.mark.parametrize('wanted', residency.RESIDENCIES)
def test_what_is_asked_for_is_taken(wanted):
  assert choose(wanted).residency == wanted


@pytest.mark.parametrize(
  ('changes', 'says'),
  [
    (dict(wanted='device', name='random_resized_crop'), 'cuts from whole'),
    (dict(wanted='device', jitter=0.4), 'colours are changed on the host'),
    (dict(wanted='host', name='random_resized_crop'), "say 'stream'"),
    (dict(wanted='host', needed=10**15), r'1000000\.0 GB of images'),
  ],
)
def test_what_cannot_be_is_refused(changes, says):
  with pytest.raises(ValueError, match=says):
    choose(**changes)


def test_sizes():
  counts = {'train': 10, 'id_val': 2, 'mnist': 3}
  preprocess = Preprocess(224, (0.5,) * 3, (0.5,) * 3)
  assert residency.total(counts, preprocess, 'flip') == 15 * 224**2 * 3
  want = (10 * 256**2 + 5 * 224**2) * 3
  assert residency.total(counts, preprocess, 'crop_flip') == want


def test_free_memory_is_that_of_the_machine_or_less():
  free = residency.host_memory()
  assert 0 < free < 2**50
  assert residency.device_memory(sharding.make_mesh(1)) is None or jax

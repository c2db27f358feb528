import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from daft_jax import sharding
from daft_jax.data import mixing
from daft_jax.data.mixing import Mixing

SIZE, BATCH = 12, 16
KINDS = [Mixing(mixup=0.4), Mixing(cutmix=1.0), Mixing(0.4, 1.0), Mixing()]


def draw(on, count=BATCH, size=SIZE, batch_size=BATCH, **fields):
  fields = {'seed': 0, 'epoch': 0, 'step': 0} | fields
  return mixing.draw(on, count, size, batch_size=batch_size, **fields)


def images(count=BATCH, size=SIZE, seed=0):
  rng = np.random.default_rng(seed)
  return rng.normal(size=(count, size, size, 3)).astype(np.float32)


def outside(drawn, size=SIZE):
  """bool [B, size, size], built pixel by pixel."""
  mask = np.ones((len(drawn['box']), size, size), bool)
  for row, (top, bottom, left, right) in enumerate(drawn['box']):
    mask[row, top:bottom, left:right] = False
  return mask


def mixed(pictures, drawn):
  """`mix` by loops, in float64."""
  result = np.empty(pictures.shape)
  for row, partner in enumerate(drawn['partner']):
    blend = float(drawn['blend'][row])
    own, other = pictures[row].astype(float), pictures[partner].astype(float)
    result[row] = blend * own + (1 - blend) * other
    top, bottom, left, right = drawn['box'][row]
    result[row, top:bottom, left:right] = other[top:bottom, left:right]
  return result


def is_mixup(drawn):
  return bool(drawn['blend'][0] < 1)


@pytest.mark.parametrize('on', KINDS)
def test_shapes_and_types(on):
  """The same for all kinds: one compiled step serves them."""
  for step in range(5):
    found = draw(on, count=11, step=step)
    assert {k: (v.shape, v.dtype.name) for k, v in found.items()} == {
      'partner': ((BATCH,), 'int32'),
      'lam': ((BATCH,), 'float32'),
      'box': ((BATCH, 4), 'int32'),
      'blend': ((BATCH,), 'float32'),
    }


@pytest.mark.parametrize('on', KINDS)
def test_mix_is_the_formula(on):
  pictures, mix = images(), jax.jit(mixing.mix)
  for step in range(8):
    drawn = draw(on, count=13, step=step)
    found = mix(pictures, drawn)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, mixed(pictures, drawn), atol=1e-6)
    np.testing.assert_allclose(mixing.mix(pictures, drawn), found, atol=1e-6)


def test_mix_of_a_batch_of_two_by_hand():
  pictures = np.stack([np.zeros((2, 3, 1)), np.ones((2, 3, 1))]).astype('f4')
  drawn = {
    'partner': np.array([1, 0]),
    'box': np.array([[0, 1, 1, 3], [0, 0, 0, 0]]),
    'blend': np.array([1.0, 0.75], np.float32),
  }
  found = np.asarray(mixing.mix(pictures, drawn))[..., 0]
  assert found[0].tolist() == [[0, 1, 1], [0, 0, 0]]
  assert found[1].tolist() == [[0.75] * 3] * 2


@pytest.mark.parametrize('size', [7, 12, 33])
def test_lam_of_cutmix_is_the_share_of_pixels(size):
  ones = np.ones((BATCH, size, size, 1), np.float32)
  ones *= np.arange(BATCH)[:, None, None, None]
  seen = set()
  for step in range(60):
    drawn = draw(Mixing(cutmix=1.0), size=size, step=step)
    shares = outside(drawn, size).mean(axis=(1, 2)).astype(np.float32)
    np.testing.assert_array_equal(drawn['lam'], shares)
    np.testing.assert_array_equal(drawn['blend'], 1)
    # And the share of what `mix` leaves, wherever the partner is another.
    found = np.asarray(mixing.mix(ones, drawn))
    own = (found == ones).mean(axis=(1, 2, 3)).astype(np.float32)
    other = drawn['partner'] != np.arange(BATCH)
    np.testing.assert_array_equal(own[other], drawn['lam'][other])
    seen.add(float(drawn['lam'][0]))
  assert len(seen) > 5


def test_lam_of_mixup_weighs_the_image():
  pictures = images()
  drawn = draw(Mixing(mixup=0.4))
  np.testing.assert_array_equal(drawn['lam'], drawn['blend'])
  assert outside(drawn).all() and len(set(drawn['lam'])) == 1
  lam = float(drawn['lam'][0])
  expected = lam * pictures + (1 - lam) * pictures[drawn['partner']]
  np.testing.assert_allclose(mixing.mix(pictures, drawn), expected, atol=1e-6)


@pytest.mark.parametrize('a', [0.2, 1.0, 4.0])
def test_lam_is_of_the_beta_distribution(a):
  found = np.array(
    [draw(Mixing(mixup=a), step=step)['lam'][0] for step in range(2000)]
  )
  variance = 1 / (4 * (2 * a + 1))
  assert abs(found.mean() - 0.5) < 4 * np.sqrt(variance / 2000)
  np.testing.assert_allclose(found.var(), variance, rtol=0.1)


def test_boxes_of_cutmix_have_the_area_that_was_drawn():
  """Uncut ones: with a = 1 the area is uniform, so the side is its root."""
  found = [draw(Mixing(cutmix=1.0), size=200, step=i) for i in range(3000)]
  top, bottom, left, right = np.array([d['box'][0] for d in found]).T
  assert top.min() == left.min() == 0
  assert bottom.max() == right.max() == 200
  # A box is cut at one border of an axis or at none unless it is long, so
  # the two sides are equal where neither axis is cut.
  uncut = (top > 0) & (bottom < 200) & (left > 0) & (right < 200)
  assert uncut.sum() > 300
  np.testing.assert_array_equal((bottom - top)[uncut], (right - left)[uncut])
  # P(a pixel in the middle is in the box): its middle is within half a side
  # both ways, so E[side^2] = E[area] = 1/2.
  middle = (top <= 100) & (100 < bottom) & (left <= 100) & (100 < right)
  assert abs(middle.mean() - 0.5) < 4 * np.sqrt(0.25 / 3000)
  # In the corner only a quarter of those boxes reach.
  corner = (top == 0) & (left == 0) & (bottom > 0) & (right > 0)
  assert abs(corner.mean() - 1 / 8) < 4 * np.sqrt(1 / 8 * 7 / 8 / 3000) + 0.01


def test_both_take_half_of_the_batches_each():
  found = [draw(Mixing(0.4, 1.0), step=step) for step in range(1000)]
  assert abs(np.mean([is_mixup(d) for d in found]) - 0.5) < 4 * 0.016
  # They are what either alone draws: the kind is all that is new.
  for step, both in enumerate(found[:20]):
    alone = Mixing(mixup=0.4) if is_mixup(both) else Mixing(cutmix=1.0)
    for key, value in draw(alone, step=step).items():
      np.testing.assert_array_equal(value, both[key])


@pytest.mark.parametrize('on', KINDS)
@pytest.mark.parametrize('count', [0, 1, 5, BATCH])
def test_padding_and_examples_never_mix(on, count):
  pictures = images()
  pictures[count:] = np.nan
  for step in range(10):
    drawn = draw(on, count=count, step=step)
    assert sorted(drawn['partner'][:count]) == list(range(count))
    padding = np.arange(count, BATCH)
    np.testing.assert_array_equal(drawn['partner'][count:], padding)
    np.testing.assert_array_equal(drawn['lam'][count:], 1)
    found = np.asarray(mixing.mix(pictures, drawn))
    assert np.isfinite(found[:count]).all()
    assert np.isnan(found[count:]).all()


def test_partners_are_any_of_the_examples():
  seen = np.array(
    [draw(Mixing(mixup=1.0), count=4, step=i)['partner'] for i in range(800)]
  )
  for row in range(4):
    share = np.bincount(seen[:, row], minlength=4) / 800
    np.testing.assert_allclose(share[:4], 0.25, atol=4 * 0.0153)


def test_off_changes_nothing():
  assert Mixing().off and not any(on.off for on in KINDS[:3])
  drawn, pictures = draw(Mixing()), images()
  np.testing.assert_array_equal(drawn['partner'], np.arange(BATCH))
  np.testing.assert_array_equal(drawn['lam'], 1)
  np.testing.assert_array_equal(mixing.mix(pictures, drawn), pictures)


def test_draws_depend_on_the_arguments_alone():
  fields = {'seed': 1, 'epoch': 2, 'step': 3}
  first = draw(KINDS[2], **fields)
  np.random.default_rng(0).random(10)
  for key, value in draw(KINDS[2], **fields).items():
    np.testing.assert_array_equal(value, first[key])
  for key in fields:
    other = draw(KINDS[2], **{**fields, key: 7})
    assert (other['partner'] != first['partner']).any()
  # A first step of a first epoch is not the order of the epoch, stream 0.
  order = np.random.default_rng([0, 0, 0]).permutation(BATCH)
  assert (draw(KINDS[0])['partner'] != order).any()


@pytest.mark.parametrize('on', KINDS[:2])
def test_eight_devices_mix_as_one(on):
  mesh, pictures = sharding.make_mesh(8), images()
  drawn = draw(on, count=13)
  label = np.arange(BATCH, dtype=np.int32)

  @jax.jit
  def step(images, label, drawn):
    partner = label[drawn['partner']]
    losses = mixing.mixed_loss(label * 1.0, partner * 1.0, drawn['lam'])
    return mixing.mix(images, drawn), losses

  alone = step(pictures, label, drawn)
  shared = step(*sharding.shard_batch((pictures, label, drawn), mesh))
  assert len(shared[0].sharding.device_set) == 8
  for found, expected in zip(shared, alone, strict=True):
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)
  assert (np.asarray(alone[0]) != pictures).any()


def test_images_of_half_precision_stay_so():
  pictures = images().astype(jnp.bfloat16)
  drawn = draw(Mixing(mixup=0.4))
  found = mixing.mix(jnp.asarray(pictures), drawn)
  assert found.dtype == jnp.bfloat16
  expected = mixed(pictures.astype(np.float32), drawn)
  np.testing.assert_allclose(found.astype(np.float32), expected, atol=0.05)


def test_mixed_loss_is_the_loss_to_the_mixed_label():
  rng = np.random.default_rng(0)
  logits = rng.normal(size=(BATCH, 5))
  log_p = np.asarray(jax.nn.log_softmax(logits))
  label = rng.integers(0, 5, BATCH)
  for on in KINDS[:2]:
    drawn = draw(on)
    partner = label[drawn['partner']]
    target = np.zeros((BATCH, 5))
    for row in range(BATCH):
      target[row, label[row]] += drawn['lam'][row]
      target[row, partner[row]] += 1 - drawn['lam'][row]
    rows = np.arange(BATCH)
    found = mixing.mixed_loss(
      -log_p[rows, label], -log_p[rows, partner], drawn['lam']
    )
    np.testing.assert_allclose(found, -(target * log_p).sum(axis=1), rtol=1e-5)


@pytest.mark.parametrize(
  ('fields', 'says'),
  [
    ({'mixup': -0.1}, 'mixup is -0.1; say 0 for none, or a of Beta(a, a)'),
    ({'cutmix': float('nan')}, 'cutmix is nan'),
    ({'cutmix': float('inf')}, 'cutmix is inf'),
  ],
)
def test_wrong_strengths(fields, says):
  with pytest.raises(ValueError, match=re.escape(says)):
    Mixing(**fields)


def test_wrong_arguments():
  for count in (-1, BATCH + 1):
    with pytest.raises(ValueError, match='a batch has 0 to 16 examples'):
      draw(KINDS[0], count=count)
  with pytest.raises(ValueError, match='size must be at least 1, not 0'):
    draw(KINDS[0], size=0)
  with pytest.raises(TypeError, match='floating, not uint8; normalise'):
    mixing.mix(np.zeros((BATCH, 4, 4, 3), np.uint8), draw(KINDS[0], size=4))

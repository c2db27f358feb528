import collections
import dataclasses
import re

import numpy as np
import pytest
from PIL import Image

from daft_jax.data import colour

# torchvision computes these factors in float32.
ROUNDED = ('Brightness', 'Color', 'Contrast', 'Sharpness')


def noise(width=37, height=29, seed=0):
  """Noise on a slope, so that neither the mean nor the range is trivial."""
  rng = np.random.default_rng(seed)
  slope = np.linspace(10, 140, width)[:, None]
  return (slope + rng.integers(0, 90, (height, width, 3))).astype(np.uint8)


def transforms():
  from tests import parity

  # Skips without it; `importorskip` would import one that torch refuses.
  return parity.torchvision().transforms


def jitters():
  functional = transforms().functional
  return {
    'brightness': functional.adjust_brightness,
    'contrast': functional.adjust_contrast,
    'saturation': functional.adjust_saturation,
  }


def test_the_table_is_that_of_torchvision():
  space = transforms().RandAugment()._augmentation_space(31, (64, 64))
  assert list(colour.OPS) == list(space)
  for name, (_, signed) in space.items():
    assert colour.OPS[name].signed == signed


@pytest.mark.parametrize('name', colour.OPS)
def test_operations_are_those_of_torchvision(name):
  of = transforms()
  pixels = noise()
  picture = Image.fromarray(pixels)
  space = of.RandAugment()._augmentation_space(31, pixels.shape[:2])
  magnitudes, signed = space[name]
  for m in range(31):
    for sign in (1, -1) if signed else (1,):
      theirs = sign * float(magnitudes[m]) if magnitudes.ndim else 0.0
      expected = of.autoaugment._apply_op(
        picture, name, theirs, of.InterpolationMode.NEAREST, None
      )
      found = np.asarray(colour.OPS[name].apply(picture, sign * m), int)
      most = 1 if name in ROUNDED else 0
      assert np.abs(found - np.asarray(expected)).max() <= most, (m, sign)
  np.testing.assert_array_equal(np.asarray(picture), pixels)


def test_operations_are_those_of_torchvision_at_any_size():
  """A step is a whole number of pixels: none may round to another one."""
  randaugment = transforms().RandAugment()
  for side in (*range(1, 60), 224, 256, 331, 384, 662):
    space = randaugment._augmentation_space(31, (side, side))
    steps = space['TranslateX'][0].tolist()
    for m in (3, 9, 10, 30):
      line = np.zeros((1, side, 3), np.uint8)
      line[:, 0] = 255
      moved = colour.OPS['TranslateX'].apply(Image.fromarray(line), m)
      assert np.asarray(moved)[0, :, 0].argmax() == int(steps[m])


@pytest.mark.parametrize('name', [*colour.OPS][1:])  # not Identity
def test_operations_change_a_picture(name):
  picture = Image.fromarray(noise())
  changed = np.asarray(colour.OPS[name].apply(picture, 20))
  assert changed.shape == noise().shape and (changed != noise()).any()


@pytest.mark.parametrize('factor', [0.0, 0.37, 1.0, 1.63, 1.99])
@pytest.mark.parametrize('name', colour.JITTERS)
def test_jitter_is_that_of_torchvision(name, factor):
  picture = Image.fromarray(noise())
  found = colour.jittered(picture, {name: factor})
  expected = jitters()[name](picture, factor)
  np.testing.assert_array_equal(np.asarray(found), np.asarray(expected))


def test_jitter_goes_by_the_order_of_the_factors():
  factors = {'contrast': 1.7, 'saturation': 0.3, 'brightness': 1.4}
  picture = Image.fromarray(noise())
  expected = picture
  for name, factor in factors.items():
    expected = jitters()[name](expected, factor)
  found = np.asarray(colour.jittered(picture, factors))
  np.testing.assert_array_equal(found, np.asarray(expected))
  other = colour.jittered(picture, dict(reversed(factors.items())))
  assert (found != np.asarray(other)).any()


def test_factors_are_uniform_and_in_any_order():
  """Read off a grey picture and a coloured one: no reference is needed."""
  rng = np.random.default_rng(0)
  grey = np.full((2, 2, 3), 100, np.uint8)
  # Contrast and saturation leave one grey as it is: only brightness is seen.
  jitter = colour.Colour(jitter=0.4)
  seen = np.array([jitter(grey, rng)[0, 0, 0] for _ in range(2000)])
  assert seen.min() in (60, 61) and seen.max() in (139, 140)
  at = np.linspace(0.05, 0.95, 19)
  np.testing.assert_allclose(np.quantile(seen, at), 60 + 80 * at, atol=3)


def test_every_order_of_the_jitter_is_drawn():
  # Far from linear: clipping makes every order a result of its own.
  pixels = np.array([[[250, 10, 40], [20, 230, 90]]], np.uint8)
  jitter, seen = colour.Colour(jitter=0.9), collections.Counter()
  picture = Image.fromarray(pixels)
  for seed in range(600):
    found = jitter(pixels, np.random.default_rng(seed))
    rng = np.random.default_rng(seed)
    factors = rng.uniform(0.1, 1.9, 3)
    named = dict(zip(colour.JITTERS, factors, strict=True))
    orders = [
      order
      for order in ORDERS
      if (np.asarray(_in_order(picture, named, order)) == found).all()
    ]
    assert orders
    if len(orders) == 1:
      seen[orders[0]] += 1
  share = np.array([seen[order] for order in ORDERS]) / seen.total()
  assert seen.total() > 200
  np.testing.assert_allclose(share, 1 / 6, atol=0.1)


ORDERS = [
  ('brightness', 'contrast', 'saturation'),
  ('brightness', 'saturation', 'contrast'),
  ('contrast', 'brightness', 'saturation'),
  ('contrast', 'saturation', 'brightness'),
  ('saturation', 'brightness', 'contrast'),
  ('saturation', 'contrast', 'brightness'),
]


def _in_order(picture, factors, order):
  return colour.jittered(picture, {name: factors[name] for name in order})


def test_the_hue_is_left_alone():
  red = np.zeros((4, 4, 3), np.uint8)
  red[..., 0] = 200
  for seed in range(50):
    found = colour.Colour(jitter=0.5)(red, np.random.default_rng(seed))
    assert (found[..., 0] > found[..., 1]).all()
    np.testing.assert_array_equal(found[..., 1], found[..., 2])


def test_operations_and_signs_are_drawn_alike():
  rng = np.random.default_rng(0)
  drawn = [op for _ in range(4000) for op in colour.draw_ops(rng, 2, 9)]
  counts = collections.Counter(drawn)
  assert {abs(m) for _, m in counts} == {9} and len(drawn) == 8000
  for name, op in colour.OPS.items():
    both = counts[name, 9] + counts[name, -9]
    # 8000 / 14 = 571, standard deviation 23; of the signs 12.
    assert abs(both - 8000 / 14) < 4 * 23
    if op.signed:
      assert abs(counts[name, 9] - both / 2) < 4 * 12
    else:
      assert counts[name, -9] == 0


def test_one_operation_is_one_of_the_table():
  pixels = noise(32, 32)
  picture = Image.fromarray(pixels)
  results = {
    (name, m): np.asarray(op.apply(picture, m)).tobytes()
    for name, op in colour.OPS.items()
    for m in ((12, -12) if op.signed else (12,))
  }
  randaugment, seen = colour.Colour(ops=1, magnitude=12), set()
  for seed in range(300):
    found = randaugment(pixels, np.random.default_rng(seed)).tobytes()
    seen |= {key for key, value in results.items() if value == found}
    assert found in results.values()
  assert seen == set(results)


def test_jitter_comes_before_the_operations():
  both = colour.Colour(jitter=0.4, ops=2, magnitude=15)
  pixels = noise(32, 32)
  for seed in range(10):
    rng = np.random.default_rng(seed)
    first = dataclasses.replace(both, ops=0)(pixels, rng)
    expected = dataclasses.replace(both, jitter=0)(first, rng)
    found = both(pixels, np.random.default_rng(seed))
    np.testing.assert_array_equal(found, expected)


def test_off_returns_the_same_array_and_draws_nothing():
  rng, pixels = np.random.default_rng(0), noise()
  for off in (colour.Colour(), colour.Colour(magnitude=30)):
    assert off.off and off(pixels, rng) is pixels
  assert rng.random() == np.random.default_rng(0).random()


@pytest.mark.parametrize('on', [{'jitter': 0.4}, {'ops': 2}])
def test_images_are_left_alone_and_alike_for_the_same_generator(on):
  apply, pixels = colour.Colour(**on), noise(32, 32)
  assert not apply.off
  pixels.setflags(write=False)
  found = [apply(pixels, np.random.default_rng(seed)) for seed in range(20)]
  assert len({image.tobytes() for image in found}) > 10
  for seed, image in enumerate(found):
    assert image.dtype == np.uint8 and image.shape == pixels.shape
    again = apply(pixels, np.random.default_rng(seed))
    np.testing.assert_array_equal(image, again)
    image[:] = 0  # It may be written to.
  np.testing.assert_array_equal(pixels, noise(32, 32))


@pytest.mark.parametrize(
  ('fields', 'says'),
  [
    ({'jitter': 1.0}, 'jitter is 1.0; say 0 for none, or a number below 1'),
    ({'jitter': -0.1}, 'jitter is -0.1'),
    ({'jitter': float('nan')}, 'jitter is nan'),
    ({'ops': 11}, 'ops is 11; say a whole number from 0 to 10'),
    ({'ops': -1}, 'ops is -1'),
    ({'ops': 1.5}, 'ops is 1.5'),
    ({'magnitude': 31}, 'magnitude is 31; say a whole number from 0 to 30'),
    ({'magnitude': float('nan')}, 'magnitude is nan'),
  ],
)
def test_wrong_fields(fields, says):
  with pytest.raises(ValueError, match=says):
    colour.Colour(**fields)


def test_whole_numbers_from_json():
  assert colour.Colour(ops=2.0)(noise(), np.random.default_rng(0)).ndim == 3
  assert hash(colour.Colour(ops=2.0)) == hash(colour.Colour(ops=2))


@pytest.mark.parametrize(
  'image',
  [
    np.zeros((4, 4, 3)),
    np.zeros((4, 4), np.uint8),
    np.zeros((1, 4, 4, 3), np.uint8),
    np.zeros((4, 4, 1), np.uint8),
  ],
)
def test_wrong_images(image):
  says = f'uint8 [S, S, 3], not {image.dtype} {list(image.shape)}'
  with pytest.raises(ValueError, match=re.escape(says)):
    colour.Colour()(image, np.random.default_rng(0))

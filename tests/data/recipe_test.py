"""Jobs are quick, and what they return is what the slow way would."""

import io
import sys

import numpy as np
import pytest
from PIL import Image

from daft_jax.data import augment, crops, images, recipe
from daft_jax.data.preprocess import Preprocess
from daft_jax.data.records import Files, Records
from daft_jax.data.sources import ImageSet

PREPROCESS = Preprocess(24, (0.5,) * 3, (0.5,) * 3)
PLACED = [n for n, row in augment.AUGMENTATIONS.items() if row.places]


def draw(count, epoch=1):
  numbers = augment.draw(count, seed=5, epoch=epoch)
  return recipe.Draw(numbers, np.arange(count), 5, epoch)


def noise(*shape):
  return np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)


@pytest.mark.parametrize('name', PLACED)
def test_augmented_as_by_augment(name):
  before = augment.stored(name, PREPROCESS)
  examples = ImageSet(
    noise(16, before.image_size, before.image_size), np.zeros(16, np.int32)
  )
  drawn = draw(16)
  found = recipe.Job(examples, PREPROCESS, recipe.Recipe(name), drawn)()
  want = augment.apply(name, examples.images, drawn.numbers, (24, 24))
  np.testing.assert_array_equal(found, want)


@pytest.mark.parametrize('decoder', recipe.DECODERS)
def test_parts_are_mirrored_every_other_time(decoder):
  if decoder == 'fast':
    pytest.importorskip('cv2')
  examples = ImageSet(noise(16, 40, 52), np.zeros(16, np.int32))
  how = recipe.Recipe('random_resized_crop', decoder=decoder)
  drawn = draw(16)
  found = recipe.Job(examples, PREPROCESS, how, drawn)()
  flips = 0
  for i, rng in enumerate(drawn.generators()):
    flip = rng.random() < 0.5
    box = crops.draw_box(52, 40, rng)
    pixels = examples.images[i]
    if decoder == 'fast':
      want = crops.cut_array(pixels, box, 24, 'bilinear')
    else:
      want = crops.cut(Image.fromarray(pixels), box, 24, 'bilinear')
    flips += flip
    np.testing.assert_array_equal(found[i], want[:, ::-1] if flip else want)
  assert 0 < flips < 16


def jpeg(pixels, orientation=None):
  file, exif = io.BytesIO(), Image.Exif()
  if orientation:
    exif[0x0112] = orientation
  Image.fromarray(pixels).save(file, 'JPEG', quality=95, exif=exif)
  return file.getvalue()


@pytest.mark.parametrize('orientation', [None, 1, 3, 6, 8])
def test_fast_decoding_turns_what_is_to_be_turned(orientation, monkeypatch):
  pytest.importorskip('simplejpeg')
  pixels = np.full((16, 32, 3), 40, np.uint8)
  pixels[:8, :16] = 200
  data = jpeg(pixels, orientation)
  want = np.asarray(images.decode(data)).astype(int)
  np.testing.assert_allclose(images.decode_fast(data), want, atol=8)
  # What is upright already, as most of a camera's, needs nothing of Pillow.
  asked = []
  monkeypatch.setattr(images, 'decode', lambda data: asked.append(data) or want)
  images.decode_fast(data)
  assert len(asked) == (orientation in (3, 6, 8))


def test_fast_decoding_refuses_what_decode_refuses():
  pytest.importorskip('simplejpeg')
  data = jpeg(noise(16, 32))
  for broken in (b'', b'\xff\xd8', data[:200], data[: len(data) // 2], b'GIF8'):
    with pytest.raises(ValueError) as slow:
      images.decode(broken)
    with pytest.raises(ValueError) as fast:
      images.decode_fast(broken)
    assert str(fast.value) == str(slow.value)


def test_the_fast_decoder_needs_its_libraries(tmp_path, monkeypatch):
  path = tmp_path / 'a.jpg'
  path.write_bytes(jpeg(noise(40, 52)))
  records = Records(Files((str(path),)), np.zeros(1, np.int32))
  how = recipe.Recipe('random_resized_crop', decoder='fast')
  monkeypatch.setitem(sys.modules, 'simplejpeg', None)
  with pytest.raises(ModuleNotFoundError, match='simplejpeg'):
    recipe.Job(records, PREPROCESS, how, draw(1))()


@pytest.mark.parametrize('interpolation', ['bilinear', 'bicubic'])
@pytest.mark.parametrize('side', [25, 30, 36, 42, 48, 49, 60, 96])
def test_opencv_lets_as_little_noise_through_as_pil(interpolation, side):
  """What is above half the new rate of sampling is to be gone."""
  pytest.importorskip('cv2')
  pixels, box = noise(side, side), (0, 0, side, side)
  fast = crops.cut_array(pixels, box, 24, interpolation).std()
  exact = crops.cut(Image.fromarray(pixels), box, 24, interpolation).std()
  assert fast / exact < (1.15 if side <= 48 else 1.55)


def test_opencv_sees_nothing_outside_of_the_box():
  pytest.importorskip('cv2')
  pixels = np.zeros((60, 60, 3), np.uint8)
  pixels[20:40, 10:50] = 255
  for size in (8, 16, 32, 64):
    found = crops.cut_array(pixels, (10, 20, 40, 20), size, 'bilinear')
    assert (found == 255).all()

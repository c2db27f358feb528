"""Image files of every kind, sound and broken."""

import io
import os

import numpy as np
import pytest
from PIL import Image

from daft_jax.data import images


def pixels(height=6, width=9, channels=3, dtype=np.uint8):
  rng = np.random.default_rng(0)
  shape = (height, width, channels) if channels else (height, width)
  return rng.integers(0, np.iinfo(dtype).max + 1, shape).astype(dtype)


def encode(picture, form, **options):
  file = io.BytesIO()
  picture.save(file, form, **options)
  return file.getvalue()


@pytest.mark.parametrize(
  ('form', 'options'),
  [
    ('PNG', {}),
    ('BMP', {}),
    ('TIFF', {}),
    ('TIFF', {'compression': 'tiff_lzw'}),
    ('WEBP', {'lossless': True}),
  ],
)
def test_lossless_formats(form, options):
  array = pixels()
  found = images.decode(encode(Image.fromarray(array), form, **options))
  assert found.mode == 'RGB'
  np.testing.assert_array_equal(np.asarray(found), array)


def test_jpeg_grey_and_cmyk():
  flat = np.full((16, 16, 3), (200, 30, 90), np.uint8)
  picture = Image.fromarray(flat)
  for mode, tolerance in (('RGB', 3), ('CMYK', 3)):
    found = images.decode(encode(picture.convert(mode), 'JPEG', quality=95))
    assert found.mode == 'RGB'
    np.testing.assert_allclose(np.asarray(found), flat, atol=tolerance)
  grey = images.decode(encode(picture.convert('L'), 'JPEG', quality=95))
  assert np.ptp(np.asarray(grey), axis=2).max() == 0


@pytest.mark.parametrize('mode', ['1', 'L', 'P', 'RGB'])
def test_palettes_and_few_bits(mode):
  picture = Image.fromarray(pixels()).convert(mode)
  found = images.decode(encode(picture, 'PNG'))
  expected = np.asarray(picture.convert('RGB'))
  np.testing.assert_array_equal(np.asarray(found), expected)


@pytest.mark.parametrize('form', ['PNG', 'TIFF'])
def test_sixteen_bits_are_scaled_not_cut(form):
  wide = pixels(channels=0, dtype=np.uint16)
  found = np.asarray(images.decode(encode(Image.fromarray(wide), form)))
  np.testing.assert_array_equal(found[..., 0], wide >> 8)
  assert (found[..., 0] == found[..., 2]).all() and found.std() > 30


def test_transparency_lies_on_white():
  array = pixels(channels=4)
  array[..., 3] = [[0] * 9] * 3 + [[255] * 9] * 3
  for form in ('PNG', 'WEBP'):
    options = {'lossless': True, 'exact': True} if form == 'WEBP' else {}
    data = encode(Image.fromarray(array), form, **options)
    found = np.asarray(images.decode(data))
    assert (found[:3] == 255).all()
    np.testing.assert_array_equal(found[3:], array[3:, :, :3])
  palette = Image.fromarray(array).convert('P')
  found = images.decode(encode(palette, 'PNG', transparency=0))
  assert found.mode == 'RGB'


def test_exif_turns_the_picture():
  array = pixels()
  exif = Image.Exif()
  exif[0x0112] = 6  # to be turned by 90 degrees clockwise
  data = encode(Image.fromarray(array), 'PNG', exif=exif)
  found = np.asarray(images.decode(data))
  np.testing.assert_array_equal(found, np.rot90(array, -1))


@pytest.mark.parametrize('form', ['WEBP', 'PNG', 'TIFF'])
def test_the_first_frame_of_an_animation(form):
  first, second = (np.full((5, 5, 3), x, np.uint8) for x in (10, 200))
  data = encode(
    Image.fromarray(first),
    form,
    save_all=True,
    append_images=[Image.fromarray(second)],
    **({'lossless': True} if form == 'WEBP' else {}),
  )
  np.testing.assert_array_equal(np.asarray(images.decode(data)), first)


JPEG = encode(Image.fromarray(pixels(64, 64)), 'JPEG')
PNG = encode(Image.fromarray(pixels(64, 64)), 'PNG')


@pytest.mark.parametrize(
  ('data', 'says'),
  [
    (b'', 'is empty'),
    (b'no image at all', 'is no JPEG, PNG, WEBP, BMP, TIFF'),
    (b'<svg xmlns="http://www.w3.org/2000/svg"/>', 'is no JPEG'),
    (encode(Image.fromarray(pixels()), 'GIF'), 'is no JPEG'),
    (encode(Image.fromarray(pixels()), 'EPS'), 'is no JPEG'),
    (JPEG[: len(JPEG) // 2], 'cannot be decoded'),
    (PNG[: len(PNG) // 2], 'cannot be decoded'),
    (PNG[:40], 'cannot be decoded|is no JPEG'),
    (
      encode(Image.fromarray(pixels(channels=0).astype(np.float32)), 'TIFF'),
      'floating point',
    ),
  ],
)
def test_broken_files_say_why(data, says):
  with pytest.raises(ValueError, match=says):
    images.decode(data)


def test_a_huge_picture_is_refused_before_it_takes_memory(monkeypatch):
  monkeypatch.setattr(images, 'MOST_PIXELS', 50)
  with pytest.raises(ValueError, match='9 x 6 pixels, more than 50'):
    images.decode(encode(Image.fromarray(pixels()), 'PNG'))


def test_a_bomb_is_refused():
  """A PNG that says it is 60,000 pixels square in 60 bytes."""
  import struct
  import zlib

  def chunk(kind, data):
    crc = zlib.crc32(kind + data)
    return struct.pack('>I', len(data)) + kind + data + struct.pack('>I', crc)

  header = struct.pack('>IIBBBBB', 60_000, 60_000, 8, 2, 0, 0, 0)
  bomb = b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', header) + chunk(b'IEND', b'')
  with pytest.raises(ValueError, match='pixels'):
    images.decode(bomb)


@pytest.mark.parametrize('seed', range(60))
def test_damage_is_an_error_or_a_picture(seed):
  rng = np.random.default_rng(seed)
  data = bytearray(JPEG if seed % 2 else PNG)
  for place in rng.integers(0, len(data), 5):
    data[place] = rng.integers(256)
  try:
    assert images.decode(bytes(data)).mode == 'RGB'
  except ValueError as error:
    assert len(str(error)) < 300


def test_a_dark_picture_of_16_bits_is_dark():
  dark = np.full((4, 4), 200, np.uint16)
  found = images.decode(encode(Image.fromarray(dark), 'PNG'))
  assert not np.asarray(found).any()


def test_a_thin_picture_is_refused():
  data = encode(Image.new('RGB', (2000, 3)), 'PNG')
  with pytest.raises(ValueError, match='one side is more than 100 times'):
    images.decode(data)


def test_only_files_are_read(tmp_path):
  path = tmp_path / 'x.jpg'
  path.write_bytes(b'abc')
  assert images.read(path) == b'abc'
  os.mkfifo(tmp_path / 'pipe.jpg')
  (tmp_path / 'link.jpg').symlink_to('/dev/zero')
  for name in ('pipe.jpg', 'link.jpg'):
    with pytest.raises(ValueError, match='is no file'):
      images.read(tmp_path / name)
  with path.open('wb') as file:
    file.truncate(1 << 40)
  with pytest.raises(ValueError, match='has 1,099,511,627,776 bytes'):
    images.read(path)
  with pytest.raises(OSError):
    images.read(tmp_path)


@pytest.mark.parametrize('read', [images.decode, images.decode_fast])
def test_a_jpeg_of_many_scans_is_refused(read):
  if read is images.decode_fast:
    pytest.importorskip('simplejpeg')
  out = io.BytesIO()
  Image.new('L', (16, 16)).save(out, 'JPEG', progressive=True)
  data, scan = out.getvalue(), b'\xff\xda\0\x08\1\1\0\1\x3f\x10\0'
  assert np.shape(read(data))[:2] == (16, 16)
  with pytest.raises(ValueError, match='more than 200 scans'):
    read(data[:-2] + scan * 300 + data[-2:])


def test_transparency_of_a_tall_picture_has_no_seams():
  rng = np.random.default_rng(0)
  pixels = rng.integers(256, size=(1000, 20, 4), dtype=np.uint8)
  out = io.BytesIO()
  Image.fromarray(pixels).save(out, 'PNG')
  whole = Image.alpha_composite(
    Image.new('RGBA', (20, 1000), 'white'), Image.fromarray(pixels)
  )
  expected = np.asarray(whole.convert('RGB'))
  np.testing.assert_array_equal(images.decode(out.getvalue()), expected)

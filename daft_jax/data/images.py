"""One image file as eight-bit RGB, whatever it is.

  from daft_jax.data import images

  picture = images.decode(pathlib.Path('cat.jpg').read_bytes())
  picture.mode, picture.size                     # 'RGB', (500, 375)

JPEG, PNG, WebP, BMP and TIFF: turned as their EXIF says, CMYK and palettes
converted, 16 bits brought to 8, transparency laid on white, the first frame of
an animation.
"""

import contextlib
import io
import os

import numpy as np
from PIL import ExifTags, Image, ImageOps

from daft_jax import bounded

FORMATS = ('JPEG', 'PNG', 'WEBP', 'BMP', 'TIFF')
SUFFIXES = ('.jpg', '.jpeg', '.png', '.webp', '.bmp', '.tif', '.tiff')
MOST_PIXELS = 50_000_000  # of a telephone; 600 MB while it is decoded
MOST_BYTES = 1 << 28  # of a file
MOST_SCANS = 200  # of a JPEG; progressive ones have ten
MOST_ASPECT = 100
_STRIP = 256  # rows
_HEADER = 4096  # bytes in which cameras put their records
_EXIF = b'Exif\0\0'
_WIDE = ('I;16', 'I;16L', 'I;16B', 'I;16N')  # grey, 16 bits
_CLEAR = ('LA', 'La', 'PA', 'RGBA', 'RGBa')


def read(path: str | os.PathLike[str]) -> bytes:
  """All bytes of an image file.

  Raises:
    OSError: it cannot be read.
    ValueError: it is a pipe or a device, which may never end, or too long.
  """
  return bounded.read(path, MOST_BYTES)


def count_pixels(data: bytes) -> int:
  """Pixels that a file says it has; 0 where `decode` will refuse it."""
  try:
    width, height = Image.open(io.BytesIO(data), formats=FORMATS).size
  except Exception:  # as in `decode`, which says what is wrong
    return 0
  return width * height if width * height <= MOST_PIXELS else 0


def decode(data: bytes) -> Image.Image:
  """Decodes a file.

  Args:
    data: all bytes of the file.

  Returns:
    A picture of mode 'RGB'.

  Raises:
    ValueError: empty, truncated, of another format, of floating point, or of
      more than `MOST_PIXELS`; says which, without a name.

  Example:
    >>> file = io.BytesIO()
    >>> Image.new('LA', (3, 2), (0, 0)).save(file, 'PNG')
    >>> decode(file.getvalue()).getpixel((0, 0))  # clear: white shows through
    (255, 255, 255)
  """
  if not data:
    raise ValueError('is empty')
  try:
    picture = Image.open(io.BytesIO(data), formats=FORMATS)
    width, height = picture.size
    if width * height > MOST_PIXELS:
      raise ValueError(
        f'has {width} x {height} pixels, more than {MOST_PIXELS:,}'
      )
    if max(width, height) > MOST_ASPECT * min(width, height):
      raise ValueError(
        f'has {width} x {height} pixels: one side is more than {MOST_ASPECT} '
        'times the other'
      )
    if picture.format == 'JPEG' and _has_many_scans(data):
      raise ValueError(f'has more than {MOST_SCANS} scans')
    picture.load()
    ImageOps.exif_transpose(picture, in_place=True)  # else it copies
    return _rgb(picture)
  except Image.UnidentifiedImageError:
    raise ValueError(f'is no {", ".join(FORMATS)}') from None
  except (ValueError, MemoryError):
    raise
  # PIL's decoders raise whatever their parser stumbles over.
  except Exception as error:
    reason = ' '.join(str(error).split())[:80] or type(error).__name__
    raise ValueError(f'cannot be decoded ({reason})') from error


def decode_fast(data: bytes) -> np.ndarray:
  """`decode` to uint8 [H, W, 3]: JPEG by libjpeg-turbo, half again as fast.

  Whatever needs more than decoding (other formats, CMYK, a picture that is to
  be turned) goes through `decode`.

  Raises:
    ValueError: as `decode`.
    ModuleNotFoundError: simplejpeg is not installed.
  """
  import simplejpeg

  # As above: parsers raise whatever they stumble over, and `decode` says what.
  with contextlib.suppress(Exception):
    if data.startswith(b'\xff\xd8'):
      height, width, space, _ = simplejpeg.decode_jpeg_header(data)
      odd = space == 'CMYK' or _is_odd(width, height) or _is_turned(data)
      odd = odd or _has_many_scans(data)
      if not odd:
        return simplejpeg.decode_jpeg(data, 'RGB')
  return np.asarray(decode(data))


def _is_turned(data: bytes) -> bool:
  """Whether a JPEG has an EXIF record that does not say 'upright'."""
  if _EXIF not in data[:_HEADER]:
    return False
  picture = Image.open(io.BytesIO(data), formats=('JPEG',))  # its header only
  return picture.getexif().get(ExifTags.Base.Orientation, 1) != 1


def _is_odd(width: int, height: int) -> bool:
  large = width * height > MOST_PIXELS
  return large or max(width, height) > MOST_ASPECT * min(width, height)


def _has_many_scans(data: bytes) -> bool:
  """Each goes over the whole picture, though it may have no data of its own."""
  return data.count(b'\xff\xda') > MOST_SCANS


def _rgb(picture: Image.Image) -> Image.Image:
  if picture.mode in _WIDE:
    # PIL's own conversion cuts everything above 255 off.
    wide = np.asarray(picture).astype(np.uint16)
    picture = Image.fromarray((wide >> 8).astype(np.uint8))
  if picture.mode in ('I', 'F'):
    what = {'I': '32-bit integers', 'F': 'floating point numbers'}
    raise ValueError(f'holds {what[picture.mode]}: save it with 8 or 16 bits')
  if picture.mode in _CLEAR or 'transparency' in picture.info:
    picture = _on_white(picture)
  return picture if picture.mode == 'RGB' else picture.convert('RGB')


def _on_white(picture: Image.Image) -> Image.Image:
  """In strips: of a large picture, each copy is a quarter of a gigabyte."""
  result = Image.new('RGB', picture.size, 'white')
  width, height = picture.size
  for top in range(0, height, _STRIP):
    box = (0, top, width, min(top + _STRIP, height))
    strip = picture.crop(box).convert('RGBA')
    white = Image.new('RGBA', strip.size, 'white')
    result.paste(Image.alpha_composite(white, strip).convert('RGB'), box[:2])
  return result

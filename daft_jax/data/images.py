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

import numpy as np
from PIL import ExifTags, Image, ImageOps

FORMATS = ('JPEG', 'PNG', 'WEBP', 'BMP', 'TIFF')
SUFFIXES = ('.jpg', '.jpeg', '.png', '.webp', '.bmp', '.tif', '.tiff')
MOST_PIXELS = 100_000_000  # 10,000 x 10,000: 300 MB once decoded
MOST_ASPECT = 100
_HEADER = 4096  # bytes in which cameras put their records
_EXIF = b'Exif\0\0'
_WIDE = ('I;16', 'I;16L', 'I;16B', 'I;16N')  # grey, 16 bits
_CLEAR = ('LA', 'La', 'PA', 'RGBA', 'RGBa')


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


def _rgb(picture: Image.Image) -> Image.Image:
  if picture.mode in _WIDE:
    # PIL's own conversion cuts everything above 255 off.
    wide = np.asarray(picture).astype(np.uint16)
    picture = Image.fromarray((wide >> 8).astype(np.uint8))
  if picture.mode in ('I', 'F'):
    what = {'I': '32-bit integers', 'F': 'floating point numbers'}
    raise ValueError(f'holds {what[picture.mode]}: save it with 8 or 16 bits')
  if picture.mode in _CLEAR or 'transparency' in picture.info:
    picture = picture.convert('RGBA')
    white = Image.new('RGBA', picture.size, 'white')
    picture = Image.alpha_composite(white, picture)
  return picture if picture.mode == 'RGB' else picture.convert('RGB')

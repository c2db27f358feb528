"""Hostile folders of images: bombs, lies, what is no file, and odd names."""

import io
import os
import struct
import zlib

from PIL import Image

from tests.fixtures import published
from tests.hostile.corpus import CODES, NAMES, Case, sparse

UNREAD = 'cannot be read'
CLASSES = ('cat', 'dog')


def sound(folder, classes=CLASSES, count=8):
  """Class folders of small images, which a run is content with."""
  for label, name in enumerate(classes):
    place = folder / 'images' / name
    place.mkdir(parents=True)
    for number in range(count):
      published.write_image(place / f'{number}.png', label, number, 28)
  return folder / 'images'


def with_file(make, name='hostile.png'):
  """A sound folder, and a file that `make` returns or writes to its path."""

  def write(folder, canary):
    path = sound(folder) / 'cat' / name
    data = make(path) if callable(make) else make
    if isinstance(data, bytes):
      path.write_bytes(data)

  return write


def chunk(kind, data, crc=None):
  crc = zlib.crc32(kind + data) if crc is None else crc
  return struct.pack('>I', len(data)) + kind + data + struct.pack('>I', crc)


def png(width, height, *chunks, depth=8, colour=2, data=b''):
  head = struct.pack('>IIBBBBB', width, height, depth, colour, 0, 0, 0)
  body = chunk(b'IHDR', head) + b''.join(chunks)
  return (
    b'\x89PNG\r\n\x1a\n' + body + chunk(b'IDAT', data) + chunk(b'IEND', b'')
  )


def zeros(width, height, channels, colour, *chunks):
  """A PNG that is as large as it says, of zeros."""
  packer = zlib.compressobj(1)
  row = bytes(1 + width * channels)
  data = b''.join(packer.compress(row) for _ in range(height))
  data += packer.flush()
  return png(width, height, *chunks, colour=colour, data=data)


def text_bomb():
  data = b'a\0\0' + zlib.compress(bytes(1 << 28), 1)
  return png(8, 8, chunk(b'zTXt', data), data=zlib.compress(bytes(200)))


def profile_bomb():
  data = b'a\0\0' + zlib.compress(bytes(1 << 28), 1)
  return png(8, 8, chunk(b'iCCP', data), data=zlib.compress(bytes(200)))


def many_chunks():
  body = chunk(b'tEXt', b'a\0b') * 300_000
  return png(8, 8, body, data=zlib.compress(bytes(200)))


def jpeg(width, height, scans=0):
  """A JPEG whose frame says that it is larger; and has scans of nothing."""
  out = io.BytesIO()
  Image.new('L', (16, 16)).save(out, 'JPEG', progressive=bool(scans))
  data = bytearray(out.getvalue())
  frame = data.index(b'\xff\xc2' if scans else b'\xff\xc0')
  data[frame + 5 : frame + 9] = struct.pack('>HH', height, width)
  end = data.rindex(b'\xff\xd9')
  scan = b'\xff\xda\0\x08\1\1\0\1\x3f\x10\0'  # a refinement, without data
  return bytes(data[:end]) + scan * scans + b'\xff\xd9'


def tiff(*tags, next_ifd=0, order=b'II'):
  """A TIFF of one directory; tags are (tag, type, count, value)."""
  body = b''.join(struct.pack('<HHII', *tag) for tag in tags)
  start = order + struct.pack('<HIH', 42, 8, len(tags))
  return start + body + struct.pack('<I', next_ifd) + bytes(64)


def plain_tiff(width, height, *more, **options):
  tags = ((256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, 8))
  tags += ((259, 3, 1, 1), (262, 3, 1, 1), (273, 4, 1, 120), (279, 4, 1, 64))
  return tiff(*tags, *more, **options)


def many_directories():
  """Directories that follow each other, without an image."""
  one = struct.pack('<HHHIII', 1, 256, 4, 1, 1, 0)
  count = 50_000
  parts = [
    one[:-4] + struct.pack('<I', 8 + len(one) * (i + 1)) for i in range(count)
  ]
  return b'II*\0\x08\0\0\0' + b''.join(parts) + one


def webp(size=None, width=0x3FFF):
  data = b'VP8L' + struct.pack('<IBI', 5, 0x2F, width | width << 14)
  data = b'WEBP' + data
  return b'RIFF' + struct.pack('<I', size or len(data)) + data


def animation(form, frames, side, start=0):
  """Frames that differ, or they would be stored as one."""
  out = io.BytesIO()
  images = [
    Image.new('L', (side, side), (start + i) % 256) for i in range(frames)
  ]
  images[0].save(out, form, save_all=True, append_images=images[1:])
  return out.getvalue()


def exif(orientation):
  out, image = io.BytesIO(), Image.new('RGB', (8, 8))
  fields = image.getexif()
  fields[274] = orientation
  fields[0x927C] = CODES * 1000
  image.save(out, 'JPEG', exif=fields)
  return out.getvalue()


def large(*form):
  """As large as is allowed, and transparent, which takes the most memory."""

  def write(folder, canary):
    place = sound(folder) / 'cat'
    (place / 'large.png').write_bytes(zeros(7000, 7000, *form))
    (place / 'not.png').write_bytes(b'')  # it is refused before it trains

  return write


BAD = {
  'giant PNG': with_file(png(2**31 - 1, 2**31 - 1)),
  'large PNG': with_file(png(100_000, 100_000, data=zlib.compress(bytes(100)))),
  'thin PNG': with_file(png(1_000_000, 60, data=zlib.compress(bytes(100)))),
  'no pixels': with_file(png(0, 0)),
  'PNG with little data': with_file(
    png(8000, 8000, data=zlib.compress(bytes(100)))
  ),
  'PNG without a check': with_file(
    png(8, 8, chunk(b'IHDR', b'', 0), data=b'x')
  ),
  'PNG of a long chunk': with_file(b'\x89PNG\r\n\x1a\n\x7f\xff\xff\xffIHDR'),
  'text bomb': with_file(lambda _: text_bomb()),
  'profile bomb': with_file(lambda _: profile_bomb()),
  'giant JPEG': with_file(jpeg(65_535, 65_535), 'x.jpg'),
  'JPEG of scans': with_file(lambda _: jpeg(8000, 8000, 3000), 'x.jpg'),
  'giant TIFF': with_file(plain_tiff(2**31, 2**31), 'x.tif'),
  'TIFF of strips': with_file(plain_tiff(8000, 8000, (278, 4, 1, 1)), 'x.tif'),
  'TIFF of a count': with_file(
    plain_tiff(64, 64, (320, 3, 2**31, 8)), 'x.tiff'
  ),
  'TIFF in a circle': with_file(tiff((256, 4, 1, 1), next_ifd=8), 'x.tif'),
  'TIFF of directories': with_file(lambda _: many_directories(), 'x.tif'),
  'giant WebP': with_file(webp(), 'x.webp'),
  'WebP of a length': with_file(webp(2**32 - 1, 9), 'x.webp'),
  'BMP': with_file(
    b'BM'
    + struct.pack('<IIIIiiHHI', 64, 0, 54, 40, 2**31 - 1, -(2**31), 1, 32, 0)
    + bytes(64),
    'x.bmp',
  ),
  'PostScript': with_file(b'%!PS-Adobe-3.0\n(touch x) system\n', 'x.jpg'),
  'SVG': with_file(b'<svg onload="alert(1)"/>', 'x.png'),
  'GIF': with_file(lambda _: animation('GIF', 3, 8), 'x.png'),
  'a hole': with_file(lambda path: sparse(path, 1 << 40), 'x.jpg'),
  'a hole of a PNG': with_file(
    lambda path: sparse(path, 1 << 40, png(8, 8)[:40]), 'x.png'
  ),
  'a pipe': with_file(os.mkfifo, 'x.jpg'),
  'a device': with_file(lambda path: path.symlink_to('/dev/zero'), 'x.jpg'),
  'a link to itself': with_file(lambda path: path.symlink_to(path), 'x.jpg'),
  'a link to nothing': with_file(
    lambda path: path.symlink_to('/no/such/file'), 'x.jpg'
  ),
  'escape codes': with_file(b'', f'{CODES.strip()}.jpg'),
  'surrogates': with_file(b'', '\udcff\udc80.jpg'),
  'large': large(4, 6),
  'large palette': large(1, 3, chunk(b'PLTE', bytes(6)), chunk(b'tRNS', b'\0')),
}


def link_loop(folder, canary):
  """Folders that hold each other."""
  place = sound(folder)
  (place / 'cat' / 'up').symlink_to(place)
  (place / 'cat' / 'self').symlink_to(place / 'cat')


def odd_class(name):
  def write(folder, canary):
    sound(folder, ('cat', name))

  return write


def harmless(folder, canary):
  """What looks bad and is not: it is read."""
  classes = [name.replace('/', '') for name in NAMES.values()]
  place = sound(folder, classes)
  names = ('-rf.png', '$(touch x).png', '`touch x`.png', ';touch x;.png')
  for number, name in enumerate(names):
    published.write_image(place / '-rf' / name, 3, 90 + number, 28)
  data = (many_chunks(), animation('PNG', 200, 64), exif(6), exif(99))
  data += (animation('WEBP', 200, 64, 9),)
  for number, one in enumerate(data):
    (
      place / '{{7*7}}${7*7}%s%n{0.__class__}' / f'{number}_odd.png'
    ).write_bytes(one)
  (place / '-rf' / 'x.jpg').mkdir()
  (place / '-rf' / f'{CODES}.txt').write_bytes(b'')
  (place / '..hidden').mkdir()


CASES = {
  **{f'image: {k}': Case(v, 'train', says=UNREAD) for k, v in BAD.items()},
  'folder: class with codes': Case(
    odd_class(CODES.replace('/', '')), 'train', says='cannot be printed'
  ),
  'folder: class with a line': Case(
    odd_class('a\nb'), 'train', says='cannot be printed'
  ),
  'folder: class with surrogates': Case(
    odd_class('\udcff'), 'train', says='cannot be printed'
  ),
  'folder: circles': Case(link_loop, 'train', says='in two splits'),
  # It trains, and most of that is compiling.
  'folder: names': Case(harmless, 'train', 0, 'left out', seconds=60),
}

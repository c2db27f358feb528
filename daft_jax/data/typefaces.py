"""The typefaces that ship with matplotlib, and characters drawn in them.

  picture, (width, height) = typefaces.drawing('cmr10', 'A', 48)

Needs matplotlib's files, not matplotlib itself, which is never imported.
"""

import functools

from PIL import Image, ImageDraw, ImageFont

from daft_jax.data import demo

FACES = (
  'DejaVuSans',
  'DejaVuSans-Bold',
  'DejaVuSans-BoldOblique',
  'DejaVuSans-Oblique',
  'DejaVuSansMono',
  'DejaVuSansMono-Bold',
  'DejaVuSansMono-BoldOblique',
  'DejaVuSansMono-Oblique',
  'DejaVuSerif',
  'DejaVuSerif-Bold',
  'DejaVuSerif-BoldItalic',
  'DejaVuSerif-Italic',
  'STIXGeneral',
  'STIXGeneralBol',
  'STIXGeneralBolIta',
  'STIXGeneralItalic',
  'cmb10',
  'cmr10',
)
# Held out of training, and without a sibling in it: Computer Modern's sans
# serif and typewriter. (Its italic, cmti10, came with matplotlib 3.11, which is
# too new to ask for; cmmi10 has old-style figures.)
OTHER_FACES = ('cmss10', 'cmtt10')


@functools.cache
def drawing(
  face: str, character: str, capital: int
) -> tuple[Image.Image, tuple[int, int]]:
  """A character in the middle of a picture, with its width and height.

  Capitals are `capital` high, and the picture is twice as high and wide.
  """
  room = Image.new('L', (4 * capital, 4 * capital), 0)
  ImageDraw.Draw(room).text(
    (2 * capital, 2 * capital),
    character,
    fill=255,
    font=font(face, capital),
    anchor='mm',
  )
  # Pillow's own box reaches to the origin; what has ink is what is centred.
  left, top, right, bottom = room.getbbox()
  x, y = (left + right) // 2 - capital, (top + bottom) // 2 - capital
  picture = room.crop((x, y, x + 2 * capital, y + 2 * capital))
  return picture, (right - left, bottom - top)


@functools.cache
def font(face: str, height: int) -> ImageFont.FreeTypeFont:
  """The face in the size whose capitals are `height` pixels high."""
  folder = demo.package_folder('matplotlib', 'matplotlib', 'glyphs')
  path = folder / 'mpl-data' / 'fonts' / 'ttf' / f'{face}.ttf'
  if not path.exists():
    raise FileNotFoundError(
      f'the source {"glyphs"!r} needs the typeface {face}, which the installed '
      f'matplotlib lacks (no {path}): '
      "pip install --upgrade 'daft_jax[demo]'"
    )
  probe = ImageFont.truetype(str(path), 1000)
  _, top, _, bottom = probe.getbbox('H', anchor='ls')
  return ImageFont.truetype(str(path), 1000 * height / (bottom - top))

"""Printed characters: the digits and letters of the faces matplotlib ships.

62 classes in random colours, drawn from 18 typefaces (DejaVu, STIX, Computer
Modern), rotated, sheared, scaled, shifted, blurred, and with noise. Example
`i` of a split is a pure function of (seed, split, i), however many are drawn.

  images, labels = glyphs.render('train', image_size=24)    # 20,000 glyphs

Each (face, character) is drawn once, twice as fine as wanted; an example is one
affine transform of that drawing, and everything after it (halving, blur,
colour, noise) is done by NumPy on thousands of examples at once.
"""

import dataclasses
import string

import numpy as np
from PIL import Image

from daft_jax.data.typefaces import FACES, OTHER_FACES, drawing

CLASSES = string.digits + string.ascii_uppercase + string.ascii_lowercase


@dataclasses.dataclass(frozen=True)
class _Split:
  stream: int  # tells the splits' random numbers apart
  count: int
  faces: tuple[str, ...]


SPLITS = {
  'train': _Split(0, 20_000, FACES),
  'val': _Split(1, 2_000, FACES),
  'test': _Split(2, 2_000, FACES),
  'other_faces': _Split(3, 2_000, OTHER_FACES),
}

# Ranges of the draws. Lengths are parts of the picture's side.
CAPITAL_HEIGHT = (0.58, 0.875)
ASPECT = 0.15  # width over height: up to this much more or less than drawn
ROTATION = np.pi / 12  # radians, both ways
SHEAR = 0.2  # both ways
SHIFT = 1 / 16  # both ways
LARGEST = 1 - 2 * SHIFT  # no wider or higher once turned, so never cut off
BLUR = (0.0, 1 / 16)  # standard deviation
WEIGHT = (1.0, 1.7)  # gain of the ink after the blur: thickens strokes
NOISE = (0.0, 0.08)  # standard deviation, in units of full brightness
MIN_CONTRAST = 0.3  # least difference in luma between ink and paper
LUMA = np.array([0.299, 0.587, 0.114])  # Rec. 601

_STREAM = 62
_CHUNK = 2_000
_TAPS = 3  # the blur reaches this many pixels to each side


@dataclasses.dataclass(frozen=True)
class Draws:
  """What is random about N examples; row i depends on (seed, split, i).

  Attributes:
    label, face: int [N], indices into `CLASSES` and the split's faces.
    matrix: float [N, 2, 2], rotation x shear x aspect, without the size.
    height: [N], height of a capital as a part of the picture's side.
    shift: [N, 2], x and y as parts of the side.
    ink, paper: [N, 3] RGB in [0, 1].
    blur, weight, noise: [N].
  """

  label: np.ndarray
  face: np.ndarray
  matrix: np.ndarray
  height: np.ndarray
  shift: np.ndarray
  ink: np.ndarray
  paper: np.ndarray
  blur: np.ndarray
  weight: np.ndarray
  noise: np.ndarray


def render(
  split: str, *, image_size: int, seed: int = 0, count: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
  """Draws one split.

  Args:
    split: 'train', 'val', 'test' (18 faces) or 'other_faces' (2 others).
    image_size: height and width in pixels.
    seed: another seed gives another set from the same distribution.
    count: number of examples; by default 20,000 for 'train', else 2,000.

  Returns:
    images uint8 [count, image_size, image_size, 3] and labels int32 [count],
    where `CLASSES[label]` is the character. Classes take turns: their numbers
    differ by at most one.

  Raises:
    ModuleNotFoundError: matplotlib is not installed.
    FileNotFoundError: the installed matplotlib lacks one of the faces.

  Example:
    >>> images, labels = render('val', image_size=24, count=3)
    >>> images.shape, [CLASSES[i] for i in labels]
    ((3, 24, 24, 3), ['0', '1', '2'])
  """
  spec = SPLITS[split]
  count = spec.count if count is None else count
  draws = draw(split, count, seed)
  rng = np.random.default_rng([_STREAM, spec.stream, seed, 1])
  images = np.empty((count, image_size, image_size, 3), np.uint8)
  for start in range(0, count, _CHUNK):
    rows = slice(start, min(start + _CHUNK, count))
    part = Draws(*(getattr(draws, f.name)[rows] for f in _FIELDS))
    cover = _blur(_place(part, spec.faces, image_size), part.blur * image_size)
    cover = np.minimum(cover * _column(part.weight, 3), 1)[..., None]
    ink, paper = part.ink[:, None, None], part.paper[:, None, None]
    picture = (paper + cover * (ink - paper)).astype(np.float32)
    noise = rng.standard_normal(picture.shape, np.float32)
    picture += noise * _column(part.noise, 4)
    images[rows] = np.round(np.clip(picture, 0, 1) * 255)
  return images, draws.label.astype(np.int32)


_FIELDS = dataclasses.fields(Draws)


def draw(split: str, count: int, seed: int = 0) -> Draws:
  """Draws all that is random about a split but the noise itself."""
  spec = SPLITS[split]
  rng = np.random.default_rng([_STREAM, spec.stream, seed, 0])
  # One row an example, so that a longer set begins with the shorter one.
  u = rng.random((count, 20))
  face = np.floor(u[:, 0] * len(spec.faces)).astype(int)
  angle = (2 * u[:, 1] - 1) * ROTATION
  slant = (2 * u[:, 2] - 1) * SHEAR
  stretch = np.exp((2 * u[:, 3] - 1) * np.log1p(ASPECT))
  ink, paper = _colours(u[:, 12:20])
  return Draws(
    label=np.arange(count) % len(CLASSES),
    face=face,
    matrix=_matrix(angle, slant, stretch),
    height=_between(u[:, 4], CAPITAL_HEIGHT),
    shift=(2 * u[:, 5:7] - 1) * SHIFT,
    ink=ink,
    paper=paper,
    blur=_between(u[:, 7], BLUR),
    weight=_between(u[:, 8], WEIGHT),
    noise=_between(u[:, 9], NOISE),
  )


def _matrix(angle: np.ndarray, slant: np.ndarray, stretch: np.ndarray):
  """Rotation x shear x aspect: [N] each -> [N, 2, 2]."""
  cos, sin, zero, one = np.cos(angle), np.sin(angle), angle * 0, angle * 0 + 1
  rotation = np.stack([cos, -sin, sin, cos], -1).reshape(-1, 2, 2)
  shear = np.stack([one, slant, zero, one], -1).reshape(-1, 2, 2)
  # The square root leaves the area as it was.
  root = np.sqrt(stretch)
  aspect = np.stack([root, zero, zero, 1 / root], -1).reshape(-1, 2, 2)
  return rotation @ shear @ aspect


def _colours(u: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Ink and paper [N, 3] from uniform numbers [N, 8].

  The lumas are drawn first, at least `MIN_CONTRAST` apart and either way
  round; then each colour leaves the grey axis without changing its luma.
  """
  gap = _between(u[:, 0], (MIN_CONTRAST, 1))
  # u[:, 1] chooses both where the darker one lies and, by its half, which of
  # ink and paper it is.
  dark_ink = u[:, 1] < 0.5
  dark = (1 - gap) * (2 * u[:, 1] % 1)
  ink_luma = np.where(dark_ink, dark, dark + gap)
  paper_luma = np.where(dark_ink, dark + gap, dark)
  return _tint(ink_luma, u[:, 2:5]), _tint(paper_luma, u[:, 5:8])


def _tint(luma: np.ndarray, rgb: np.ndarray) -> np.ndarray:
  """The colour of this luma in the direction of `rgb`, inside [0, 1]."""
  chroma = rgb - (rgb @ LUMA)[:, None]
  room = np.where(chroma > 0, 1 - luma[:, None], luma[:, None])
  most = np.min(room / np.maximum(np.abs(chroma), 1e-6), axis=1)
  return luma[:, None] + np.minimum(most, 1)[:, None] * chroma


def _between(u: np.ndarray, bounds: tuple[float, float]) -> np.ndarray:
  return bounds[0] + u * (bounds[1] - bounds[0])


def _column(values: np.ndarray, ndim: int) -> np.ndarray:
  """[N] -> float32 [N, 1, ..., 1] with `ndim` axes."""
  return values.astype(np.float32).reshape(-1, *[1] * (ndim - 1))


def _place(draws: Draws, faces: tuple[str, ...], size: int) -> np.ndarray:
  """Transforms the drawings: float32 [N, size, size], 1 where there is ink."""
  side = 2 * size  # halved below, which smooths the edges
  # About the mean height: drawings are hardly shrunk, so strokes keep weight.
  capital = round(sum(CAPITAL_HEIGHT) / 2 * side)
  drawings = [drawing(faces[f], c, capital) for f, c in _pairs(draws)]
  boxes = np.array([box for _, box in drawings])
  spread = (np.abs(draws.matrix) @ boxes[..., None])[..., 0].max(axis=1)
  scale = np.minimum(draws.height / capital, LARGEST / spread) * side
  # PIL wants the map from a pixel of the result to a pixel of the drawing.
  inverse = np.linalg.inv(draws.matrix * scale[:, None, None])
  centre = side * (0.5 + draws.shift)
  middle = drawings[0][0].width / 2
  offset = middle - (inverse @ centre[..., None])[..., 0]
  maps = np.concatenate([inverse, offset[..., None]], axis=2).reshape(-1, 6)
  affine, bilinear = Image.Transform.AFFINE, Image.Resampling.BILINEAR
  placed = np.empty((len(maps), side, side), np.uint8)
  for i, (picture, _) in enumerate(drawings):
    placed[i] = picture.transform((side, side), affine, maps[i], bilinear)
  halves = placed.reshape(-1, size, 2, size, 2)
  return halves.mean(axis=(2, 4), dtype=np.float32) / 255


def _pairs(draws: Draws) -> list[tuple[int, str]]:
  return [
    (f, CLASSES[c])
    for f, c in zip(draws.face.tolist(), draws.label.tolist(), strict=True)
  ]


def _blur(pictures: np.ndarray, sigma: np.ndarray) -> np.ndarray:
  """Gaussian blur with one sigma a picture (pixels), zero outside."""
  steps = np.arange(-_TAPS, _TAPS + 1)
  # A sigma of 0 leaves the middle tap alone.
  taps = np.exp(-0.5 * (steps / np.maximum(sigma, 1e-3)[:, None]) ** 2)
  taps /= taps.sum(axis=1, keepdims=True)
  for axis in (1, 2):
    pad = [(0, 0)] * 3
    pad[axis] = (_TAPS, _TAPS)
    wide = np.pad(pictures, pad)
    size = pictures.shape[axis]
    moved = (wide.take(range(k, k + size), axis) for k in range(len(steps)))
    pictures = sum(
      m * _column(t, 3) for m, t in zip(moved, taps.T, strict=True)
    )
  return pictures

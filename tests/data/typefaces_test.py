import sys

import numpy as np
import pytest

from daft_jax.data import typefaces
from daft_jax.data.glyphs import CLASSES


@pytest.mark.parametrize('face', typefaces.FACES + typefaces.OTHER_FACES)
def test_every_face_has_every_character(face):
  # What the face draws for a character that it lacks; STIX draws nothing.
  empty = typefaces.font(face, 32).getmask('\uffff').getbbox() is None
  missing = None if empty else typefaces.drawing(face, '\uffff', 32)[0]
  seen = set()
  for character in CLASSES:
    picture, (width, height) = typefaces.drawing(face, character, 32)
    picture = np.asarray(picture)
    assert picture.max() == 255 and width < 64 and height < 64
    assert missing is None or not np.array_equal(picture, missing)
    seen.add(picture.tobytes())
  assert len(seen) == 62


def test_missing_face_says_what_to_do():
  with pytest.raises(FileNotFoundError, match='typeface NoSuchFace'):
    typefaces.font('NoSuchFace', 48)


def test_missing_package_says_what_to_install(monkeypatch):
  monkeypatch.setitem(sys.modules, 'matplotlib', None)
  match = r"needs matplotlib: pip install 'daft_jax\[demo\]'"
  with pytest.raises(ModuleNotFoundError, match=match):
    typefaces.font.__wrapped__('cmr10', 48)

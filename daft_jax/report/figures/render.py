"""A Figure as a file beside a report, or as part of a page.

png = render.png(figure)
pdf = render.pdf(figure)
svg = render.svg(figure, 'ood_against_id', 'OOD against ID accuracy')
"""

import io
import re
import warnings
from typing import Any
from xml.etree import ElementTree

# What a page sets for all of a figure: presentation attributes, since a strict
# policy forbids `style`.
_SHARED = {'stroke-linejoin': 'round', 'stroke-linecap': 'butt'}
_ZOOM = 1.3  # pixels to a point: the text is then as large as that of a page
# Numbers with digits that are not seen: a page may have ten thousand points.
_LENGTHS = ('d', 'x', 'y', 'transform', 'viewBox', 'width', 'height')
_LONG = re.compile(r'\d+\.\d{3,}')
_DROPPED = ('metadata', 'style')
_REFERENCE = re.compile(r'^#|(?<=url\()#')  # '#x' as 'url(#x)', of a colour not


def png(figure: Any) -> bytes:
  """Renders a figure on white; what comes after has the same layout."""
  found = _saved(figure, 'png', facecolor='white')
  figure.set_layout_engine(None)
  return found


def pdf(figure: Any) -> bytes:
  """Renders a figure for a paper: its letters are those of a TrueType font."""
  import matplotlib

  unknown = dict.fromkeys(('Creator', 'Producer', 'CreationDate'))
  with matplotlib.rc_context({'pdf.fonttype': 42}):  # Type 3 is often refused.
    return _saved(figure, 'pdf', metadata=unknown)


def _saved(figure: Any, form: str, **options: Any) -> bytes:
  file = io.BytesIO()
  with warnings.catch_warnings():
    # A letter that the font lacks, of a name, is a box.
    warnings.filterwarnings('ignore', r'Glyph .* missing from')
    figure.savefig(file, format=form, **options)
  return file.getvalue()


def svg(figure: Any, name: str, alt: str) -> str:
  """Renders a figure as an element `<svg>` of an HTML page.

  Text stays text. It has no background, style, script, or reference to
  anything outside; the same figure gives the same text.

  Args:
    figure: what `look.new` returned.
    name: starts all its ids, so that figures of one page do not clash.
    alt: what it shows, read out in its place.
  """
  import matplotlib

  unknown = dict.fromkeys(('Date', 'Creator', 'Format', 'Type'))
  with matplotlib.rc_context({'svg.fonttype': 'none', 'svg.hashsalt': name}):
    text = _saved(figure, 'svg', metadata=unknown, transparent=True)
  root = ElementTree.fromstring(text)
  for parent in root.iter():
    parent[:] = [x for x in parent if _local(x.tag) not in _DROPPED]
  for element in root.iter():
    element.tag = _local(element.tag)
    element.attrib = _attributes(element.attrib, name)
    # Between elements there is nothing but spaces.
    element.tail, text = None, element.text or ''
    element.text = text if text.strip() else None
  for parent in root.iter():
    parent[:] = _together(parent)
  box = root.get('viewBox')
  size = {'viewBox': box, 'width': f'{_ZOOM * float(box.split()[2]):.0f}'}
  root.attrib = size | {'role': 'img', 'aria-label': alt} | _SHARED
  return ElementTree.tostring(root, encoding='unicode')


def _together(parent: ElementTree.Element) -> list[ElementTree.Element]:
  """One group of the points that are cut off alike, of a group for each."""
  found: list[ElementTree.Element] = []
  for child in parent:
    before = found[-1] if found else parent
    alike = before.attrib == child.attrib and {*child.attrib} == {'clip-path'}
    if alike and before.tag == child.tag == 'g':
      before.extend(child)
    else:
      found.append(child)
  return found


def _local(name: str) -> str:
  """Without its namespace, of which HTML needs none."""
  return name.rpartition('}')[2]


def _attributes(given: dict[str, str], name: str) -> dict[str, str]:
  """Declarations of `style` as attributes, and ids of this figure only."""
  found = {_local(key): value for key, value in given.items()}
  for declaration in found.pop('style', '').split(';'):
    key, colon, value = declaration.partition(':')
    if colon and key.strip() != 'font-family':  # It has that of the page.
      found[key.strip()] = value.strip()
  for key, value in found.items():
    if key in _LENGTHS:
      found[key] = _LONG.sub(lambda x: f'{float(x[0]):.2f}', value)
    if key == 'id':
      found[key] = f'{name}-{value}'
    elif key == 'href' or value.startswith('url('):
      found[key] = _REFERENCE.sub(f'#{name}-', value)
  return found

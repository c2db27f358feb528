"""What a report is made of: blocks of text that know nothing of a format.

  text = ['Method ', Code('daft'), ' is ', Strong('first'), '.']
  document = [Heading(2, ['Results']), Paragraph(text)]
  markdown.render(document)

A document is a list of blocks, made once; each of `formats` renders it, and
escapes for itself what its language reads as more than text. Texts may be a
stranger's. Standard library only.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple


class Code(NamedTuple):
  """A name as it is typed."""

  text: str


class Strong(NamedTuple):
  """Words that are seen first."""

  text: str


Text = Sequence[str | Code | Strong]


class Heading(NamedTuple):
  """Of level 1, the title, or 2."""

  level: int
  text: Text


class Paragraph(NamedTuple):
  """Running text."""

  text: Text


class Bullets(NamedTuple):
  """A list, a text an item."""

  items: Sequence[Text]


class Table(NamedTuple):
  """Cells of plain text.

  Attributes:
    header: the names of the columns.
    body: rows of as many cells.
    marks: 'best' or 'second' for some (row, column).
    left: how many columns are names, aligned left.
  """

  header: list[str]
  body: list[list[str]]
  marks: dict[tuple[int, int], str]
  left: int


class Picture(NamedTuple):
  """A figure, which a page has in itself and other formats lie beside.

  Attributes:
    name: of its files, without the ending.
    alt: what it shows, for who cannot see it.
    svg: an element `<svg>`.
  """

  name: str
  alt: str
  svg: str


class Listing(NamedTuple):
  """Lines as they are in a file."""

  text: str
  language: str = ''


class Folded(NamedTuple):
  """Blocks that are opened by their title, where a format can."""

  title: str
  blocks: Sequence['Block']


Block = Heading | Paragraph | Bullets | Table | Picture | Listing | Folded


def listed(names: Iterable[object]) -> Text:
  """Names as 'a, b and c', each of them code.

  Example:
    >>> listed(['ft', 'daft'])
    [Code(text='ft'), ' and ', Code(text='daft')]
  """
  *most, last = (Code(str(name)) for name in names)
  found = [part for name in most for part in (', ', name)][1:]
  return [*found, *([' and '] * bool(found)), last]


def tables(document: Iterable[Block]) -> Iterator[tuple[str, Table]]:
  """Yields every table with a name of its own, from the title it is under.

  Example:
    >>> table = Table(['a'], [['1']], {}, 0)
    >>> document = [Heading(2, ['In pairs']), table, Folded('All', [table])]
    >>> [name for name, _ in tables(document)]
    ['in_pairs', 'all']
  """
  seen: dict[str, int] = {}
  for title, table in _tables(document, ''):
    seen[title] = seen.get(title, 0) + 1
    yield title + f'_{seen[title]}' * (seen[title] > 1), table


def _tables(
  document: Iterable[Block], title: str
) -> Iterator[tuple[str, Table]]:
  for block in document:
    if isinstance(block, Heading):
      title = slug(plain(block.text))
    elif isinstance(block, Folded):
      yield from _tables(block.blocks, slug(block.title))
    elif isinstance(block, Table):
      yield title, block


def slug(title: str) -> str:
  """A title as a name of a file: lower case, ASCII letters and digits."""
  kept = (x if x.isascii() and x.isalnum() else ' ' for x in title.lower())
  return '_'.join(''.join(kept).split())[:60] or 'part'


def plain(text: Text) -> str:
  """The words of a text."""
  return ''.join(x if isinstance(x, str) else x.text for x in text)


def printable(text: str) -> str:
  """On one line, without what a terminal acts on or a reader cannot see."""
  return visible(re.sub(r'\s+', ' ', text))


def lines(text: str) -> list[str]:
  """Those of a listing, of which each is visible."""
  return [visible(line) for line in text.split('\n')]


def visible(text: str) -> str:
  """The same, with all spaces."""
  return ''.join(x if x.isprintable() else ascii(x)[1:-1] for x in text)

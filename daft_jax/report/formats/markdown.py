r"""A report as Markdown, as GitHub reads it.

  text = render([Heading(1, ['A report']), Paragraph(['of ', Code('daft')])])

Pictures are links to PNGs beside it. Nothing in a text is read as markup.
"""

from collections.abc import Sequence

from daft_jax.report import blocks

# What Markdown reads as more than text, in this order. Of links, those too
# that GitHub makes where there is no markup.
_LITERAL = {
  **{letter: '\\' + letter for letter in '\\`*_[]|~$'},
  **{'&': '&amp;', '<': '&lt;', '://': '&#58;//', 'www.': 'www&#46;'},
}
_MARKS = {'best': '**{}**', 'second': '<ins>{}</ins>'}


def render(document: Sequence[blocks.Block]) -> str:
  """Returns the Markdown of a document."""
  return _joined(document) + '\n'


def _joined(document: Sequence[blocks.Block]) -> str:
  return '\n\n'.join(map(_block, document))


def _block(block: blocks.Block) -> str:
  match block:
    case blocks.Heading(level, text):
      return f'{"#" * level} {_text(text)}'
    case blocks.Paragraph(text):
      return _text(text)
    case blocks.Bullets(items):
      return '\n'.join(f'- {_text(item)}' for item in items)
    case blocks.Table():
      return table(block)
    case blocks.Picture(name, alt, _):
      return f'![{escape(alt)}]({name}.png)'
    case blocks.Listing(text, language):
      fence = _fence(text, '```')
      lines = '\n'.join(blocks.lines(text))
      return f'{fence}{language}\n{lines}\n{fence}'
    case blocks.Folded(title, inside):
      summary = f'<summary>{escape(title)}</summary>'
      return f'<details>\n{summary}\n\n{_joined(inside)}\n\n</details>'


def _text(text: blocks.Text) -> str:
  found = ''
  for part in text:
    match part:
      case blocks.Code(name):
        found += code(name)
      case blocks.Strong(words):
        found += f'**{escape(words)}**'
      case _:
        found += escape(part)
  return found


def table(found: blocks.Table) -> str:
  """Renders a table: the best of a column bold, the second underlined."""
  rule = [':--' if i < found.left else '--:' for i in range(len(found.header))]
  rows = [[escape(cell) for cell in found.header], rule]
  for i, cells in enumerate(found.body):
    marked = [
      _MARKS.get(found.marks.get((i, j)), '{}') for j in range(len(cells))
    ]
    rows.append([marked[j].format(escape(x)) for j, x in enumerate(cells)])
  return '\n'.join('| ' + ' | '.join(cells) + ' |' for cells in rows)


def escape(text: str) -> str:
  r"""Text that Markdown and HTML show as it is.

  Example:
    >>> print(escape('<b> a_b [x](https://y)'))
    &lt;b> a\_b \[x\](https&#58;//y)
  """
  for old, new in _LITERAL.items():
    text = text.replace(old, new)
  return blocks.printable(text)


def code(name: object) -> str:
  """A name in a monospaced font, which nothing in it ends.

  Example:
    >>> print(code('daft'), code('a`b'))
    `daft` ``a`b``
  """
  text = blocks.printable(str(name)).strip()
  fence = _fence(text, '`')
  pad = ' ' * (text.startswith('`') or text.endswith('`'))
  return f'{fence}{pad}{text}{pad}{fence}'


def _fence(text: str, least: str) -> str:
  while least in text:
    least += '`'
  return least

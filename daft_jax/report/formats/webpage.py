"""A report as one HTML page that needs nothing beside it.

  text = render([Heading(1, ['A report']), Paragraph(['of ', Code('daft')])])

Style, script and figures are in the page. Its policy lets a browser run this
script and nothing else, and load nothing; all that comes from result files is
escaped, and would still not run where it were not. Tables are sorted by a click
on a heading.
"""

import base64
import hashlib
import html
import importlib.resources
import re
from collections.abc import Iterator, Sequence

from daft_jax.report import blocks

_PAGE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<main>
{body}
</main>
<script>{script}</script>
</body>
</html>
"""
_POLICY = (
  "default-src 'none'; style-src {style}; script-src {script}; "
  "base-uri 'none'; form-action 'none'"
)
_TOGETHER = re.compile(r' (?=[%±])|(?<=±) ')  # on one line: 97.2 ± 0.3, 90 %
_MARKS = {'best': '<strong>{}</strong>', 'second': '<u>{}</u>'}


def render(document: Sequence[blocks.Block]) -> str:
  """Returns the page of a document that begins with its title."""
  style, script = _file('page.css'), _file('page.js')
  first, *rest = document
  body = [_block(first, ''), _contents(rest), *_blocks(rest, '')]
  return _PAGE.format(
    policy=_POLICY.format(style=_hash(style), script=_hash(script)),
    title=escape(blocks.plain(first.text)),
    style=style,
    script=script,
    body='\n'.join(body),
  )


def escape(text: str) -> str:
  """Text that is nothing but text, also in an attribute.

  Example:
    >>> escape('<b> "x"')
    '&lt;b&gt; &quot;x&quot;'
  """
  return html.escape(blocks.printable(text))


def _file(name: str) -> str:
  return (importlib.resources.files(__package__) / name).read_text('utf-8')


def _hash(text: str) -> str:
  """The source by which a policy allows an element with this text."""
  digest = hashlib.sha256(text.encode()).digest()
  return f"'sha256-{base64.b64encode(digest).decode()}'"


def _contents(document: Sequence[blocks.Block]) -> str:
  headings = [x for x in document if isinstance(x, blocks.Heading)]
  items = (
    f'<li><a href="#{_id(heading)}">{_text(heading.text)}</a></li>'
    for heading in headings
  )
  return f'<nav aria-label="Contents"><ul>{"".join(items)}</ul></nav>'


def _id(heading: blocks.Heading) -> str:
  return f'section-{blocks.slug(blocks.plain(heading.text))}'


def _blocks(document: Sequence[blocks.Block], title: str) -> Iterator[str]:
  for block in document:
    if isinstance(block, blocks.Heading):
      title = blocks.plain(block.text)
    yield _block(block, title)


def _block(block: blocks.Block, title: str) -> str:
  """Renders a block that is under a title."""
  match block:
    case blocks.Heading(1, text):
      return f'<h1>{_text(text)}</h1>'
    case blocks.Heading(level, text):
      return f'<h{level} id="{_id(block)}">{_text(text)}</h{level}>'
    case blocks.Paragraph(text):
      return f'<p>{_text(text)}</p>'
    case blocks.Bullets(items):
      found = ''.join(f'<li>{_text(item)}</li>\n' for item in items)
      return f'<ul>\n{found}</ul>'
    case blocks.Table():
      return _scrolled(_table(block), title)
    case blocks.Picture(_, alt, svg):
      return _scrolled(svg, alt)
    case blocks.Listing(text, _):
      lines = html.escape('\n'.join(blocks.lines(text)))
      return _scrolled(f'<pre>{lines}</pre>', title)
    case blocks.Folded(name, inside):
      parts = '\n'.join(_blocks(inside, name))
      return f'<details><summary>{escape(name)}</summary>\n{parts}\n</details>'


def _scrolled(inside: str, label: str) -> str:
  """What may be wider than the page, within it; keys scroll it too."""
  return (
    f'<div class="scroll" role="region" aria-label="{escape(label)}" '
    f'tabindex="0">{inside}</div>'
  )


def _text(text: blocks.Text) -> str:
  found = ''
  for part in text:
    match part:
      case blocks.Code(name):
        found += f'<code>{escape(name)}</code>'
      case blocks.Strong(words):
        found += f'<strong>{escape(words)}</strong>'
      case _:
        found += escape(part)
  return _TOGETHER.sub('&nbsp;', found)


def _table(table: blocks.Table) -> str:
  kinds = [' class="name"' if i < table.left else '' for i, _ in _cells(table)]
  head = ''.join(
    f'<th scope="col"{kind}>{escape(cell)}</th>'
    for kind, (_, cell) in zip(kinds, _cells(table), strict=True)
  )
  rows = []
  for i, cells in enumerate(table.body):
    row = ''
    for j, cell in enumerate(cells):
      form = _MARKS.get(table.marks.get((i, j)), '{}')
      tag = 'td' if j else 'th'
      scope = '' if j else ' scope="row"'
      row += f'<{tag}{scope}{kinds[j]}>{form.format(escape(cell))}</{tag}>'
    rows.append(f'<tr>{row}</tr>\n')
  return (
    f'<table>\n<thead><tr>{head}</tr></thead>\n'
    f'<tbody>\n{"".join(rows)}</tbody>\n</table>'
  )


def _cells(table: blocks.Table) -> Iterator[tuple[int, str]]:
  return enumerate(table.header)

"""The blocks of a document, and their Markdown."""

import pytest

from daft_jax.report import blocks
from daft_jax.report.blocks import Code, Folded, Heading, Listing, Strong
from daft_jax.report.formats import markdown

TABLE = blocks.Table(
  ['a_b', 'c'], [['x', '1'], ['y', '|']], {(0, 1): 'best', (1, 1): 'second'}, 1
)
DOCUMENT = [
  Heading(1, ['On ', Code('a`b')]),
  blocks.Paragraph(['Of ', Strong('*all*'), ' <b>.']),
  blocks.Bullets([['one'], [Code('two')]]),
  TABLE,
  Folded('More', [blocks.Picture('name', 'a [b]', '<svg/>'), TABLE]),
  Listing('```\n{}', 'json'),
]
MARKDOWN = r"""# On ``a`b``

Of **\*all\*** &lt;b>.

- one
- `two`

| a\_b | c |
| :-- | --: |
| x | **1** |
| y | <ins>\|</ins> |

<details>
<summary>More</summary>

![a \[b\]](name.png)

| a\_b | c |
| :-- | --: |
| x | **1** |
| y | <ins>\|</ins> |

</details>

````json
```
{}
````
"""


def test_markdown_of_every_block():
  assert markdown.render(DOCUMENT) == MARKDOWN


def test_tables_have_names_of_their_own():
  document = [*DOCUMENT, TABLE, Heading(2, ['Of <all>, 2']), TABLE]
  names = [name for name, _ in blocks.tables(document)]
  assert names == ['on_a_b', 'more', 'on_a_b_2', 'of_all_2']


@pytest.mark.parametrize(
  ('names', 'text'), [('a', '`a`'), ('ab', '`a` and `b`'), ('abc', '`a`, `b`')]
)
def test_names_are_listed(names, text):
  found = markdown.render([blocks.Paragraph(blocks.listed(names))])
  assert found.startswith(text)


def test_what_a_reader_cannot_see_is_spelt_out():
  assert blocks.printable('a\u202e\n\tb\x1b') == r'a\u202e b\x1b'

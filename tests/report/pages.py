"""What a page of a report may be made of, whatever names were in its files."""

import base64
import hashlib
import html.parser
import re

TAGS = {
  *('html', 'head', 'meta', 'title', 'style', 'body', 'main', 'script'),
  *('h1', 'h2', 'nav', 'ul', 'li', 'a', 'p', 'code', 'strong', 'u', 'pre'),
  *('div', 'details', 'summary'),
  *('table', 'thead', 'tbody', 'tr', 'th', 'td'),
  *('svg', 'g', 'path', 'text', 'tspan', 'defs', 'use', 'clippath', 'rect'),
}
MOST_BYTES = 2_000_000


class _Reader(html.parser.HTMLParser):
  def __init__(self):
    super().__init__()
    self.tags, self.attributes, self.texts = [], [], {}
    self.words = []

  def handle_starttag(self, tag, attrs):
    self.tags.append(tag)
    self.attributes += [(tag, name, value or '') for name, value in attrs]

  handle_startendtag = handle_starttag

  def handle_comment(self, data):
    self.tags.append(f'<!--{data}-->')

  def handle_decl(self, decl):
    if decl.lower() != 'doctype html':
      self.tags.append(decl)

  def handle_data(self, data):
    if self.tags and self.tags[-1] in ('style', 'script'):
      # It may come in parts; what follows the element is space.
      self.texts[self.tags[-1]] = self.texts.get(self.tags[-1], '') + data
    self.words.append(data)


def read(text):
  reader = _Reader()
  reader.feed(text)
  reader.close()
  return reader


def faults(text):
  """What in a page would run, load or hide something."""
  reader = read(text)
  found = [f'element {x}' for x in reader.tags if x not in TAGS]
  for tag in ('script', 'style', 'title', 'body'):
    if reader.tags.count(tag) != 1:
      found.append(f'{reader.tags.count(tag)} of {tag}')
  for tag, name, value in reader.attributes:
    if name.startswith('on') or name in ('src', 'style', 'action', 'srcdoc'):
      found.append(f'attribute {name} of {tag}')
    if name.endswith('href') and not value.startswith('#'):
      found.append(f'link to {value}')
    if 'url(' in value and not value.startswith('url(#'):
      found.append(f'{name} is {value}')
  policy = dict(
    part.strip().split(' ', 1)
    for tag, name, value in reader.attributes
    if tag == 'meta' and name == 'content' and 'default-src' in value
    for part in value.split(';')
  )
  for tag in ('script', 'style'):
    pattern = rf'<{tag}>(.*?)</{tag}>'
    inside = re.search(pattern, text, re.DOTALL)[1].encode()
    digest = base64.b64encode(hashlib.sha256(inside).digest()).decode()
    if policy.get(f'{tag}-src') != f"'sha256-{digest}'":
      found.append(f'the policy does not fit the {tag}')
  if policy.get('default-src') != "'none'":
    found.append('the policy allows more')
  bad = {x for x in text if not x.isprintable() and x != '\n'}
  found += [f'character {x!r}' for x in sorted(bad)]
  if len(text.encode()) > MOST_BYTES:
    found.append(f'{len(text.encode()):,} bytes')
  return found

"""The command line of pretrained weights.

python -m daft_jax.pretrained list [ARCHITECTURE]
python -m daft_jax.pretrained inspect FILE
python -m daft_jax.pretrained convert FILE OUT.safetensors
python -m daft_jax.pretrained download TAG
"""

import argparse
import json
import pathlib
import sys
from collections.abc import Sequence
from typing import Any

from daft_jax import names, writer
from daft_jax.pretrained import registry


def inspect(path: str) -> None:
  """Says what a file is: format, architecture, head, preprocessing."""
  from daft_jax.pretrained import files, identify

  contents = files.read(path)
  arrays = contents.arrays
  size = sum(array.nbytes for array in arrays.values())
  print(f'{path}: {contents.kind}, {len(arrays)} tensors, {size:,} bytes')
  found = identify.identify(arrays)
  if found is None:
    print(f'architecture: none of this package; {names.listed(arrays, 4)}')
    return
  match = found.match
  where = f', under {match.prefix!r}' if match.prefix else ''
  share = '' if found.share == 1 else f' ({100 * found.share:.0f} % alike)'
  print(f'architecture: {found.architecture}{share}')
  print(f'names: as {match.layout.name}{where}')
  print(f'head: {f"{match.head} classes" if match.head else "none"}')
  if match.skipped:
    aside = [f'{name} ({count})' for name, count in match.skipped.items()]
    print(f'beside it: {names.listed(aside)}')
  if match.layout.caution:
    print(f'caution: {match.layout.caution}')
  if found.share < 1:
    odd = match.missing + match.extra + match.misshapen
    print(f'not the whole of it, or another network: {names.listed(odd)}')
    return
  _inspect_origin(path, found, contents.metadata)


def _inspect_origin(path: str, found: Any, metadata: dict[str, str]) -> None:
  """Says how images are prepared for it, and how it is loaded."""
  rows, certain = _guess(path, found, metadata)
  name = found.architecture
  if 'preprocess' in metadata:
    print(f'preprocessing: {metadata["preprocess"]} (as the file says)')
  elif rows:
    word = '' if certain else 'probably '
    tags = ' or '.join(row.tag for row in rows)
    print(f'preprocessing: {word}{describe(rows[0])} (as {tags})')
    name = rows[0].tag if len(rows) == 1 else name
  else:
    tags = ', '.join(registry.list_pretrained(name)) or 'none'
    print(f'preprocessing: not known; tags: {tags}')
  head = '' if found.match.head else ", head='new'"
  print(f'load: daft_jax.load_pretrained({name!r}, model, {path!r}{head})')


def describe(row: registry.Pretrained) -> str:
  """The preprocessing of a row, in words."""
  if row.resize:
    size = f'shorter side {row.resize} ({row.interpolation}), middle '
    size += f'{row.image_size} x {row.image_size}'
  else:
    size = f'{row.image_size} x {row.image_size} ({row.interpolation})'
  return f'{size}, mean {row.mean}, std {row.std}'


def convert(path: str, out: str) -> None:
  """Writes what a file holds in this package's own format."""
  from daft_jax import models
  from daft_jax.pretrained import files, identify, loading, weights

  contents = files.read(path)
  found = identify.identify(contents.arrays)
  if found is None:
    raise ValueError(f'{path} is of no architecture of this package')
  name, classes = found.architecture, found.match.head
  model = models.create_model(name, num_classes=classes or 1)
  head = 'keep' if classes else 'new'
  variables = loading.load_pretrained(name, model, path, head=head)
  if not classes:  # A file without one stays without.
    params = {k: v for k, v in variables['params'].items() if k != 'head'}
    variables = {**variables, 'params': params}
  rows, certain = _guess(path, found, contents.metadata)
  about = {'architecture': name, 'converted_from': pathlib.Path(path).name}
  about |= contents.metadata
  if certain:
    about['licence'] = rows[0].licence
    about['preprocess'] = json.dumps(rows[0].preprocess)
  weights.save_weights(variables, out, about)
  size = pathlib.Path(out).stat().st_size
  print(f'{out}: {name}, {size:,} bytes')


def _guess(
  path: str, found: Any, metadata: dict[str, str]
) -> tuple[list[registry.Pretrained], bool]:
  """The rows a file may be of, of one preprocessing, and if it is certain.

  Certain by sha256; else by the file's name, or by what the file holds.
  """
  from daft_jax.pretrained import locate

  tags = registry.list_pretrained(found.architecture)
  rows = [registry.lookup(tag) for tag in tags]
  file = pathlib.Path(path)
  digest = locate.digest(file) if file.is_file() else ''
  for row in rows:
    if row.sha256 and digest.startswith(row.sha256):
      return [row], True
  names = {file.name, metadata.get('converted_from')}
  named = [
    row
    for row in rows
    if {pathlib.PurePosixPath(row.url).name, locate.local_name(row)} & names
  ]
  parts = f'{found.match.prefix} {" ".join(found.match.skipped)}'
  alike = [
    row
    for row in rows
    if row.hint in parts and row.num_classes == found.match.head
  ]
  # Of those that fit, the ones with a hint: it was found.
  told = [row for row in alike if row.hint] or alike
  for group in (named, told):
    if group and all(row.preprocess == group[0].preprocess for row in group):
      return group, False
  return [], False


def _list(architecture: str | None) -> None:
  """Prints the tags, all or of one architecture."""
  known = {row.architecture for row in registry.PRETRAINED.values()}
  if architecture is not None:
    names.check(architecture, sorted(known), 'architecture with weights')
  for tag in registry.list_pretrained(architecture):
    row = registry.lookup(tag)
    source = row.package.partition(':')[0] or row.url or 'in the package'
    print(f'{tag:34s} {row.licence or "not stated":14s} {source}')


def _run(given: argparse.Namespace) -> None:
  if given.command == 'list':
    _list(given.architecture)
  elif given.command == 'inspect':
    inspect(given.path)
  elif given.command == 'convert':
    convert(given.path, given.out)
  else:
    from daft_jax.pretrained import locate

    print(locate.download(given.tag))


def main(argv: Sequence[str] | None = None) -> int:
  """Runs the command line; returns the exit status, 2 after an error."""
  parser = argparse.ArgumentParser(prog='python -m daft_jax.pretrained')
  commands = parser.add_subparsers(dest='command', required=True)
  add = commands.add_parser
  add('list', help='all tags').add_argument('architecture', nargs='?')
  add('inspect', help='what a file is').add_argument('path')
  one = add('convert', help='into a safetensors file of this package')
  one.add_argument('path')
  one.add_argument('out', metavar='OUT.safetensors')
  add('download', help='fetches a file, checks it').add_argument('tag')
  given = parser.parse_args(argv)
  try:
    with writer.messages():
      _run(given)
  except (ValueError, OSError) as error:
    print(f'daft_jax.pretrained: {error}', file=sys.stderr)
    return 2
  return 0


if __name__ == '__main__':
  sys.exit(main())

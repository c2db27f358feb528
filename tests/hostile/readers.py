"""The readers that are fuzzed: of what bytes, and what they may raise.

check(READERS['images'], data)
"""

import contextlib
import dataclasses
import io
import os
import pathlib
import pickle
import tarfile
import tempfile
import time
import zipfile
from collections.abc import Callable

import numpy as np
import safetensors.numpy
from PIL import Image

from daft_jax.data import images
from daft_jax.data.published import (
  catalog,
  dataset,
  domainnet,
  features,
  fmow,
  unpacking,
)
from daft_jax.pretrained import files, torch_file
from daft_jax.pretrained.torch_file import tensors
from daft_jax.unpickle import npy, pickled
from tests.hostile import pictures
from tests.pretrained.torch_file import files_test

SLOW = 5  # seconds that one input may take


@dataclasses.dataclass(frozen=True)
class Reader:
  """A reader of bytes.

  Attributes:
    read: of the bytes.
    sound: files that it reads, which are mutated.
    raises: what it documents.
  """

  read: Callable[[bytes], object]
  sound: Callable[[], list[bytes]]
  raises: tuple[type[Exception], ...] = (ValueError,)


def on_disk(read, name):
  """A reader of paths as one of bytes."""

  def from_bytes(data):
    with tempfile.TemporaryDirectory() as folder:
      path = pathlib.Path(folder) / name
      path.write_bytes(data)
      return read(path)

  return from_bytes


def load_pickle(data):
  stream = pickled.Stream(io.BytesIO(data), len(data))
  return pickled.load(stream, tensors.find, tensors.storage)


def pickles():
  tree = files_test.code(files_test.TREE)
  values = [{'a': [1, 2.5, 'x', b'y', None, True]}, {1, 'b'}, (1, (2, [3]))]
  values += [np.arange(6.0).reshape(2, 3), np.float32(1), 2**70]
  found = [pickle.dumps(x, p) for x in values for p in range(6)]
  return [*found, b'\x80\2' + tree + b'.']


def checkpoints():
  found = []
  with tempfile.TemporaryDirectory() as folder:
    for write in (files_test.write_zip, files_test.write_legacy):
      path = pathlib.Path(folder) / 'w.pth'
      write(path, files_test.TREE, files_test.STORAGES)
      found.append(path.read_bytes())
  return found


def weights():
  arrays = {'a.b': np.ones((2, 3), np.float32), 'c': np.arange(4)}
  found = [safetensors.numpy.save(arrays, {'preprocess': '{"a": 1}'})]
  for save in (np.savez, np.savez_compressed):
    out = io.BytesIO()
    save(out, **arrays)
    found.append(out.getvalue())
  return found


def pixels():
  found = [pictures.exif(6), pictures.plain_tiff(8, 8)]
  picture = Image.effect_noise((24, 20), 90)
  for form in images.FORMATS:
    for mode in ('RGB', 'L'):
      out = io.BytesIO()
      picture.convert(mode).save(out, form)
      found.append(out.getvalue())
  return [*found, pictures.animation('PNG', 3, 8)]


def headers():
  found = []
  for array in (np.ones((2, 3)), np.zeros((), 'u1'), np.array(['ab'])):
    out = io.BytesIO()
    np.save(out, array)
    found.append(out.getvalue())
  return found


def archives():
  found = []
  for mode in ('w', 'w:gz', 'w:xz', 'w:bz2'):
    for form in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
      out = io.BytesIO()
      with tarfile.open(fileobj=out, mode=mode, format=form) as file:
        for name in ('top/a.txt', 'top/' + 'b' * 120, 'top/\xe9'):
          info = tarfile.TarInfo(name)
          info.size = 5
          file.addfile(info, io.BytesIO(b'hello'))
      found.append(out.getvalue())
  out = io.BytesIO()
  with zipfile.ZipFile(out, 'w', zipfile.ZIP_DEFLATED) as file:
    file.writestr('top/a.txt', b'hello' * 20)
    file.writestr('top/b/', b'')
  return [*found, out.getvalue()]


def unpack(path):
  """And looks for what is not in the folder that it makes."""
  row = dataset.Download(path.name, 'https://example.org/x', 'made')
  before = set(os.listdir(path.parent.parent))
  try:
    unpacking.unpack(path, row, path.parent)
  finally:
    # Others make folders there, too; none of them is called so.
    new = set(os.listdir(path.parent.parent)) - before
    assert not {'a.txt', 'top', 'made', 'canary'} & new
    assert {*os.listdir(path.parent)} <= {path.name, 'made'}


def fmow_table(path):
  columns = ('split', 'timestamp', 'country_code', 'category')
  return [
    fmow._part(split, time)
    for _, (split, time, *_) in fmow._lines(path, columns)
  ]


ROW = b'train,2011-03-05T10:12:13Z,USA,zoo\n'
CSV = b'split,timestamp,country_code,category\n' + ROW * 3 + b'"a","b\n",c,d\n'
CLASSES = catalog.DATASETS['domainnet40'].classes
LISTS = ''.join(f'sketch/{x}/{i}.jpg {i}\n' for i, x in enumerate(CLASSES))
JSON = (
  b'{"pythonClassName": "tensorflow_datasets.core.features.FeaturesDict",'
  b' "featuresDict": {"features": {"image": {"pythonClassName": "x.Y"}}}}'
)

READERS = {
  'pickled': Reader(load_pickle, pickles),
  'torch': Reader(on_disk(torch_file.read_torch, 'w.pth'), checkpoints),
  'weights': Reader(on_disk(files.read, 'w'), weights),
  'npy': Reader(lambda data: npy.read_header(io.BytesIO(data)), headers),
  'images': Reader(images.decode, pixels),
  'archives': Reader(
    on_disk(unpack, 'x.archive'), archives, (ValueError, OSError)
  ),
  'fmow': Reader(on_disk(fmow_table, 'x.csv'), lambda: [CSV], (ValueError,)),
  'domainnet': Reader(
    on_disk(lambda path: list(domainnet._lines(path, 'sketch', CLASSES)), 'x'),
    lambda: [LISTS.encode()],
  ),
  'features': Reader(
    on_disk(lambda path: features.check(path.parent), 'features.json'),
    lambda: [JSON],
  ),
}


def check(reader, data, slow=SLOW):
  """Whatever is not documented comes out, and what is slow fails."""
  started = time.monotonic()
  with contextlib.suppress(*reader.raises):
    reader.read(data)
  assert time.monotonic() - started < slow

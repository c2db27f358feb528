"""The header of a file of NumPy, before NumPy reads it.

  with open('labels.npy', 'rb') as file:
    shape, dtype = npy.read_header(file)

NumPy takes as much memory as a header says it has, up to 4 GB, and only then
compares it with its own limit; of a zip, that is a bomb of 4 MB.
"""

import io
from typing import BinaryIO

import numpy as np

_LONGEST = 10_000  # bytes: NumPy's limit, of headers it does not trust
_READ = {
  (1, 0): (2, np.lib.format.read_array_header_1_0),
  (2, 0): (4, np.lib.format.read_array_header_2_0),
}


def read_header(file: BinaryIO) -> tuple[tuple[int, ...], np.dtype]:
  """Reads the magic bytes and the header; leaves the file at the values.

  Returns:
    The shape and the dtype, which may be one of objects.

  Raises:
    ValueError: it is no header of plain arrays, or a long one.

  Example:
    >>> file = io.BytesIO()
    >>> np.save(file, np.zeros((2, 3), 'f4'))
    >>> _ = file.seek(0)
    >>> read_header(file)
    ((2, 3), dtype('float32'))
  """
  version = np.lib.format.read_magic(file)
  # 3.0 is for fields with names beyond Latin-1, which weights do not have.
  if version not in _READ:
    raise ValueError(f'version {version} of its format is not read')
  width, read = _READ[version]
  start = file.read(width)
  length = int.from_bytes(start, 'little')
  if length > _LONGEST:
    raise ValueError(f'its header has {length:,} bytes')
  try:
    shape, _, dtype = read(io.BytesIO(start + file.read(length)))
  # It is a literal of Python: its parser raises whatever it stumbles over.
  except Exception as error:
    raise ValueError(f'its header is none ({str(error)[:200]})') from error
  if any(size < 0 for size in shape):
    raise ValueError(f'its header has shape {shape}')
  return shape, dtype

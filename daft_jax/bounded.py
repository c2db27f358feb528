"""Whole files that may be a stranger's, read within bounds.

  data = read('cat.jpg', 1 << 28)

Standard library only.
"""

import os
import stat


def read(path: str | os.PathLike[str], most: int) -> bytes:
  """All bytes of a file.

  Args:
    path: links are followed.
    most: bytes it may have.

  Raises:
    OSError: it cannot be read.
    ValueError: it is a pipe or a device, which may never end, or too long.
  """
  # Else one without a writer would wait for it.
  with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), 'rb') as file:
    found = os.fstat(file.fileno())
    if not stat.S_ISREG(found.st_mode):
      raise ValueError('is no file')
    if found.st_size > most:
      raise ValueError(f'has {found.st_size:,} bytes, more than {most:,}')
    return file.read(most)

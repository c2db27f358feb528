"""Images that stay encoded until they are asked for.

records = Records(Files(('a/cat.jpg', 'b/dog.png')), labels)
some = records.take(np.array([1]))       # small, goes to a worker
picture = decode(some.items, 0)          # PIL, 'RGB'
"""

import dataclasses
import os
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from daft_jax import names
from daft_jax.data import images


class DataError(ValueError):
  """Images cannot be had; the message says which and why."""


class UnreadableImage(DataError):
  """An image cannot be read; the message begins with its place."""


class Items(Protocol):
  """Places of encoded images. Small parts of it travel to other processes."""

  def __len__(self) -> int: ...

  def take(self, rows: np.ndarray) -> 'Items':
    """Those places alone, in the order of `rows`."""

  def read(self, row: int) -> bytes:
    """The bytes of an image file."""

  def name(self, row: int) -> str:
    """Where it is, for messages."""


@dataclasses.dataclass(frozen=True)
class Files:
  """Image files by their paths."""

  paths: tuple[str, ...]

  def __len__(self) -> int:
    return len(self.paths)

  def take(self, rows: np.ndarray) -> 'Files':
    return Files(tuple(self.paths[row] for row in rows))

  def read(self, row: int) -> bytes:
    return images.read(self.paths[row])

  def name(self, row: int) -> str:
    return os.fspath(self.paths[row])


@dataclasses.dataclass(frozen=True, eq=False)
class Records:
  """Encoded images and their labels; `len` is the number of examples.

  Attributes:
    items: where they are.
    labels: int32 [N].

  Raises:
    ValueError: another number of labels than of items.
  """

  items: Items
  labels: np.ndarray

  def __post_init__(self):
    labels = np.asarray(self.labels, np.int32).view()
    labels.setflags(write=False)
    object.__setattr__(self, 'labels', labels)
    if labels.shape != (len(self.items),):
      raise ValueError(
        f'Records: labels must be [{len(self.items)}], one an image, not '
        f'{labels.shape}'
      )

  def __len__(self) -> int:
    return len(self.labels)

  def take(self, rows: np.ndarray) -> 'Records':
    """Those examples alone, in the order of `rows`."""
    return Records(self.items.take(rows), self.labels[rows])


def decode(
  items: Items, row: int, how: Callable[[bytes], Any] = images.decode
) -> Any:
  """Reads and decodes one image, to what `how` returns.

  Raises:
    UnreadableImage: it is not there, or cannot be decoded.
  """
  try:
    return how(items.read(row))
  except (OSError, ValueError) as error:
    reason = getattr(error, 'strerror', None) or error
    raise UnreadableImage(f'{names.shown(items.name(row))} {reason}') from error

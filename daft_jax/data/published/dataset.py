"""What is known of a published data set: plain data.

from daft_jax.data.published import dataset

dataset.download('imagenet-a.tar', 'https://...', 'imagenet-a').bytes
"""

import dataclasses
from collections.abc import Mapping
from typing import NamedTuple

from daft_jax.data.published import checksums

NOT_STATED = 'not stated'


class Prepared(NamedTuple):
  """What a part is called by TensorFlow Datasets."""

  name: str
  config: str
  split: str


@dataclasses.dataclass(frozen=True)
class Download:
  """A file to be put into data_dir by hand.

  Attributes:
    file: its name.
    url: where it comes from.
    makes: the folder that it becomes, or the file itself; relative to data_dir.
    bytes: its size; None: not stated.
    digest: 'sha256:...' or 'md5:...'; '': not stated.
    part: how the parts begin that need it.
    inside: 'files'; 'classes', of an archive with an archive for each class; or
      'val', of the images that ImageNet does not sort into classes.
  """

  file: str
  url: str
  makes: str
  bytes: int | None = None
  digest: str = ''
  part: str = ''
  inside: str = 'files'


@dataclasses.dataclass(frozen=True)
class Dataset:
  """One published data set.

  Attributes:
    name: its key, and what source strings begin with.
    parts: what may follow the colon.
    classes: in the order of the labels.
    downloads: files that hold it.
    licence: of the images, or of the repository that publishes them.
    homepage: of its publisher.
    reader: who reads the publisher's layout, see `published`.
    counts: part -> examples, where published.
    balanced: parts in which every class has equally many.
    tfds: part -> its names in TensorFlow Datasets.
    side: height and width of images that are read into memory; 0: files.
    choice: whether one of the downloads is enough.
    remark: what else there is to know before downloading.
  """

  name: str
  parts: tuple[str, ...]
  classes: tuple[str, ...]
  downloads: tuple[Download, ...]
  licence: str
  homepage: str
  reader: str = ''
  counts: Mapping[str, int] = dataclasses.field(default_factory=dict)
  balanced: tuple[str, ...] = ()
  tfds: Mapping[str, Prepared] = dataclasses.field(default_factory=dict)
  side: int = 0
  choice: bool = False
  remark: str = ''


def download(file: str, url: str, makes: str = '', **more: str) -> Download:
  """A download of which what is publicly stated is filled in."""
  size, digest = checksums.STATED.get(file, (None, ''))
  return Download(file, url, makes or file, size, digest, **more)

"""The benchmarks, as data: which source each of their splits is.

A split is named by a source string, `<source>:<part>`: embedded images
(`data/sources.py`) or a published data set on disk (`data/published/`). A new
benchmark is a new row.

  from daft_jax.data.suites import SUITES
  SUITES['domainnet'].ood        # {'real': 'domainnet40:real/test', ...}
"""

import dataclasses
import json
import pathlib
import string
from collections.abc import Mapping


@dataclasses.dataclass(frozen=True)
class Summary:
  """One number of several OOD sets.

  Attributes:
    how: 'pooled' (all images as one set), 'mean' (of the sets' accuracies) or
      'worst' (the lowest of them).
    sets: the OOD sets, or other summaries.
  """

  how: str
  sets: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Suite:
  """One benchmark.

  Attributes:
    name: its key in `SUITES`.
    num_classes: how many classes the head has.
    classes: their names, in the order of the labels; (): as the source says.
    train: source of the training images (ID).
    id_val: source by which learning rates and epochs are chosen (ID); '': a
      part of train, split off by a seed.
    id_test: source of the ID test accuracy.
    ood: name -> source of the shifted test sets that every trial reports.
    image_size: height and width in pixels, where the weights do not say.
    augment: name of the training augmentation, see `augment.AUGMENTATIONS`.
    more_ood: name -> source of further shifted test sets, which are evaluated
      only on request (`config.eval_only`).
    class_maps: set -> {class of the source: class of the suite}; images of
      other classes are left out. Without one, classes have the same names.
    subsets: sets with fewer classes, where only those compete.
    summaries: name -> one number of several sets.
    resize: of tests, see `Preprocess`, for 224 pixels; None: as the weights
      say.
    interpolation: likewise, or ''.
    val_share: of each class of train, where id_val is ''.
  """

  name: str
  num_classes: int
  classes: tuple[str, ...]
  train: str
  id_val: str
  id_test: str
  ood: Mapping[str, str]
  image_size: int
  augment: str
  more_ood: Mapping[str, str] = dataclasses.field(default_factory=dict)
  class_maps: Mapping[str, Mapping[str, str]] = dataclasses.field(
    default_factory=dict
  )
  subsets: tuple[str, ...] = ()
  summaries: Mapping[str, Summary] = dataclasses.field(default_factory=dict)
  resize: int | None = None
  interpolation: str = ''
  val_share: float = 0.1


_DIGITS = tuple(string.digits)
_CHARACTERS = _DIGITS + tuple(string.ascii_uppercase + string.ascii_lowercase)
_CIFAR = (
  *('airplane', 'automobile', 'bird', 'cat', 'deer'),
  *('dog', 'frog', 'horse', 'ship', 'truck'),
)
# Hendrycks & Dietterich, arXiv 1903.12261: the 15 of the benchmark.
_CORRUPTIONS = (
  *('gaussian_noise', 'shot_noise', 'impulse_noise'),
  *('defocus_blur', 'glass_blur', 'motion_blur', 'zoom_blur'),
  *('snow', 'frost', 'fog', 'brightness'),
  *('contrast', 'elastic_transform', 'pixelate', 'jpeg_compression'),
)
_SEVERITIES = (1, 2, 3, 4, 5)
# STL-10 calls a car so, has no frog and, other than CIFAR-10, monkeys.
_STL = {x: x for x in _CIFAR if x not in ('automobile', 'frog')}
_STL['car'] = 'automobile'


def _read(file: str) -> dict[str, list]:
  path = pathlib.Path(__file__).parent / 'classes' / file
  return json.loads(path.read_text(encoding='utf-8'))


# Of DomainNet-40 in the order of SENTRY's lists, of FMoW in that of WILDS.
_NAMES = {name: tuple(found) for name, found in _read('names.json').items()}


def _breeds(name: str) -> Suite:
  """BREEDS (arXiv 2008.04859), 'rand' split, seed 2; classes by WNID."""
  rows = _read('breeds.json')[name]
  source, target = (
    {wnid: row['name'] for row in rows for wnid in row[side]}
    for side in ('source', 'target')
  )
  return Suite(
    name=name,
    num_classes=len(rows),
    classes=tuple(row['name'] for row in rows),
    train='imagenet:train',
    id_val='',
    id_test='imagenet:val',
    ood={'target': 'imagenet:val'},
    image_size=224,
    augment='random_resized_crop',
    class_maps={'train': source, 'id_test': source, 'target': target},
    resize=256,
    interpolation='bilinear',
  )


_ROWS = (
  # Handwritten digits: trained on the scans of UCI, tested also on MNIST.
  Suite(
    name='digits',
    num_classes=10,
    classes=_DIGITS,
    train='digits:train',
    id_val='digits:val',
    id_test='digits:test',
    ood={'mnist': 'mnist:test'},
    image_size=24,
    augment='shift',
    more_ood={
      'mnist_inverted': 'mnist_inverted:test',
      'digits_noise': 'digits_noise:test',
    },
  ),
  # ID and OOD exchanged: trained on as many of MNIST, tested also on the scans.
  Suite(
    name='digits_swapped',
    num_classes=10,
    classes=_DIGITS,
    train='mnist_parts:train',
    id_val='mnist_parts:val',
    id_test='mnist_parts:test',
    ood={'scans': 'digits:all'},
    image_size=24,
    augment='shift',
  ),
  # Printed characters, then typefaces that were never trained on. The
  # pretrained model of the embedded default is trained on this one.
  Suite(
    name='glyphs',
    num_classes=62,
    classes=_CHARACTERS,
    train='glyphs:train',
    id_val='glyphs:val',
    id_test='glyphs:test',
    ood={'other_faces': 'other_faces:test'},
    image_size=24,
    augment='shift',
  ),
  # The corrupted sets are 75 of 10,000 images: for chosen trials only.
  Suite(
    name='cifar',
    num_classes=10,
    classes=_CIFAR,
    train='cifar10:train',
    id_val='',
    id_test='cifar10:test',
    ood={'cifar10_1': 'cifar10_1:v6', 'stl10': 'stl10:test'},
    image_size=224,
    augment='flip',
    more_ood={
      f'{name}_{severity}': f'cifar10_c:{name}/{severity}'
      for name in _CORRUPTIONS
      for severity in _SEVERITIES
    },
    class_maps={'stl10': _STL},
    summaries={
      **{
        name: Summary('mean', tuple(f'{name}_{s}' for s in _SEVERITIES))
        for name in _CORRUPTIONS
      },
      'corruptions': Summary('mean', _CORRUPTIONS),
    },
    resize=0,
    interpolation='bilinear',
  ),
  Suite(
    name='domainnet',
    num_classes=40,
    classes=_NAMES['domainnet40'],
    train='domainnet40:sketch/train',
    id_val='',
    id_test='domainnet40:sketch/test',
    ood={
      name: f'domainnet40:{name}/test'
      for name in ('real', 'painting', 'clipart')
    },
    image_size=224,
    augment='crop_flip',
    summaries={'union': Summary('pooled', ('real', 'painting', 'clipart'))},
    resize=0,
    interpolation='bicubic',
  ),
  _breeds('living17'),
  _breeds('entity30'),
  # ID tests are the split `id_val` of WILDS, as in the paper and in LP-FT.
  Suite(
    name='fmow',
    num_classes=62,
    classes=_NAMES['fmow'],
    train='fmow:train/americas',
    id_val='',
    id_test='fmow:id_val/americas',
    ood={'europe': 'fmow:id_val/europe', 'africa': 'fmow:id_val/africa'},
    image_size=224,
    augment='flip',
    more_ood={
      'europe_2013': 'fmow:val/europe',
      'africa_2013': 'fmow:val/africa',
    },
    summaries={
      'union': Summary('pooled', ('europe', 'africa')),
      'worst_region': Summary('worst', ('europe', 'africa')),
      'union_2013': Summary('pooled', ('europe_2013', 'africa_2013')),
    },
    resize=0,
    interpolation='bicubic',
  ),
  Suite(
    name='imagenet',
    num_classes=1000,
    classes=(),
    train='imagenet:train',
    id_val='',
    id_test='imagenet:val',
    ood={
      'v2': 'imagenet_v2:matched-frequency',
      'r': 'imagenet_r:test',
      'a': 'imagenet_a:test',
      'sketch': 'imagenet_sketch:test',
    },
    image_size=224,
    augment='random_resized_crop',
    subsets=('r', 'a'),
    val_share=0.02,
  ),
)

SUITES: dict[str, Suite] = {suite.name: suite for suite in _ROWS}

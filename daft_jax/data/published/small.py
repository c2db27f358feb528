"""The published data sets that are read into memory: rows of `catalog`.

from daft_jax.data.published import small

small.ROWS[0].name, small.ROWS[0].side      # ('cifar10', 32)
"""

from daft_jax.data import suites
from daft_jax.data.published import dataset

_CIFAR = suites.SUITES['cifar'].classes
_STL = (
  *('airplane', 'bird', 'car', 'cat', 'deer'),
  *('dog', 'horse', 'monkey', 'ship', 'truck'),
)
_KRIZ = 'https://www.cs.toronto.edu/~kriz'
_CIFAR_10_1 = 'https://github.com/modestyachts/CIFAR-10.1'

# CIFAR-10-C has four more than its benchmark.
_CORRUPTIONS = (
  *(
    name
    for name, summary in suites.SUITES['cifar'].summaries.items()
    if name != 'corruptions' and summary.how == 'mean'
  ),
  *('gaussian_blur', 'saturate', 'spatter', 'speckle_noise'),
)
_TFDS_CORRUPTIONS = {
  'glass_blur': 'frosted_glass_blur',
  'elastic_transform': 'elastic',
}
_SEVERITIES = (1, 2, 3, 4, 5)

ROWS = (
  dataset.Dataset(
    name='cifar10',
    parts=('train', 'test'),
    classes=_CIFAR,
    downloads=tuple(
      dataset.download(file, f'{_KRIZ}/{file}', makes)
      for file, makes in (
        ('cifar-10-python.tar.gz', 'cifar-10-batches-py'),
        ('cifar-10-binary.tar.gz', 'cifar-10-batches-bin'),
      )
    ),
    licence=dataset.NOT_STATED,
    homepage=f'{_KRIZ}/cifar.html',
    reader='cifar10',
    counts={'train': 50_000, 'test': 10_000},
    balanced=('train', 'test'),
    tfds={x: dataset.Prepared('cifar10', '', x) for x in ('train', 'test')},
    side=32,
    choice=True,
  ),
  dataset.Dataset(
    name='cifar10_1',
    parts=('v6', 'v4'),
    classes=_CIFAR,
    downloads=tuple(
      dataset.download(
        file, f'{_CIFAR_10_1}/raw/master/datasets/{file}', part=part
      )
      for part in ('v6', 'v4')
      for file in (f'cifar10.1_{part}_data.npy', f'cifar10.1_{part}_labels.npy')
    ),
    licence='MIT',
    homepage=_CIFAR_10_1,
    reader='cifar10_1',
    counts={'v6': 2_000, 'v4': 2_021},
    balanced=('v6',),
    tfds={x: dataset.Prepared('cifar10_1', x, 'test') for x in ('v6', 'v4')},
    side=32,
  ),
  dataset.Dataset(
    name='cifar10_c',
    parts=tuple(f'{name}/{s}' for name in _CORRUPTIONS for s in _SEVERITIES),
    classes=_CIFAR,
    downloads=(
      dataset.download(
        'CIFAR-10-C.tar',
        'https://zenodo.org/record/2535967/files/CIFAR-10-C.tar',
        'CIFAR-10-C',
      ),
    ),
    licence='CC-BY-4.0',
    homepage='https://zenodo.org/record/2535967',
    reader='cifar10_c',
    counts={f'{x}/{s}': 10_000 for x in _CORRUPTIONS for s in _SEVERITIES},
    balanced=tuple(f'{x}/{s}' for x in _CORRUPTIONS for s in _SEVERITIES),
    tfds={
      f'{x}/{s}': dataset.Prepared(
        'cifar10_corrupted', f'{_TFDS_CORRUPTIONS.get(x, x)}_{s}', 'test'
      )
      for x in _CORRUPTIONS
      for s in _SEVERITIES
    },
    side=32,
  ),
  dataset.Dataset(
    name='stl10',
    parts=('train', 'test'),
    classes=_STL,
    downloads=(
      dataset.download(
        'stl10_binary.tar.gz',
        'http://ai.stanford.edu/~acoates/stl10/stl10_binary.tar.gz',
        'stl10_binary',
      ),
    ),
    licence=dataset.NOT_STATED,
    homepage='https://cs.stanford.edu/~acoates/stl10/',
    reader='stl10',
    counts={'train': 5_000, 'test': 8_000},
    balanced=('train', 'test'),
    tfds={x: dataset.Prepared('stl10', '', x) for x in ('train', 'test')},
    side=96,
  ),
)

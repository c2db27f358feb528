"""Which published data sets are known: one row each, data only.

  from daft_jax.data.published import catalog

  row = catalog.DATASETS['imagenet_r']
  row.parts, row.counts['test'], row.licence     # ('test',), 30000, 'MIT'
  catalog.FOLDERS['pacs'].downloads              # benchmarks of folders

Counts are those of the papers and pages of the data sets.
"""

import pathlib

from daft_jax.data import domains, suites
from daft_jax.data.published import dataset, small

_WNIDS = tuple(
  (pathlib.Path(suites.__file__).parent / 'classes' / 'imagenet.txt')
  .read_text(encoding='utf-8')
  .split()
)
_IMAGENET_V2 = 'https://huggingface.co/datasets/vaishaal/ImageNetV2'
_HENDRYCKS = 'https://people.eecs.berkeley.edu/~hendrycks'
_VISDA = 'http://csr.bu.edu/ftp/visda/2019/multi-source'
_SENTRY = 'https://raw.githubusercontent.com/virajprabhu/SENTRY/main'
_WILDS = 'https://worksheets.codalab.org/rest/bundles'
_DRIVE = 'https://drive.google.com/uc?id='
_IMAGE_NET = 'https://image-net.org'
_REGISTER = (
  f'for non-commercial research and education: register at {_IMAGE_NET}'
)

# Domain -> images that SENTRY's lists train on and test on.
_DOMAINNET = {
  'sketch': (5_537, 2_399),
  'real': (16_141, 6_943),
  'painting': (6_727, 2_909),
  'clipart': (3_707, 1_616),
}
_CLEANED = ('painting', 'clipart')  # the publisher has cleaned versions

_V2 = {
  'matched-frequency': 'matched-frequency',
  'threshold-0.7': 'threshold0.7',
  'topimages': 'top-images',
}
V2_FOLDERS = {
  part: f'imagenetv2-{name}-format-val' for part, name in _V2.items()
}

FMOW_REGIONS = ('americas', 'europe', 'africa', 'asia', 'oceania', 'all')
_FMOW = {  # arXiv 2012.07421, of all regions
  'train': 76_863,
  'id_val': 11_483,
  'id_test': 11_327,
  'val': 19_915,
  'test': 22_108,
}


def _shift(
  name: str, url: str, makes: str, homepage: str, licence: str, count: int
) -> dataset.Dataset:
  """A shifted test set of ImageNet, of folders of classes."""
  return dataset.Dataset(
    name=name,
    parts=('test',),
    classes=_WNIDS,
    downloads=(dataset.download(*url.split(' '), makes),),
    licence=licence,
    homepage=homepage,
    reader='imagenet_shift',
    counts={'test': count},
    tfds={'test': dataset.Prepared(name, '', 'test')},
  )


_ROWS = (
  dataset.Dataset(
    name='domainnet40',
    parts=tuple(
      f'{x}/{part}' for x in _DOMAINNET for part in ('train', 'test')
    ),
    classes=suites.SUITES['domainnet'].classes,
    downloads=(
      *(
        dataset.download(
          f'{domain}.zip',
          f'{_VISDA}/{"groundtruth/" * (domain in _CLEANED)}{domain}.zip',
          f'DomainNet/{domain}',
          part=domain,
        )
        for domain in _DOMAINNET
      ),
      *(
        dataset.download(
          file, f'{_SENTRY}/data/DomainNet/txt/{file}', part=domain
        )
        for domain in _DOMAINNET
        for file in (f'{domain}_train_mini.txt', f'{domain}_test_mini.txt')
      ),
    ),
    licence='images: not stated; lists: MIT',
    homepage='http://ai.bu.edu/M3SDA/',
    reader='domainnet40',
    counts={
      f'{domain}/{part}': count
      for domain, counts in _DOMAINNET.items()
      for part, count in zip(('train', 'test'), counts, strict=True)
    },
    tfds={
      f'{domain}/{part}': dataset.Prepared('domainnet', domain, part)
      for domain in _DOMAINNET
      for part in ('train', 'test')
    },
  ),
  dataset.Dataset(
    name='imagenet',
    parts=('train', 'val'),
    classes=_WNIDS,
    downloads=(
      dataset.download(
        'ILSVRC2012_img_train.tar',
        f'{_IMAGE_NET}/download-images',
        'imagenet/train',
        part='train',
        inside='classes',
      ),
      dataset.download(
        'ILSVRC2012_img_val.tar',
        f'{_IMAGE_NET}/download-images',
        'imagenet/val',
        part='val',
        inside='val',
      ),
    ),
    licence='non-commercial research and education only',
    homepage=_IMAGE_NET,
    reader='imagenet',
    counts={'train': 1_281_167, 'val': 50_000},
    balanced=('val',),
    tfds={
      'train': dataset.Prepared('imagenet2012', '', 'train'),
      'val': dataset.Prepared('imagenet2012', '', 'validation'),
    },
    remark=_REGISTER,
  ),
  dataset.Dataset(
    name='imagenet_v2',
    parts=tuple(_V2),
    classes=_WNIDS,
    downloads=tuple(
      dataset.download(
        f'imagenetv2-{name}.tar.gz',
        f'{_IMAGENET_V2}/resolve/main/imagenetv2-{name}.tar.gz',
        V2_FOLDERS[part],
        part=part,
      )
      for part, name in _V2.items()
    ),
    licence='code: MIT; images: as ImageNet',
    homepage='https://github.com/modestyachts/ImageNetV2',
    reader='imagenet_v2',
    counts=dict.fromkeys(_V2, 10_000),
    balanced=tuple(_V2),
    tfds={part: dataset.Prepared('imagenet_v2', part, 'test') for part in _V2},
  ),
  _shift(
    'imagenet_r',
    f'imagenet-r.tar {_HENDRYCKS}/imagenet-r.tar',
    'imagenet-r',
    'https://github.com/hendrycks/imagenet-r',
    'MIT',
    30_000,
  ),
  _shift(
    'imagenet_a',
    f'imagenet-a.tar {_HENDRYCKS}/imagenet-a.tar',
    'imagenet-a',
    'https://github.com/hendrycks/natural-adv-examples',
    'MIT',
    7_500,
  ),
  _shift(
    'imagenet_sketch',
    f'ImageNet-Sketch.zip {_DRIVE}1Mj0i5HBthqH1p_yeXzsg22gZduvgoNeA',
    'imagenet-sketch',
    'https://github.com/HaohanWang/ImageNet-Sketch',
    'MIT',
    50_889,
  ),
  dataset.Dataset(
    name='fmow',
    parts=tuple(f'{x}/{region}' for x in _FMOW for region in FMOW_REGIONS),
    classes=suites.SUITES['fmow'].classes,
    downloads=(
      dataset.download(
        'fmow_v1.1.tar.gz',
        f'{_WILDS}/0xaec91eb7c9d548ebb15e1b5e60f966ab/contents/blob/',
        'fmow_v1.1',
      ),
    ),
    licence='FMoW Challenge Public License',
    homepage='https://wilds.stanford.edu/datasets/#fmow',
    reader='fmow',
    counts={f'{part}/all': count for part, count in _FMOW.items()},
    remark='save it as fmow_v1.1.tar.gz, or let the package wilds download it',
  ),
)

DATASETS: dict[str, dataset.Dataset] = {
  row.name: row for row in (*small.ROWS, *_ROWS)
}


def _folders(
  name: str, file: str, key: str, homepage: str, **counts: int
) -> dataset.Dataset:
  """A benchmark of `domains.DOMAINS`, from where DomainBed gets it."""
  row = domains.DOMAINS[name]
  return dataset.Dataset(
    name=name,
    parts=tuple(row.domains),
    classes=(),
    downloads=(dataset.Download(file, _DRIVE + key, row.folders[0]),),
    licence=dataset.NOT_STATED,
    homepage=homepage,
    counts=counts,
  )


FOLDERS: dict[str, dataset.Dataset] = {
  row.name: row
  for row in (
    _folders(
      'pacs',
      'PACS.zip',
      '1JFr8f805nMUelQWWmfnJR3y4_SYoN5Pd',
      'https://dali-dl.github.io/project_iccv2017.html',
      photo=1_670,
      art_painting=2_048,
      cartoon=2_344,
      sketch=3_929,
    ),
    _folders(
      'office_home',
      'office_home.zip',
      '1uY0pj7oFsjMxRwaD3Sxy0jgel0fsYXLC',
      'https://www.hemanthdv.org/officeHomeDataset.html',
      art=2_427,
      clipart=4_365,
      product=4_439,
      real_world=4_357,
    ),
    _folders(
      'vlcs',
      'VLCS.tar.gz',
      '1skwblH1_okBwxWxmRsp9_qi15hyPpxg8',
      'https://github.com/facebookresearch/DomainBed',
      caltech101=1_415,
      labelme=2_656,
      sun09=3_282,
      voc2007=3_376,
    ),
  )
}

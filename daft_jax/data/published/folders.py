"""Finds the images of ImageNet and of its shifted test sets, in class folders.

  found = folders.imagenet(row, 'val', data_dir, only={'n01440764'})
  found.examples.items.name(0)        # '/data/val/n01440764/...JPEG'

No image is opened. Labels are indices into the 1,000 classes, also of sets that
have 200 of them. Only the folders of the wanted classes are listed.
"""

import pathlib
from collections.abc import Collection

from daft_jax import names
from daft_jax.data import domains
from daft_jax.data.published import catalog, dataset, layout

Only = Collection[str] | None

ROOTS = ('', 'imagenet', 'ILSVRC2012', 'ILSVRC/Data/CLS-LOC')
_PLACES = {
  'imagenet_r': ('imagenet-r',),
  'imagenet_a': ('imagenet-a',),
  'imagenet_sketch': (
    *('imagenet-sketch', 'imagenet-sketch/sketch', 'ImageNet-Sketch'),
    *('ImageNet-Sketch/sketch', 'sketch'),
  ),
}


def imagenet(
  row: dataset.Dataset, part: str, data_dir: pathlib.Path, only: Only = None
) -> layout.Found:
  """ILSVRC 2012: train/<wnid>/ and val/<wnid>/.

  Raises:
    Missing: neither is there.
    ValueError: the images of val are not in class folders; a folder that is no
      class.
  """
  places = [f'{root}/{part}'.lstrip('/') for root in ROOTS]
  place = layout.first_folder(data_dir, places, row.classes)
  if place is None:
    for flat in (data_dir / name for name in places):
      if flat.is_dir() and any(
        name.startswith('ILSVRC2012_') for name in layout.images_in(flat)
      ):
        raise ValueError(_flat(flat, part))
    raise layout.Missing(f'{name}/<wnid>/*.JPEG' for name in places)
  return _read(row, place, row.classes, only)


def _flat(place: pathlib.Path, part: str) -> str:
  return (
    f'{place} holds images without class folders, {part}/<wnid>/*.JPEG: put '
    'ILSVRC2012_img_val.tar into data_dir, move this folder away and type '
    '`python -m daft_jax.data prepare imagenet --data_dir=...`, which sorts '
    'them, or sort them with valprep.sh of soumith/imagenetloader.torch'
  )


def imagenet_v2(
  row: dataset.Dataset, part: str, data_dir: pathlib.Path, only: Only = None
) -> layout.Found:
  """ImageNet-V2: folders 0 ... 999, which are the labels.

  Raises:
    Missing: the folder is not there.
    ValueError: a folder that is no class.
  """
  folder = catalog.V2_FOLDERS[part]
  numbers = [str(label) for label in range(len(row.classes))]
  place = layout.first_folder(data_dir, [folder], numbers)
  if place is None:
    raise layout.Missing([f'{folder}/<0 ... 999>/'])
  return _read(row, place, numbers, only)


def imagenet_shift(
  row: dataset.Dataset, part: str, data_dir: pathlib.Path, only: Only = None
) -> layout.Found:
  """ImageNet-R, -A and -Sketch: <wnid>/.

  Raises:
    Missing: the folder is not there.
    ValueError: a folder that is no class.
  """
  places = _PLACES[row.name]
  place = layout.first_folder(data_dir, places, row.classes)
  if place is None:
    raise layout.Missing(f'{name}/<wnid>/' for name in places)
  return _read(row, place, row.classes, only)


def _read(
  row: dataset.Dataset,
  place: pathlib.Path,
  folders: Collection[str],
  only: Only,
) -> layout.Found:
  """Lists folders, which are called so in the order of the labels."""
  layout.check_folders(place, frozenset(folders), 'class of ImageNet')
  _, labels = layout.listed_classes(row, only)
  every = list(folders)
  examples = layout.class_folders(place, [every[x] for x in labels], labels)
  return layout.Found(examples, row.classes, str(place))


def domain_folder(
  row: domains.Domains, data_dir: str | pathlib.Path | None
) -> pathlib.Path:
  """The folder of a benchmark of domains.

  Args:
    row: of `domains.DOMAINS`.
    data_dir: holds it, or is it.

  Raises:
    ValueError: there is none, or it lacks a domain.
  """
  hint = (
    f'where to get it says `python -m daft_jax.data prepare {row.name} '
    '--data_dir=FOLDER`'
  )
  if data_dir is None:
    raise ValueError(
      f'suite {row.name!r} is read from disk: say where, '
      f'--config.data.dir=FOLDER; {hint}'
    )
  place, lacking = nearest_domains(row, pathlib.Path(data_dir).expanduser())
  if not lacking:
    return place
  wanted = names.listed(row.domains.values())
  if len(lacking) < len(row.domains):
    folders_ = names.listed(row.domains[name] for name in lacking)
    raise ValueError(
      f'{place} has no {folders_}; {row.name} has {wanted}: {hint}'
    )
  raise ValueError(
    f'{row.name} is not in {data_dir}: looked for {names.listed(row.folders)} '
    f'with the folders {wanted}; {hint}'
  )


def nearest_domains(
  row: domains.Domains, data_dir: pathlib.Path
) -> tuple[pathlib.Path, list[str]]:
  """The folder with most domains of a benchmark, and those it lacks."""

  def lacking(place: pathlib.Path) -> list[str]:
    inside = row.domains.items()
    return [name for name, folder in inside if not (place / folder).is_dir()]

  places = [data_dir / name for name in (*row.folders, '')]
  place = min(places, key=lambda place: len(lacking(place)))
  return place, lacking(place)

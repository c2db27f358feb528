"""Finds the 40 classes of DomainNet that SENTRY's lists name.

  found = domainnet.read(row, 'sketch/train', data_dir)
  found.examples.items.name(0)      # '/data/DomainNet/sketch/airplane/...jpg'

A list has lines `<domain>/<class>/<file> <label>`. Lists and images may lie in
different places. No image is opened; that all are there is checked.
"""

import os
import pathlib
from collections.abc import Collection, Iterable

import numpy as np

from daft_jax import names
from daft_jax.data import records
from daft_jax.data.published import dataset, layout

_ROOTS = ('', 'DomainNet', 'domainnet', 'domain_net', 'DomainNet/images')
_LISTS = ('', 'txt', 'data/DomainNet/txt')


def read(
  row: dataset.Dataset,
  part: str,
  data_dir: pathlib.Path,
  only: Collection[str] | None = None,
) -> layout.Found:
  """One domain of DomainNet-40.

  Raises:
    Missing: the list or the images are not there.
    ValueError: a line that is none, or whose image is not there.
  """
  domain, _, split = part.partition('/')
  file = f'{domain}_{split}_mini.txt'
  lists = [
    data_dir / root / below / file for root in _ROOTS for below in _LISTS
  ]
  found = next((path for path in lists if path.is_file()), None)
  places = [f'{root}/{domain}'.lstrip('/') for root in _ROOTS]
  images = layout.first_folder(data_dir, places, row.classes)
  if found is None or images is None:
    looked = [] if found else [f'DomainNet/txt/{file}']
    looked += [] if images else [f'DomainNet/{domain}/<class>/*.jpg']
    raise layout.Missing(looked)
  paths, labels = [], []
  for name, label in _lines(found, domain, row.classes):
    if only is None or row.classes[label] in only:
      paths.append(name)
      labels.append(label)
  _check_there(paths, images.parent, found)
  examples = records.Records(
    records.Files(tuple(os.path.join(images.parent, x) for x in paths)),
    np.array(labels, np.int32),
  )
  return layout.Found(examples, row.classes, str(images))


def _lines(
  file: pathlib.Path, domain: str, classes: Collection[str]
) -> Iterable[tuple[str, int]]:
  """Yields paths and labels; a path leads into a class folder, nowhere else."""
  number = {name: label for label, name in enumerate(classes)}
  for line_number, line in enumerate(layout.read_text(file).splitlines(), 1):
    if not line.strip():
      continue
    path, _, label = line.strip().rpartition(' ')
    match path.split('/'):
      case [first, name, picture] if (
        first == domain
        and number.get(name) is not None
        and label == str(number[name])
        and picture not in ('', '.', '..')
        and '\\' not in picture
        and picture.isprintable()
      ):
        yield path, number[name]
      case _:
        raise ValueError(
          f'{file}:{line_number}: {line[:200]!r} is not '
          f'{domain}/<class>/<file> <label> of the {len(number)} classes: '
          'take the list of virajprabhu/SENTRY, data/DomainNet/txt'
        )


def _check_there(
  paths: Iterable[str], root: pathlib.Path, file: pathlib.Path
) -> None:
  """Looks for the images with one listing a class."""
  inside: dict[str, frozenset[str]] = {}
  lacking = []
  for path in paths:
    folder, _, name = path.rpartition('/')
    if folder not in inside:
      there = os.path.isdir(root / folder)
      inside[folder] = frozenset(os.listdir(root / folder) if there else ())
    if name not in inside[folder]:
      lacking.append(path)
  if lacking:
    raise ValueError(
      f'{file} names {len(lacking)} images that are not in {root} '
      f'({names.listed(lacking, 3)}): {layout.AGAIN}, the cleaned version of '
      'DomainNet'
    )

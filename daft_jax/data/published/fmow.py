"""Finds the images of FMoW as WILDS splits them, by time and by region.

  found = fmow.read(row, 'id_val/europe', data_dir)
  found.examples.items.name(0)      # '/data/fmow_v1.1/images/rgb_img_76863.png'

Of the official splits, train, id_val and id_test are before 2013, val from 2013
to 2015 and test from 2016 on, in UTC. The region is that of the country; images
of none are in `all` alone. An image is called after its row in the table, where
sequestered rows count and have no image. Source: WILDS, `fmow_dataset.py`.
"""

import csv
import datetime
import functools
import os
import pathlib
from collections.abc import Collection, Iterator
from typing import NamedTuple, TextIO

import numpy as np

from daft_jax import names
from daft_jax.data import records
from daft_jax.data.published import dataset, layout

_PLACES = ('fmow_v1.1', 'fmow', 'wilds/fmow_v1.1', '')
_TABLE, _COUNTRIES = 'rgb_metadata.csv', 'country_code_mapping.csv'
_COLUMNS = ('split', 'timestamp', 'country_code', 'category')
_SPLITS = ('train', 'val', 'test', 'seq')
_LONGEST_LINE = 1 << 20  # characters; csv itself would take any number
_VAL, _TEST = 2013, 2016  # the first years that are out of distribution
_DOWNLOAD = 'download version 1.1 of WILDS again'


class _Rows(NamedTuple):
  """Rows of the table that have an image and belong to a part."""

  numbers: np.ndarray
  parts: np.ndarray
  regions: np.ndarray
  labels: np.ndarray


def read(
  row: dataset.Dataset,
  part: str,
  data_dir: pathlib.Path,
  only: Collection[str] | None = None,
) -> layout.Found:
  """One split of FMoW, of one region or of all.

  Raises:
    Missing: the tables are not there.
    ValueError: a table is damaged, or an image is not there.
  """
  split, _, region = part.partition('/')
  for name in _PLACES:
    place = data_dir / name
    if (place / _TABLE).is_file():
      break
  else:
    raise layout.Missing([f'fmow_v1.1/{_TABLE}'])
  files = place / _TABLE, place / _COUNTRIES
  if not files[1].is_file():
    raise ValueError(f'{place} has no {_COUNTRIES}: {_DOWNLOAD}')
  stamps = tuple((x.stat().st_mtime_ns, x.stat().st_size) for x in files)
  rows = _table(*files, row.classes, stamps)
  chosen = rows.parts == split
  if region != 'all':
    chosen &= rows.regions == region
  if only is not None:
    _, labels = layout.listed_classes(row, only)
    chosen &= np.isin(rows.labels, labels)
  images = place / 'images'
  files = [f'rgb_img_{number}.png' for number in rows.numbers[chosen]]
  there = frozenset(os.listdir(images) if images.is_dir() else ())
  lacking = [file for file in files if file not in there]
  if lacking:
    raise ValueError(
      f'{images} lacks {len(lacking)} images of {part} '
      f'({names.listed(lacking, 3)}): {_DOWNLOAD}'
    )
  examples = records.Records(
    records.Files(tuple(os.path.join(images, file) for file in files)),
    rows.labels[chosen],
  )
  return layout.Found(examples, row.classes, str(place))


# A suite reads several parts of the one large table.
@functools.lru_cache(maxsize=1)
def _table(
  table: pathlib.Path,
  countries: pathlib.Path,
  classes: tuple[str, ...],
  stamps: object,
) -> _Rows:
  region_of = {
    code: region.lower()
    for _, (code, region) in _lines(countries, ('alpha-3', 'region'))
  }
  number = {name: label for label, name in enumerate(classes)}
  found = []
  for row, (split, time, country, category) in _lines(table, _COLUMNS):
    if split not in _SPLITS or category not in number:
      word, known = (
        ('split', _SPLITS) if split not in _SPLITS else ('category', number)
      )
      value = split if split not in _SPLITS else category
      raise ValueError(
        f'{table}, row {row}: no {word} {value[:100]!r}.'
        f'{names.did_you_mean(value[:100], known)} {_DOWNLOAD}'
      )
    if split == 'seq':
      continue
    try:
      part = _part(split, time)
    except (ValueError, OverflowError):
      raise ValueError(
        f'{table}, row {row}: {time[:100]!r} is not a time such as '
        f'2015-08-06T16:34:20Z: {_DOWNLOAD}'
      ) from None
    if part:
      found.append((row, part, region_of.get(country, ''), number[category]))
  rows, parts, regions, labels = zip(*found, strict=True) if found else [()] * 4
  return _Rows(
    np.array(rows, np.int64),
    np.array(parts, np.str_),
    np.array(regions, np.str_),
    np.array(labels, np.int32),
  )


def _part(split: str, time: str) -> str:
  """The part of WILDS' official scheme; '': of none."""
  moment = datetime.datetime.fromisoformat(time)
  if moment.tzinfo is not None:
    moment = moment.astimezone(datetime.UTC)
  if moment.year < _VAL:
    return split if split == 'train' else f'id_{split}'
  if moment.year < _TEST:
    return split if split == 'val' else ''
  return split if split == 'test' else ''


def _lines(
  file: pathlib.Path, columns: tuple[str, ...]
) -> Iterator[tuple[int, tuple[str, ...]]]:
  """Yields row numbers, from 0, and these columns of a csv."""
  with file.open(newline='', encoding='utf-8', errors='replace') as text:
    reader = csv.reader(_short_lines(text, file))
    try:
      head = next(reader, [])
      lacking = [name for name in columns if name not in head]
      if lacking:
        raise ValueError(
          f'{file} has no column {names.listed(lacking)} '
          f'(columns: {names.listed(x[:30] for x in map(ascii, head))}): '
          f'{_DOWNLOAD}'
        )
      places = [head.index(name) for name in columns]
      for row, values in enumerate(filter(None, reader)):  # no empty lines
        if len(values) != len(head):
          raise ValueError(
            f'{file}, row {row}: {len(values)} columns, not {len(head)}: '
            f'{_DOWNLOAD}'
          )
        yield row, tuple(values[place] for place in places)
    except csv.Error as error:
      raise ValueError(
        f'{file}, line {reader.line_num}: {error}: {_DOWNLOAD}'
      ) from error


def _short_lines(text: TextIO, file: pathlib.Path) -> Iterator[str]:
  while line := text.readline(_LONGEST_LINE):
    if len(line) == _LONGEST_LINE:
      raise ValueError(f'{file} has a line without an end: {_DOWNLOAD}')
    yield line

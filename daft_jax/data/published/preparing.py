"""What of a suite is in data_dir, what is missing, and where to get it.

  done = preparing.prepare('cifar', '/data')    # prints lines; True: all found

Archives that lie in data_dir are checked and unpacked. Nothing is downloaded,
unless `tfds` asks TensorFlow Datasets to.
"""

import importlib.util
import pathlib
from collections.abc import Callable, Sequence
from typing import NamedTuple

from daft_jax import names
from daft_jax.data import domains, published, sources, suites, walk
from daft_jax.data.published import (
  catalog,
  dataset,
  folders,
  prepared,
  unpacking,
)

Say = Callable[[str], None]

_MOST_NOTES = 3  # of one line


class Need(NamedTuple):
  """Parts of a data set that are reported in one line.

  Attributes:
    parts: of the data set.
    only: the classes that are needed; None: all.
    on_request: whether trials do not read them unless asked to.
  """

  parts: tuple[str, ...]
  only: set[str] | None
  on_request: bool


def prepare(
  suite: str, data_dir: pathlib.Path, *, tfds: bool = False, say: Say = print
) -> bool:
  """Reports on every part that a suite needs, and unpacks archives.

  Args:
    suite: of `suites.SUITES` or `domains.DOMAINS`.
    data_dir: the folder that holds the data sets.
    tfds: whether TensorFlow Datasets downloads and prepares what is missing.
    say: takes a line.

  Returns:
    Whether all parts were found.

  Raises:
    ValueError: no such suite or folder; TensorFlow is needed and missing.
  """
  names.check(suite, (*suites.SUITES, *domains.DOMAINS), 'suite')
  data_dir = published.existing(data_dir)
  if tfds and not _has_tensorflow():
    raise ValueError(
      '--tfds needs TensorFlow: pip install tensorflow-cpu tensorflow-datasets '
      'array_record'
    )
  for pattern in (f'.*{unpacking.UNFINISHED}', f'*/.*{unpacking.UNFINISHED}'):
    for path in sorted(data_dir.glob(pattern)):
      say(f'{path}: of a run that was stopped or is still unpacking')
  if suite in domains.DOMAINS:
    return _folders(domains.DOMAINS[suite], data_dir, say)
  found = True
  for name, needs in needed(suites.SUITES[suite]).items():
    if name in sources.SOURCES:
      say(f'{name}: comes with a package, needs no file')
    else:
      found &= _dataset(catalog.DATASETS[name], needs, data_dir, tfds, say)
  return found


def needed(suite: suites.Suite) -> dict[str, list[Need]]:
  """Data set -> what is needed of it; what is read on request is one need.

  Example:
    >>> needed(suites.SUITES['living17'])['imagenet'][0].parts
    ('train',)
  """
  sets = {
    'train': suite.train,
    'id_val': suite.id_val,
    'id_test': suite.id_test,
  }
  wanted: dict[str, set[str] | None] = {}
  for name, source in {**sets, **suite.ood, **suite.more_ood}.items():
    classes = suite.class_maps.get(name)
    before = wanted.setdefault(source, set())
    every = classes is None or before is None
    wanted[source] = None if every else before | set(classes)
  always = {
    source for source in (*sets.values(), *suite.ood.values()) if source
  }
  found: dict[str, list[Need]] = {}
  for source in filter(None, wanted):
    name, _, part = source.partition(':')
    needs = found.setdefault(name, [])
    if source not in always and needs and needs[-1].on_request:
      need = needs.pop()
      needs.append(need._replace(parts=(*need.parts, part)))
    else:
      needs.append(Need((part,), wanted[source], source not in always))
  return found


def _has_tensorflow() -> bool:
  return all(
    map(importlib.util.find_spec, ('tensorflow', 'tensorflow_datasets'))
  )


def _dataset(
  row: dataset.Dataset,
  needs: Sequence[Need],
  data_dir: pathlib.Path,
  tfds: bool,
  say: Say,
) -> bool:
  """Reports on one data set."""
  lacking: list[str] = []
  for need in needs:
    there, lines = _look(row, need, data_dir)
    if not there and _unpack(row, need.parts, data_dir, say):
      there, lines = _look(row, need, data_dir)
    if not there and tfds:
      _prepare(row, need.parts, data_dir, say)
      there, lines = _look(row, need, data_dir)
    for line in lines:
      say(line)
    lacking += () if there else need.parts
  if lacking:
    for line in _instructions(row, lacking, data_dir):
      say(line)
  return not lacking


def _look(
  row: dataset.Dataset, need: Need, data_dir: pathlib.Path
) -> tuple[bool, list[str]]:
  """Whether parts of a data set are there, and lines that say so."""
  label, more = f'{row.name}:{need.parts[0]}', len(need.parts) - 1
  label += f' and {more} more parts' if more else ''
  count, where, notes = 0, [], []
  for part in need.parts:
    try:
      found = published.load(f'{row.name}:{part}', data_dir, only=need.only)
    except published.Missing as missing:
      return False, [f'{label}: missing, no {names.listed(missing.looked)}']
    except (ValueError, OSError, ImportError) as error:
      return False, [f'{label}: cannot be read: {error}']
    count += len(found.examples)
    where.append(found.where)
    notes += [f'  note: {note}' for note in found.notes]
  if len(notes) > _MOST_NOTES:
    more_notes = len(notes) - _MOST_NOTES
    notes = [*notes[:_MOST_NOTES], f'  and {more_notes} more notes']
  places = names.listed(dict.fromkeys(where), 2)
  return True, [f'{label}: found, {count:,} examples ({places})', *notes]


def _unpack(
  row: dataset.Dataset,
  parts: Sequence[str],
  data_dir: pathlib.Path,
  say: Say,
) -> bool:
  """Checks and unpacks what lies in data_dir for some parts; whether it did."""
  done = False
  for download in row.downloads:
    path, archive = data_dir / download.file, download.makes != download.file
    if not path.is_file() or not _is_for(download, parts):
      continue
    if archive and (data_dir / download.makes).exists():
      continue
    say(f'{path}: checking{" and unpacking" if archive else ""}')
    try:
      unpacking.check(path, download)
      if archive:
        unpacking.unpack(path, download, data_dir)
    except (ValueError, OSError) as error:
      say(f'  {error}')
    else:
      done = True
      if row.choice:
        break
  return done


def _is_for(download: dataset.Download, parts: Sequence[str]) -> bool:
  return any(part.startswith(download.part) for part in parts)


def _prepare(
  row: dataset.Dataset,
  parts: Sequence[str],
  data_dir: pathlib.Path,
  say: Say,
) -> None:
  """Lets TensorFlow Datasets download and prepare."""
  import tensorflow_datasets

  for name, config in dict.fromkeys(
    row.tfds[x][:2] for x in parts if x in row.tfds
  ):
    called = '/'.join(filter(None, (name, config)))
    say(f'{called}: TensorFlow Datasets prepares it')
    try:
      builder = tensorflow_datasets.builder(
        called, data_dir=data_dir, file_format='array_record'
      )
      builder.download_and_prepare()
    # Its builders raise what they like: no network, no package, a changed file.
    except Exception as error:
      say(f'{called}: not prepared: {type(error).__name__}: {error}')


def _instructions(
  row: dataset.Dataset, parts: Sequence[str], data_dir: pathlib.Path
) -> list[str]:
  """Where to get what is missing: files, sizes, checksums, licence."""
  lines = [f'  get {row.name}: licence: {row.licence}; {row.homepage}']
  lines += [f'    {row.remark}'] if row.remark else []
  wanted = [x for x in row.downloads if _is_for(x, parts)]
  wanted = [x for x in wanted if not (data_dir / x.makes).exists()]
  for i, download in enumerate(wanted):
    size = f'{download.bytes:,} bytes' if download.bytes else 'size not stated'
    digest = download.digest or 'checksum not stated'
    word = 'or ' if row.choice and i else ''
    lines.append(f'    {word}{download.file} ({size}, {digest})')
    lines.append(f'      {download.url}')
  lines.append(f'    put it into {data_dir} and type this again')
  tfds = next((row.tfds[x] for x in parts if x in row.tfds), None)
  if tfds is not None:
    lines.append(
      f'    or let TensorFlow Datasets prepare {tfds.name}: --tfds, or '
      f'{prepared.how_to_prepare(tfds, data_dir)}'
    )
  return lines


def _folders(row: domains.Domains, data_dir: pathlib.Path, say: Say) -> bool:
  """Reports on a benchmark of domains."""
  about = catalog.FOLDERS[row.name]
  place, lacking = folders.nearest_domains(row, data_dir)
  if lacking:
    _unpack(about, [''], data_dir, say)
    place, lacking = folders.nearest_domains(row, data_dir)
  for name, folder in row.domains.items():
    if name in lacking:
      say(f'{row.name} {name}: missing, no {place / folder}')
      continue
    classes = {x.name: walk.files(x) for x in walk.folders(place / folder)}
    count = sum(walk.is_image(x) for files in classes.values() for x in files)
    say(
      f'{row.name} {name}: found, {count:,} images of {len(classes)} classes '
      f'({place / folder})'
    )
    expected = about.counts.get(name)
    if count != expected:
      say(f'  note: {expected:,} images are published')
  if lacking:
    for line in _instructions(about, [''], data_dir):
      say(line)
  return not lacking

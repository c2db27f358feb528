"""The sets of a suite: sources read, classes joined, validation split off.

wanted = wanted(config, suite)             # {'train': 'cifar10:train', ...}
found = load(config, suite, wanted, image_size=224)
found.sets['stl10'].labels                    # in the suite's classes
"""

import dataclasses
import hashlib
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from daft_jax import names
from daft_jax.data import published, sources
from daft_jax.data.recipe import Examples
from daft_jax.data.records import Records
from daft_jax.data.suites import Suite
from daft_jax.settings import about


class Loaded(NamedTuple):
  """Sets with the suite's labels.

  Attributes:
    sets: name -> examples.
    classes: of the suite.
    notes: lines for the user.
    sha256: of labels and images; of files, of their names.
    encoded: whether some are files.
    published: whether they came from disk.
  """

  sets: dict[str, Examples]
  classes: tuple[str, ...]
  notes: tuple[str, ...] = ()
  sha256: str = ''
  encoded: bool = False
  published: bool = False


def wanted(config: Mapping[str, Any], suite: Suite) -> dict[str, str]:
  """Which sources a run reads; with eval_only, further OOD sets alone."""
  if config['eval_only']:
    return _further(config['eval_ood'], suite)
  splits = {'train': suite.train, 'id_val': suite.id_val}
  splits |= {'id_test': suite.id_test, **suite.ood}
  return {name: source for name, source in splits.items() if source}


def check(config: Mapping[str, Any], suite: Suite) -> None:
  """Finds what is wrong with the names of sets and with data.dir, early."""
  with about('eval_ood'):
    if config['eval_ood'] and not config['eval_only']:
      raise ValueError(
        'it says what a finished run is evaluated on: add --config.eval_only, '
        'or leave it out'
      )
  if _on_disk(wanted(config, suite)):
    with about('data.dir'):
      published.existing(_data_dir(config, suite))


def load(
  config: Mapping[str, Any],
  suite: Suite,
  wanted: Mapping[str, str],
  image_size: int,
) -> Loaded:
  """Reads sources.

  Raises:
    ConfigError: images are not there, or are damaged.
  """
  if not _on_disk(wanted):
    field = 'eval_ood' if config['eval_only'] else 'suite'
    with about(field):
      found = {
        name: sources.load(source, image_size=image_size)
        for name, source in wanted.items()
      }
    return Loaded(found, suite.classes)
  with about('data.dir'):
    data_dir = _data_dir(config, suite)
    return _from_disk(data_dir, suite, wanted, image_size)


def split(train: Examples, share: float, seed: int) -> dict[str, Examples]:
  """Splits a share of each class off: {'train': ..., 'id_val': ...}.

  Raises:
    ValueError: a class has a single image.
  """
  chosen = np.zeros(len(train), bool)
  for label in np.unique(train.labels):
    rows = np.flatnonzero(train.labels == label)
    count = max(1, round(share * len(rows)))
    if count == len(rows):
      raise ValueError(
        f'class {label} of train has {len(rows)} images, too few to split'
      )
    rng = np.random.default_rng([seed, label])
    chosen[rng.permutation(rows)[:count]] = True
  return {
    'train': train.take(np.flatnonzero(~chosen)),
    'id_val': train.take(np.flatnonzero(chosen)),
  }


def _further(chosen: tuple[str, ...], suite: Suite) -> dict[str, str]:
  """The sources of config.eval_ood: of the suite, or source strings."""
  known = {**suite.ood, **suite.more_ood, **_all_sources()}
  with about('eval_ood'):
    chosen = chosen or tuple(suite.more_ood)
    if not chosen:
      raise ValueError(f'suite {suite.name!r} has no further sets: name some')
    return {name: known[names.check(name, known, 'OOD set')] for name in chosen}


def _all_sources() -> dict[str, str]:
  every = (*sources.list_sources(), *published.list_sources())
  return {source: source for source in every}


def _on_disk(wanted: Mapping[str, str]) -> bool:
  every = published.list_sources()
  return any(source in every for source in wanted.values())


def _data_dir(config: Mapping[str, Any], suite: Suite) -> str:
  data_dir = config['data']['dir']
  if data_dir is None:
    raise ValueError(
      f'suite {suite.name!r} is read from disk: say where, '
      '--config.data.dir=FOLDER; what has to be in it says '
      f'`python -m daft_jax.data prepare {suite.name} --data_dir=FOLDER`'
    )
  return data_dir


def _from_disk(
  data_dir: str,
  suite: Suite,
  wanted: Mapping[str, str],
  image_size: int,
) -> Loaded:
  found, notes, classes = {}, [], suite.classes
  digest = hashlib.sha256()
  for name, source in wanted.items():
    if source in sources.list_sources():
      found[name] = sources.load(source, image_size=image_size)
      continue
    class_map = suite.class_maps.get(name)
    part = published.load(source, data_dir, only=class_map)
    classes = classes or part.classes
    found[name] = joined(part, classes, class_map, source)
    notes += part.notes
    digest.update(f'{name}\n'.encode() + _digest(found[name]))
  encoded = any(isinstance(x, Records) for x in found.values())
  return Loaded(
    found,
    classes,
    tuple(dict.fromkeys(notes)),
    digest.hexdigest(),
    encoded,
    True,
  )


def joined(
  part: published.Found,
  classes: Sequence[str],
  class_map: Mapping[str, str] | None,
  source: str,
) -> Examples:
  """The examples with labels of other classes; those of none are left out.

  Args:
    part: examples, and the names of their classes.
    classes: the names that labels are to be of.
    class_map: name there -> name here; None: the names are the same.
    source: for messages.

  Raises:
    ValueError: nothing is left, or without a map a class is unknown.
  """
  number = {name: label for label, name in enumerate(classes)}
  same = {name: name for name in part.classes}
  called = same if class_map is None else class_map
  unknown = [name for name in called.values() if name not in number]
  if unknown:
    raise ValueError(
      f'{source} has {len(unknown)} classes that the suite does not have '
      f'({names.listed(unknown)})'
    )
  to = [number[called[x]] if x in called else -1 for x in part.classes]
  labels = np.array(to, np.int32)[part.examples.labels]
  rows = np.flatnonzero(labels >= 0)
  if not len(rows):
    raise ValueError(f'{source} has no image of the classes of the suite')
  if np.array_equal(labels, part.examples.labels):
    return part.examples
  kept = part.examples.take(rows)
  return dataclasses.replace(kept, labels=labels[rows])


def _digest(examples: Examples) -> bytes:
  """Of what the images are; of files, of how they are called."""
  digest = hashlib.sha256(examples.labels.tobytes())
  if isinstance(examples, Records):
    for row in range(len(examples)):
      parts = pathlib.PurePath(examples.items.name(row)).parts[-2:]
      digest.update(os.fsencode('/'.join(parts)) + b'\n')
  else:
    digest.update(np.ascontiguousarray(examples.images).data)
  return digest.digest()

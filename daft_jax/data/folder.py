"""A folder of one's own images: classes are folders, splits too if there are.

  found = folder.scan('/my/images', {'sketches': '/my/sketches'})
  found.classes, [len(split.paths) for split in found.splits.values()]

Either `ROOT/<class>/*`, which is split by a seed class by class, or
`ROOT/train/<class>/*` with `val` and `test`; of the two, what is not there is
split from train. An OOD folder is `FOLDER/<class>/*` and may lack classes.
"""

import dataclasses
import os
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from daft_jax import names
from daft_jax.data import images

PathLike = str | os.PathLike[str]

SPLITS = {
  'train': ('train', 'training'),
  'id_val': ('val', 'valid', 'validation'),
  'id_test': ('test', 'testing'),
}


class Split(NamedTuple):
  """Files of one split and the numbers of their classes, in one order."""

  paths: tuple[pathlib.Path, ...]
  labels: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Found:
  """What a scan finds; no image was opened yet.

  Attributes:
    classes: names, sorted: the order of the labels.
    splits: 'train', 'id_val', 'id_test' and every OOD set.
    ood: names of the OOD sets.
    other: files in class folders whose names are not those of images.
    notes: what the user should know, a line each.
  """

  classes: tuple[str, ...]
  splits: dict[str, Split]
  ood: tuple[str, ...]
  other: tuple[pathlib.Path, ...]
  notes: tuple[str, ...]


def scan(
  root: PathLike,
  ood: Mapping[str, PathLike] | None = None,
  *,
  val_share: float = 0.15,
  test_share: float = 0.15,
  split_seed: int = 0,
) -> Found:
  """Looks for classes and splits; opens no image.

  Args:
    root: the folder.
    ood: name -> folder of a shifted test set.
    val_share, test_share: of each class's images, where they are split off.
    split_seed: of that split.

  Raises:
    ValueError: no folder, no class folders, the wrong level, an empty class, a
      class outside train, or too few images to split; with counts and the fix.
  """
  root = _existing(root)
  parts = {
    name: root / found
    for name, spellings in SPLITS.items()
    for found in spellings
    if (root / found).is_dir()
  }
  if parts and 'train' not in parts:
    raise ValueError(
      f'{root} has {", ".join(p.name for p in parts.values())} but no train: '
      'add it, or give the folder of the classes itself'
    )
  trees = {name: _classes(path) for name, path in parts.items()}
  trees = trees or {'train': _classes(root)}
  classes = tuple(trees['train'])
  _check_empty(parts.get('train', root), trees['train'])
  splits = {
    name: _as_split(tree, classes, parts.get(name, root))
    for name, tree in trees.items()
  }
  lacking = {'id_val': val_share, 'id_test': test_share}
  lacking = {k: v for k, v in lacking.items() if k not in splits}
  if lacking:
    splits |= _split_off(splits['train'], classes, lacking, split_seed)
  ordered = {name: splits[name] for name in SPLITS}
  other = [path for tree in trees.values() for path in _others(tree)]
  for name, path in (ood or {}).items():
    if name in SPLITS:
      raise ValueError(f'the OOD set {name!r} has the name of a split')
    tree = _classes(_ood_folder(path))
    ordered[name] = _as_split(tree, classes, path)
    other += _others(tree)
  notes = [_counts(root, classes, ordered, lacking)]
  notes += _missing(classes, ordered)
  if other:
    notes.append(f'not images by their names, left out: {names.listed(other)}')
  return Found(classes, ordered, tuple(ood or {}), tuple(other), tuple(notes))


def _existing(path: PathLike) -> pathlib.Path:
  path = pathlib.Path(path).expanduser()
  if not path.is_dir():
    what = 'is a file' if path.exists() else 'does not exist'
    beside = [p.name for p in _folders(path.parent)]
    hint = names.did_you_mean(path.name, beside, f'{path.parent}/{{}}')
    raise ValueError(f'{path} {what}: give a folder of class folders.{hint}')
  return path


def _folders(path: pathlib.Path) -> list[pathlib.Path]:
  if not path.is_dir():
    return []
  inside = sorted(path.iterdir())
  return [p for p in inside if p.is_dir() and not p.name.startswith('.')]


def _ood_folder(path: PathLike) -> pathlib.Path:
  """An OOD folder, or its `test` where it is split itself."""
  path = _existing(path)
  for name in SPLITS['id_test']:
    if (path / name).is_dir() and (path / 'train').is_dir():
      return path / name
  return path


def _classes(folder: pathlib.Path) -> dict[str, list[pathlib.Path]]:
  """{class: all its files}, or says that this is the wrong level."""
  inside = _folders(folder)
  if not inside:
    pictures = sum(_is_image(path) for path in folder.iterdir())
    what = f'{pictures} images' if pictures else 'nothing'
    raise ValueError(
      f'{folder} holds {what} but no folders: put the images of each class in '
      f'a folder with its name, {folder}/<class>/'
    )
  found = {path.name: _files(path) for path in inside}
  if not any(map(_is_image, (p for files in found.values() for p in files))):
    deeper = [path for path in inside if _folders(path)]
    hint = f' Did you mean {deeper[0]}?' if deeper else ''
    raise ValueError(
      f'{folder} has {len(inside)} folders and no image in any of them: give '
      f'the folder whose folders are the classes.{hint}'
    )
  return found


def _files(folder: pathlib.Path) -> list[pathlib.Path]:
  """All files of a class, also those further down; none that are hidden."""
  return [
    path
    for path in sorted(folder.rglob('*'))
    if path.is_file()
    and not any(x.startswith('.') for x in path.relative_to(folder).parts)
  ]


def _is_image(path: pathlib.Path) -> bool:
  return path.suffix.lower() in images.SUFFIXES and path.is_file()


def _others(tree: Mapping[str, list[pathlib.Path]]) -> list[pathlib.Path]:
  return [p for files in tree.values() for p in files if not _is_image(p)]


def _check_empty(
  folder: pathlib.Path, tree: Mapping[str, list[pathlib.Path]]
) -> None:
  """Refuses classes of train without an image, and a single class."""
  empty = [
    name for name, files in tree.items() if not any(map(_is_image, files))
  ]
  if empty:
    raise ValueError(
      f'{len(empty)} of {len(tree)} class folders in {folder} have no image '
      f'({names.listed(empty)}): add images, or remove the folders'
    )
  if len(tree) < 2:
    (name,) = tree
    hint = f' Did you mean {folder / name}?' if _folders(folder / name) else ''
    raise ValueError(
      f'{folder} has one class folder ({name}): give the folder that holds the '
      f'folders of all classes.{hint}'
    )


def _as_split(
  tree: Mapping[str, list[pathlib.Path]],
  classes: Sequence[str],
  folder: PathLike,
) -> Split:
  unknown = [name for name in tree if name not in classes]
  if unknown:
    hint = names.did_you_mean(unknown[0], classes)
    raise ValueError(
      f'{folder} has {len(unknown)} classes that train does not have '
      f'({names.listed(unknown)}).{hint} Classes of train: '
      f'{names.listed(classes)}'
    )
  pairs = [
    (path, classes.index(name))
    for name, files in tree.items()
    for path in files
    if _is_image(path)
  ]
  paths, labels = zip(*pairs, strict=True) if pairs else ((), ())
  return Split(paths, labels)


def _split_off(
  train: Split,
  classes: Sequence[str],
  shares: Mapping[str, float],
  seed: int,
) -> dict[str, Split]:
  """Parts train, class by class: the same files for the same seed."""
  rng = np.random.default_rng([seed, len(train.paths)])
  labels = np.asarray(train.labels)
  rows: dict[str, list[int]] = {name: [] for name in ('train', *shares)}
  for label, name in enumerate(classes):
    order = rng.permutation(np.flatnonzero(labels == label)).tolist()
    for split, share in shares.items():
      count = max(1, round(share * (labels == label).sum()))
      rows[split] += order[:count]
      order = order[count:]
    if not order:
      raise ValueError(
        f'class {name!r} has {(labels == label).sum()} images, too few for '
        f'train, {" and ".join(shares)}: add images, or make train, val and '
        'test folders'
      )
    rows['train'] += order
  return {
    split: Split(
      tuple(train.paths[i] for i in sorted(chosen)),
      tuple(train.labels[i] for i in sorted(chosen)),
    )
    for split, chosen in rows.items()
  }


def _counts(
  root: pathlib.Path,
  classes: Sequence[str],
  splits: Mapping[str, Split],
  lacking: Mapping[str, float],
) -> str:
  shown = ', '.join(f'{name} {len(s.paths)}' for name, s in splits.items())
  made = f' ({" and ".join(lacking)} split off by seed)' if lacking else ''
  return (
    f'{root}: {len(classes)} classes ({names.listed(classes)}); {shown}{made}'
  )


def _missing(
  classes: Sequence[str], splits: Mapping[str, Split]
) -> Iterator[str]:
  """Classes that a split does not have."""
  for name, split in splits.items():
    without = [c for i, c in enumerate(classes) if i not in set(split.labels)]
    if without:
      shown = names.listed(without)
      yield f'{name} has no image of {len(without)} classes: {shown}'

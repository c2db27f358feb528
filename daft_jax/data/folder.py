"""A folder of one's own images: classes are folders, splits too if there are.

  found = folder.scan('/my/images', {'sketches': '/my/sketches'})
  found.classes, [len(split.paths) for split in found.splits.values()]

Either `ROOT/<class>/*`, which is split by a seed class by class, or
`ROOT/train/<class>/*` with `val` and `test`; of the two, what is not there is
split from train. An OOD folder is `FOLDER/<class>/*` and may lack classes.
"""

import dataclasses
import hashlib
import os
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from daft_jax import names
from daft_jax.data import images, walk

PathLike = walk.PathLike
Tree = walk.Tree

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
    other: files that are left out: of other suffixes, or beside the classes.
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

  Which split a file goes to depends on the seed, its class and its name alone,
  and so hardly changes when files are added.

  Args:
    root: the folder.
    ood: name -> folder of a shifted test set.
    val_share, test_share: of each class's images, where they are split off.
    split_seed: of that split.

  Raises:
    ValueError: no folder, no class folders, the wrong level, an empty class, a
      class outside train, or too few images to split; with counts and the fix.
    OSError: a folder cannot be read.
  """
  root = walk.existing(root)
  parts = _parts(root)
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
  splits = {name: splits[name] for name in SPLITS}
  other = walk.others(parts.values() or [root], trees.values())
  for name, path in (ood or {}).items():
    place = _ood_folder(name, path)
    tree = _classes(place)
    splits[name] = _as_split(tree, classes, place)
    other += walk.others([place], [tree])
  notes = [_counts(root, classes, splits, lacking), *_missing(classes, splits)]
  if other:
    notes.append(
      f'left out, no images of a class: {names.listed(map(names.shown, other))}'
    )
  return Found(classes, splits, tuple(ood or {}), tuple(other), tuple(notes))


def _parts(root: pathlib.Path) -> dict[str, pathlib.Path]:
  """The folders of splits, or none where the folders are classes."""
  inside = walk.folders(root)
  parts: dict[str, pathlib.Path] = {}
  for name, spellings in SPLITS.items():
    found = [path for path in inside if path.name.lower() in spellings]
    if len(found) > 1:
      raise ValueError(
        f'{root} has {names.listed([p.name for p in found])}, all of which '
        f'mean {name}: keep one'
      )
    if found:
      parts[name] = found[0]
  taken = names.listed([path.name for path in parts.values()])
  rest = [path.name for path in inside if path not in parts.values()]
  if parts and (rest or 'train' not in parts):
    lacks = (
      f'and also {names.listed(map(names.shown, rest))}'
      if rest
      else 'but no train'
    )
    raise ValueError(
      f'{root} has {taken}, taken for splits, {lacks}. Keep train, val and '
      'test alone in it, or rename a class that is called like a split'
    )
  return parts


def _ood_folder(name: str, path: PathLike) -> pathlib.Path:
  """An OOD folder, or its `test` where it is split itself."""
  if name in (*SPLITS, 'mean'):
    raise ValueError(f'an OOD set cannot be called {name!r}: give another name')
  path = walk.existing(path)
  for inside in walk.folders(path):
    if inside.name.lower() in SPLITS['id_test']:
      return inside
  return path


def _classes(folder: pathlib.Path) -> Tree:
  """{class: all its files}, or says that this is the wrong level."""
  inside = walk.folders(folder)
  if not inside:
    pictures = sum(walk.is_image(path) for path in folder.iterdir())
    what = f'{pictures} images' if pictures else 'nothing'
    raise ValueError(
      f'{folder} holds {what} but no folders: put the images of each class in '
      f'a folder with its name, {folder}/<class>/'
    )
  odd = [path.name for path in inside if not path.name.isprintable()]
  if odd:
    raise ValueError(
      f'{folder} has folders with names that cannot be printed '
      f'({names.listed(map(ascii, odd))}): rename them'
    )
  found = {path.name: walk.files(path) for path in inside}
  direct = any(walk.is_image(p) for path in inside for p in path.iterdir())
  deeper = [{p.name for p in walk.folders(path)} for path in inside]
  alike = set.intersection(*deeper) if len(deeper) > 1 else set()
  every = [path for files in found.values() for path in files]
  if not direct and (alike or not any(map(walk.is_image, every))):
    nested = [path for path in inside if walk.folders(path)]
    hint = f' Did you mean {nested[0]}?' if nested else ''
    if every and not nested:
      hint = (
        f' They have {names.listed(sorted({x.suffix for x in every}))}, and '
        f'what is read is {", ".join(images.SUFFIXES)}'
      )
    raise ValueError(
      f'{folder} has {len(inside)} folders and no image in any of them: give '
      f'the folder whose folders are the classes.{hint}'
    )
  return found


def _check_empty(folder: pathlib.Path, tree: Tree) -> None:
  """Refuses classes of train without an image, and a single class."""
  empty = [x for x, files in tree.items() if not any(map(walk.is_image, files))]
  if empty:
    raise ValueError(
      f'{len(empty)} of {len(tree)} class folders in {folder} have no image '
      f'({names.listed(empty)}): add images ({", ".join(images.SUFFIXES)}), or '
      'remove the folders'
    )
  if len(tree) < 2:
    (name,) = tree
    hint = (
      f' Did you mean {folder / name}?' if walk.folders(folder / name) else ''
    )
    raise ValueError(
      f'{folder} has one class folder ({name}): give the folder that holds the '
      f'folders of all classes.{hint}'
    )


def _as_split(
  tree: Tree, classes: Sequence[str], folder: pathlib.Path
) -> Split:
  number = {name: label for label, name in enumerate(classes)}
  unknown = [name for name in tree if name not in number]
  if unknown:
    hint = names.did_you_mean(unknown[0], classes)
    raise ValueError(
      f'{folder} has {len(unknown)} classes that train does not have '
      f'({names.listed(unknown)}).{hint} Classes of train: '
      f'{names.listed(classes)}'
    )
  pairs = [
    (path, number[name])
    for name, files in tree.items()
    for path in files
    if walk.is_image(path)
  ]
  paths, labels = zip(*pairs, strict=True) if pairs else ((), ())
  return Split(paths, labels)


def _split_off(
  train: Split,
  classes: Sequence[str],
  shares: Mapping[str, float],
  seed: int,
) -> dict[str, Split]:
  """Parts train, class by class."""

  def rank(row: int) -> str:
    path = train.paths[row]
    key = f'{seed}/{path.parent.name}/{path.name}'
    return hashlib.sha256(os.fsencode(key)).hexdigest()

  by_class: dict[int, list[int]] = {}
  for row, label in enumerate(train.labels):
    by_class.setdefault(label, []).append(row)
  rows: dict[str, list[int]] = {name: [] for name in ('train', *shares)}
  few = []
  for label, mine in by_class.items():
    order = sorted(mine, key=rank)
    for split, share in shares.items():
      count = max(1, round(share * len(mine)))
      rows[split] += order[:count]
      order = order[count:]
    rows['train'] += order
    few += [] if order else [f'{classes[label]} ({len(mine)})']
  if few:
    raise ValueError(
      f'too few images to part into train, {" and ".join(shares)}: '
      f'{names.listed(few)}. Add images, make config.data.val_share and '
      'test_share smaller, or make train, val and test folders'
    )
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
    there = set(split.labels)
    without = [c for i, c in enumerate(classes) if i not in there]
    if without:
      shown = names.listed(without)
      yield f'{name} has no image of {len(without)} classes: {shown}'

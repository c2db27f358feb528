"""The benchmark of a task and its sets: embedded, published, or one's own.

benchmark = find(config)                   # names and counts, no image
read = read(config, benchmark, place)      # 'train', 'id_val', 'id_test', OOD
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from daft_jax import names
from daft_jax.assemble import sets
from daft_jax.data import augment, contents, folder, published, residency, walk
from daft_jax.data.domains import DOMAINS
from daft_jax.data.preprocess import Preprocess
from daft_jax.data.recipe import Examples, Recipe
from daft_jax.data.suites import SUITES, Suite
from daft_jax.settings import about

FOLDER = 'folder'  # config.suite: images of one's own
_FOLDER_SHARE = 0.15  # of each class, for validation and for testing


class Benchmark(NamedTuple):
  """A suite, and what was found where it is made of folders."""

  suite: Suite
  found: folder.Found | None = None


class Place(NamedTuple):
  """What decides how large images are and where they stay."""

  preprocess: Preprocess
  recipe: Recipe
  mesh: Any
  recorded: str | None


class Read(NamedTuple):
  """The sets of a task, and what is to be told and recorded about them."""

  sets: dict[str, Examples]
  ood: tuple[str, ...]
  classes: tuple[str, ...]
  residency: str
  notes: tuple[str, ...] = ()
  sha256: str = ''


def find(config: Mapping[str, Any]) -> Benchmark:
  """Looks the benchmark up; of folders, also what is in them.

  Raises:
    ConfigError: no such suite, or fields that do not belong to it.
  """
  name, data = config['suite'], config['data']
  if name != FOLDER and (data['root'] or data['ood']):
    with about('data'):
      raise ValueError(
        f"root and ood are for suite 'folder', and config.suite is {name!r}: "
        'change one of the two'
      )
  if data['domain'] and name not in DOMAINS:
    with about('data.domain'):
      raise ValueError(
        f'suite {name!r} has no domains to choose from; {", ".join(DOMAINS)} do'
      )
  if name == FOLDER and data['dir']:
    with about('data.dir'):
      raise ValueError(
        'it is where published sets are; of a folder of your own say '
        '--config.data.root=FOLDER'
      )
  if name == FOLDER:
    return _of_folders(config, *_own_folders(config))
  if name in DOMAINS:
    return _of_folders(config, *_domains(config))
  with about('suite'):
    suite = SUITES[names.check(name, (*SUITES, *DOMAINS, FOLDER), 'suite')]
  sets.check(config, suite)
  return Benchmark(suite)


def read(config: Mapping[str, Any], benchmark: Benchmark, place: Place) -> Read:
  """Reads the images; with eval_only no others than the further OOD sets.

  Of folders all are read: what is tested on must not be what was trained on.
  """
  if benchmark.found is not None:
    return _read_folders(config, benchmark.found, place)
  suite, paper = benchmark.suite, config['selection'] == 'paper'
  if paper and suite.id_val:
    with about('selection'):
      raise ValueError(
        f"suite {suite.name!r} has a validation set of its own: say 'val'"
      )
  wanted = sets.wanted(config, suite)
  found = sets.load(config, suite, wanted, place.preprocess.image_size)
  sets_, notes = dict(found.sets), list(found.notes)
  if 'train' in sets_ and not suite.id_val:
    if paper:
      sets_['id_val'] = sets_['id_test']
    else:
      share = config['data']['val_share'] or suite.val_share
      with about('data.val_share'):
        seed = config['data']['split_seed']
        parted = sets.split(sets_.pop('train'), share, seed)
        sets_ = {**parted, **sets_}
  choice = _choose(
    config,
    place,
    {name: len(examples) for name, examples in sets_.items()},
    found.encoded,
  )
  ood = tuple(name for name in wanted if name not in folder.SPLITS)
  if found.published:
    notes += [_counts(sets_, paper), str(choice)]
  return Read(
    sets_, ood, found.classes, choice.residency, tuple(notes), found.sha256
  )


def _own_folders(config: Mapping[str, Any]) -> tuple[str, Any, dict[str, Any]]:
  """Name, root and OOD folders of images of one's own."""
  data = config['data']
  with about('data.root'):
    if not data['root']:
      raise ValueError('suite is folder: say which, --config.data.root=FOLDER')
  ood = dict(pair.split('=', 1) for pair in data['ood'])
  with about('data.ood'):
    if len(ood) < len(data['ood']):
      raise ValueError('two sets have one name: name=FOLDER,other=FOLDER2')
    if config['eval_only'] and not ood:
      raise ValueError('eval_only evaluates OOD folders: say name=FOLDER')
    for path in ood.values():
      walk.existing(path)
  with about('data.root'):
    walk.existing(data['root'])
  return FOLDER, data['root'], ood


def _domains(config: Mapping[str, Any]) -> tuple[str, Any, dict[str, Any]]:
  """Name, root and OOD folders of a benchmark of domains."""
  row, data = DOMAINS[config['suite']], config['data']
  with about('data.domain'):
    chosen = names.check(data['domain'] or row.id, row.domains, 'domain')
  with about('data.dir'):
    place = published.domain_folder(row, data['dir'])
  inside = {name: place / folder for name, folder in row.domains.items()}
  root = inside.pop(chosen)
  return row.name, root, inside


def _of_folders(
  config: Mapping[str, Any], name: str, root: Any, ood: Mapping[str, Any]
) -> Benchmark:
  """Scans folders, and makes a suite of what is found."""
  data = config['data']
  with about('eval_ood'):
    if config['eval_ood']:
      raise ValueError('of a folder, config.data.ood says what to evaluate')
  with about('selection'):
    if config['selection'] != 'val':
      raise ValueError("folders are split into three: say 'val'")
  with about('data'):
    found = folder.scan(
      root,
      ood,
      val_share=data['val_share'] or _FOLDER_SHARE,
      test_share=data['test_share'],
      split_seed=data['split_seed'],
    )
  suite = Suite(
    name=name,
    num_classes=len(found.classes),
    classes=found.classes,
    **{split: f'{name}:{split}' for split in folder.SPLITS},
    ood={x: f'{name}:{x}' for x in found.ood},
    image_size=224,
    augment='flip_crop' if name == FOLDER else 'random_resized_crop',
  )
  return Benchmark(suite, found)


def _read_folders(
  config: Mapping[str, Any], found: folder.Found, place: Place
) -> Read:
  counts = {name: len(split.paths) for name, split in found.splits.items()}
  choice = _choose(config, place, counts, True)
  at = {name: place.preprocess for name in counts}
  at['train'] = augment.stored(place.recipe.augment, place.preprocess)
  if choice.residency == 'stream':
    at = dict.fromkeys(at)
  with about('data'):
    done = contents.read(
      found,
      at,
      bad_files=config['data']['bad_files'],
      published=config['suite'] != FOLDER,
    )
  notes = (*found.notes, *done.notes, str(choice))
  return Read(
    done.images,
    found.ood,
    found.classes,
    choice.residency,
    notes,
    done.sha256,
  )


def _choose(
  config: Mapping[str, Any],
  place: Place,
  counts: Mapping[str, int],
  encoded: bool,
) -> residency.Choice:
  """Where the images stay: as before, as asked for, or as they fit."""
  preprocess, recipe, mesh, recorded = place
  needed = residency.total(counts, preprocess, recipe.augment)
  wanted = config['data']['residency']
  with about('data'):
    if wanted == 'auto' and recorded:
      try:
        found = residency.choose(recorded, needed, encoded, recipe, mesh)
        return found._replace(why='as this run was begun')
      except ValueError:
        pass  # It was begun on another machine.
    return residency.choose(wanted, needed, encoded, recipe, mesh)


def _counts(found: Mapping[str, Examples], paper: bool) -> str:
  shown = ', '.join(f'{name} {len(x)}' for name, x in found.items())
  how = 'id_val is id_test, as in the paper' if paper else 'id_val is of train'
  return f'{shown} ({how})' if 'train' in found else shown

"""From a checked config to a `Task`: names looked up, files read.

  task = assemble.make_task(settings.check(config))

The last place where something the user typed can be wrong: every error is a
`ConfigError` that begins with the field it is about.
"""

import contextlib
import logging
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from daft_jax import models, names, pretrained, sharding
from daft_jax.data import augment, contents, folder, sources, walk
from daft_jax.data.preprocess import Preprocess
from daft_jax.data.suites import SUITES, Suite
from daft_jax.methods import METHODS
from daft_jax.settings import ConfigError
from daft_jax.task import Task

PyTree = Any

_log = logging.getLogger(__name__)

SCRATCH = 'scratch'  # config.weights: random weights, drawn from seed 0
FOLDER = 'folder'  # config.suite: images of one's own
_GREY = (0.5, 0.5, 0.5)


class Backbone(NamedTuple):
  """A model with the weights and the preprocessing that belong to it."""

  model: Any
  variables: PyTree
  preprocess: Preprocess | None = None


class _Read(NamedTuple):
  """Images, names of the OOD sets, what to tell the user, and a digest."""

  sets: dict[str, sources.ImageSet]
  ood: tuple[str, ...]
  notes: tuple[str, ...] = ()
  sha256: str = ''


def make_task(config: Mapping[str, Any], own: Backbone | None = None) -> Task:
  """Looks the names of a config up and reads what they stand for.

  Args:
    config: as `settings.check` returns it.
    own: a model of the caller's in place of config.backbone and weights.

  Raises:
    ConfigError: a name is unknown, or what it stands for does not fit, or is
      not installed.
  """
  suite, found_images = _suite(config)
  with _about('methods'):
    for method in config['methods']:
      names.check(method, METHODS, 'method')
  with _about('num_devices'):
    mesh = sharding.make_mesh(config['num_devices'])
  for name in ('batch_size', 'eval_batch_size'):
    with _about(name):
      sharding.check_batch_size(config[name], mesh, name)
  with _about('augment'):
    augment.check(config['augment'] or suite.augment)
  if own is None:
    backbone = config['backbone']
    found, weights = _load(config, suite)
  else:
    backbone, weights = type(own.model).__name__, 'own'
    found = _own(own, suite)
  read = _read_sets(config, suite, found_images, found.preprocess)
  return Task(
    suite=suite.name,
    backbone=backbone,
    weights=weights,
    num_classes=suite.num_classes,
    model=found.model,
    variables=found.variables,
    preprocess=found.preprocess,
    sets=read.sets,
    ood=read.ood,
    mesh=mesh,
    batch_size=config['batch_size'],
    eval_batch_size=config['eval_batch_size'],
    augment=config['augment'] or suite.augment,
    classes=suite.classes,
    notes=read.notes,
    data_sha256=read.sha256,
  )


def _suite(config: Mapping[str, Any]) -> tuple[Suite, folder.Found | None]:
  """The benchmark, and what was found where it is a folder of one's own."""
  if config['suite'] != FOLDER:
    with _about('data'):
      if config['data']['root'] or config['data']['ood']:
        raise ValueError(
          f"root and ood are for suite 'folder', and config.suite is "
          f'{config["suite"]!r}: change one of the two'
        )
    with _about('suite'):
      return SUITES[
        names.check(config['suite'], (*SUITES, FOLDER), 'suite')
      ], None
  data = config['data']
  with _about('data.root'):
    if not data['root']:
      raise ValueError('suite is folder: say which, --config.data.root=FOLDER')
  ood = dict(pair.split('=', 1) for pair in data['ood'])
  with _about('data.ood'):
    if len(ood) < len(data['ood']):
      raise ValueError('two sets have one name: name=FOLDER,other=FOLDER2')
    if config['eval_only'] and not ood:
      raise ValueError('eval_only evaluates OOD folders: say name=FOLDER')
    for path in ood.values():
      walk.existing(path)
  with _about('eval_ood'):
    if config['eval_ood']:
      raise ValueError('of a folder, config.data.ood says what to evaluate')
  with _about('data'):
    found = folder.scan(
      data['root'],
      ood,
      val_share=data['val_share'],
      test_share=data['test_share'],
      split_seed=data['split_seed'],
    )
  suite = Suite(
    name=FOLDER,
    num_classes=len(found.classes),
    classes=found.classes,
    **{name: f'{FOLDER}:{name}' for name in folder.SPLITS},
    ood={name: f'{FOLDER}:{name}' for name in found.ood},
    image_size=224,
    augment='flip_crop',
  )
  return suite, found


def _load(config: Mapping[str, Any], suite: Suite) -> tuple[Backbone, str]:
  """The model that a config names, and the name of its weights."""
  with _about('backbone'):
    model = models.create_model(
      config['backbone'], suite.num_classes, dtype=config['dtype']
    )
  if config['weights'] == SCRATCH:
    size = config['image_size'] or suite.image_size
    variables = models.init_variables(model, size, 0)
    preprocess = Preprocess(size, _GREY, _GREY)
    return Backbone(model, variables, preprocess), SCRATCH
  with _about('weights'):
    row = _row(config)
  path = config['weights_path']
  with _about('weights_path' if path else 'weights'):
    variables = pretrained.load_pretrained(row.tag, model, path, head='new')
  stated = path and pretrained.read_preprocess(path)
  preprocess = Preprocess(**(stated or row.preprocess))
  if path and not stated:
    _log.info('%s: images are prepared as for %s', path, row.tag)
  if config['image_size']:
    preprocess = preprocess.at_size(config['image_size'])
  name = row.tag if config['weights'] or not path else pathlib.Path(path).name
  return Backbone(model, variables, preprocess), name


def _row(config: Mapping[str, Any]) -> pretrained.Pretrained:
  """The row of the weights, which have to be the backbone's."""
  backbone = config['backbone']
  if config['weights'] is None:
    tags = pretrained.list_pretrained(backbone)
    if not tags:
      raise ValueError(
        f'there are no weights of {backbone!r}: say {SCRATCH!r} for random '
        'ones, or choose another backbone'
      )
    return pretrained.lookup(tags[0])
  row = pretrained.lookup(config['weights'])
  if row.architecture != backbone:
    raise ValueError(
      f'{row.tag} is for backbone {row.architecture!r}, and config.backbone '
      f'is {backbone!r}: change one of the two'
    )
  return row


def _own(own: Backbone, suite: Suite) -> Backbone:
  """Checks that a caller's model keeps the contract of `run`."""
  preprocess = own.preprocess or Preprocess(suite.image_size, _GREY, _GREY)
  head = (own.variables or {}).get('params', {}).get('head', {})
  shape = np.shape(head.get('bias', ()))
  if 'kernel' not in head or shape != (suite.num_classes,):
    raise ConfigError(
      f'the model of your own needs params/head/kernel and params/head/bias of '
      f'{suite.num_classes} classes ({suite.name}); its bias has shape '
      f'{shape}. Name its classifier: nn.Dense({suite.num_classes}, '
      "name='head')"
    )
  size = preprocess.image_size
  images = jax.ShapeDtypeStruct((1, size, size, 3), np.float32)
  found = jax.eval_shape(
    lambda variables, x: own.model.apply(variables, x, train=False),
    own.variables,
    images,
  )
  features = found[1] if isinstance(found, tuple) and len(found) == 2 else {}
  if not isinstance(features, Mapping) or 'pre_logits' not in features:
    raise ConfigError(
      'the model of your own has to return (logits, features), where '
      "features['pre_logits'] [B, D] is what the head takes"
    )
  return own._replace(preprocess=preprocess)


def _read_sets(
  config: Mapping[str, Any],
  suite: Suite,
  found: folder.Found | None,
  preprocess: Preprocess,
) -> _Read:
  """Reads the images; with eval_only no others than the further OOD sets.

  Of a folder all are read: what is tested on must not be what was trained on.
  """
  only_ood = config['eval_only']
  if found is not None:
    with _about('data'):
      read = contents.read(
        found, preprocess, bad_files=config['data']['bad_files']
      )
    notes = (*found.notes, *read.notes)
    return _Read(read.images, found.ood, notes, read.sha256)
  if only_ood:
    wanted = _further(config['eval_ood'], suite)
    ood = tuple(wanted)
  else:
    ood = tuple(suite.ood)
    wanted = {
      'train': suite.train,
      'id_val': suite.id_val,
      'id_test': suite.id_test,
      **suite.ood,
    }
  with _about('eval_ood' if only_ood else 'suite'):
    sets = {
      name: sources.load(source, image_size=preprocess.image_size)
      for name, source in wanted.items()
    }
  return _Read(sets, ood)


def _further(wanted: tuple[str, ...], suite: Suite) -> dict[str, str]:
  """The sources of config.eval_ood: of the suite, or source strings."""
  known = {**suite.ood, **suite.more_ood}
  known |= {source: source for source in sources.list_sources()}
  with _about('eval_ood'):
    wanted = wanted or tuple(suite.more_ood)
    if not wanted:
      raise ValueError(f'suite {suite.name!r} has no further sets: name some')
    return {name: known[names.check(name, known, 'OOD set')] for name in wanted}


@contextlib.contextmanager
def _about(field: str) -> Iterator[None]:
  """Makes what goes wrong inside an error about a field of the config."""
  try:
    yield
  except (ValueError, OSError, ModuleNotFoundError) as error:
    raise ConfigError(f'config.{field}: {error}') from error

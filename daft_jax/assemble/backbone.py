"""The model of a task, with its weights and the preprocessing they expect.

found, weights = load(config, suite)
found.model, found.variables, found.preprocess
"""

import dataclasses
import logging
import pathlib
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from daft_jax import models, names, pretrained
from daft_jax.data.preprocess import Preprocess
from daft_jax.data.suites import Suite
from daft_jax.methods import METHODS
from daft_jax.settings import ConfigError, about

PyTree = Any

_log = logging.getLogger(__name__)

SCRATCH = 'scratch'  # config.weights: random weights, drawn from seed 0
_GREY = (0.5, 0.5, 0.5)
_SUITE_SIZE = 224  # pixels for which a suite says `resize`


class Backbone(NamedTuple):
  """A model with the weights and the preprocessing that belong to it.

  Without variables the weights are random.
  """

  model: Any
  variables: PyTree
  preprocess: Preprocess | None = None


def load(config: Mapping[str, Any], suite: Suite) -> tuple[Backbone, str]:
  """The model that a config names, and the name of its weights."""
  with about('backbone'):
    model = models.create_model(
      config['backbone'],
      suite.num_classes,
      dtype=config['dtype'],
      remat=config['remat'],
    )
  path = config['weights_path']
  if config['weights'] == SCRATCH:
    with about('weights_path'):
      if path:
        raise ValueError(
          f'it is {path!r}, and config.weights is {SCRATCH!r}, which reads no '
          'file: give one of the two'
        )
    size = config['image_size'] or suite.image_size
    preprocess = _of_suite(Preprocess(size, _GREY, _GREY), suite)
    return Backbone(model, None, preprocess), SCRATCH
  with about('weights'):
    row = _row(config)
  with about('weights_path' if path else 'weights'):
    variables = pretrained.load_pretrained(row.tag, model, path, head='new')
  stated = path and pretrained.read_preprocess(path)
  preprocess = Preprocess(**(stated or row.preprocess))
  if path and not stated:
    _log.info('%s: images are prepared as for %s', path, row.tag)
  if config['image_size']:
    preprocess = preprocess.at_size(config['image_size'])
  name = row.tag if config['weights'] or not path else pathlib.Path(path).name
  return Backbone(model, variables, _of_suite(preprocess, suite)), name


def _of_suite(preprocess: Preprocess, suite: Suite) -> Preprocess:
  """Images as the suite's protocol has them, values as the weights."""
  if suite.resize is not None:
    resize = round(suite.resize * preprocess.image_size / _SUITE_SIZE)
    preprocess = dataclasses.replace(preprocess, resize=resize)
  if suite.interpolation:
    preprocess = dataclasses.replace(
      preprocess, interpolation=suite.interpolation
    )
  return preprocess


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
  names.check(
    config['weights'],
    (SCRATCH, *pretrained.list_pretrained()),
    'pretrained weights',
  )
  row = pretrained.lookup(config['weights'])
  if row.architecture != backbone:
    raise ValueError(
      f'{row.tag} is for backbone {row.architecture!r}, and config.backbone '
      f'is {backbone!r}: change one of the two'
    )
  return row


def check_own(own: Backbone, suite: Suite, chosen: Iterable[str]) -> Backbone:
  """Checks that a caller's model keeps the contract of `run`.

  Args:
    own: the model, its variables, and what it expects.
    suite: whose classes it has to tell apart.
    chosen: methods that it is for.
  """
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
  # A model without BatchNorm has no such collection.
  variables = {'batch_stats': {}, **own.variables}
  new = [x for x in chosen if any(y.bn != 'keep' for y in METHODS[x])]
  if new and not variables['batch_stats']:
    raise ConfigError(
      f'config.methods: {", ".join(new)} would give BatchNorm new statistics, '
      'and the model of your own has none (batch_stats): leave out what needs '
      "it, as in ('lp', 'ft', 'lp_ft')"
    )
  return own._replace(variables=variables, preprocess=preprocess)

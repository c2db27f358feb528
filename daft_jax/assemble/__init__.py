"""From a checked config to a `Task`: names looked up, files read.

  task = assemble.make_task(settings.check(config))

The last place where something the user typed can be wrong: every error is a
`ConfigError` that begins with the field it is about.

backbone  the model and its weights
images    the benchmark and its sets
"""

import dataclasses
import os
from collections.abc import Mapping
from typing import Any

import jax

from daft_jax import models, names, sharding, shards
from daft_jax.assemble import images
from daft_jax.assemble.backbone import SCRATCH, Backbone, check_own, load
from daft_jax.data.colour import Colour
from daft_jax.data.mixing import Mixing
from daft_jax.data.recipe import Recipe
from daft_jax.data.suites import Suite
from daft_jax.methods import METHODS
from daft_jax.settings import ConfigError, about
from daft_jax.task import Task
from daft_jax.train.parts import (
  Parts,
  check_elastic,
  check_groups,
  check_micro_batches,
)

__all__ = ('SCRATCH', 'Backbone', 'make_task')


def make_task(
  config: Mapping[str, Any],
  own: Backbone | None = None,
  *,
  recorded: str | None = None,
) -> Task:
  """Looks the names of a config up and reads what they stand for.

  Args:
    config: as `settings.check` returns it.
    own: a model of the caller's in place of config.backbone and weights.
    recorded: the residency of the run that goes on, where one does.

  Raises:
    ConfigError: a name is unknown, or what it stands for does not fit, or is
      not installed.
  """
  benchmark = images.find(config)
  suite = benchmark.suite
  with about('methods'):
    for method in config['methods']:
      names.check(method, METHODS, 'method')
  if config['elastic']:
    shards.fix_threads()
  _check_devices()
  with about('mesh'):
    mesh = sharding.make_mesh(config['mesh']['data'], config['mesh']['model'])
  for name in ('batch_size', 'eval_batch_size'):
    with about(name):
      sharding.check_batch_size(config[name], mesh, name)
  parts = _parts(config, mesh)
  recipe, mix = _varied(config, suite)
  if own is None:
    backbone = config['backbone']
    found, weights = load(config, suite)
  else:
    backbone, weights = type(own.model).__name__, 'own'
    found = check_own(own, suite, config['methods'])
  place = images.Place(found.preprocess, recipe, mesh, recorded)
  read = images.read(config, benchmark, place)
  variables = found.variables
  if variables is None:  # Compiling the draws takes longer than all before.
    variables = models.init_variables(
      found.model, found.preprocess.image_size, 0
    )
  return Task(
    suite=suite.name,
    backbone=backbone,
    weights=weights,
    num_classes=suite.num_classes,
    model=found.model,
    variables=variables,
    preprocess=found.preprocess,
    sets=read.sets,
    ood=read.ood,
    mesh=mesh,
    rules=sharding.RULES[config['mesh']['params']],
    batch_size=config['batch_size'],
    eval_batch_size=config['eval_batch_size'],
    parts=parts,
    recipe=recipe,
    mix=mix,
    classes=read.classes,
    subsets=suite.subsets,
    summaries=suite.summaries,
    residency=read.residency,
    workers=config['data']['workers'],
    timeout=config['data']['timeout'],
    notes=read.notes,
    data_sha256=read.sha256,
  )


def _parts(config: Mapping[str, Any], mesh: sharding.Mesh) -> Parts:
  """In which parts a step computes a batch."""
  parts = Parts(
    config['grad_accum_steps'], config['bn_group_size'], config['elastic']
  )
  with about('elastic'):
    for name in ('batch_size', 'eval_batch_size'):
      check_elastic(parts, config[name], mesh, name)
  with about('grad_accum_steps'):
    check_micro_batches(parts, config['batch_size'], mesh)
  with about('bn_group_size'):
    check_groups(parts, config['batch_size'])
  return parts


def _varied(config: Mapping[str, Any], suite: Suite) -> tuple[Recipe, Mixing]:
  """How training images are varied."""
  data = config['data']
  with about('augment'):
    recipe = Recipe(config['augment'] or suite.augment)
  with about('data.rand_augment'):
    Colour(ops=data['rand_augment'])
  with about('data.rand_magnitude'):
    Colour(magnitude=data['rand_magnitude'])
  colour = Colour(data['jitter'], data['rand_augment'], data['rand_magnitude'])
  with about('data.decoder'):
    recipe = dataclasses.replace(recipe, colour=colour, decoder=data['decoder'])
  return recipe, Mixing(data['mixup'], data['cutmix'])


def _check_devices() -> None:
  """Says so where JAX cannot use what JAX_PLATFORMS asks for."""
  try:
    jax.devices()
  # An assertion, where no plugin knows the platform.
  except (RuntimeError, AssertionError) as error:
    asked = os.environ.get('JAX_PLATFORMS') or jax.config.jax_platforms
    why = f' ({str(error).splitlines()[0]})' if str(error) else ''
    raise ConfigError(
      f'JAX_PLATFORMS is {asked!r}, and JAX finds no such device here{why}. '
      'Of an NVIDIA GPU: does `nvidia-smi` list it, and is JAX installed for '
      "it, pip install 'jax[cuda12]'? To compute on the CPU, put "
      'JAX_PLATFORMS=cpu before the command'
    ) from error

"""Pretrained weights into a model: all of them, or an error that says why.

from daft_jax import models, pretrained

model = models.create_model('resnet50', num_classes=40)
variables = pretrained.load_pretrained(
  'resnet50.mocov2_800ep', model, 'moco_v2_800ep_pretrain.pth.tar'
)
"""

import logging
import os
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from daft_jax import models, trees
from daft_jax.pretrained import (
  files,
  identify,
  locate,
  matching,
  registry,
  rules,
)

PyTree = Any
PathLike = str | os.PathLike[str]

_log = logging.getLogger(__name__)
_HEADS = ('auto', 'keep', 'new')


def load_pretrained(
  name: str,
  model: Any,
  path: PathLike | None = None,
  *,
  head: str = 'auto',
  strict: bool = True,
) -> PyTree:
  """Loads weights into the structure of a model.

  Reads PyTorch's files (zip, legacy and TorchScript, without PyTorch and
  without executing anything in them), safetensors, npz and Orbax. The network
  is found inside `state_dict`, `module.`, `encoder_q.` and the like; what is
  beside it (queues, projection heads, text towers) is left out and logged.

  Args:
    name: a tag of `list_pretrained()`, or an architecture of `list_models()`
      together with the path of a file in its published layout.
    model: a linen module of that architecture.
    path: of the file; default, for a tag: the one that ships with the package,
      is installed by pip, or was downloaded before.
    head: 'keep' takes the head of the file, 'new' a zero one of the model's
      class count. 'auto' keeps it where the class counts agree, refuses where
      they do not, and takes a new one, with a warning, where the file has none.
    strict: False loads the leaves that fit, takes the others from a fresh
      initialisation with seed 0, and logs which.

  Returns:
    {'params': ..., 'batch_stats': ...} with float32 NumPy leaves, which can be
    put on any devices of any number of processes.

  Raises:
    ValueError: an unknown name or `head`, a file that cannot be read, class
      counts that differ, or any missing, extra or mis-shaped tensor: all are
      listed, with the architecture that the file looks like.
    FileNotFoundError: there is no such file; says where to get it.
  """
  if head not in _HEADS:
    raise ValueError(f"head is {head!r}: say 'auto', 'keep' or 'new'")
  row = registry.PRETRAINED.get(name)
  architecture = row.architecture if row else _architecture(name, path)
  path = pathlib.Path(path or locate.locate(row)).expanduser()
  arrays = files.read(path).arrays
  wanted = identify.abstract_variables(model)
  shapes = {key: leaf.shape for key, leaf in trees.flatten(wanted).items()}
  try:
    found = matching.match(arrays, shapes, rules.layouts(architecture))
  except ValueError as error:
    raise ValueError(f'{path}: {error}') from error
  leaves = dict(found.leaves)
  found = _with_head(path, found, leaves, shapes, head)
  if not found.fits:
    if strict:
      raise ValueError(_misfit(path, architecture, found, arrays))
    _complete(path, found, leaves, model, shapes)
  if found.skipped:
    what = [f'{group} ({n})' for group, n in found.skipped.items()]
    _log.info('%s: left out %s', path, rules.listed(what))
  # Views where the file has float32: what copies them to a device transposes.
  return trees.unflatten(
    {key: leaf.astype(np.float32, copy=False) for key, leaf in leaves.items()},
    wanted,
  )


def _architecture(name: str, path: PathLike | None) -> str:
  """An architecture given in place of a tag."""
  if name not in models.list_models():
    try:
      registry.lookup(name)
    except ValueError as error:
      raise ValueError(
        f'{error}. With path=, an architecture will do: '
        f'{", ".join(models.list_models())}'
      ) from None
  if path is None:
    tags = ', '.join(registry.list_pretrained(name)) or 'none'
    raise ValueError(
      f'{name!r} is an architecture: pass the path= of a weights file, or one '
      f'of its tags ({tags})'
    )
  return name


def _with_head(
  path: pathlib.Path,
  found: matching.Match,
  leaves: dict[str, np.ndarray],
  shapes: Mapping[str, tuple[int, ...]],
  head: str,
) -> matching.Match:
  """Puts the head in `leaves`; what the match says about it is then settled."""
  mine = [key for key in shapes if key.startswith(rules.HEAD)]
  names = {matching.name_of(found.layout, key) for key in mine}
  classes = shapes.get(f'{rules.HEAD}bias', (0,))[-1]
  has = found.head > 0
  if has and head != 'new':
    if found.head != classes:
      raise ValueError(
        f'the head in {path} has {found.head} classes, the model {classes}: '
        "pass head='new' for a zero head"
      )
    return found
  if not has and head == 'keep':
    raise ValueError(
      f"{path} has no head to keep: pass head='new' for a zero head"
    )
  leaves |= {key: np.zeros(shapes[key], np.float32) for key in mine}
  if not has and head == 'auto' and mine:
    _log.warning('%s has no head: a new one of zeros is used', path)
  skipped = found.skipped | ({'head': len(mine)} if has else {})
  return found._replace(
    missing=[x for x in found.missing if x not in names],
    misshapen=[x for x in found.misshapen if x.split(' ')[0] not in names],
    skipped=skipped,
  )


def _misfit(
  path: pathlib.Path,
  architecture: str,
  found: matching.Match,
  arrays: Mapping[str, np.ndarray],
) -> str:
  nearest = identify.identify(arrays)
  fix = f'it is no {architecture}, nor any other model of this package'
  if nearest is not None and nearest.architecture != architecture:
    fix = (
      f'it looks like {nearest.architecture} ({100 * nearest.share:.0f} % of '
      f'its tensors): create_model({nearest.architecture!r}, ...)'
    )
  elif nearest is not None:
    fix = (
      f'it is nearest to {architecture} all the same: get the file again, or '
      'pass strict=False to load what fits'
    )
  lines = [
    f'{what}: {rules.listed(names)}'
    for what, names in (
      ('in the model but not in the file', found.missing),
      ('in the file but not in the model', found.extra),
      ('of other shape', found.misshapen),
    )
    if names
  ]
  where = f' under {found.prefix!r}' if found.prefix else ''
  return '\n  '.join([f'{path}{where} does not fit the model: {fix}', *lines])


def _complete(
  path: pathlib.Path,
  found: matching.Match,
  leaves: dict[str, np.ndarray],
  model: Any,
  shapes: Mapping[str, tuple[int, ...]],
) -> None:
  """Fills in what the file lacks from a fresh initialisation."""
  lacking = [
    key
    for key, shape in shapes.items()
    if key not in leaves or leaves[key].shape != shape
  ]
  fresh = trees.flatten(models.init_variables(model, 64, seed=0))
  leaves |= {key: np.asarray(fresh[key]) for key in lacking}
  _log.warning(
    '%s was loaded in part: %d of %d leaves; initialised anew: %s; not used: '
    '%s',
    path,
    len(shapes) - len(lacking),
    len(shapes),
    rules.listed(lacking) or 'none',
    rules.listed(found.extra + found.misshapen) or 'none',
  )

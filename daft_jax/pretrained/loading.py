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

from daft_jax import models, names, trees
from daft_jax.pretrained import (
  files,
  identify,
  locate,
  matching,
  misfit,
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
  new_head = found.headless and head == 'auto'
  found = _with_head(path, found, leaves, shapes, head)
  if not found.fits:
    if strict:
      raise ValueError(
        misfit.describe(path, architecture, found, arrays, shapes)
      )
    _complete(path, found, leaves, model, shapes)
  _say(path, found, new_head)
  return trees.unflatten(_as_float32(path, leaves), wanted)


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
  called = {matching.name_of(found.layout, key) for key in mine}
  classes = shapes.get(f'{rules.HEAD}bias', (0,))[-1]
  if found.headless and head == 'keep':
    raise ValueError(
      f"{path} has no head to keep: pass head='new' for a zero head"
    )
  if not found.headless and head != 'new':
    if found.head not in (0, classes):
      raise ValueError(
        f'the head in {path} has {found.head} classes, the model {classes}: '
        "pass head='new' for a zero head"
      )
    return found  # Of a head that is not whole, missing and misshapen tell.
  leaves |= {key: np.zeros(shapes[key], np.float32) for key in mine}
  skipped = found.skipped | ({} if found.headless else {'head': len(mine)})
  return found._replace(
    missing=[x for x in found.missing if x not in called],
    misshapen=[x for x in found.misshapen if x.split(' ')[0] not in called],
    skipped=skipped,
  )


def _say(path: pathlib.Path, found: matching.Match, new_head: bool) -> None:
  """Logs what was left out, and what cannot be told by the file."""
  if new_head:
    _log.warning('%s has no head: a new one of zeros is used', path)
  if found.layout.caution:
    _log.warning('%s: %s', path, found.layout.caution)
  if found.skipped:
    what = [f'{group} ({n})' for group, n in found.skipped.items()]
    _log.info('%s: left out %s', path, names.listed(what))


def _as_float32(
  path: pathlib.Path, leaves: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
  """The leaves in float32, views where they are; refuses what is no weight.

  Kernels stay transposed views: what copies them to a device transposes.
  """
  integers = [
    f'{key} ({leaf.dtype})'
    for key, leaf in leaves.items()
    if leaf.dtype.kind in 'iubc'
  ]
  if integers:
    raise ValueError(
      f'{path} has weights that are no floats: {names.listed(integers)}. A '
      'quantised network has to be saved as floats'
    )
  with np.errstate(all='ignore'):
    wide = {k: v.astype(np.float32, copy=False) for k, v in leaves.items()}
    # A sum is finite only if all are; it may overflow, so ask again then.
    bad = [
      key
      for key, leaf in wide.items()
      if not np.isfinite(leaf.sum()) and not np.isfinite(leaf).all()
    ]
  bad += [
    key
    for key, leaf in wide.items()
    if key.startswith('batch_stats/')
    and key.endswith('/var')
    and key not in bad
    if (leaf < 0).any()
  ]
  if bad:
    raise ValueError(
      f'{path} has weights that are nan, infinite in float32, or negative '
      f'variances: {names.listed(bad)}. It was saved by a run that diverged, '
      'or is damaged'
    )
  return wide


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
    names.listed(lacking) or 'none',
    names.listed(found.extra + found.misshapen) or 'none',
  )

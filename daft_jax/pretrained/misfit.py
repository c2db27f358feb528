"""Why a file does not fit a model, and what to do about it."""

import pathlib
from collections.abc import Mapping

import numpy as np

from daft_jax import names
from daft_jax.pretrained import identify, matching, rules, shapes

Arrays = Mapping[str, np.ndarray]
Shapes = Mapping[str, tuple[int, ...]]


def describe(
  path: pathlib.Path,
  architecture: str,
  found: matching.Match,
  arrays: Arrays,
  wanted: Shapes,
) -> str:
  """Both sides of a misfit, and the fix.

  Args:
    path: of the file.
    architecture: what it was to be.
    found: how it fits.
    arrays: of the file.
    wanted: shapes of the model.
  """
  lines = [
    f'{what}: {names.listed(those)}'
    for what, those in (
      ('in the model but not in the file', found.missing),
      ('in the file but not in the model', found.extra),
      ('of other shape', found.misshapen),
    )
    if those
  ]
  where = f' under {found.prefix!r}' if found.prefix else ''
  fix = _usual(found, arrays, wanted)
  fix = fix or _nearest(architecture, arrays, wanted)
  return '\n  '.join([f'{path}{where} does not fit the model: {fix}', *lines])


def _usual(found: matching.Match, arrays: Arrays, wanted: Shapes) -> str:
  """What is often wrong with a file of the right network, and the fix."""
  if found.extra:
    return ''
  names_of = {key: matching.name_of(found.layout, key) for key in wanted}
  statistics = {
    name for key, name in names_of.items() if key.startswith('batch_stats/')
  }
  if not found.misshapen and set(found.missing) == statistics:
    return (
      'it has all parameters but no BatchNorm statistics: save batch_stats '
      'beside params (PyTorch: the whole state_dict(), not parameters()), or '
      'use a file that has them'
    )
  if found.missing or not found.misshapen:
    return ''
  wrong = {text.split(' ')[0] for text in found.misshapen}
  kernels = [
    (arrays[found.prefix + name].shape, wanted[key])
    for key, name in names_of.items()
    if name in wrong
  ]
  if all(sorted(there) == sorted(here) for there, here in kernels):
    layout = (
      '[height, width, in, out]'
      if found.layout is matching.OWN
      else '[out, in, height, width]'
    )
    return (
      'its kernels are transposed: save them as the layout '
      f'{found.layout.name!r} has them, {layout}'
    )
  return ''


def _nearest(architecture: str, arrays: Arrays, wanted: Shapes) -> str:
  """What the file looks like, and what to do about it."""
  nearest = identify.identify(arrays)
  if nearest is None:
    return (
      f'it is no {architecture}, nor any other model of this package: use a '
      f'file of {architecture}'
    )
  name = nearest.architecture
  if nearest.share < 1:
    return (
      f'{100 * nearest.share:.0f} % of it is like {name}: it is another '
      'network, or damaged: use a file of the backbone, or get it again. '
      'strict=False of load_pretrained loads what fits'
    )
  published = {
    key: shape
    for key, shape in shapes.of(name).items()
    if not key.startswith(rules.HEAD)
  }
  if any(wanted.get(key) != shape for key, shape in published.items()):
    return (
      f'the file is of {name}, the model is not: create_model({name!r}), or '
      f'config.backbone={name}'
    )
  return f"look at the head of this {name}, or pass head='new'"

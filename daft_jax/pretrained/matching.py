"""Finds a network's tensors in a file, and says what does not fit.

  found = matching.match(contents.arrays, shapes, rules.layouts('resnet50'))
  found.leaves['params/conv1/kernel'].shape      # (7, 7, 3, 64)
  found.prefix                              # 'state_dict.module.encoder_q.'

A checkpoint wraps its network in containers (`state_dict`, `model`, `module`,
`backbone`, `encoder_q`, ...) and has other things beside it. The network is
where most of the wanted names are found under one prefix.
"""

import collections
import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np

from daft_jax.pretrained import rules
from daft_jax.pretrained.rules import HEAD, Layout

# Of two networks in one file, the copy that is not meant to be used: MoCo's key
# encoder, DINO's student, averages kept beside the weights.
_SECOND_CHOICE = {'encoder_k', 'momentum_encoder', 'student', 'ema'}
_SECOND_CHOICE |= {'model_ema', 'state_dict_ema', 'optimizer'}
_COUNTERS = 'num_batches_tracked'

# A MoCo encoder's `fc` is a projection, also where it is one linear map.
_PROJECTED = 'encoder_q'

# This package's own files: the names are the paths.
OWN = Layout('daft_jax', ((r'(.*)', r'\1'),))


class Ambiguous(ValueError):
  """Several networks in one file fit equally well."""


class Match(NamedTuple):
  """What of a network is in a file.

  Attributes:
    layout: the one that fits best.
    prefix: what comes before its names in the file, 'state_dict.module.'.
    leaves: {path: array} of right shape, as they are stored, kernels
      transposed.
    missing: names that are not in the file.
    extra: names under the prefix that the network does not have.
    misshapen: 'name (file [..], model [..])', both in the file's layout.
    head: classes of the head in the file; 0: it has none, or no linear one.
    headless: nothing in the file has the name of a head.
    skipped: {what: number of tensors} of what is left out on purpose.
  """

  layout: Layout
  prefix: str
  leaves: dict[str, np.ndarray]
  missing: list[str]
  extra: list[str]
  misshapen: list[str]
  head: int
  headless: bool
  skipped: dict[str, int]

  @property
  def fits(self) -> bool:
    """Whether every leaf was found and nothing is left over."""
    return not (self.missing or self.extra or self.misshapen)


def match(
  arrays: Mapping[str, np.ndarray],
  shapes: Mapping[str, tuple[int, ...]],
  layouts: Iterable[Layout],
) -> Match:
  """Looks for a network among named arrays.

  Args:
    arrays: of a file, by dotted names or by this package's paths.
    shapes: {path: shape} of all leaves of the network.
    layouts: how its tensors may be called.

  Raises:
    Ambiguous: two networks in the file fit equally well.
  """
  if any(name.startswith('params/') for name in arrays):
    layouts = (OWN,)
  tried = [_try(arrays, shapes, layout) for layout in layouts]
  return max(tried, key=lambda found: len(found.leaves))


def name_of(layout: Layout, path: str) -> str:
  """The name of a leaf in a file."""
  return path if layout is OWN else rules.key(layout, path)


def _try(
  arrays: Mapping[str, np.ndarray],
  shapes: Mapping[str, tuple[int, ...]],
  layout: Layout,
) -> Match:
  names = {path: name_of(layout, path) for path in shapes}
  prefix = _prefix(arrays, set(names.values()))
  inside = {
    name.removeprefix(prefix): array
    for name, array in arrays.items()
    if name.startswith(prefix)
  }
  skipped: collections.Counter[str] = collections.Counter()
  for name in arrays:
    if not name.startswith(prefix):
      skipped[_group(name, prefix)] += 1
  heads = {name for path, name in names.items() if path.startswith(HEAD)}
  if _PROJECTED in prefix.split('.'):
    for name in heads & inside.keys():
      skipped[name.split('.')[0]] += 1
      del inside[name]
  headless = not heads & inside.keys()
  leaves, missing, misshapen = {}, [], []
  for path, name in names.items():
    if name not in inside:
      missing.append(name)
      continue
    array = inside.pop(name)
    leaf = array if layout is OWN else rules.from_torch(path, array)
    if leaf.shape == shapes[path]:
      leaves[path] = leaf
    else:
      wanted = _shape_in_file(layout, path, shapes[path])
      misshapen.append(
        f'{name} (file {list(array.shape)}, model {list(wanted)})'
      )
      if path.startswith(HEAD):
        leaves[path] = leaf  # Its classes are the caller's business.
  head = _classes(leaves, shapes)
  extra = []
  for name in inside:
    if name.endswith(_COUNTERS):
      skipped[_COUNTERS] += 1
    elif layout.skip and re.match(layout.skip, name):
      skipped[name.split('.')[0]] += 1
    else:
      extra.append(name)
  return Match(
    layout,
    prefix,
    leaves,
    missing,
    extra,
    misshapen,
    head,
    headless,
    dict(skipped),
  )


def _shape_in_file(
  layout: Layout, path: str, shape: tuple[int, ...]
) -> tuple[int, ...]:
  if layout is OWN:
    return shape
  return rules.to_torch(path, np.broadcast_to(np.float32(), shape)).shape


def _prefix(arrays: Mapping[str, np.ndarray], names: set[str]) -> str:
  """What stands before the most of these names."""
  counts: collections.Counter[str] = collections.Counter()
  for name in arrays:
    parts = name.split('.')
    for i in range(len(parts)):
      if '.'.join(parts[i:]) in names:
        counts[''.join(f'{part}.' for part in parts[:i])] += 1

  def rank(prefix: str) -> int:
    return len(_SECOND_CHOICE & set(prefix.split('.')))

  # First the copy that is meant to be used, complete or not: what it lacks is
  # an error, and must not be made up for by an average beside it.
  whole = [prefix for prefix, n in counts.items() if n >= len(names) / 2]
  least = min(map(rank, whole or counts), default=0)
  best = [prefix for prefix in whole or counts if rank(prefix) == least]
  most = max((counts[prefix] for prefix in best), default=0)
  # A head more or less does not decide.
  best = [prefix for prefix in best if counts[prefix] >= most - 2]
  if whole and len(best) > 1:
    shown = ', '.join(repr(prefix) for prefix in best)
    raise Ambiguous(
      f'the file holds several networks of this kind, under {shown}: save the '
      'one you want in a file of its own'
    )
  return max(best, key=counts.__getitem__, default='')


def _group(name: str, prefix: str) -> str:
  """What a name outside the prefix belongs to: a part further in or aside."""
  parts, shared = name.split('.'), prefix.split('.')
  depth = 0
  while depth < len(parts) - 1 and parts[depth] == shared[depth]:
    depth += 1
  return '.'.join(parts[: depth + 1])


def _classes(
  leaves: Mapping[str, np.ndarray], shapes: Mapping[str, tuple[int, ...]]
) -> int:
  """Classes of a linear head that takes the network's features."""
  kernel, bias = (leaves.get(f'{HEAD}{x}') for x in ('kernel', 'bias'))
  if kernel is None or bias is None or kernel.ndim != 2:
    return 0
  wanted = shapes.get(f'{HEAD}kernel', kernel.shape)
  return len(bias) if kernel.shape == (wanted[0], len(bias)) else 0

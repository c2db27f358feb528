"""Holds models against PyTorch: the same weights, the same images, both modes.

A family has a file in tests/cases/ with two tables of `Case`: `NARROW`, which
have golden files (tests/golden/) so that they are tested without PyTorch too,
and `FULL`, the published architectures. Write a golden file with

  python -m tests.parity NAME...
"""

import functools
import importlib
import importlib.util
import pathlib
import pkgutil
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from daft_jax import trees
from daft_jax.pretrained import identify, rules

GOLDEN = pathlib.Path(__file__).parent / 'golden'


class Case(NamedTuple):
  """One network, here and in PyTorch.

  Attributes:
    model: the linen module.
    layout: names the tensors of `module`.
    module: makes the torch module; imports torch only when it is called.
    maps: feature -> name of the torch submodule whose output it is; one that
      ends in ':in' means the input of the submodule.
    size: of the images; the full cases are run at this and other sizes.
  """

  model: nn.Module
  layout: rules.Layout
  module: Callable[[], Any]
  maps: dict[str, str]
  size: int = 33


class Outputs(NamedTuple):
  """What a network gives: logits and features, and its state afterwards."""

  maps: dict[str, np.ndarray]  # 'logits' and the features, channels last
  state: dict[str, np.ndarray]  # by the keys of the layout


def cases(table: str) -> dict[str, Case]:
  """All cases of all families: `table` is 'NARROW' or 'FULL'."""
  from tests import cases as folder

  found = {}
  for module in pkgutil.iter_modules(folder.__path__):
    family = importlib.import_module(f'tests.cases.{module.name}')
    found |= getattr(family, table)
  return found


def images(size: int, count: int = 2) -> np.ndarray:
  """float32 [count, size, size, 3]."""
  rng = np.random.default_rng(size)
  return rng.normal(0.2, 1.1, (count, size, size, 3)).astype(np.float32)


@functools.cache
def torchvision() -> Any:
  """Imports torchvision beside a torch it was not built for.

  Its compiled operators are then missing; `nms` is all that the import asks
  for, and no classifier uses it. Skips the test where it is missing.
  """
  torch = pytest.importorskip('torch', reason='parity needs torch')
  if importlib.util.find_spec('torchvision') is None:
    pytest.skip('parity needs torchvision')

  try:
    import torchvision as found
  except RuntimeError:
    library = torch.library.Library('torchvision', 'DEF')
    for name in ('nms', 'qnms'):
      library.define(
        f'{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor'
      )
    torchvision.library = library  # lives as long as the process
    import torchvision as found
  return found


def randomise(module: Any, seed: int = 0) -> Any:
  """Weights of unit gain, random affine maps and running statistics."""
  import torch

  rng = np.random.default_rng(seed)
  with torch.no_grad():
    for name, value in module.state_dict().items():
      shape = tuple(value.shape)
      if name.endswith('running_var'):
        new = rng.uniform(0.5, 2, shape)
      elif len(shape) > 1:
        new = rng.normal(size=shape) * (2 / np.prod(shape[1:])) ** 0.5
      elif len(shape) == 1:
        new = rng.normal(0.6, 0.4, shape)
      else:
        continue  # num_batches_tracked
      value.copy_(torch.from_numpy(np.asarray(new, np.float32)))
  return module


def state_of(module: Any) -> dict[str, np.ndarray]:
  """The tensors of a module, copied, without those of no dimension."""
  state = module.state_dict().items()
  return {k: v.detach().numpy().copy() for k, v in state if v.ndim}


def run_torch(
  module: Any, x: np.ndarray, maps: dict[str, str], *, train: bool
) -> Outputs:
  """Runs a module in float64 if it trains, else in float32."""
  import torch

  module = module.double() if train else module.float()
  module.train(train)
  seen, hooks = {}, []
  for feature, place in maps.items():
    name, _, side = place.partition(':')

    def keep(_, given, returned, feature=feature, side=side):
      seen[feature] = given[0] if side else returned

    hooks.append(module.get_submodule(name).register_forward_hook(keep))
  tensor = torch.from_numpy(np.ascontiguousarray(x.transpose(0, 3, 1, 2)))
  with torch.no_grad():
    seen['logits'] = module(tensor.double() if train else tensor)
  for hook in hooks:
    hook.remove()
  return Outputs(
    {name: _as_here(name, value.numpy()) for name, value in seen.items()},
    state_of(module),
  )


def _as_here(name: str, array: np.ndarray) -> np.ndarray:
  """Maps channels last; what is pooled may have kept axes of length 1."""
  if name == 'pre_logits':
    return array.reshape(len(array), -1).copy()
  return array.transpose(0, 2, 3, 1).copy() if array.ndim == 4 else array


def to_variables(
  model: nn.Module, layout: rules.Layout, state: dict[str, np.ndarray]
) -> Any:
  """The variables of a model from a torch state: every key once, no other."""
  wanted = identify.abstract_variables(model)
  keys = {path: rules.key(layout, path) for path in trees.flatten(wanted)}
  assert set(keys.values()) == set(state)
  assert len(set(keys.values())) == len(keys)
  return trees.unflatten(
    {p: rules.from_torch(p, state[name]) for p, name in keys.items()}, wanted
  )


def run_flax(
  case: Case, state: dict[str, np.ndarray], x: np.ndarray, *, train: bool
) -> Outputs:
  """Runs a linen module: in float64 and train mode, or float32 and eval."""
  model, layout = case.model, case.layout
  variables = to_variables(model, layout, state)
  dtype = np.float64 if train else np.float32
  with _enable_x64(train):
    model = model.clone(dtype=np.dtype(dtype).name)
    cast = jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), variables)

    @jax.jit
    def apply(variables, x):
      mutable = ['batch_stats'] if train else []
      return model.apply(variables, x, train=train, mutable=mutable)

    (logits, features), updated = apply(cast, jnp.asarray(x, dtype))
    found = {'logits': logits, **features}
    found = {name: np.asarray(value) for name, value in found.items()}
    after = trees.flatten({**cast, **updated})
    after = {
      rules.key(layout, path): rules.to_torch(path, np.asarray(leaf))
      for path, leaf in after.items()
    }
  return Outputs(found, after)


def _enable_x64(on: bool) -> Any:
  if hasattr(jax, 'enable_x64'):
    return jax.enable_x64(on)
  from jax.experimental import enable_x64  # jax 0.7

  return enable_x64(on)


def difference(found: np.ndarray, expected: np.ndarray) -> float:
  """The largest difference, relative to the largest magnitude expected."""
  assert found.shape == expected.shape, (found.shape, expected.shape)
  return float(np.abs(found - expected).max() / np.abs(expected).max())


def check_maps(found: Outputs, expected: Outputs, tolerance: float) -> None:
  """Asserts that logits and all features agree."""
  assert set(found.maps) == set(expected.maps)
  for name, value in expected.maps.items():
    assert difference(found.maps[name], value) <= tolerance, name


def check_statistics(
  before: dict[str, np.ndarray],
  found: Outputs,
  expected: Outputs,
) -> None:
  """Asserts that running statistics moved as documented.

  The mean as in PyTorch. The variance takes the biased variance of the batch
  here and the unbiased one there, so what it took is smaller by (n - 1) / n,
  with n values a channel: some n from 2 on explains every layer.
  """
  for key, new in expected.state.items():
    if key.endswith('running_mean'):
      assert difference(found.state[key], new) <= 1e-9, key
    elif key.endswith('running_var'):
      kept = 0.9 * before[key].astype(np.float64)
      # A channel that ReLU6 holds at one value took nothing, here and there.
      varies = np.abs(new - kept) > 1e-9 * kept
      assert np.allclose(found.state[key][~varies], kept[~varies], 1e-8), key
      share = (found.state[key] - kept) / np.where(varies, new - kept, 1)
      share = share[varies]
      n = 1 / (1 - share.mean())
      assert np.ptp(share) <= 1e-6 and n >= 2, key
      assert abs(n - round(n)) <= 1e-3 * n, key


def golden_path(name: str) -> pathlib.Path:
  return GOLDEN / f'{name}.npz'


def make_golden(case: Case) -> dict[str, np.ndarray]:
  """What a golden file holds: weights, outputs in both modes, state after."""
  module = randomise(case.module())
  weights = state_of(module)
  x = images(case.size)
  evaluated = run_torch(module, x, case.maps, train=False)
  trained = run_torch(module, x, case.maps, train=True)
  after = {k: v for k, v in trained.state.items() if 'running_' in k}
  groups = {'weights': weights, 'eval': evaluated.maps, 'train': trained.maps}
  return {
    f'{group}/{name}': value
    for group, values in {**groups, 'after': after}.items()
    for name, value in values.items()
  }


def read_golden(name: str) -> dict[str, dict[str, np.ndarray]]:
  """Returns {'weights', 'eval', 'train', 'after'} of a golden file."""
  groups: dict[str, dict[str, np.ndarray]] = {}
  with np.load(golden_path(name)) as file:
    for key in file.files:
      group, _, name = key.partition('/')
      groups.setdefault(group, {})[name] = file[key]
  return groups


def main(names: list[str]) -> None:
  for name, case in cases('NARROW').items():
    if name in names or not names:
      np.savez_compressed(golden_path(name), **make_golden(case))
      print(f'{golden_path(name)}: {golden_path(name).stat().st_size:,} bytes')


if __name__ == '__main__':
  main(sys.argv[1:])

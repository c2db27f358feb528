"""DAFT: fine-tuning that keeps pretrained features, in JAX and Flax.

  import daft_jax

  moments = daft_jax.bn_moments(model, variables, batches)
  variables = daft_jax.convert_bn(variables, moments)

The names below are imported on first use, so that `import daft_jax`, and what
only reads files (`python -m daft_jax.report`), never waits for JAX.

Method: Domain-Aware Fine-Tuning, AAAI 2024, arXiv 2308.07728.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
  from daft_jax.bn import BNMoments, bn_moments, convert_bn, replace_bn
  from daft_jax.experiment import load_run, run
  from daft_jax.methods import METHODS
  from daft_jax.models import create_model, list_models
  from daft_jax.pretrained import (
    export_torch,
    list_pretrained,
    load_pretrained,
  )

__version__ = '0.1.0'

__all__ = [
  'METHODS',
  'BNMoments',
  'bn_moments',
  'convert_bn',
  'create_model',
  'export_torch',
  'list_models',
  'list_pretrained',
  'load_pretrained',
  'load_run',
  'replace_bn',
  'run',
]

_OWNERS = {
  'METHODS': 'methods',
  'BNMoments': 'bn',
  'bn_moments': 'bn',
  'convert_bn': 'bn',
  'create_model': 'models',
  'export_torch': 'pretrained',
  'list_models': 'models',
  'list_pretrained': 'pretrained',
  'load_pretrained': 'pretrained',
  'load_run': 'experiment',
  'replace_bn': 'bn',
  'run': 'experiment',
}


def __getattr__(name: str) -> Any:
  if name not in _OWNERS:
    # Not `from daft_jax import`, which would ask this function.
    names = importlib.import_module(f'{__name__}.names')
    hint = names.did_you_mean(name, __all__)
    raise AttributeError(
      f'module {__name__!r} has no attribute {name!r}' + (hint and f'.{hint}')
    )
  owner = importlib.import_module(f'{__name__}.{_OWNERS[name]}')
  globals()[name] = value = getattr(owner, name)
  return value


def __dir__() -> list[str]:
  return sorted({*globals(), *__all__})

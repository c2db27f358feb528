"""Writes a run's chosen model as a weights file (safetensors).

  python -m daft_jax.export WORKDIR OUT.safetensors [--method=ft] [--torch]

The file holds the variables, and as metadata what made them: the config, the
seed, the accuracies and the preprocessing. With --torch it is a state dict
that PyTorch's network of this architecture loads, see
`pretrained.export_torch`. Either is read again with
`daft_jax.load_pretrained(architecture, model, path='OUT.safetensors')`.
"""

import argparse
import dataclasses
import pathlib
import sys
from collections.abc import Sequence
from typing import Any

from daft_jax import experiment, pretrained, results


def export(
  workdir: results.PathLike,
  path: results.PathLike,
  *,
  method: str | None = None,
  dtype: str = 'float32',
  torch: bool = False,
  model: Any = None,
) -> dict[str, str]:
  """Writes the chosen trial's variables; returns the file's metadata.

  Args:
    workdir: of a run.
    path: of the file.
    method: default: the one with the highest ID validation accuracy.
    dtype: of kernels, 'float32' or 'float16'.
    torch: writes a PyTorch state dict, in float32.
    model: the linen module, where the run was given one.

  Raises:
    ValueError: no such trial; see `experiment.load_run`.
  """
  chosen = experiment.choose_line(workdir, method)
  _, variables, preprocess = experiment.load_run(
    workdir, chosen['method'], model=model
  )
  kept = ('suite', 'backbone', 'method', 'seed', 'lr', 'head_lr', 'epoch')
  kept += ('id_val', 'id_test', 'ood', 'config', 'versions')
  metadata = {name: results.dumps(chosen[name]) for name in kept}
  metadata['preprocess'] = results.dumps(dataclasses.asdict(preprocess))
  if torch:
    pretrained.export_torch(variables, chosen['backbone'], path, metadata)
  else:
    pretrained.save_weights(variables, path, metadata, dtype)
  return metadata


def main(argv: Sequence[str] | None = None) -> int:
  """Runs the command line; returns the exit status, 2 after an error."""
  parser = argparse.ArgumentParser(
    prog='python -m daft_jax.export',
    description="Writes a run's chosen model as a weights file.",
  )
  parser.add_argument('workdir', metavar='WORKDIR')
  parser.add_argument('path', metavar='OUT.safetensors')
  parser.add_argument('--method', help='default: the best by ID validation')
  parser.add_argument(
    '--dtype', choices=('float32', 'float16'), default='float32'
  )
  parser.add_argument(
    '--torch', action='store_true', help='a state dict for PyTorch'
  )
  given = parser.parse_args(argv)
  try:
    metadata = export(
      given.workdir,
      given.path,
      method=given.method,
      dtype=given.dtype,
      torch=given.torch,
    )
  except (ValueError, OSError) as error:
    print(f'daft_jax.export: {error}', file=sys.stderr)
    return 2
  size = pathlib.Path(given.path).stat().st_size
  print(f'{given.path}: {size:,} bytes, ID test {metadata["id_test"]}')
  return 0


if __name__ == '__main__':
  sys.exit(main())

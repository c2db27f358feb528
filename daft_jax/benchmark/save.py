"""What hashes and a manifest add to a save.

python -m daft_jax.benchmark save
"""

import argparse
import pathlib
import statistics
import tempfile

import numpy as np
import orbax.checkpoint as ocp

from daft_jax import benchmark
from daft_jax.checkpoint import checked, folders, manifest

_BYTES = 200e6
# Kernels, projections and vectors of a ResNet-50 with momentum.
_SIZES = [2_300_000] * 16 + [100_000] * 120 + [256] * 160


def bench_save(args: argparse.Namespace) -> None:
  """Prints the time of a checked save over one of Orbax's; bound: 1.05.

  Both write 200 MB into a temporary folder, flush it to the disk and give it
  its name; Orbax as it comes, which compresses. The hashes are timed alone
  too: what they would add if nothing of them were done while the disk is
  waited for. That varies less than the difference of two saves.
  """
  items = {'model': _arrays()}
  with tempfile.TemporaryDirectory() as root:
    path = pathlib.Path(root) / '1'

    def plain() -> None:
      temporary = folders.begin(path)
      with ocp.Checkpointer(ocp.StandardCheckpointHandler()) as checkpointer:
        checkpointer.save(
          temporary / 'model', args=ocp.args.StandardSave(items['model'])
        )
      folders.finish(temporary, path)
      folders.remove(path)

    def whole() -> None:
      checked.write(path, items, of='stage/1', about={})
      folders.remove(path)

    kept = pathlib.Path(root) / 'kept'
    checked.write(kept, items, of='kept', about={})

    def hashes() -> None:
      manifest.hash_leaves(items)
      manifest.hash_new_files(kept)

    times = benchmark.compare(args.rounds, plain, whole, hashes)
  orbax, ours, alone = times
  print(f'a save of {_BYTES / 1e6:.0f} MB, {args.rounds} rounds')
  print(f'  Orbax, flushed            {benchmark.spread(orbax, " s")}')
  print(f'  with hashes and manifest  {benchmark.spread(ours, " s")}')
  print(f'  hashes alone              {benchmark.spread(alone, " s")}')
  ratios = [b / a for a, b in zip(orbax, ours, strict=True)]
  print(f'  ratio                     {benchmark.spread(ratios)}')
  middle, checked_middle, added = map(statistics.median, times)
  print(f'  ratio of medians          {checked_middle / middle:.3f}')
  print(f'  hashes alone, of Orbax    {100 * added / middle:.1f} %')


def _arrays() -> dict[str, np.ndarray]:
  rng = np.random.default_rng(0)
  scale = _BYTES / (4 * sum(_SIZES))
  return {
    f'layer{i}': rng.standard_normal(max(1, int(n * scale)), np.float32)
    for i, n in enumerate(_SIZES)
  }

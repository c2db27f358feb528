"""What reading a weights file costs.

python -m daft_jax.benchmark load --file=resnet50-0676ba61.pth
"""

import argparse
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import safetensors.numpy

from daft_jax import benchmark
from daft_jax.pretrained import files, identify

# Loads once, in a process of its own as a user would: memory that was freed
# and is still mapped makes a second load three times as fast.
_LOAD = """
import sys, time, tracemalloc
import safetensors.numpy
from daft_jax import models, pretrained
from daft_jax.pretrained import identify
what, name, classes, path = sys.argv[1:]
model = models.create_model(name, int(classes))
identify.abstract_variables(model)  # as training would have
read, read_model = safetensors.numpy.load_file, pretrained.load_pretrained
if what == 'peak':
  tracemalloc.start()
start = time.perf_counter()
kept = read(path) if what == 'plain' else read_model(name, model, path)
seconds = time.perf_counter() - start
print(tracemalloc.get_traced_memory()[1] if what == 'peak' else seconds)
"""


def bench_load(args: argparse.Namespace) -> None:
  """Prints time and memory of loading a file; bounds: 2 and 2.5.

  Time is compared with the safetensors library reading the same tensors, memory
  with the size of the file.
  """
  path = pathlib.Path(args.file)
  arrays = {
    name: np.ascontiguousarray(array)
    for name, array in files.read(path).arrays.items()
  }
  found = identify.identify(arrays)
  if found is None:
    raise SystemExit(f'{path} is of no architecture of this package')
  words = [found.architecture, str(found.match.head or 1)]

  def once(what: str, file: pathlib.Path) -> float:
    command = [sys.executable, '-c', _LOAD, what, *words, str(file)]
    return float(
      subprocess.run(command, capture_output=True, check=True).stdout
    )

  with tempfile.TemporaryDirectory() as folder:
    same = pathlib.Path(folder) / 'same.safetensors'
    safetensors.numpy.save_file(arrays, same)
    pairs = [
      (once('plain', same), once('load', path)) for _ in range(args.rounds)
    ]
  size, (plain, loaded) = path.stat().st_size, zip(*pairs, strict=True)
  print(f'{path.name}: {found.architecture}, {size:,} bytes')
  print(
    f'  safetensors, the same tensors   {benchmark.spread(list(plain), " s")}'
  )
  print(
    f'  load_pretrained                 {benchmark.spread(list(loaded), " s")}'
  )
  ratios = [b / a for a, b in pairs]
  print(f'  ratio                           {benchmark.spread(ratios)}')
  print(f'  peak memory / size of the file  {once("peak", path) / size:.2f}')

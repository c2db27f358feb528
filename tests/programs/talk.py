"""What processes tell each other, each as JSON on stdout.

python talk.py
"""

import hashlib
import json

import jax
import ml_dtypes
import numpy as np

from daft_jax import processes, sharding
from tests.fixtures import processes as fixture

process = fixture.joined()
count = jax.process_count()
report = {}


def nobody():
  raise AssertionError('another process than the first was asked')


def first(call):
  return processes.from_first(call if process == 0 else nobody)


rng = np.random.default_rng(0)
arrays = {
  'zero': np.array([-0.0, np.nan, np.inf], np.float32),
  'half': rng.normal(size=(3, 5)).astype(ml_dtypes.bfloat16),
  'step': np.array(7, np.int32),
  'none': np.zeros((0, 4), np.float64),
  'large': rng.integers(0, 256, (1 << 20) + 17, np.uint8),
}
told = first(lambda: [{'a': arrays, 'empty': {}}, None, 0.1, np.float32(0.1)])
report['arrays'] = {
  name: [
    str(x.dtype),
    list(x.shape),
    hashlib.sha256(np.asarray(x).tobytes()).hexdigest(),
  ]
  for name, x in told[0]['a'].items()
}
report['rest'] = [told[0]['empty'], *map(repr, told[1:3]), float(told[3])]
rows = [[row, 'x' * 5000 * row] for row in processes.mine(2 * count + 1)]
report['gathered'] = [
  [row, len(text)] for row, text in processes.gathered(rows)
]


def failed(where):
  """What a process says of an error at one of them, or at all."""
  try:
    with processes.together():
      if where in (process, 'all'):
        raise ValueError(f'there is no image at {process}')
      processes.gathered([1])
  except Exception as error:
    return [type(error).__name__, str(error), processes.was_told(error)]


report['one'] = failed(count - 1)
report['all'] = failed('all')
try:
  first(lambda: 1 // 0)
except Exception as error:
  report['first'] = type(error).__name__, processes.was_told(error)
meshes = {}
for sizes in ((1, 1), (count, 1), (0, 2)):
  try:
    meshes[str(sizes)] = dict(sharding.make_mesh(*sizes).shape)
  except ValueError as error:
    meshes[str(sizes)] = str(error)
report['meshes'] = meshes
mesh = sharding.make_mesh()
rows = np.arange(2 * count, dtype=np.float32).reshape(-1, 1)
own = rows[2 * process : 2 * process + 2]
batch = sharding.shard_batch({'x': own}, mesh)['x']
report['row'] = np.asarray(sharding.whole(batch)).ravel().tolist()
layout = sharding.Layout(mesh, (('kernel', ('data',)),))
kernel = layout.place({'kernel': np.ones((64, 192), np.float32)})['kernel']
report['parts'] = [x.data.nbytes for x in kernel.addressable_shards]
with processes.together():
  report['after'] = first(lambda: 'still together')
print(json.dumps(report))

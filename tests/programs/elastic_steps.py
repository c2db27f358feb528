"""Trains some steps on all devices; prints what came out, bit by bit, as JSON.

python elastic_steps.py
"""

import hashlib
import json

from daft_jax import shards
from tests.fixtures import processes

shards.fix_threads()
processes.joined()

import jax  # noqa: E402
import numpy as np  # noqa: E402

from daft_jax import models, optim, sharding, train, trees  # noqa: E402
from daft_jax.data import mixing  # noqa: E402

STEPS, ROWS, SIZE, CLASSES = 4, 32, 8, 5


def batch(number):
  """This process's rows: five of all are padding; images are mixed."""
  rng, real = np.random.default_rng(number), ROWS - 5
  image = rng.normal(size=(ROWS, SIZE, SIZE, 3)).astype(np.float32)
  image[real:] = 0
  how = mixing.Mixing(mixup=0.5 * (number % 2), cutmix=1.0)
  found = {
    'image': image,
    'label': rng.integers(CLASSES, size=ROWS).astype(np.int32),
    'mask': np.arange(ROWS) < real,
    **mixing.draw(
      how, real, SIZE, batch_size=ROWS, seed=0, epoch=0, step=number
    ),
  }
  mine = ROWS // jax.process_count()
  first = mine * jax.process_index()
  return {key: value[first : first + mine] for key, value in found.items()}


def digest(tree):
  found = hashlib.sha256()
  for path, leaf in trees.flatten(jax.device_get(tree)).items():
    found.update(path.encode() + np.asarray(leaf).tobytes())
  return found.hexdigest()


mesh = sharding.make_mesh()
net = models.resnet.ResNet(CLASSES, (1,), stem='cifar', shortcut='pad', width=8)
optimizer = optim.Optimizer(
  epochs=1, steps_per_epoch=STEPS, weight_decay=0.01, clip_norm=1.0
)
start = models.init_variables(net, SIZE, 0)
(at,) = train.fit(
  net,
  train.init_state(start, '', optimizer, mesh),
  lambda epoch, first: map(batch, range(STEPS)),
  trainable='',
  norm='batch',
  optimizer=optimizer,
  lr=0.05,
  head_lr=0.1,
  mesh=mesh,
  parts=train.Parts(elastic=True),
)
# Its bits depend on the threads that XLA has.
tall = np.random.default_rng(0).normal(size=(4096, 24)).astype(np.float32)
found = at.state._asdict() | {'sums': at.sums}
found['product'] = jax.jit(lambda x: x.T @ x)(tall)
print(json.dumps({name: digest(tree) for name, tree in found.items()}))

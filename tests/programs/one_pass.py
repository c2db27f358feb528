"""All that passes over images give, of one or several processes.

python one_pass.py OUT

Each process writes what it has found to OUT, in the end the same in all: the
sums, statistics, distances and the probe. Its own features it keeps.
"""

import dataclasses
import pathlib
import sys
import tempfile

from daft_jax import shards
from tests.fixtures import processes as fixture

shards.fix_threads()
process = fixture.joined()

import jax  # noqa: E402
import numpy as np  # noqa: E402

from daft_jax import (  # noqa: E402
  cached,
  evaluate,
  measure,
  models,
  probe,
  processes,
  sharding,
  stages,
  task,
  train,
  trees,
)
from daft_jax.data import digits, sources  # noqa: E402
from daft_jax.data.preprocess import Preprocess  # noqa: E402
from daft_jax.data.recipe import Recipe  # noqa: E402
from daft_jax.methods import METHODS  # noqa: E402
from daft_jax.probe import rows  # noqa: E402

(out,) = map(pathlib.Path, sys.argv[1:])
SIZE, BATCH = 12, 64
count, last = jax.process_count(), jax.process_count() - 1
net = models.resnet.ResNet(10, (1,), stem='cifar', shortcut='pad', width=8)


def images(split, number):
  found, labels = digits.scans(split, image_size=SIZE)
  return sources.ImageSet(found[:number], labels[:number])


given = task.Task(
  suite='scans',
  backbone='tiny',
  weights='none',
  num_classes=10,
  model=net,
  variables=models.init_variables(net, SIZE, 0),
  preprocess=Preprocess(SIZE, (0.5,) * 3, (0.5,) * 3),
  # Of the last batch of each some processes have a part, or nothing.
  sets={
    'train': images('train', 211),
    'id_val': images('val', 130),
    'id_test': images('test', 70),
    'few': images('test', 5),
  },
  ood=('few',),
  mesh=sharding.make_mesh(),
  batch_size=32,
  eval_batch_size=BATCH,
  recipe=Recipe('shift'),
)
stage = METHODS['lp'][0]
stage = dataclasses.replace(stage, bn='convert')
start = stages.prepare(
  given, stage, given.variables, seed=1, estimator='batch_mean'
)
nothing = dict.fromkeys(field.name for field in dataclasses.fields(stages.Job))
job = stages.Job(
  **nothing
  | {'task': given, 'stage': stage, 'start': start, 'seed': 1}
  | {'scratch': out / 'scratch'}
)
found = stages.solve_logreg(job)
# On disk they are the same, read in blocks, and found again.
cached.LARGE, rows._BLOCK_BYTES = 0, 4 * 8 * 40
temporary = pathlib.Path(tempfile.gettempdir())
again = stages.solve_logreg(job)
assert again.notes == found.notes
kernel, other = (
  np.asarray(x.variables['params']['head']['kernel']) for x in (again, found)
)
most = 1e-5 * np.abs(other).max()
np.testing.assert_allclose(kernel, other, rtol=0, atol=most)
seen = cached.features(given, start, seed=1, folder=job.scratch)
val = given.evaluate(start, 'id_val')
fitted = {
  name: probe.fit_probe(
    *(seen.features, seen.labels, val.features, val.labels[val.rows]),
    num_classes=10,
    Cs=Cs,
    mesh=given.mesh,
  )
  for name, Cs in {'some': probe.CS[:34:3], 'largest': probe.CS[-2:]}.items()
}
held = sorted(path.name for path in temporary.glob('daft_jax-*/*'))
if count > 1:
  own = BATCH // count
  numbers = [len(part) for part in processes.gathered([seen.labels])]
  assert sum(numbers) == 211 and max(numbers) == 3 * own + min(own, 19)
  names = [f'-{index}-of-{count}' for index in range(count)]
  assert [name[32:] for name in held] == names
  assert not job.scratch.exists()
  # What is damaged in one place is computed anew by all.
  whole = np.array(seen.features)
  if process == last:
    (file,) = temporary.glob(f'daft_jax-*/*-{last}-of-{count}/features.f32')
    file.write_bytes(b'?' + file.read_bytes()[1:])
  seen = cached.features(given, start, seed=1, folder=job.scratch)
  assert np.array_equal(seen.features, whole)


def refused(call):
  """How a process is told of what is wrong with one of them."""
  try:
    call()
  except Exception as error:
    assert processes.was_told(error)
    return f'{type(error).__name__}: {error}'
  raise AssertionError('it was not refused')


if count > 1:
  room = cached.shutil.disk_usage
  if process == last:
    cached.shutil.disk_usage = lambda x: room(x)._replace(free=100)
  said = refused(lambda: cached.features(given, start, seed=2, folder=out))
  cached.shutil.disk_usage = room
  assert 'Make room' in said and ('(process' in said) == (process != last)
  bad = np.array(seen.features)
  if process == last:
    bad[0, 0] = np.nan
  said = refused(
    lambda: probe.fit_probe(
      *(bad, seen.labels, bad, seen.labels),
      num_classes=10,
      mesh=given.mesh,
    )
  )
  assert 'are not finite' in said and ('(process' in said) == (process != last)
processes.gathered([0])
cached.remove_own()
processes.gathered([0])
assert not [*temporary.glob('daft_jax-*')]

# All features in each, and the fit on one device.
elastic = dataclasses.replace(given, parts=train.Parts(elastic=True))
whole = elastic.evaluate(start, 'id_val', whole=True)
assert whole.rows.tolist() == [*range(130)]
shared = evaluate.of_all(val.rows, val.features)
np.testing.assert_allclose(shared, whole.features, rtol=1e-4, atol=1e-6)
elastic_start = stages.prepare(
  elastic, stage, given.variables, seed=1, estimator='pooled'
)
elastic = stages.solve_logreg(
  dataclasses.replace(job, task=elastic, start=elastic_start)
)
cached.remove_own()

# A probe does not move features.
moved = trees.map_with_path(
  lambda path, x: np.float32(1.1) * x if path.endswith('kernel') else x,
  jax.device_get(start),
)
measured = measure.measure(given, moved, start)
report = {
  **{f'variables/{k}': x for k, x in trees.flatten(found.variables).items()},
  **{f'arrays/{k}': x for k, x in measured.arrays.items()},
  **{
    f'line/{k}': x
    for k, x in trees.flatten(measured.line).items()
    if isinstance(x, float | int)
  },
  **{f'notes/{k}': x for k, x in found.notes.items()},
  **{f'elastic/{k}': x for k, x in elastic.variables['params']['head'].items()},
  **{
    f'probe/{name}/{key}': np.array(value)
    for name, fit in fitted.items()
    for key, value in fit._asdict().items()
  },
}
np.savez(out / f'{count}_{process}.npz', **jax.device_get(report))

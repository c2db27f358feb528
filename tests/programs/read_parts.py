"""Reads a folder as one of several processes, and notes what it opened.

python read_parts.py IMAGES OUT
"""

import hashlib
import json
import os
import pathlib
import sys

from tests.fixtures import processes

process = processes.joined()

import jax  # noqa: E402
import numpy as np  # noqa: E402

from daft_jax import sharding  # noqa: E402
from daft_jax.data import contents, folder, residency  # noqa: E402
from daft_jax.data.feed import Feed  # noqa: E402
from daft_jax.data.preprocess import Preprocess  # noqa: E402
from daft_jax.data.recipe import Recipe  # noqa: E402

images, out = map(pathlib.Path, sys.argv[1:])
opened = []


def note(event, args):
  """Python calls it for every file that is opened, whoever opens it."""
  if event == 'open' and str(args[0]).endswith('.png'):
    opened.append(str(pathlib.Path(os.fspath(args[0])).relative_to(images)))


def taken():
  names, opened[:] = sorted(opened), []
  return names


def rows(batches):
  """A digest of each row of this process, of each batch."""
  found = []
  for batch in batches:
    shards = batch['image'].addressable_shards
    shards = sorted(shards, key=lambda shard: shard.index[0].start or 0)
    mine = np.concatenate([np.asarray(shard.data) for shard in shards])
    digests = [hashlib.sha256(row.tobytes()).hexdigest() for row in mine]
    found.append([digests, batch['label'].tolist()])
  return found


sys.addaudithook(note)
preprocess = Preprocess(12, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
scanned = folder.scan(images, {})
read = contents.read(scanned, dict.fromkeys(scanned.splits), bad_files='report')
about = {
  'notes': read.notes,
  'sha256': read.sha256,
  'labels': {name: x.labels.tolist() for name, x in read.images.items()},
}
mesh, recipe = sharding.make_mesh(), Recipe('flip_crop')
choice = residency.choose('auto', 1000, True, recipe, mesh)
about['choice'] = str(choice)
for wanted in ('host', 'device'):
  try:
    residency.choose(wanted, 1000, True, recipe, mesh)
  except ValueError as error:
    about[wanted] = str(error)
report = {'about': about, 'checked': taken()}
feed = Feed(
  read.images,
  preprocess,
  recipe,
  mesh,
  residency='stream',
  workers=0,
)
report['train'] = rows(feed.train(seed=1, epoch=2, batch_size=4))
report['trained'] = taken()
report['test'] = rows(feed.test('id_test', batch_size=4))
report['tested'] = taken()
sample = feed.sample('id_test', np.array([0, 2, 3]))
report['sample'] = hashlib.sha256(np.asarray(sample).tobytes()).hexdigest()
report['sampled'] = taken()
(out / f'{jax.process_count()}_{process}.json').write_text(json.dumps(report))

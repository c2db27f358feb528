"""`prepare --tfds` with the real TensorFlow Datasets, where it is installed.

ImageNet is the set of the catalog that is made of files one puts there, so it
needs no network: two archives of a few images, as image-net.org names them.
"""

import io
import json
import subprocess
import sys
import tarfile

import numpy as np
import pytest
from PIL import Image

pytest.importorskip('tensorflow_datasets')
if subprocess.run([sys.executable, '-c', 'import tensorflow']).returncode:
  pytest.skip('TensorFlow is not installed', allow_module_level=True)

READ = """
import json, sys
from daft_jax.data import published
found = published.load('imagenet:train', sys.argv[1], only=sys.argv[2:])
assert 'tensorflow' not in sys.modules
images = [len(found.examples.items.read(row)) for row in range(8)]
print(json.dumps([found.examples.labels.tolist(), images]))
"""


def jpeg(rng):
  file = io.BytesIO()
  pixels = rng.integers(0, 256, (40, 50, 3), np.uint8)
  Image.fromarray(pixels).save(file, 'JPEG')
  return file.getvalue()


def archive(file, members):
  with tarfile.open(fileobj=file, mode='w') as tar:
    for name, data in members.items():
      info = tarfile.TarInfo(name)
      info.size = len(data)
      tar.addfile(info, io.BytesIO(data))
  return file


def write_archives(folder, classes):
  rng = np.random.default_rng(0)
  folder.mkdir(parents=True)
  inner = {
    f'{wnid}.tar': archive(
      io.BytesIO(), {f'{wnid}_{i}.JPEG': jpeg(rng) for i in range(4)}
    ).getvalue()
    for wnid in classes
  }
  val = {f'ILSVRC2012_val_{i + 1:08d}.JPEG': jpeg(rng) for i in range(20)}
  for name, members in (('train', inner), ('val', val)):
    with open(folder / f'ILSVRC2012_img_{name}.tar', 'wb') as file:
      archive(file, members)


def test_a_set_is_prepared_and_read_without_tensorflow(tmp_path):
  classes = ['n01631663', 'n01632777']  # eft and axolotl, of living17
  write_archives(tmp_path / 'downloads' / 'manual', classes)
  command = [sys.executable, '-m', 'daft_jax.data', 'prepare', 'living17']
  done = subprocess.run(
    [*command, f'--data_dir={tmp_path}', '--tfds'],
    capture_output=True,
    text=True,
    timeout=300,
  )
  assert 'imagenet2012: TensorFlow Datasets prepares it' in done.stdout
  assert 'imagenet:train: found, 8 examples' in done.stdout
  read = subprocess.run(
    [sys.executable, '-c', READ, tmp_path, *classes],
    capture_output=True,
    text=True,
    timeout=60,
  )
  labels, sizes = json.loads(read.stdout)
  assert np.bincount(labels).max() == 4 and all(size > 500 for size in sizes)

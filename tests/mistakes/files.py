"""Wrong weights, and places to write to that are none."""

import json
import pathlib
import subprocess
import zipfile

import numpy as np

from daft_jax.pretrained import rules, shapes, weights
from tests.mistakes.case import Case

NAME = 'resnet14_cifar'
_DAMAGED = 'download or save it again'


def own(architecture=NAME):
  """Arrays of an architecture, as this package names them."""
  rng = np.random.default_rng(0)
  return {
    path: rng.random(shape, np.float32)
    for path, shape in shapes.of(architecture).items()
  }


def torch(architecture=NAME):
  """The same, as PyTorch has them."""
  layout = rules.layout(architecture)
  return {
    rules.key(layout, path): rules.to_torch(path, leaf)
    for path, leaf in own(architecture).items()
  }


def _save(arrays):
  return lambda tmp: weights.write(arrays(), tmp / 'w.safetensors', {})


def _save_npz(arrays):
  return lambda tmp: np.savez(tmp / 'w.npz', **arrays())


def _bytes(name, content):
  return lambda tmp: (tmp / name).write_bytes(content)


def transposed():
  return {
    path: leaf.transpose(3, 2, 0, 1) if leaf.ndim == 4 else leaf
    for path, leaf in own().items()
  }


def transposed_torch():
  return {
    name: array.transpose(2, 3, 1, 0) if array.ndim == 4 else array
    for name, array in torch().items()
  }


def without(arrays, *parts):
  return {k: v for k, v in arrays.items() if not any(x in k for x in parts)}


def with_nan():
  arrays = own()
  arrays['params/conv1/kernel'][0] = np.nan
  return arrays


def two_networks():
  arrays = torch()
  return {f'{x}.{k}': v for x in ('first', 'second') for k, v in arrays.items()}


def _truncated(tmp):
  whole = tmp / 'w.safetensors'
  weights.write(own(), whole, {})
  whole.write_bytes(whole.read_bytes()[:-1000])


def _broken_zip(tmp):
  path = tmp / 'w.pth'
  with zipfile.ZipFile(path, 'w') as archive:
    archive.writestr('archive/data.pkl', b'\x80\x02}q\x00.' * 100)
  path.write_bytes(path.read_bytes()[:300])


def _file(name, prepare, where, fix, file='w.safetensors', backbone=NAME):
  return Case(
    name,
    (f'--config.weights_path={{tmp}}/{file}', f'--config.backbone={backbone}'),
    f'config.weights_path: {where}',
    fix,
    prepare=prepare,
  )


_PATH = '{tmp}/w.safetensors'
WEIGHTS = [
  _file(
    'weights of another architecture',
    _save(lambda: torch('resnet18')),
    f'{_PATH} does not fit the model: the file is of resnet18',
    'config.backbone=resnet18',
  ),
  _file(
    'weights of a shallower one',
    _save(lambda: own('resnet20_cifar')),
    f'{_PATH} does not fit the model: the file is of resnet20_cifar',
    'config.backbone=resnet20_cifar',
  ),
  _file(
    'weights of another family',
    _save(lambda: torch('efficientnet_lite2')),
    f'{_PATH} does not fit the model: the file is of efficientnet_lite2',
    'config.backbone=efficientnet_lite2',
  ),
  _file(
    'weights of no architecture here',
    _save_npz(lambda: {'encoder.weight': np.ones((3, 3), np.float32)}),
    '{tmp}/w.npz does not fit the model: it is no resnet14_cifar',
    'use a file of resnet14_cifar',
    file='w.npz',
  ),
  _file(
    'transposed kernels',
    _save(transposed),
    f'{_PATH} does not fit the model: its kernels are transposed',
    '[height, width, in, out]',
  ),
  _file(
    'transposed kernels in a file of PyTorch names',
    _save(transposed_torch),
    f'{_PATH} does not fit the model: its kernels are transposed',
    '[out, in, height, width]',
  ),
  _file(
    'no batch_stats',
    _save(lambda: without(own(), 'batch_stats/')),
    f'{_PATH} does not fit the model: it has all parameters but no BatchNorm',
    'save batch_stats beside params',
  ),
  _file(
    'no running statistics',
    _save(lambda: without(torch(), 'running_')),
    f'{_PATH} does not fit the model: it has all parameters but no BatchNorm',
    'the whole state_dict()',
  ),
  _file(
    'one tensor is missing',
    _save(lambda: without(torch(), 'layer2.0.conv1')),
    f'{_PATH} does not fit the model: 98 % of it is like resnet14_cifar',
    'in the model but not in the file: layer2.0.conv1.weight',
  ),
  _file(
    'weights that are nan',
    _save(with_nan),
    f'{_PATH} has weights that are nan',
    'a run that diverged',
  ),
  _file(
    'two networks in a file',
    _save(two_networks),
    f"{_PATH}: the file holds several networks of this kind, under 'first.'",
    'save the one you want in a file of its own',
  ),
  _file(
    'whole numbers',
    _save(lambda: {k: v.astype(np.int8) for k, v in own().items()}),
    f'{_PATH} has weights that are no floats',
    'has to be saved as floats',
  ),
  _file(
    'a pointer of git-lfs',
    _bytes('w.pth', b'version https://git-lfs.github.com/spec/v1\noid sha256:'),
    '{tmp}/w.pth is a pointer of git-lfs',
    'git lfs pull',
    file='w.pth',
  ),
  _file(
    'a web page',
    _bytes('w.pth', b'<!doctype html><html><body>Sign in</body></html>'),
    '{tmp}/w.pth is a web page',
    'download the file itself',
    file='w.pth',
  ),
  _file(
    'an answer in JSON',
    _bytes('w.pth', b'{"error": "not found"}'),
    '{tmp}/w.pth is JSON',
    'download the file itself',
    file='w.pth',
  ),
  _file(
    'an empty folder',
    lambda tmp: (tmp / 'w').mkdir(),
    '{tmp}/w is not an Orbax checkpoint',
    'give the folder of a StandardCheckpointer',
    file='w',
  ),
  _file(
    'an empty file',
    _bytes('w.pth', b''),
    '{tmp}/w.pth is empty',
    _DAMAGED,
    file='w.pth',
  ),
  _file(
    'an empty file of another kind',
    _bytes('w.safetensors', b''),
    f'{_PATH} is not a complete safetensors file',
    'get or save it again',
  ),
  _file(
    'a truncated file',
    _truncated,
    f'{_PATH} is not a complete safetensors file',
    'get or save it again',
  ),
  _file(
    'a truncated zip',
    _broken_zip,
    '{tmp}/w.pth is not a complete file of PyTorch',
    _DAMAGED,
    file='w.pth',
  ),
  _file(
    'a misspelt file',
    _bytes('resnet.pth', b''),
    'no weights file at {tmp}/resnt.pth',
    'Did you mean {tmp}/resnet.pth?',
    file='resnt.pth',
  ),
]


def _experiment(tmp, text=None):
  """A folder that holds a run of other settings."""
  (tmp / 'run').mkdir()
  about = {
    'settings': {'suite': 'digits', 'backbone': 'resnet20_cifar'},
    'config': {'methods': ['lp']},
    'classes': [],
    'residency': 'host',
  }
  text = json.dumps(about) if text is None else text
  (tmp / 'run' / 'experiment.json').write_text(text)


WORKDIRS = [
  Case(
    'a workdir that is a file',
    (),
    '--workdir {tmp}/run cannot be made: {tmp}/run is a file',
    'Give a folder',
    prepare=lambda tmp: (tmp / 'run').write_text(''),
  ),
  Case(
    'a workdir in a file',
    ('--workdir={tmp}/file/run',),
    '--workdir {tmp}/file/run cannot be made: {tmp}/file is a file',
    'Give a folder',
    prepare=lambda tmp: (tmp / 'file').write_text(''),
  ),
  Case(
    'a workdir of nobody',
    ('--workdir=~nobody_of_this_name/run',),
    '--workdir ~nobody_of_this_name/run',
    'write the path out',
  ),
  Case(
    'a workdir of another experiment',
    (),
    "{tmp}/run holds an experiment with other settings (backbone: '",
    'Give another --workdir',
    prepare=_experiment,
  ),
  Case(
    'a workdir of a damaged experiment',
    (),
    '{tmp}/run/experiment.json: damaged',
    'run the same command again',
    prepare=lambda tmp: _experiment(tmp, '{"settings": {"sui'),
  ),
]


def mount(place: pathlib.Path, options: str) -> bool:
  """Mounts a small file system; False where that is not allowed."""
  place.mkdir(exist_ok=True)
  command = ['mount', '-t', 'tmpfs', '-o', options, 'tmpfs', str(place)]
  try:
    return not subprocess.run(command, capture_output=True).returncode
  except FileNotFoundError:
    return False


def unmount(place: pathlib.Path) -> None:
  subprocess.run(['umount', str(place)], check=True)

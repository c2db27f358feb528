"""`python -m daft_jax.pretrained`, on files as publishers write them."""

import dataclasses
import json
import pathlib
import subprocess
import sys

import numpy as np
import pytest

import daft_jax
from daft_jax import models, pretrained, results, trees
from daft_jax.pretrained import __main__ as cli
from daft_jax.pretrained import files, locate, registry, rules

AKAMASTER = rules.LAYOUTS['resnet'][1]


@pytest.fixture
def path(tmp_path):
  """A CIFAR ResNet, wrapped as akamaster's files are; npz, so without torch."""
  model = models.create_model('resnet20_cifar', 10)
  variables = models.init_variables(model, 32, 0)
  state = {
    f'module.{rules.key(AKAMASTER, p)}': rules.to_torch(p, np.asarray(x))
    for p, x in trees.flatten(variables).items()
  }
  nested = {'state_dict': state, 'optimizer': {'buffer': np.ones(3)}}
  path = tmp_path / 'resnet20-12fca82f.th'
  with open(path, 'wb') as file:
    np.savez(file, **files.flatten(nested))
  return path


def test_inspect(path, capsys):
  assert cli.main(['inspect', str(path)]) == 0
  out = capsys.readouterr().out
  assert f'{path}: npz, 98 tensors' in out
  assert 'architecture: resnet20_cifar\n' in out
  assert "names: as akamaster, under 'state_dict.module.'" in out
  assert 'head: 10 classes' in out and 'beside it: optimizer (1)' in out
  assert 'probably 32 x 32 (bilinear), mean (0.485, 0.456, 0.406)' in out
  assert "load_pretrained('resnet20_cifar.akamaster', model, " in out


def test_inspect_something_else(tmp_path, capsys):
  path = tmp_path / 'w.npz'
  np.savez(path, **{'encoder.weight': np.ones((2, 3))})
  assert cli.main(['inspect', str(path)]) == 0
  out = capsys.readouterr().out
  assert 'architecture: none of this package; encoder.weight' in out


def test_convert(path, tmp_path, capsys):
  out = tmp_path / 'mine.safetensors'
  assert cli.main(['convert', str(path), str(out)]) == 0
  assert 'resnet20_cifar' in capsys.readouterr().out
  model = models.create_model('resnet20_cifar', 10)
  first, second = (
    trees.flatten(daft_jax.load_pretrained('resnet20_cifar', model, file))
    for file in (path, out)
  )
  for key, leaf in first.items():
    np.testing.assert_array_equal(leaf, second[key])
  _, metadata = pretrained.read_weights(out)
  assert metadata['architecture'] == 'resnet20_cifar'
  # Its sha256 is not that of the row: nothing is stated as a fact.
  assert 'licence' not in metadata and 'preprocess' not in metadata
  # What was converted is still known for what it was.
  assert cli.main(['inspect', str(out)]) == 0
  assert '(as resnet20_cifar.akamaster)' in capsys.readouterr().out


def test_what_is_certain_is_written(path, tmp_path, monkeypatch, capsys):
  row = registry.lookup('resnet20_cifar.akamaster')
  row = dataclasses.replace(row, sha256=locate.digest(path))
  monkeypatch.setitem(registry.PRETRAINED, row.tag, row)
  out = tmp_path / 'mine.safetensors'
  assert cli.main(['convert', str(path), str(out)]) == 0
  _, metadata = pretrained.read_weights(out)
  assert metadata['licence'] == 'BSD-2-Clause'
  assert pretrained.read_preprocess(out) == json.loads(metadata['preprocess'])
  assert pretrained.read_preprocess(out)['image_size'] == 32
  capsys.readouterr()
  assert cli.main(['inspect', str(out)]) == 0
  assert '(as the file says)' in capsys.readouterr().out


def test_a_file_without_a_head_stays_without(path, tmp_path, capsys):
  with np.load(path) as file:
    arrays = {k: file[k] for k in file.files if 'linear' not in k}
  np.savez(tmp_path / 'w.npz', **arrays)
  out = tmp_path / 'mine.safetensors'
  assert cli.main(['convert', str(tmp_path / 'w.npz'), str(out)]) == 0
  assert not any('head' in name for name in pretrained.read_weights(out)[0])
  assert cli.main(['inspect', str(out)]) == 0
  assert 'head: none' in capsys.readouterr().out


def test_list_of_an_unknown_architecture(capsys):
  assert cli.main(['list', 'resnet5']) == 2
  assert "Did you mean 'resnet50'?" in capsys.readouterr().err


def test_a_device_is_not_replaced(path, capsys):
  assert cli.main(['convert', str(path), '/dev/null']) == 2
  assert '.safetensors' in capsys.readouterr().err
  with pytest.raises(OSError, match='is not a file and is not replaced'):
    results.atomic_write('/dev/null', 'text')
  assert pathlib.Path('/dev/null').is_char_device()


@pytest.mark.parametrize('command', ['inspect', 'convert'])
@pytest.mark.parametrize(
  ('data', 'says'),
  [
    (None, 'no weights file at'),
    (b'', 'w.pth'),
    (b'<!DOCTYPE html><html></html>', 'w.pth'),
    (b'\x80\x02cposix\nsystem\nX\x02\x00\x00\x00ls\x85R.', 'posix.system'),
  ],
)
def test_mistakes_are_said_without_a_traceback(
  command, data, says, tmp_path, capsys
):
  path = tmp_path / 'w.pth'
  if data is not None:
    path.write_bytes(data)
  rest = [str(tmp_path / 'out')] * (command == 'convert')
  assert cli.main([command, str(path), *rest]) == 2
  out, err = capsys.readouterr()
  assert err.startswith('daft_jax.pretrained: ') and says in err
  assert 'Traceback' not in err and not (tmp_path / 'out').exists()


def test_list_as_a_program_needs_no_jax():
  program = [sys.executable, '-X', 'importtime', '-m', 'daft_jax.pretrained']
  done = subprocess.run(
    [*program, 'list', 'resnet50'], capture_output=True, text=True, check=True
  )
  assert 'resnet50.mocov2_800ep' in done.stdout
  assert 'CC-BY-NC-4.0' in done.stdout and 'resnet18' not in done.stdout
  assert not any(
    line.split('|')[-1].strip() == 'jax' for line in done.stderr.splitlines()
  )

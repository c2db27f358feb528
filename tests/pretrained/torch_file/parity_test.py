"""Checkpoint files that PyTorch wrote: bit for bit what torch.load gives."""

import argparse
import collections
import pathlib

import numpy as np
import pytest

from daft_jax.pretrained import torch_file

torch = pytest.importorskip('torch')


@pytest.fixture(params=['zip', 'legacy'])
def saved(request, tmp_path):
  """Returns a function that saves a tree and gives it read back by both."""

  def round_trip(tree):
    path = tmp_path / 'w.pth'
    new = request.param == 'zip'
    torch.save(tree, path, _use_new_zipfile_serialization=new)
    return torch_file.read_torch(path), torch.load(path, weights_only=False)

  return round_trip


def assert_same(array, tensor):
  """Same dtype, shape and bytes; bfloat16 compares as its bits."""
  assert type(array) is np.ndarray
  assert str(tensor.dtype) == f'torch.{array.dtype}'
  assert array.shape == tuple(tensor.shape)
  tensor = tensor.detach()
  if tensor.dtype == torch.bfloat16:
    array, tensor = array.view(np.int16), tensor.view(torch.int16)
  assert array.tobytes() == tensor.numpy().tobytes()


DTYPES = (
  *('float32', 'float16', 'bfloat16', 'float64', 'int64', 'int32', 'int16'),
  *('int8', 'uint8', 'bool'),
)


@pytest.mark.parametrize('dtype', DTYPES)
def test_dtypes(saved, dtype):
  tensor = (torch.arange(24).reshape(2, 3, 4) % 5).to(getattr(torch, dtype))
  ours, theirs = saved({'a': tensor, 'dtype': tensor.dtype})
  assert_same(ours['a'], theirs['a'])
  assert ours['dtype'] == f'torch.{dtype}'


@pytest.mark.parametrize('dtype', ['uint16', 'uint32', 'uint64'])
def test_dtypes_without_a_storage_of_their_own(tmp_path, dtype):
  # PyTorch saves them in the zip only.
  tensor = torch.arange(2, 8).to(getattr(torch, dtype)).reshape(2, 3)
  torch.save([tensor.T, tensor], tmp_path / 'w.pth')
  ours = torch_file.read_torch(tmp_path / 'w.pth')
  assert_same(ours[0], tensor.T)
  assert_same(ours[1], tensor)


def test_views(saved):
  base = torch.randn(4, 6)
  views = {
    'base': base,
    'transposed': base.T,
    'part': base[1:, ::2],
    'diagonal': base.diagonal(),
    'channels_last': torch.randn(2, 3, 4, 5).to(
      memory_format=torch.channels_last
    ),
    'scalar': torch.tensor(2.5),
    'of one': base[2, 3],
    'empty': torch.empty(0),
    'empty rows': torch.empty(0, 3),
    'empty view': base[4:],
  }
  ours, theirs = saved(views)
  for name, tensor in theirs.items():
    assert_same(ours[name], tensor)
  assert np.shares_memory(ours['base'], ours['transposed'])


def test_expanded_tensors_are_refused(saved):
  with pytest.raises(ValueError, match='expanded tensor .*contiguous'):
    saved({'a': torch.zeros(1).expand(10)})


def test_a_checkpoint(saved):
  module = make_module()
  module(torch.randn(8, 3))
  optimizer = torch.optim.Adam(module.parameters())
  module(torch.randn(8, 3)).sum().backward()
  optimizer.step()
  weight = torch.nn.Parameter(torch.randn(2))
  tagged = torch.nn.Parameter(torch.randn(2))
  tagged.is_norm = True
  ours, theirs = saved(
    {
      'model': module.state_dict(),
      'optimizer': optimizer.state_dict(),
      'args': argparse.Namespace(
        lr=0.1, out=pathlib.PurePosixPath('/a'), device=torch.device('cuda', 1)
      ),
      'parameters': [weight, tagged],
      'shape': torch.Size((1, 2)),
      'best': np.float64(0.75),
      'epoch': 3,
      'log': collections.OrderedDict(a=[1.5, None, 'é']),
    }
  )
  assert list(ours['model']) == list(theirs['model'])
  for name, tensor in theirs['model'].items():
    assert_same(ours['model'][name], tensor)
  for key, state in theirs['optimizer']['state'].items():
    for name, tensor in state.items():
      assert_same(ours['optimizer']['state'][key][name], tensor)
  for array, tensor in zip(ours['parameters'], (weight, tagged), strict=True):
    assert_same(array, tensor)
  assert ours['args'] == {'lr': 0.1, 'out': '/a', 'device': 'cuda:1'}
  rest = {k: ours[k] for k in ('shape', 'best', 'epoch', 'log')}
  log = {'a': [1.5, None, 'é']}
  assert rest == {'shape': (1, 2), 'best': 0.75, 'epoch': 3, 'log': log}


class Net(torch.nn.Module):
  def __init__(self):
    super().__init__()
    self.stem = torch.nn.Sequential(
      torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4)
    )
    self.head = torch.nn.Linear(4, 2)
    self.register_buffer('scale', torch.tensor(2.0))
    self.sizes = [1, 2]

  def forward(self, x):
    return self.head(self.stem(x)) * self.scale


def make_module():
  torch.manual_seed(0)
  return Net()


# TorchScript is deprecated; published weights (CLIP) are in its archives.
@pytest.mark.filterwarnings('ignore:.*torch.jit:DeprecationWarning')
@pytest.mark.parametrize('half', [False, True])
@pytest.mark.parametrize('how', ['script', 'trace'])
def test_archives_of_torchscript(tmp_path, how, half):
  module = make_module().eval()
  if how == 'script':
    module = torch.jit.script(module)
  else:
    module = torch.jit.trace(module, torch.zeros(1, 3))
  if half:
    module = module.half()
  path = tmp_path / 'w.pt'
  module.save(str(path))
  tree = torch_file.read_torch(path)
  state = module.state_dict()
  assert len(state) == 10
  for name, tensor in state.items():
    leaf = tree
    for part in name.split('.'):
      leaf = leaf[part]
    assert_same(leaf, tensor)


def test_whole_models_and_other_tensors_are_refused(saved):
  with pytest.raises(ValueError, match=r"asks for '.*Net'.*state_dict"):
    saved(make_module())
  for tensor, what in (
    (torch.eye(2).to_sparse(), 'sparse'),
    (torch.ones(2, dtype=torch.complex64), 'complex'),
    (torch.ones(2, device='meta'), 'values'),
    (torch.ones(2).to(torch.float8_e5m2), '8-bit'),
  ):
    with pytest.raises(ValueError, match=f'holds.*{what}'):
      saved({'a': tensor})


def test_a_zip_without_checksums(tmp_path):
  path = tmp_path / 'w.pth'
  torch.serialization.set_crc32_options(False)
  try:
    torch.save({'a': torch.arange(3)}, path)
  finally:
    torch.serialization.set_crc32_options(True)
  assert torch_file.read_torch(path)['a'].tolist() == [0, 1, 2]

"""ResNet against PyTorch: random weights and random running statistics."""

import functools

import jax
import numpy as np
import pytest

from daft_jax import trees
from daft_jax.models import resnet

torch = pytest.importorskip('torch', reason='parity needs torch')
nn = torch.nn


class TorchBlock(nn.Module):
  def __init__(self, fan_in, width, stride, bottleneck, shortcut):
    super().__init__()
    out = 4 * width if bottleneck else width
    conv = functools.partial(nn.Conv2d, bias=False)
    if bottleneck:
      self.conv1, self.bn1 = conv(fan_in, width, 1), nn.BatchNorm2d(width)
      self.conv2 = conv(width, width, 3, stride, 1)
      self.bn2 = nn.BatchNorm2d(width)
      self.conv3, self.bn3 = conv(width, out, 1), nn.BatchNorm2d(out)
    else:
      self.conv1 = conv(fan_in, width, 3, stride, 1)
      self.bn1 = nn.BatchNorm2d(width)
      self.conv2 = conv(width, width, 3, 1, 1)
      self.bn2 = nn.BatchNorm2d(width)
    self.layers = 3 if bottleneck else 2
    self.stride, self.padding = stride, (out - fan_in) // 2
    self.changes = stride != 1 or fan_in != out
    if self.changes and shortcut == 'projection':
      self.downsample_conv = conv(fan_in, out, 1, stride)
      self.downsample_bn = nn.BatchNorm2d(out)

  def forward(self, x):
    y = x
    for i in range(1, self.layers + 1):
      y = getattr(self, f'bn{i}')(getattr(self, f'conv{i}')(y))
      y = y.relu() if i < self.layers else y
    if hasattr(self, 'downsample_conv'):
      x = self.downsample_bn(self.downsample_conv(x))
    elif self.changes:
      x = x[:, :, :: self.stride, :: self.stride]
      x = nn.functional.pad(x, (0, 0, 0, 0, self.padding, self.padding))
    return (x + y).relu()


class TorchResNet(nn.Module):
  def __init__(self, model):
    super().__init__()
    imagenet = model.stem == 'imagenet'
    channels = model.width
    self.conv1 = nn.Conv2d(
      *(3, channels, 7, 2, 3) if imagenet else (3, channels, 3, 1, 1),
      bias=False,
    )
    self.bn1 = nn.BatchNorm2d(channels)
    self.pool = nn.MaxPool2d(3, 2, 1) if imagenet else nn.Identity()
    self.stages = []
    for stage, size in enumerate(model.stage_sizes):
      width = model.width * 2**stage
      self.stages.append([f'layer{stage + 1}_{i}' for i in range(size)])
      for i, name in enumerate(self.stages[-1]):
        stride = 2 if stage and not i else 1
        block = TorchBlock(
          channels, width, stride, model.bottleneck, model.shortcut
        )
        setattr(self, name, block)
        channels = 4 * width if model.bottleneck else width
    self.head = nn.Linear(channels, model.num_classes)

  def forward(self, x):
    features = {'stem': self.pool(self.bn1(self.conv1(x)).relu())}
    x = features['stem']
    for i, names in enumerate(self.stages, start=1):
      for name in names:
        x = getattr(self, name)(x)
      features[f'stage{i}'] = x
    features['pre_logits'] = x.mean((2, 3))
    return self.head(features['pre_logits']), features


NAMES = {
  'weight': ('params', 'scale'),
  'bias': ('params', 'bias'),
  'running_mean': ('batch_stats', 'mean'),
  'running_var': ('batch_stats', 'var'),
}


def randomise(module):
  """Random statistics and affine maps, and weights of unit gain."""
  rng = np.random.default_rng(0)
  for name, value in module.state_dict().items():
    if name.endswith('running_var'):
      new = rng.uniform(0.3, 3, value.shape)
    elif value.ndim > 1:
      new = rng.normal(size=value.shape) / np.sqrt(value[0].numel())
    elif value.ndim == 1:
      new = rng.normal(0.5, 0.5, size=value.shape)
    else:
      continue  # num_batches_tracked
    value.copy_(torch.from_numpy(np.asarray(new)))
  return module


def to_flax(module):
  leaves = {}
  for name, value in module.state_dict().items():
    layer, _, kind = name.replace('.', '/').rpartition('/')
    array = value.numpy().copy()
    if array.ndim == 4:
      leaves[f'params/{layer}/kernel'] = array.transpose(2, 3, 1, 0)
    elif array.ndim == 2:
      leaves[f'params/{layer}/kernel'] = array.T
    elif kind in NAMES:
      collection, leaf = NAMES[kind]
      leaves[f'{collection}/{layer}/{leaf}'] = array
  return leaves


MODELS = {
  'basic': resnet.ResNet(7, (2, 1, 1), width=8),
  'bottleneck': resnet.ResNet(7, (1, 2, 1), bottleneck=True, width=4),
  'cifar': resnet.ResNet(7, (1, 2, 1), stem='cifar', shortcut='pad', width=4),
}


@pytest.mark.parametrize('kind', MODELS)
@pytest.mark.parametrize('train', [False, True])
@pytest.mark.parametrize('size', [32, 45])
def test_equals_torch(kind, train, size):
  model = MODELS[kind]
  with torch.no_grad():
    module = randomise(TorchResNet(model)).train(train)
    leaves = to_flax(module)
    x = np.random.default_rng(1).normal(size=(3, size, size, 3))
    x = x.astype(np.float32)
    expected, maps = module(torch.from_numpy(x.transpose(0, 3, 1, 2)))
  wanted = jax.eval_shape(model.init, jax.random.key(0), x)
  assert set(leaves) == set(trees.flatten(wanted))
  variables = trees.unflatten(leaves, wanted)
  apply = jax.jit(
    functools.partial(
      model.apply, train=train, mutable=['batch_stats'] if train else False
    )
  )
  result = apply(variables, x)
  logits, features = result[0] if train else result
  # In train mode a channel's deviation divides the rounding: 10 x looser.
  close = functools.partial(
    np.testing.assert_allclose,
    rtol=1e-3 if train else 1e-4,
    atol=1e-4 if train else 1e-5,
  )
  close(logits, expected.numpy())
  assert set(features) == set(maps)
  for name, value in features.items():
    value = np.asarray(value)
    value = value.transpose(0, 3, 1, 2) if value.ndim == 4 else value
    close(value, maps[name].numpy(), err_msg=name)

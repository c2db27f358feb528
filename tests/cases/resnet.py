"""ResNets: torchvision's own code; for CIFAR, a module written here."""

from daft_jax import models
from daft_jax.models import resnet
from daft_jax.pretrained import rules
from tests import parity

TORCHVISION, AKAMASTER = rules.LAYOUTS['resnet']
_MAPS = {
  'stem': 'maxpool',
  'stage1': 'layer1',
  'stage2': 'layer2',
  'stage3': 'layer3',
  'stage4': 'layer4',
  'pre_logits': 'avgpool',
}


def narrow(block, layers, width, **options):
  """torchvision's ResNet, `width` channels in the first stage for its 64."""
  from torch import nn

  torchvision = parity.torchvision()

  class Narrow(torchvision.models.ResNet):
    def _make_layer(self, block, planes, *args, **kwargs):
      if planes == 64:
        self.inplanes = width
      return super()._make_layer(block, planes * width // 64, *args, **kwargs)

  block = getattr(torchvision.models.resnet, block)
  module = Narrow(block, layers, num_classes=7, **options)
  module.conv1 = nn.Conv2d(3, width, 7, 2, 3, bias=False)
  module.bn1 = nn.BatchNorm2d(width)
  module.fc = nn.Linear(width * 8 * block.expansion, 7)
  return module


def cifar(blocks, width, classes):
  """The CIFAR ResNet of He et al. with option-A shortcuts."""
  import torch
  from torch import nn
  from torch.nn import functional

  class Block(nn.Module):
    def __init__(self, before, width, stride):
      super().__init__()
      self.conv1 = nn.Conv2d(before, width, 3, stride, 1, bias=False)
      self.bn1 = nn.BatchNorm2d(width)
      self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
      self.bn2 = nn.BatchNorm2d(width)
      self.stride, self.more = stride, width - before

    def forward(self, x):
      y = self.bn2(self.conv2(self.bn1(self.conv1(x)).relu()))
      x = x[:, :, :: self.stride, :: self.stride]
      half = self.more // 2
      x = functional.pad(x, (0, 0, 0, 0, half, self.more - half))
      return (x + y).relu()

  class Net(nn.Module):
    def __init__(self):
      super().__init__()
      self.conv1 = nn.Conv2d(3, width, 3, 1, 1, bias=False)
      self.bn1, self.relu = nn.BatchNorm2d(width), nn.ReLU()
      before = width
      for stage, stride in enumerate((1, 2, 2), 1):
        wide = width * 2 ** (stage - 1)
        parts = [Block(before, wide, stride)]
        parts += [Block(wide, wide, 1) for _ in range(blocks - 1)]
        setattr(self, f'layer{stage}', nn.Sequential(*parts))
        before = wide
      self.linear = nn.Linear(before, classes)

    def forward(self, x):
      x = self.relu(self.bn1(self.conv1(x)))
      x = self.layer3(self.layer2(self.layer1(x)))
      return self.linear(torch.mean(x, (2, 3)))

  return Net()


_CIFAR_MAPS = {
  'stem': 'relu',
  'stage1': 'layer1',
  'stage2': 'layer2',
  'stage3': 'layer3',
  'pre_logits': 'linear:in',
}

NARROW = {
  'resnet_basic': parity.Case(
    resnet.ResNet(7, (1, 2, 1, 1), width=8),
    TORCHVISION,
    lambda: narrow('BasicBlock', [1, 2, 1, 1], 8),
    _MAPS,
  ),
  'resnet_bottleneck': parity.Case(
    resnet.ResNet(7, (1, 1, 2, 1), bottleneck=True, width=4),
    TORCHVISION,
    lambda: narrow('Bottleneck', [1, 1, 2, 1], 4),
    _MAPS,
  ),
  'resnet_wide': parity.Case(
    resnet.ResNet(7, (1, 1, 1, 1), bottleneck=True, width=4, group_width=128),
    TORCHVISION,
    lambda: narrow('Bottleneck', [1, 1, 1, 1], 4, width_per_group=128),
    _MAPS,
  ),
  'resnet_grouped': parity.Case(
    resnet.ResNet(
      7, (1, 1, 1, 1), bottleneck=True, width=8, groups=2, group_width=16
    ),
    TORCHVISION,
    lambda: narrow('Bottleneck', [1, 1, 1, 1], 8, groups=2, width_per_group=16),
    _MAPS,
  ),
  'resnet_cifar': parity.Case(
    resnet.ResNet(7, (2, 2, 2), stem='cifar', shortcut='pad', width=4),
    AKAMASTER,
    lambda: cifar(2, 4, 7),
    _CIFAR_MAPS,
    17,
  ),
}


def _full(name):
  return parity.Case(
    models.create_model(name, 1000),
    TORCHVISION,
    lambda: getattr(parity.torchvision().models, name)(num_classes=1000),
    _MAPS,
    64,
  )


FULL = {
  name: _full(name)
  for name in (
    *('resnet18', 'resnet34', 'resnet50', 'resnet101', 'resnet152'),
    *('wide_resnet50_2', 'resnext50_32x4d'),
  )
} | {
  f'resnet{depth}_cifar': parity.Case(
    models.create_model(f'resnet{depth}_cifar', 10),
    AKAMASTER,
    lambda depth=depth: cifar((depth - 2) // 6, 16, 10),
    _CIFAR_MAPS,
    32,
  )
  for depth in (20, 56)
}

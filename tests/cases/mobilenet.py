"""MobileNetV2: torchvision's own code, without its dropout; and timm's."""

from daft_jax import models
from daft_jax.models import inverted
from daft_jax.pretrained import rules
from tests import parity

TORCHVISION, TIMM = rules.LAYOUTS['mobilenet']
# As many blocks as the published network, which the layout's numbers follow.
_TINY = tuple(
  inverted.Stage(blocks, expansion, 3, stride, width)
  for blocks, expansion, stride, width in (
    (1, 1, 1, 4),
    (2, 2, 2, 4),
    (3, 2, 2, 6),
    (4, 2, 2, 6),
    (3, 2, 1, 8),
    (3, 2, 2, 8),
    (1, 3, 1, 10),
  )
)


def _maps(stages):
  """torchvision: the stem is feature 0, the blocks follow one by one."""
  last, maps = 0, {'stem': 'features.0'}
  for i, stage in enumerate(stages, start=1):
    last += stage.blocks
    maps[f'stage{i}'] = f'features.{last}'
  return maps | {'pre_logits': 'classifier:in'}


def narrow():
  """torchvision's MobileNetV2 with the stages above and a narrow head."""
  from torch import nn

  torchvision = parity.torchvision()
  module = torchvision.models.MobileNetV2(
    num_classes=7,
    width_mult=0.25,  # of 32 channels in the stem
    # Widths are multiplied too.
    inverted_residual_setting=[
      [stage.expansion, 4 * stage.width, stage.blocks, stage.stride]
      for stage in _TINY
    ],
    round_nearest=2,
    dropout=0.0,
  )
  module.features[18] = torchvision.ops.Conv2dNormActivation(
    _TINY[-1].width, 24, 1, activation_layer=nn.ReLU6
  )
  module.classifier[1] = nn.Linear(24, 7)
  return module


def timm():
  """timm's MobileNetV2, from the same table of stages."""
  parity.torchvision()  # which timm imports
  from timm import models as networks

  return networks.mobilenetv2_100(num_classes=1000)


NARROW = {
  'mobilenet': parity.Case(
    inverted.InvertedNet(7, _TINY, stem_width=8, head_width=24),
    TORCHVISION,
    narrow,
    _maps(_TINY),
  ),
}
_MODEL = models.create_model('mobilenet_v2', 1000)
FULL = {
  'mobilenet_v2': parity.Case(
    _MODEL,
    TORCHVISION,
    lambda: parity.torchvision().models.mobilenet_v2(dropout=0.0),
    _maps(_MODEL.stages),
    64,
  ),
  'mobilenet_v2_timm': parity.Case(
    _MODEL,
    TIMM,
    timm,
    {
      'stem': 'bn1',
      **{f'stage{i}': f'blocks.{i - 1}' for i in range(1, 8)},
      'pre_logits': 'global_pool',
    },
    64,
  ),
}

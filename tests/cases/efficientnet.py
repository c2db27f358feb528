"""EfficientNet-Lite: timm's own code, in TensorFlow's settings."""

from daft_jax import models
from daft_jax.models import inverted
from daft_jax.pretrained import rules
from tests import parity

_, TIMM_LITE0, TIMM_DEEPER = rules.LAYOUTS['efficientnet']
# As many blocks as Lite0, both sizes of kernel, all strides.
_TINY = tuple(
  inverted.Stage(*row)
  for row in (
    (1, 1, 3, 1, 4),
    (2, 2, 3, 2, 4),
    (2, 2, 5, 2, 8),
    (3, 2, 3, 2, 8),
    (3, 2, 5, 1, 12),
    (4, 2, 5, 2, 12),
    (1, 2, 3, 1, 16),
  )
)
_MAPS = {
  'stem': 'bn1',
  **{f'stage{i}': f'blocks.{i - 1}' for i in range(1, 8)},
  'pre_logits': 'global_pool',
}
_OPTIONS = {'bn_eps': 1e-3, 'pad_type': 'same'}


def narrow():
  """timm's EfficientNet with the stages above."""
  parity.torchvision()  # which timm imports
  import functools

  from timm import models as networks
  from timm.models import _efficientnet_builder as builder
  from torch import nn

  kinds = ['ds', *['ir'] * 6]
  return networks.EfficientNet(
    builder.decode_arch_def(
      [
        [f'{kind}_r{s.blocks}_k{s.size}_s{s.stride}_e{s.expansion}_c{s.width}']
        for kind, s in zip(kinds, _TINY, strict=True)
      ]
    ),
    num_classes=7,
    num_features=24,
    stem_size=8,
    fix_stem=True,
    pad_type='same',
    act_layer=nn.ReLU6,
    norm_layer=functools.partial(nn.BatchNorm2d, eps=1e-3),
    round_chs_fn=int,
  )


def _full(name, layout):
  def module():
    parity.torchvision()
    import timm

    return timm.create_model(f'tf_{name}', **_OPTIONS)

  return parity.Case(models.create_model(name, 1000), layout, module, _MAPS, 64)


NARROW = {
  'efficientnet': parity.Case(
    inverted.InvertedNet(
      7,
      _TINY,
      stem_width=8,
      head_width=24,
      padding='SAME',
      epsilon=1e-3,
    ),
    TIMM_LITE0,
    narrow,
    _MAPS,
  ),
}
FULL = {
  'efficientnet_lite0': _full('efficientnet_lite0', TIMM_LITE0),
  'efficientnet_lite1': _full('efficientnet_lite1', TIMM_DEEPER),
  'efficientnet_lite2': _full('efficientnet_lite2', TIMM_DEEPER),
}

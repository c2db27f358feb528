"""CLIP's ResNets: open_clip's ModifiedResNet, and a linear head."""

from daft_jax import models
from daft_jax.models import clip_resnet
from daft_jax.pretrained import rules
from tests import parity

OPENAI = rules.LAYOUTS['clip_resnet'][0]
_MAPS = {
  'stem': 'avgpool',
  'stage1': 'layer1',
  'stage2': 'layer2',
  'stage3': 'layer3',
  'stage4': 'layer4',
  'pre_logits': 'attnpool',
}


def tower(model):
  """The torch module of a model; the test is skipped without open_clip."""
  import pytest

  parity.torchvision()  # open_clip imports it
  open_clip = pytest.importorskip('open_clip.modified_resnet')
  from torch import nn

  class Tower(open_clip.ModifiedResNet):
    def __init__(self):
      super().__init__(
        layers=list(model.stage_sizes),
        output_dim=model.embed_dim,
        heads=model.heads,
        image_size=model.image_size,
        width=model.width,
      )
      self.head = nn.Linear(model.embed_dim, model.num_classes)

    def forward(self, x):
      return self.head(super().forward(x))

  return Tower()


def _case(model, size):
  # `size` and size + 13 give the grid of the positional embedding: the torch
  # module takes no other.
  return parity.Case(model, OPENAI, lambda: tower(model), _MAPS, size)


NARROW = {
  'clip_resnet': _case(
    clip_resnet.CLIPResNet(
      num_classes=7,
      stage_sizes=(2, 1, 1, 1),
      width=2,
      embed_dim=6,
      heads=4,
      image_size=64,
    ),
    77,
  ),
}

# At 96 pixels: a positional embedding of 3 x 3, so that the tests are fast.
FULL = {
  name: _case(models.create_model(name, 1000).clone(image_size=96), 96)
  for name in clip_resnet.MODELS
}

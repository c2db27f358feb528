"""Which pretrained weights exist: one row each, data only.

from daft_jax.pretrained import registry

row = registry.lookup('resnet14_cifar.glyphs')
row.image_size, row.mean, row.std    # preprocessing travels with the weights
"""

import dataclasses
import difflib


@dataclasses.dataclass(frozen=True)
class Pretrained:
  """One set of weights.

  Attributes:
    tag: its name, 'architecture.how it was trained'.
    architecture: the name for `models.create_model`.
    url: where to get the file; '' if it ships in the package.
    sha256: of the file, in hex; '' if not known.
    rules: name of the table that renames the file's keys; '' if they are this
      package's own ('params/conv1/kernel').
    mean: per channel, of images scaled to [0, 1].
    std: per channel; a model takes (image / 255 - mean) / std.
    image_size: height and width in pixels.
    licence: SPDX identifier of the weights.
    num_classes: outputs of the head in the file.
    file: name in `pretrained/weights/`; '' if it does not ship.
  """

  tag: str
  architecture: str
  url: str
  sha256: str
  rules: str
  mean: tuple[float, float, float]
  std: tuple[float, float, float]
  image_size: int
  licence: str
  num_classes: int
  file: str


_ROWS = (
  # 62 printed characters, made by configs/glyphs_pretrain.py.
  Pretrained(
    tag='resnet14_cifar.glyphs',
    architecture='resnet14_cifar',
    url='',
    sha256=('db53a0351897fb64575d95f39827fa7bcd7749f05c2fe4ea88d06a96708a8a28'),
    rules='',
    mean=(0.5, 0.5, 0.5),
    std=(0.5, 0.5, 0.5),
    image_size=24,
    licence='Apache-2.0',
    num_classes=62,
    file='resnet14_cifar_glyphs.safetensors',
  ),
)

PRETRAINED: dict[str, Pretrained] = {row.tag: row for row in _ROWS}


def list_pretrained() -> list[str]:
  """Tags for `load_pretrained`."""
  return list(PRETRAINED)


def lookup(tag: str) -> Pretrained:
  """The row of a tag.

  Raises:
    ValueError: no such tag.
  """
  if tag not in PRETRAINED:
    near = difflib.get_close_matches(tag, PRETRAINED, n=1)
    hint = f' Did you mean {near[0]!r}?' if near else ''
    known = ', '.join(list_pretrained())
    raise ValueError(
      f'no pretrained weights named {tag!r}.{hint} Weights: {known}'
    )
  return PRETRAINED[tag]

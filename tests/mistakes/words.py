"""Unknown names, and the command line and its file."""

from tests.mistakes.case import Case


def _names(field, word, meant, *more, config='digits.py'):
  return Case(
    f'{field} {word}',
    (f'--config.{field}={word}', *more),
    f'config.{field}: no ',
    f'Did you mean {meant!r}?',
    config=config,
  )


NAMES = [
  _names('suite', 'digts', 'digits'),
  _names('suite', 'DomainNet', 'domainnet'),
  _names('suite', 'office-home', 'office_home'),
  _names('backbone', 'resnet14_cifr', 'resnet14_cifar'),
  _names('backbone', 'ResNet50', 'resnet50'),
  _names('backbone', 'clip-resnet50', 'clip_resnet50'),
  _names('weights', 'resnet14_cifar.glyhps', 'resnet14_cifar.glyphs'),
  _names('weights', 'scrtach', 'scratch'),
  _names('methods', 'ft+dfat', 'daft'),
  _names('methods', 'DAFT', 'daft'),
  _names('methods', 'lp-ft', 'lp_ft'),
  _names('augment', 'flip_corp', 'flip_crop'),
  _names('eval_ood', 'mnist_invertd', 'mnist_inverted', '--config.eval_only'),
  _names('data.domain', 'foto', 'photo', config='pacs.py'),
]

FLAGS = [
  Case('no flags', (), '--config is missing', 'Type: python -m', config=''),
  Case(
    'no workdir',
    ('--config=configs/digits.py',),
    '--workdir is missing',
    'Type: python -m daft_jax.main',
    config='',
  ),
  Case(
    'workdir without a value',
    ('--workdir',),
    '--workdir is missing',
    '--workdir=/tmp/digits',
  ),
  Case(
    'a field without a value',
    ('--config.epochs',),
    "config.epochs is ''",
    'a whole number from 1 on',
  ),
  Case(
    'a flag misspelt',
    ('--wrkdir={tmp}/x',),
    "'--wrkdir' is no argument",
    "Did you mean '--workdir'?",
  ),
  Case(
    'one flag of three',
    ('--coordinator=gpu0:1234',),
    '--num_processes and --process_id are missing',
    'each is told --coordinator=HOST:PORT',
  ),
  Case(
    'two flags of three',
    ('--coordinator=gpu0:1234', '--num_processes=2'),
    '--process_id is missing',
    '--process_id=I, from 0 on',
  ),
  Case(
    'a flag of several processes misspelt',
    ('--num_proceses=2',),
    "'--num_proceses' is no argument",
    "Did you mean '--num_processes'?",
  ),
  Case(
    'a process too many',
    ('--coordinator=gpu0:1234', '--num_processes=2', '--process_id=2'),
    '--process_id is 2',
    'of --num_processes=2 the last one is 1',
  ),
  Case('a flag of one dash', ('-epochs=3',), "'-epochs' is no", 'Type: python'),
  Case('a word too many', ('digits',), "'digits' is no argument", 'Type: '),
  Case(
    'a field twice',
    ('--config.seeds=0', '--config.seeds=1'),
    "--config.seeds is given twice, as '0' and '1'",
    'give it once',
  ),
  Case(
    'a workdir twice',
    ('--workdir={tmp}/a', '--workdir={tmp}/b'),
    '--workdir is given twice',
    'give it once',
  ),
  Case(
    'a field without its group',
    ('--config.momentum=0.8',),
    'config.momentum is unknown',
    'Did you mean config.optimizer.momentum?',
  ),
  Case(
    'a short field without its group',
    ('--config.dir={tmp}',),
    'config.dir is unknown',
    'Did you mean config.data.dir?',
  ),
  Case(
    'a group for a field',
    ('--config.optimizer=adamw',),
    'config.optimizer is unknown',
    'config.optimizer.name',
  ),
  Case(
    'a field of a field',
    ('--config.epochs.number=3',),
    'config.epochs.number is unknown',
    'Did you mean config.epochs?',
  ),
  Case(
    'a field that is like no other',
    ('--config.zzz=3',),
    'config.zzz is unknown',
    'configs/common.py has all fields',
  ),
  Case(
    'a field after the file, without a value',
    ('--config=configs/digits.py:epochs',),
    "'epochs' after the config file",
    'is not name=value',
  ),
  Case(
    'a field after the file, misspelt',
    ('--config=configs/digits.py:epocs=3',),
    'config.epocs is unknown',
    'Did you mean config.epochs?',
  ),
  Case(
    'half a tuple',
    ('--config.seeds=(0, 1',),
    "config.seeds is '(0, 1'",
    'whole numbers from 0 on',
  ),
]


def _file(name, text, where, fix, *args):
  """A config file of the user's."""
  write = text if isinstance(text, bytes) else text.encode()
  return Case(
    name,
    args,
    where,
    fix,
    config='{tmp}/mine.py',
    prepare=lambda tmp: (tmp / 'mine.py').write_bytes(write),
  )


_HEAD = 'from configs import common\n\n\ndef get_config():\n'
_HEAD += '  config = common.get_config()\n'

CONFIG_FILES = [
  Case(
    'a config misspelt',
    ('--config=configs/digit.py',),
    '--config: there is no file configs/digit.py',
    'Did you mean configs/digits.py?',
  ),
  Case(
    'a config without its suffix',
    ('--config=configs/digits',),
    '--config: there is no file configs/digits',
    'Did you mean configs/digits.py?',
  ),
  Case(
    'a folder for a config',
    ('--config={tmp}',),
    '--config: {tmp} is a folder',
    'give a file such as configs/digits.py',
  ),
  Case(
    'a config in JSON',
    ('--config={tmp}/mine.json',),
    '--config: {tmp}/mine.json is not a Python file',
    'configs/digits.py',
    prepare=lambda tmp: (tmp / 'mine.json').write_text('{"epochs": 3}'),
  ),
  _file(
    'a syntax error',
    'import os\n\ndef get_config(:\n  pass\n',
    '--config: {tmp}/mine.py:3: SyntaxError',
    'Mend the file',
  ),
  _file(
    'not text',
    b'\x89PNG\r\n\x1a\n\xff\x00',
    '--config: {tmp}/mine.py',
    'Mend the file',
  ),
  _file('a zero byte', 'a\0b', '--config: {tmp}/mine.py', 'Mend the file'),
  _file(
    'no get_config',
    'epochs = 3\n',
    '--config: {tmp}/mine.py has no function get_config()',
    'see configs/digits.py',
  ),
  _file(
    'a get_config that returns nothing',
    f'{_HEAD}  config.epochs = 3\n',
    'get_config() in {tmp}/mine.py returns NoneType',
    'does it end in `return config`?',
  ),
  _file(
    'a get_config that returns a list',
    'def get_config():\n  return [3]\n',
    'get_config() in {tmp}/mine.py returns list',
    'no ConfigDict',
  ),
  _file(
    'a config with few fields',
    'def get_config():\n  return {"epochs": 3}\n',
    'config.suite is missing',
    'Start from configs/common.py',
  ),
  _file(
    'a new field in a config',
    f'{_HEAD}  config.epocs = 3\n  return config\n',
    'config.epocs is unknown',
    'Did you mean config.epochs?',
  ),
  _file(
    'another type in a config',
    f'{_HEAD}  config.suite = 3\n  return config\n',
    "--config: {tmp}/mine.py:6: TypeError: Could not override field 'suite'",
    'Mend the file',
  ),
  _file(
    'an import that fails',
    'import no_such_module\n',
    '{tmp}/mine.py:1: ModuleNotFoundError',
    "No module named 'no_such_module'",
  ),
  _file(
    'a config that leaves',
    'import sys\n\nsys.exit(3)\n',
    '{tmp}/mine.py:3: SystemExit',
    'Mend the file',
  ),
  Case(
    'an argument for a get_config without',
    ('--config={tmp}/mine.py:epochs=3',),
    '--config: {tmp}/mine.py',
    'takes 0 positional arguments but 1 was given',
    prepare=lambda tmp: (tmp / 'mine.py').write_text(
      f'{_HEAD}  return config\n'
    ),
  ),
]

"""Configs that are not configs. A config is Python that its user chose to run:

that it runs is right; what it raises and what it returns is looked at.
"""

from tests.hostile.corpus import CODES, Case, sparse

NESTED = '(' * 20_000 + '1' + ')' * 20_000


def code(text, name='config.py'):
  """A file of Python, or of other bytes."""
  data = text if isinstance(text, bytes) else text.encode()

  def write(folder, canary):
    (folder / name).write_bytes(data)

  return write


def returns(value):
  return code(f'def get_config():\n  return {value}\n')


def raises(what):
  return code(f'def get_config():\n  raise {what}\n')


def itself(folder, canary):
  code('def get_config():\n  a = {}\n  a["a"] = a\n  return a\n')(
    folder, canary
  )


def changed(line):
  """The common config, with one line more."""
  return code(
    'from configs import common\ndef get_config():\n'
    f'  config = common.get_config()\n  {line}\n  return config\n'
  )


FILES = {
  'text': code('Dear user,\nthis is no config.\n'),
  'bytes': code(bytes(range(256)) * 20),
  'a pickle': code(b'\x80\x04\x95\x0b\0\0\0cos\nsystem\n.'),
  'HTML': code('<!DOCTYPE html><script>alert(1)</script>'),
  'YAML': code('!!python/object/apply:os.system ["touch x"]\n'),
  'empty': code(''),
  'nested': code(f'x = {NESTED}\n'),
  'long expression': code('x = ' + '+'.join(['1'] * 50_000) + '\n'),
  'a folder': lambda folder, _: (folder / 'config.py').mkdir(),
  'no get_config': code('config = {}\n'),
  'get_config is a number': code('get_config = 3\n'),
  'more arguments': code('def get_config(a, b):\n  return {}\n'),
  'exit at once': code('import sys\nsys.exit(0)\n'),
  'exit': code('import sys\ndef get_config():\n  sys.exit("\\x1b[2J")\n'),
  'quit with 0': raises('SystemExit(0)'),
  'recursion': code('def get_config():\n  return get_config()\n'),
  'raises text': raises('ValueError("\\x1b[2J\\ndaft_jax: done\\r")'),
  'raises no text': raises('ValueError'),
  'raises what cannot be shown': code(
    'class E(Exception):\n  def __str__(self): raise self\n'
    'def get_config():\n  raise E\n'
  ),
  'raises beyond': raises('BaseException("x")'),
  'raises generator': raises('GeneratorExit'),
  'raises a group': raises('ExceptionGroup("x", [ValueError("y")])'),
  'raises memory': raises('MemoryError'),
  'syntax': code('def get_config(:\n'),
  'None': returns('None'),
  'a number': returns('3'),
  'a string': returns("'suite'"),
  'a list': returns('[("suite", "digits")]'),
  'a class': returns('dict'),
  'a generator': returns('(x for x in ())'),
  'an empty dict': returns('{}'),
  'numbers as keys': returns('{1: 2, None: 3, (1,): 4}'),
  'codes as keys': returns(f'{{{CODES!r}: 1}}'),
  'itself': itself,
  'deep': code(
    'def get_config():\n  a = {}\n'
    '  for _ in range(100_000): a = {"a": a}\n  return a\n'
  ),
  'many keys': returns('{f"key{i}": i for i in range(100_000)}'),
  'attributes': returns('type("X", (), {"items": 3, "to_dict": 4})()'),
  'NaN': changed('config.optimizer.weight_decay = float("nan")'),
  'infinity': changed('config.lrs = (float("inf"),)'),
  'huge number': changed('config.lrs = (10**400,)'),
  'huge epochs': changed('config.epochs = 10**400'),
  'more digits than are shown': changed('config.epochs = 10**5000'),
  'huge seed': changed('config.seeds = (10**400,)'),
  'huge image': changed('config.image_size = 10**9'),
  'a list in a list': changed('config.seeds = [[0]]'),
  'codes in a name': changed(f'config.suite = {CODES!r}'),
  'NUL in a path': changed(
    'config.data.dir = "/a\\0b"; config.suite = "cifar"'
  ),
  'a path of nobody': changed(
    'config.data.dir = "~nobody_at_all/x"; config.suite = "cifar"'
  ),
  'a long path': changed(
    'config.data.dir = "/" + "a" * 5000; config.suite = "cifar"'
  ),
}
FIELDS = {
  'parentheses': ('--config.lrs=' + '(' * 5000,),
  'minus': ('--config.lrs=' + '-' * 50_000 + '1',),
  'tuple of minus': ('--config.lrs=(' + '-' * 50_000 + '1,)',),
  'digits': ('--config.epochs=' + '9' * 5000,),
  'list as a key': ('--config.lrs=({[]: 1},)',),
  'codes': (f'--config.{CODES}=1',),
  'an expression': ('--config.lrs=__import__("os").system("x")',),
  'a power': ('--config.epochs=9**9**9**9',),
  'a lambda': ('--config.lrs=(lambda: 0)()',),
  'a format': ('--config.suite={0.__class__}',),
  'a path': ('--config.data.root=/{x}/{0}/y', '--config.suite=folder'),
  'attributes': ('--config.__class__=1',),
  'a dunder': ('--config.optimizer.__init__=1',),
  'a method': ('--config.optimizer.update=1',),
  'no name': ('--config.=1',),
  'dots': ('--config.' + '.' * 5000 + '=1',),
  'a template': ('--config.suite=$(touch x)`touch x`',),
}

CONFIG = ('config.py',)
OWN = ('common.py',)


def common(folder, canary):
  code('from configs.common import get_config\n', 'common.py')(folder, canary)


CASES = {
  **{f'config: {k}': Case(v, 'config', args=CONFIG) for k, v in FILES.items()},
  **{
    f'field: {k}': Case(common, 'config', args=OWN + v)
    for k, v in FIELDS.items()
  },
  'config: hole': Case(
    lambda folder, _: sparse(folder / 'config.py', 1 << 36),
    'config',
    args=CONFIG,
  ),
  'config: not Python by name': Case(
    code('x', 'config.txt'), 'config', args=('config.txt',)
  ),
}

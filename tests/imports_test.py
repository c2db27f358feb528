"""Imports go down: the layers, who owns which library, and the ceilings."""

import ast
import difflib
import fnmatch
import itertools
import pathlib
import subprocess
import sys

import pytest

import daft_jax

ROOT = pathlib.Path(daft_jax.__file__).parent

# A module imports from lower layers, and from the modules it shares a group
# with. Nobody imports the root; `__version__` is all that may be taken from it.
LAYERS = (
  ('names', 'bounded', 'trees', 'processes'),
  (
    *('sharding', 'metrics', 'writer', 'methods'),
    *('results', 'results.*', 'settings', 'settings.*'),
    *('data.suites', 'data.domains', 'pretrained.registry'),
    *('unpickle', 'unpickle.*', 'locks', 'signals', 'machine'),
    *('disclosed', 'fingerprints'),
  ),
  (
    *('bn', 'bn.*', 'optim', 'probe', 'probe.*', 'shards'),
    *('models', 'models.*', 'data', 'data.*'),
    *('distortion', 'distortion.*'),
    *('checkpoint', 'checkpoint.*', 'logs'),
  ),
  ('pretrained', 'pretrained.*'),
  ('train', 'train.*', 'trainable', 'evaluate'),
  ('task',),
  ('head_rate', 'points', 'cached'),
  ('search',),
  (
    *('stages', 'measure', 'assemble', 'assemble.*', 'provenance'),
    *('alike', 'arrangement'),
  ),
  ('diverged',),
  ('trial', 'further'),
  ('grid',),
  ('experiment', 'launch', 'launch.*', 'ended'),
  ('main', 'benchmark', 'benchmark.*', 'export'),
  ('__init__',),
)
GROUPS = (
  ('bn', 'bn.*'),
  ('models', 'models.*'),
  ('data', 'data.*'),
  ('assemble', 'assemble.*'),
  ('benchmark', 'benchmark.*'),
  ('checkpoint', 'checkpoint.*'),
  ('distortion', 'distortion.*'),
  ('launch', 'launch.*'),
  ('pretrained', 'pretrained.*'),
  ('probe', 'probe.*'),
  ('results', 'results.*'),
  ('settings', 'settings.*'),
  ('train', 'train.*'),
  ('unpickle', 'unpickle.*'),
)
# What turns files into tables and figures: no JAX, and of the package only
# `results`, `names` and each other. Who prints a table or adds lines uses it.
ASIDE = ('report', 'report.*')
ASIDE_IMPORTS = (*ASIDE, 'results', 'results.*', 'names', 'bounded')
ASIDE_USERS = {'experiment': ('report',), 'further': ('report.collect',)}

# Library -> the only modules that import it.
OWNERS = {
  'absl.app': ('main',),
  'absl.flags': ('main',),
  'orbax': ('checkpoint.checked', 'benchmark.save'),
  'tensorstore': ('checkpoint.checked',),
  'xxhash': ('checkpoint.manifest',),
  'matplotlib': ('report.figures.*',),
  'torch': (),
  'torchvision': (),
  'tensorflow': ('data.*', 'benchmark.data'),
  'tensorflow_datasets': ('data.*',),
  'flax.linen': (
    *('models', 'models.*', 'bn', 'bn.*'),
    *('train', 'evaluate'),
  ),
  'flax.nnx': (),
  'ml_collections': ('experiment', 'main', 'settings'),
}
NO_JAX = (
  *(*ASIDE, 'results', 'results.*', 'names'),
  *('data.suites', 'data.domains', 'pretrained.registry'),
)
JAX = ('jax', 'jaxlib', 'flax', 'optax', 'orbax')

FILE_LINES = 300
FUNCTION_LINES = 60  # without the docstring


def module_name(path):
  """'daft_jax/data/suites.py' -> 'data.suites'; a package is its folder."""
  parts = path.relative_to(ROOT).with_suffix('').parts
  return '.'.join(parts).removesuffix('.__init__')


FILES = {module_name(path): path for path in sorted(ROOT.rglob('*.py'))}


def matches(module, patterns):
  """'data.*' is every module in data, 'data' the package itself."""
  return any(fnmatch.fnmatchcase(module, pattern) for pattern in patterns)


def layer(module):
  """Returns the first that has it, by its name before by a pattern, or None."""
  exact = (i for i, names in enumerate(LAYERS) if module in names)
  other = (i for i, names in enumerate(LAYERS) if matches(module, names))
  return next(itertools.chain(exact, other), None)


def imported(tree):
  """Yields what is imported anywhere: `from a import b` is 'a.b'."""
  for node in ast.walk(tree):
    if isinstance(node, ast.Import):
      yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
      base = '.' * node.level + (node.module or '')
      yield from (f'{base}.{alias.name}' for alias in node.names)


def allowed(module, other):
  if module == '__init__':
    return True
  if matches(module, ASIDE):
    return matches(other, ASIDE_IMPORTS)
  if matches(other, ASIDE):
    return other in ASIDE_USERS.get(module, ())
  if any(matches(module, x) and matches(other, x) for x in GROUPS):
    return True
  return (layer(other) or 0) < layer(module)  # None: that one's own fault


def internal(names, modules):
  """Returns the modules of the package that are imported ('': the root)."""
  found = set()
  for name in names:
    base, _, rest = name.partition('.')
    parent = rest.rpartition('.')[0]
    if base == 'daft_jax' and rest != '__version__':
      # A name in a module, 'bn.convert_bn', counts as the module.
      in_module = rest not in modules and parent in modules
      found.add(parent if in_module else rest)
  return found


def faults(module, source, modules=tuple(FILES)):
  """Lists what a module imports and must not."""
  if not matches(module, ASIDE) and layer(module) is None:
    return [f'{module} is in no layer: add it to LAYERS or ASIDE']
  names, found = set(imported(ast.parse(source))), []
  for other in sorted(internal(names, modules) - {module}):
    if not other:
      found.append(f'{module} imports the root: only `__version__` is for it')
    elif other not in modules:
      found.append(f'{module} imports {other}, which is not a module')
    elif not allowed(module, other):
      found.append(f'{module} may not import {other}')
  if any(name.startswith('.') for name in names):
    found.append(f'{module} has a relative import: write daft_jax....')
  for library, owners in OWNERS.items():
    used = any(x == library or x.startswith(f'{library}.') for x in names)
    if used and not matches(module, owners):
      found.append(f'{module} may not import {library}')
  if matches(module, NO_JAX):
    used = sorted({name.split('.')[0] for name in names} & set(JAX))
    found += [f'{module} must do without {library}' for library in used]
  return found


@pytest.mark.parametrize('module', FILES)
def test_imports(module):
  assert faults(module, FILES[module].read_text(encoding='utf-8')) == []


@pytest.mark.parametrize(
  ('module', 'source', 'fault'),
  [
    ('trees', 'from daft_jax import results', 'may not import results'),
    ('bn', 'from daft_jax.models import resnet', 'not import models.resnet'),
    ('bn', 'from daft_jax.models import create_model', 'not import models'),
    ('bn', 'def f():\n  import daft_jax.models.layers', 'models.layers'),
    ('bn', 'from daft_jax import report', 'may not import report'),
    ('report.tables', 'from daft_jax import trees', 'not import trees'),
    ('report.tables', 'from jax import numpy', 'must do without jax'),
    (
      'bn',
      'from daft_jax import convert_bn',
      'convert_bn, which is not a module',
    ),
    ('bn', 'import daft_jax', 'imports the root'),
    ('bn', 'import daft_jax.nowhere', 'nowhere, which is not a module'),
    ('bn', 'from . import trees', 'relative import'),
    ('helpers', '', 'is in no layer'),
    ('bn', 'from absl import flags', 'may not import absl.flags'),
    ('bn', 'import orbax.checkpoint as ocp', 'may not import orbax'),
    ('bn', 'from matplotlib.figure import Figure', 'not import matplotlib'),
    ('models.resnet', 'import torch.nn as nn', 'may not import torch'),
    ('results', 'from flax import linen as nn', 'may not import flax.linen'),
    ('report', 'import ml_collections', 'may not import ml_collections'),
  ],
)
def test_a_wrong_import_is_found(module, source, fault):
  (found, *_) = faults(module, source)
  assert fault in found


@pytest.mark.parametrize(
  ('module', 'source'),
  [
    ('bn', 'from daft_jax import __version__, trees\nimport jax'),
    ('bn.conversion', 'from daft_jax.bn import recording'),
    ('distortion', 'from daft_jax.data import suites'),
    ('trial', 'from daft_jax.models import create_model'),
    ('bn', 'from absl import logging\nimport flax.linen as nn'),
    ('data.pipeline', 'from daft_jax.data.sources import ImageSet'),
    ('data.pipeline', 'import tensorflow as tf'),
    ('report.figures.look', 'from daft_jax import names\nimport matplotlib'),
  ],
)
def test_a_right_import_is_not_a_fault(module, source):
  assert faults(module, source) == []


@pytest.mark.parametrize('module', FILES)
def test_ceilings(module):
  source = FILES[module].read_text(encoding='utf-8')
  assert len(source.splitlines()) <= FILE_LINES
  for node in ast.walk(ast.parse(source)):
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
      assert lines_of(node) <= FUNCTION_LINES, node.name


def lines_of(function):
  lines = function.end_lineno - function.lineno + 1
  if ast.get_docstring(function) is not None:
    docstring = function.body[0]
    lines -= docstring.end_lineno - docstring.lineno + 1
  return lines


def test_lines_of_a_function_are_those_without_the_docstring():
  (function,) = ast.parse('def f():\n  """One.\n\n  Two.\n  """\n  pass').body
  assert lines_of(function) == 2


def test_every_helper_has_an_owner():
  assert not {'utils', 'util', 'helpers', 'common', 'misc'} & {
    name.split('.')[-1] for name in FILES
  }


def test_public_names_agree():
  """The list for editors, `__all__` and the lazy table say the same."""
  source = FILES['__init__'].read_text(encoding='utf-8')
  typing = {
    alias.name: node.module
    for node in ast.walk(ast.parse(source))
    if isinstance(node, ast.ImportFrom) and node.module.startswith('daft_jax.')
    for alias in node.names
  }
  owners = {name: f'daft_jax.{x}' for name, x in daft_jax._OWNERS.items()}
  assert typing == owners
  assert sorted(daft_jax.__all__) == sorted(owners)
  assert set(daft_jax.__all__) | {'__version__'} <= set(dir(daft_jax))


@pytest.mark.parametrize('name', daft_jax.__all__)
def test_public_name(name):
  assert getattr(daft_jax, name) is not None


@pytest.mark.parametrize('name', ['convert_bm', 'list_model', 'METHOD'])
def test_misspelt_public_name(name):
  (near,) = difflib.get_close_matches(name, daft_jax.__all__, n=1)
  with pytest.raises(AttributeError, match=f'Did you mean {near!r}'):
    getattr(daft_jax, name)


def test_unknown_public_name():
  with pytest.raises(AttributeError, match="no attribute 'x'$"):
    daft_jax.x  # noqa: B018


def modules_after(statement):
  """Returns the top-level names in sys.modules after one statement."""
  program = f'import sys\n{statement}\nprint(*sys.modules)'
  done = subprocess.run(
    [sys.executable, '-c', program],
    capture_output=True,
    text=True,
    check=True,
    timeout=120,
  )
  return {name.split('.')[0] for name in done.stdout.split()}


@pytest.mark.parametrize(
  'statement',
  [
    'import daft_jax; dir(daft_jax)',
    'from daft_jax import METHODS',
    'from daft_jax import list_pretrained; list_pretrained()',
    'import daft_jax.report',
    'import daft_jax.data.suites',
  ],
)
def test_does_without_jax(statement):
  found = modules_after(statement)
  assert 'daft_jax' in found
  assert not found & set(JAX)


@pytest.mark.parametrize(
  'statement', ['import daft_jax.report', 'import daft_jax.bn']
)
def test_optional_libraries_are_not_imported(statement):
  optional = {'matplotlib', 'sklearn', 'mlxtend', 'torch', 'tensorflow'}
  assert not modules_after(statement) & optional


def test_jax_is_seen_where_it_is_imported():
  assert set(JAX) & modules_after('import daft_jax.bn')

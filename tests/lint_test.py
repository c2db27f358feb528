"""What the package must not do: run what a file says, or believe its names.

The rules are looked for in the syntax of every file of the package, of the
configs and of the notebooks. What they forbid:

  pickles read by anything but `unpickle`, and NumPy told to read them;
  eval, exec and compile, and imports of a name that is not written out;
  YAML that makes objects; a shell;
  archives extracted by the names in them; names of files that may be taken;
  HTTPS without its check.

Processes of our own talk to each other in pickles (loky, multiprocessing):
these never were in a file, and no rule is about them.
"""

import ast
import fnmatch
import json
import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
FILES = sorted(
  path
  for folder in ('daft_jax', 'configs', 'colab')
  for path in (ROOT / folder).rglob('*')
  if path.suffix in ('.py', '.ipynb')
)

# What reads pickles, or runs what it reads. `pickletools` only cuts them up.
MODULES = {
  *('pickle', 'cPickle', '_pickle', 'dill', 'cloudpickle', 'joblib'),
  *('shelve', 'marshal', 'jsonpickle', 'hickle', 'code', 'codeop', 'runpy'),
  *('commands', 'pty', 'imp', 'xmlrpc', 'telnetlib'),
}
NAMES = {'eval', 'exec', 'compile', 'execfile', 'breakpoint', 'input'}
# Patterns of the end of a dotted name that is called.
CALLS = {
  'torch.load': 'reads pickles: read_torch does not',
  'torch.*.load': 'reads pickles: read_torch does not',
  '*.read_pickle': 'reads pickles',
  'numpy.fromregex': 'is not for files of strangers',
  'yaml.*load*': 'makes objects: there is json',
  'os.system': 'is a shell',
  'os.popen': 'is a shell',
  'os.spawn*': 'starts a program',
  'os.exec*': 'starts a program',
  'subprocess.getoutput': 'is a shell',
  'subprocess.getstatusoutput': 'is a shell',
  'asyncio.create_subprocess_shell': 'is a shell',
  '*.extractall': 'writes where an archive says: read its members',
  '*.extract': 'writes where an archive says: read its members',
  'shutil.unpack_archive': 'writes where an archive says: use unpacking',
  'tempfile.mktemp': 'names a file that another may make: use mkstemp',
  '*._create_unverified_context': 'does not check who answers',
  'builtins.*': 'is eval under another name',
}
# A call that has this keyword, unless its value is the constant.
KEYWORDS = {
  'allow_pickle': (False, 'lets NumPy read pickles'),
  'shell': (False, 'starts a shell'),
  'verify': (True, 'does not check who answers'),
  'weights_only': (True, 'lets PyTorch read pickles'),
}
# A constant is a name that is written out; others come from a file, or a user.
IMPORTS = ('importlib.import_module', '__import__')
# Where a module is looked up by a variable, which is a constant of its own.
OWN_NAMES = {
  'daft_jax/__init__.py': 'the table of public names',
  'daft_jax/models/__init__.py': 'the table of families',
  'daft_jax/pretrained/__init__.py': 'the table of public names',
}


def sources(path):
  """Yields the Python of a file; of a notebook, cell by cell."""
  text = path.read_text(encoding='utf-8')
  if path.suffix == '.py':
    yield text
    return
  for cell in json.loads(text)['cells']:
    if cell['cell_type'] == 'code':
      lines = ''.join(cell['source']).split('\n')
      # Of IPython, not Python: pip and shell lines, which a user types.
      kept = [re.sub(r'^(\s*)[%!].*', r'\1pass', line) for line in lines]
      yield '\n'.join(kept)


class Names(ast.NodeVisitor):
  """What a name stands for: 'np' is 'numpy' after `import numpy as np`."""

  def __init__(self):
    self.found = {}

  def visit_Import(self, node):
    for alias in node.names:
      name = alias.name if alias.asname else alias.name.split('.')[0]
      self.found[alias.asname or name] = name

  def visit_ImportFrom(self, node):
    for alias in node.names:
      name = f'{node.module or ""}.{alias.name}'
      self.found[alias.asname or alias.name] = name


def dotted(node, names):
  """'numpy.load' of `np.load`; '?.load' where it is of a value."""
  if isinstance(node, ast.Name):
    return names.get(node.id, node.id)
  if isinstance(node, ast.Attribute):
    return f'{dotted(node.value, names)}.{node.attr}'
  return '?'


def faults(source, file='x.py'):
  """Lists what the rules forbid, with the line."""
  tree = ast.parse(source)
  names = Names()
  names.visit(tree)
  found = []
  for node in ast.walk(tree):
    for what in forbidden(node, names.found, file):
      found.append(f'{file}:{node.lineno} {what}')
  return found


def forbidden(node, names, file):
  if isinstance(node, ast.Import | ast.ImportFrom):
    yield from imports(node)
  elif isinstance(node, ast.Name) and node.id in NAMES:
    yield f'{node.id} runs what it is given'
  elif isinstance(node, ast.Attribute) and node.attr == '__builtins__':
    yield 'takes names of Python by a variable'
  elif isinstance(node, ast.Call):
    name = dotted(node.func, names)
    for pattern, why in CALLS.items():
      if fnmatch.fnmatchcase(name, pattern):
        yield f'{name} {why}'
    if name in IMPORTS and file not in OWN_NAMES:
      if not (node.args and isinstance(node.args[0], ast.Constant)):
        yield f'{name} of a variable'
    for keyword in node.keywords:
      value, why = KEYWORDS.get(keyword.arg, (None, ''))
      constant = isinstance(keyword.value, ast.Constant)
      if why and not (constant and keyword.value.value is value):
        yield f'{name}({keyword.arg}=...) {why}'
    # The default of numpy.load is False; a third argument is allow_pickle.
    if name == 'numpy.load' and len(node.args) > 2:
      yield 'numpy.load with allow_pickle by its place'


def imports(node):
  modules = [alias.name for alias in node.names]
  modules = [node.module or ''] if isinstance(node, ast.ImportFrom) else modules
  for module in modules:
    if module.split('.')[0] in MODULES:
      yield f'imports {module}, which runs what a file says'


@pytest.mark.parametrize(
  'path', FILES, ids=[str(path.relative_to(ROOT)) for path in FILES]
)
def test_nothing_forbidden(path):
  file = path.relative_to(ROOT).as_posix()
  assert [x for text in sources(path) for x in faults(text, file)] == []


def test_all_files_are_looked_at():
  names = {path.relative_to(ROOT).as_posix() for path in FILES}
  assert len(names) > 80
  assert {'daft_jax/main.py', 'configs/common.py'} <= names
  assert 'colab/quickstart.ipynb' in names
  assert OWN_NAMES.keys() <= names


WRONG = (
  'import pickle',
  'import pickle as p',
  'from pickle import loads',
  'def f():\n  import dill',
  'from cloudpickle import load',
  'import shelve',
  'import marshal',
  'import joblib',
  'import jsonpickle.pickler',
  'import numpy as np\nnp.load(path, allow_pickle=True)',
  'import numpy as np\nnp.load(path, allow_pickle=flag)',
  'import numpy as np\nnp.load(path, None, True)',
  'from numpy import load\nload(path, allow_pickle=1)',
  'import pandas as pd\npd.read_pickle(path)',
  'import torch\ntorch.load(path)',
  'import torch as t\nt.load(path)',
  'from torch import load\nload(path, weights_only=False)',
  'import torch\ntorch.jit.load(path)',
  'eval(text)',
  'exec(text)',
  'run = exec',
  'map(eval, texts)',
  'compile(text, "x", "exec")',
  'import builtins\nbuiltins.exec(text)',
  '__import__(name)',
  'import importlib\nimportlib.import_module(name)',
  'from importlib import import_module as get\nget(f"daft_jax.{name}")',
  'import yaml\nyaml.load(text)',
  'import yaml\nyaml.safe_load(text)',
  'from yaml import full_load_all\nfull_load_all(text)',
  'import subprocess\nsubprocess.run(text, shell=True)',
  'from subprocess import Popen\nPopen(text, shell=flag)',
  'import subprocess\nsubprocess.getoutput(text)',
  'import os\nos.system(text)',
  'from os import system\nsystem(text)',
  'import os as o\no.popen(text)',
  'import os\nos.execv(path, args)',
  'import tarfile\ntarfile.open(path).extractall(place)',
  'with open_tar() as file:\n  file.extractall(place, filter="data")',
  'import zipfile\nzipfile.ZipFile(path).extract(name, place)',
  'import shutil\nshutil.unpack_archive(path)',
  'import tempfile\ntempfile.mktemp()',
  'import requests\nrequests.get(url, verify=False)',
  'import ssl\nssl._create_unverified_context()',
)
RIGHT = (
  'import pickletools\npickletools.genops(stream)',
  'import numpy as np\nnp.load(path, allow_pickle=False)',
  'import numpy as np\nnp.load(path)',
  'import json\njson.load(file)',
  'import re\nre.compile(text)',
  'step.lower(state).compile()',
  'jitted.compile',
  'import importlib\nimportlib.import_module("jax")',
  'import subprocess\nsubprocess.run(["git", "log"], shell=False)',
  'model.eval()',
  'archive.extractfile(info)',
  'from daft_jax.unpickle import pickled\npickled.load(stream)',
  'import tempfile\ntempfile.mkstemp()',
)


@pytest.mark.parametrize('source', WRONG)
def test_each_rule_finds_what_it_forbids(source):
  assert faults(source)


@pytest.mark.parametrize('source', RIGHT)
def test_what_is_allowed_is_not_found(source):
  assert faults(source) == []


def test_every_pattern_is_needed_by_a_wrong_example():
  """Of each rule, one snippet above is found by it alone or with others."""
  text = '\n'.join(x for source in WRONG for x in faults(source))
  for why in {*CALLS.values(), *(why for _, why in KEYWORDS.values())}:
    if why not in ('is not for files of strangers', 'starts a program'):
      assert why in text, why

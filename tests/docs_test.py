"""What the documentation says runs, and what it points at exists."""

import doctest
import importlib
import pathlib
import pkgutil
import re
import shlex

import pytest

import daft_jax

ROOT = pathlib.Path(__file__).resolve().parent.parent
PAGES = ('README.md', 'CONTRIBUTING.md', 'CHANGELOG.md')

FENCE = re.compile(r'^```(\w*)\n(.*?)^```$', re.MULTILINE | re.DOTALL)
LINK = re.compile(r'\]\(([^)\s]+)\)|(?:src|href)="([^"]+)"')
# Words that are paths from the root of the repository.
PATH = re.compile(
  r'(?<![\w./-])(?:\.?/)?'
  r'((?:daft_jax|configs|tests|colab|docs|\.ci|\.github)/(?:[\w./-]*[\w/])?)'
  r'(?![\w*<{-])'
)


def raise_error(name):
  raise ImportError(f'cannot import {name}')


MODULES = ['daft_jax'] + [
  module.name
  for module in pkgutil.walk_packages(
    daft_jax.__path__, 'daft_jax.', onerror=raise_error
  )
]


def read(page):
  return (ROOT / page).read_text(encoding='utf-8')


def blocks(text, *languages):
  """Returns the fenced blocks in these languages, in order."""
  return [body for name, body in FENCE.findall(text) if name in languages]


def section(text, title):
  """Returns a '## title' section, without its heading."""
  found = re.search(
    rf'^## {title}\n(.*?)(?=^## |\Z)', text, re.MULTILINE | re.DOTALL
  )
  assert found, f'there is no section {title!r}'
  return found[1]


def anchors(text):
  """Returns the names GitHub gives to the headings."""
  headings = re.findall(r'^#+ (.+)$', FENCE.sub('', text), re.MULTILINE)
  return {
    re.sub(r'[^\w -]', '', heading).strip().lower().replace(' ', '-')
    for heading in headings
  }


@pytest.mark.parametrize('name', MODULES)
def test_doctests(name):
  module = importlib.import_module(name)
  runner = doctest.DocTestRunner()
  for test in doctest.DocTestFinder(exclude_empty=True).find(module):
    runner.run(test)
  assert runner.failures == 0  # the report is on stdout


def test_there_are_doctests():
  modules = map(importlib.import_module, MODULES)
  finder = doctest.DocTestFinder()
  assert sum(len(x.examples) for m in modules for x in finder.find(m)) > 10


def test_python_in_readme(monkeypatch, tmp_path):
  """One reader, top to bottom: later blocks see the names of earlier ones."""
  monkeypatch.syspath_prepend(ROOT)  # as `python` does in a clone
  monkeypatch.chdir(tmp_path)
  programs = blocks(read('README.md'), 'python')
  assert programs
  names = {'__name__': '__main__'}
  for number, program in enumerate(programs, 1):
    exec(compile(program, f'README.md, block {number}', 'exec'), names)


def test_quickstart_is_two_commands():
  found = FENCE.findall(section(read('README.md'), 'Quickstart'))
  assert [language for language, _ in found] == ['bash', 'bash']
  for _, command in found:
    assert len(command.splitlines()) == 1
    assert command.startswith("pip install -q -e '.[")
  (_, demo), (_, tests) = found
  words = shlex.split(demo)
  assert 'python -m daft_jax.main' in demo
  assert any(word.startswith('--workdir=/tmp/') for word in words)
  assert shlex.split(tests)[-1] == 'not nightly'


@pytest.mark.parametrize('page', PAGES)
def test_links(page):
  text = read(page)
  for pair in LINK.findall(FENCE.sub('', text)):
    target = ''.join(pair)
    if re.match(r'[a-z]+:', target):
      continue  # of the web: not looked up
    path, _, anchor = target.partition('#')
    assert (ROOT / path).exists(), target
    if anchor:
      linked = text if not path else read(path)
      assert anchor in anchors(linked), target


@pytest.mark.parametrize('page', PAGES)
def test_paths(page):
  for path in PATH.findall(read(page)):
    assert (ROOT / path).exists(), path


@pytest.mark.parametrize('page', PAGES)
def test_modules_run_by_name(page):
  for name in re.findall(r'python -m (daft_jax[\w.]*)', read(page)):
    assert name in MODULES


@pytest.mark.parametrize(
  ('text', 'paths'),
  [
    ('see `tests/docs_test.py`.', ['tests/docs_test.py']),
    ('--config=configs/digits.py:lp', ['configs/digits.py']),
    (
      'run `.ci/run`, `./.ci/run` or ./colab/',
      ['.ci/run', '.ci/run', 'colab/'],
    ),
    ('configs/<suite>.py, data/*.py, tests/*_test.py, a/tests/b.py', []),
  ],
)
def test_paths_are_found_in_text(text, paths):
  assert PATH.findall(text) == paths


def test_sections_blocks_and_anchors_are_found_in_text():
  text = '# A: b\n## One\n```bash\n# x\n```\n## Two words\n```\ny\n```\n'
  assert blocks(section(text, 'One'), 'bash') == ['# x\n']
  assert blocks(text, '') == ['y\n']
  assert anchors(text) == {'a-b', 'one', 'two-words'}


def test_version_is_in_changelog():
  assert f'## {daft_jax.__version__}' in read('CHANGELOG.md')

"""Every mistake is answered by one message, at once, and nothing is made."""

import os
import sys

import pytest

from daft_jax import main
from tests.mistakes import fields, files, folders, ood, words
from tests.mistakes.case import Case, check

GROUPS = {
  'misspelt': fields.misspelt(),
  'mistyped': fields.mistyped(),
  'range': fields.out_of_range(),
  'conflict': fields.CONFLICTS,
  'name': words.NAMES,
  'flag': words.FLAGS,
  'config': words.CONFIG_FILES,
  'weights': files.WEIGHTS,
  'workdir': files.WORKDIRS,
  'root': folders.ROOTS,
  'ood': ood.OOD,
}
CASES = [
  pytest.param(case, id=f'{group}: {case.name}')
  for group, cases in GROUPS.items()
  for case in cases
]


@pytest.fixture(autouse=True)
def at_the_root(monkeypatch):
  """Where README.md says to type commands."""
  monkeypatch.chdir(os.path.dirname(os.path.dirname(main.__file__)))
  # `configs` of a config file is found through it; each test adds its own.
  monkeypatch.setattr(sys, 'path', list(sys.path))


@pytest.mark.parametrize('case', CASES)
def test_a_mistake_is_answered(case, tmp_path, capsys):
  check(case, tmp_path, capsys)


def test_there_are_many_and_every_field_is_in_them():
  assert len(CASES) >= 80 + len(fields.RANGES)
  assert fields.RANGES.keys() == fields.settings.RULES.keys()
  assert len({case.id for case in CASES}) == len(CASES)


@pytest.fixture
def place(tmp_path):
  """Mounts a small file system at a path of the test."""
  mounted = []

  def make(options):
    path = tmp_path / 'disk'
    if not files.mount(path, options):
      pytest.skip('mounting is not allowed here')
    mounted.append(path)
    return path

  yield make
  for path in mounted:
    files.unmount(path)


def test_no_space(place, tmp_path, capsys):
  place('size=64k')
  case = Case(
    'a full disk',
    ('--workdir={tmp}/disk/run',),
    '--workdir {tmp}/disk/run: 0.1 MB are free',
    'Make room',
  )
  check(case, tmp_path, capsys)


def test_read_only(place, tmp_path, capsys):
  place('ro')
  case = Case(
    'a disk that is read-only',
    ('--workdir={tmp}/disk/run',),
    '--workdir {tmp}/disk/run cannot be written: {tmp}/disk is read-only',
    'Give another folder',
  )
  check(case, tmp_path, capsys)


@pytest.mark.parametrize('name', ['images', 'images/cat', 'run', 'w.pth'])
def test_permissions(name, tmp_path, capsys):
  cases = {case.name: case for case in (*folders.ROOTS, *files.WEIGHTS)}
  usual = cases['no root' if 'images' in name else 'an empty file']
  more = ('--config.data.root={tmp}/images',) if 'images' in name else ()
  path = tmp_path / name
  folders.classes(tmp_path / 'images')
  (tmp_path / 'run').mkdir()
  (tmp_path / 'w.pth').write_bytes(b'PK')
  case = Case(
    name, usual.args + more, f'{{tmp}}/{name}', 'ts permissions', usual.config
  )
  path.chmod(0)
  if os.access(path, os.R_OK):
    pytest.skip('root may read and write all')
  try:
    check(case, tmp_path, capsys)
  finally:
    path.chmod(0o700)

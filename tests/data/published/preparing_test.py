"""`python -m daft_jax.data`: what is there, missing, and unpacked."""

import dataclasses
import hashlib
import subprocess
import sys
import tarfile
import zipfile

import pytest

from daft_jax.data import __main__ as command
from daft_jax.data import domains, suites
from daft_jax.data.published import catalog, preparing
from tests.fixtures import published as fixtures

EMBEDDED = ('digits', 'digits_swapped', 'glyphs', 'tiny')
ON_DISK = [
  *(name for name in suites.SUITES if name not in EMBEDDED),
  *domains.DOMAINS,
]


def prepare(capsys, suite, folder, *more):
  code = command.main(['prepare', suite, f'--data_dir={folder}', *more])
  return code, capsys.readouterr().out


@pytest.mark.parametrize('suite', ON_DISK)
def test_all_is_missing_and_then_there(suite, tmp_path, capsys):
  code, out = prepare(capsys, suite, tmp_path)
  assert code == 1
  assert ': found' not in out and ': missing' in out
  assert 'licence: ' in out and 'http' in out and 'type this again' in out
  fixtures.write_suite(tmp_path, suite)
  code, out = prepare(capsys, suite, tmp_path)
  assert code == 0
  assert ': missing' not in out and ': found, ' in out
  assert str(tmp_path) in out
  assert 'get ' not in out


def test_what_is_told(tmp_path, capsys):
  fixtures.write_cifar10(tmp_path)
  code, out = prepare(capsys, 'cifar', tmp_path)
  assert code == 1
  lines = out.splitlines()
  place = tmp_path / 'cifar-10-batches-py'
  assert lines[0] == f'cifar10:train: found, 50 examples ({place})'
  assert '50,000 are published' in lines[1] and lines[1].startswith('  note: ')
  (line,) = [x for x in lines if x.startswith('cifar10_c')]
  assert line.startswith(
    'cifar10_c:gaussian_noise/1 and 74 more parts: missing'
  )
  where = lines.index(line)
  assert lines[where + 1].startswith(
    '  get cifar10_c: licence: CC-BY-4.0; http'
  )
  assert lines[where + 2].startswith(
    '    CIFAR-10-C.tar (2,918,471,680 bytes, sha256:c72763e101c7'
  )
  assert lines[where + 3].strip() == (
    'https://zenodo.org/record/2535967/files/CIFAR-10-C.tar'
  )


def test_the_other_form_is_an_alternative(tmp_path, capsys):
  _, out = prepare(capsys, 'cifar', tmp_path)
  assert '    or cifar-10-binary.tar.gz (' in out
  assert 'cifar10.1_v6_data.npy' in out and 'cifar10.1_v4_data' not in out


def test_breeds_need_their_own_classes(tmp_path, capsys):
  fixtures.write_suite(tmp_path, 'living17')
  code, out = prepare(capsys, 'living17', tmp_path)
  assert code == 0 and 'imagenet:train: found, 102 examples' in out
  (train, val) = preparing.needed(suites.SUITES['living17'])['imagenet']
  assert (len(train.only), len(val.only)) == (34, 68)
  assert preparing.needed(suites.SUITES['imagenet'])['imagenet'][0].only is None
  code, out = prepare(capsys, 'entity30', tmp_path)
  assert code == 0 and 'no image of' in out


def test_embedded_suites_need_nothing(tmp_path, capsys):
  code, out = prepare(capsys, 'digits', tmp_path)
  assert code == 0 and 'digits: comes with a package' in out


def test_damage_is_told(tmp_path, capsys):
  fixtures.write_suite(tmp_path, 'domainnet')
  path = tmp_path / 'DomainNet' / 'txt' / 'real_test_mini.txt'
  path.write_text('<html>')
  code, out = prepare(capsys, 'domainnet', tmp_path)
  assert code == 1
  assert 'domainnet40:real/test: cannot be read: ' in out and '<html>' in out


def stated(monkeypatch, name, path, index=0, registry=catalog.DATASETS):
  """Replaces the stated checksum by that of a tiny archive."""
  row = registry[name]
  data = path.read_bytes()
  downloads = list(row.downloads)
  downloads[index] = dataclasses.replace(
    downloads[index],
    bytes=len(data),
    digest=f'sha256:{hashlib.sha256(data).hexdigest()}',
  )
  row = dataclasses.replace(row, downloads=tuple(downloads))
  monkeypatch.setitem(registry, name, row)


def packed(folder, archive, *names):
  with tarfile.open(archive, 'w:gz') as file:
    for name in names or sorted(x.name for x in folder.iterdir()):
      file.add(folder / name, name)
  return archive


def test_archives_are_checked_and_unpacked(tmp_path, capsys, monkeypatch):
  fixtures.write_suite(tmp_path / 'source', 'cifar')
  data_dir = tmp_path / 'data'
  data_dir.mkdir()
  path = packed(
    tmp_path / 'source',
    data_dir / 'cifar-10-python.tar.gz',
    'cifar-10-batches-py',
  )
  code, out = prepare(capsys, 'cifar', data_dir)
  assert f'{path}: checking and unpacking' in out
  assert 'bytes, not 170,498,071: download it again' in out
  assert [x.name for x in data_dir.iterdir()] == [path.name]
  stated(monkeypatch, 'cifar10', path)
  code, out = prepare(capsys, 'cifar', data_dir)
  assert code == 1 and 'cifar10:train: found, 50 examples' in out
  place = data_dir / 'cifar-10-batches-py'
  before = place.stat().st_mtime_ns
  code, out = prepare(capsys, 'cifar', data_dir)
  assert 'unpacking' not in out and place.stat().st_mtime_ns == before
  path.write_bytes(b'')
  assert 'cifar10:test: found' in prepare(capsys, 'cifar', data_dir)[1]


def test_a_zip_of_a_domain(tmp_path, capsys, monkeypatch):
  fixtures.write_suite(tmp_path, 'domainnet')
  place = tmp_path / 'DomainNet' / 'sketch'
  archive = tmp_path / 'sketch.zip'
  with zipfile.ZipFile(archive, 'w') as file:
    for path in sorted(place.rglob('*.jpg')):
      file.write(path, path.relative_to(tmp_path / 'DomainNet'))
      path.unlink()
  place.rename(tmp_path / 'emptied')
  assert prepare(capsys, 'domainnet', tmp_path)[0] == 1  # another checksum
  stated(monkeypatch, 'domainnet40', archive)
  code, out = prepare(capsys, 'domainnet', tmp_path)
  assert code == 0 and 'sketch.zip: checking and unpacking' in out


def test_an_archive_of_fmow_without_a_folder(tmp_path, capsys, monkeypatch):
  fixtures.write_suite(tmp_path / 'source', 'fmow')
  path = packed(
    tmp_path / 'source' / 'fmow_v1.1', tmp_path / 'fmow_v1.1.tar.gz'
  )
  stated(monkeypatch, 'fmow', path)
  code, out = prepare(capsys, 'fmow', tmp_path)
  assert code == 0
  assert f'fmow:train/americas: found, 124 examples ({tmp_path}' in out


def test_domains_are_unpacked_and_counted(tmp_path, capsys):
  fixtures.write_pacs(tmp_path / 'source')
  (tmp_path / 'source' / 'PACS').rename(tmp_path / 'source' / 'kfold')
  with zipfile.ZipFile(tmp_path / 'PACS.zip', 'w') as file:
    for path in sorted((tmp_path / 'source').rglob('*.jpg')):
      file.write(path, path.relative_to(tmp_path / 'source'))
  code, out = prepare(capsys, 'pacs', tmp_path)
  place = tmp_path / 'PACS'
  assert code == 0
  assert f'pacs photo: found, 16 images of 2 classes ({place}/photo)' in out
  assert '  note: 1,670 images are published' in out
  (place / 'cartoon').rename(tmp_path / 'away')
  code, out = prepare(capsys, 'pacs', tmp_path)
  assert code == 1
  assert f'pacs cartoon: missing, no {place}/cartoon' in out
  assert 'pacs sketch: found, 16 images' in out


def test_what_a_kill_left_is_told(tmp_path, capsys):
  left = tmp_path / 'DomainNet' / '.sketch.1234.unpacking'
  left.mkdir(parents=True)
  _, out = prepare(capsys, 'domainnet', tmp_path)
  assert f'{left}: of a run that was stopped' in out


def test_what_was_prepared_is_found(tmp_path, capsys):
  pytest.importorskip('tensorflow_datasets')
  from tests.fixtures import prepared

  fixtures.write_suite(tmp_path, 'cifar')
  where = prepared.write(
    tmp_path, 'cifar10_1', [(0, 0)], config='v6', version='1.1.0', side=32
  )
  _, out = prepare(capsys, 'cifar', tmp_path)
  assert f'cifar10_1:v6: found, 1 examples ({where})' in out


def test_wrong_arguments(tmp_path, capsys):
  assert command.main(['prepare', 'cifra', f'--data_dir={tmp_path}']) == 2
  assert "Did you mean 'cifar'" in capsys.readouterr().err
  assert command.main(['prepare', 'cifar', f'--data_dir={tmp_path}/x']) == 2
  assert 'does not exist' in capsys.readouterr().err
  for argv in ([], ['prepare', 'cifar'], ['prepair']):
    with pytest.raises(SystemExit) as error:
      command.main(argv)
    assert error.value.code == 2
  capsys.readouterr()


def test_tfds_needs_tensorflow(tmp_path, capsys):
  if preparing._has_tensorflow():
    pytest.skip('it would download')
  argv = ['prepare', 'cifar', f'--data_dir={tmp_path}', '--tfds']
  assert command.main(argv) == 2
  assert 'pip install tensorflow-cpu' in capsys.readouterr().err


def test_list():
  """As typed; it imports no JAX, and so answers at once."""
  done = subprocess.run(
    [sys.executable, '-X', 'importtime', '-m', 'daft_jax.data', 'list'],
    capture_output=True,
    text=True,
    check=True,
  )
  assert ' jax\n' not in done.stderr and 'tensorflow' not in done.stderr
  lines = dict(
    line.split(maxsplit=1) for line in done.stdout.splitlines() if line
  )
  assert set(lines) == {
    *(x for x in suites.SUITES if x != 'tiny'),
    *domains.DOMAINS,
    *catalog.DATASETS,
  }
  assert lines['stl10'].startswith('not stated')

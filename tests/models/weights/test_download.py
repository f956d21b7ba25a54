# SPDX-License-Identifier: Apache-2.0
"""Downloads of weights: once, whole, and checked."""

import hashlib
import io

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
  assert path == cache / 'b.pth'
  assert path.read_bytes() == b'weights'
  assert len(addresses) == 1
  assert hashlib.sha256(b'weights').hexdigest() in caplog.text


def test_a_checksum_in_the_name_must_match(monkeypatch, cache):
  digest = hashlib.sha256(b'weights').hexdigest()[:8]
  serve(monkeypatch, b'weights')
  download.fetch(f'https://example.org/resnet-{digest}.pth')
  with pytest.raises(ValueError, match='should start with 0123abcd'):
    download.fetch('https://example.org/resnet-0123abcd.pth')
  assert [file.name for file in cache.iterdir()] == [f'resnet-{digest}.pth']


def test_a_file_of_google_drive_is_named_by_its_id(monkeypatch, cache):
  addresses = serve(monkeypatch, b'weights')
  path = download.fetch(download.drive_url('1-abc_D'))
  assert path == cache / '1-abc_D.pth'
  assert addresses[0].startswith('https://drive.usercontent.google.com/')
  assert addresses[0].endswith('&confirm=t&id=1-abc_D')


def test_a_web_page_instead_of_a_file_is_not_kept(monkeypatch, cache):
  serve(monkeypatch, b'<!DOCTYPE html><html>quota exceeded</html>')
  with pytest.raises(ValueError, match='by hand'):
    download.fetch('https://example.org/b.pth')
  assert not list(cache.iterdir())


def test_a_failed_download_gives_advice(monkeypatch, cache):
  serve(monkeypatch, requests.ConnectionError('no route to host'))
  with pytest.raises(OSError, match=r'no route to host.*by hand'):
    download.fetch('https://example.org/b.pth')
  assert not list(cache.iterdir())


def test_a_file_url_is_used_in_place(tmp_path):
  path = tmp_path / 'my weights.pth'
  assert download.fetch(path.as_uri()) == path

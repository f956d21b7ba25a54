# SPDX-License-Identifier: Apache-2.0
"""Fetching weights: once, whole, and what was asked for."""

import hashlib
import io

import pytest

from flatten_jax.models.weights import download


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
  """An empty cache."""
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
  return tmp_path / 'cache' / 'flatten_jax'


def serve(monkeypatch, content, asked=None):
  """Answers every request with `content`, or raises it."""

  def urlopen(url, timeout):
    assert timeout
    if asked is not None:
      asked.append(url)
    if isinstance(content, Exception):
      raise content
    return io.BytesIO(content)

  monkeypatch.setattr(download.urllib.request, 'urlopen', urlopen)


def test_a_file_is_fetched_once(monkeypatch, cache):
  asked = []
  serve(monkeypatch, b'weights', asked)
  for _ in range(2):
    path = download.fetch('https://example.org/a/b.pth?raw=true')
  assert path == cache / 'b.pth'
  assert path.read_bytes() == b'weights'
  assert len(asked) == 1


def test_a_checksum_in_the_name_must_be_right(monkeypatch, cache):
  content = b'weights'
  digest = hashlib.sha256(content).hexdigest()[:8]
  serve(monkeypatch, content)
  download.fetch(f'https://example.org/resnet-{digest}.pth')
  with pytest.raises(ValueError, match='starts with 0123abcd'):
    download.fetch('https://example.org/resnet-0123abcd.pth')
  assert [file.name for file in cache.iterdir()] == [f'resnet-{digest}.pth']


def test_google_drive_is_asked_for_the_bytes_and_named_by_id(
  monkeypatch, cache
):
  asked = []
  serve(monkeypatch, b'weights', asked)
  path = download.fetch(download.drive_url('1-abc_D'))
  assert path == cache / '1-abc_D.pth'
  assert asked[0].startswith('https://drive.usercontent.google.com/download')
  assert asked[0].endswith('&id=1-abc_D')


def test_a_page_instead_of_a_file_is_not_kept(monkeypatch, cache):
  serve(monkeypatch, b'<!DOCTYPE html><html>quota exceeded</html>')
  with pytest.raises(ValueError, match='by hand'):
    download.fetch('https://example.org/b.pth')
  assert not list(cache.iterdir())


def test_no_network_says_what_to_do_instead(monkeypatch, cache):
  serve(monkeypatch, OSError('no route to host'))
  with pytest.raises(OSError, match=r'no route to host.*by hand'):
    download.fetch('https://example.org/b.pth')
  assert not list(cache.iterdir())

# SPDX-License-Identifier: Apache-2.0
"""The home folder and the cache, also where there are none."""

import os
import pathlib
import pwd

import pytest

from flatten_jax import paths


@pytest.fixture
def nobody(monkeypatch):
  """A user that the system does not know, as `docker run -u 12345`."""

  def unknown(number):
    raise KeyError(number)

  monkeypatch.delenv('HOME', raising=False)
  monkeypatch.delenv('XDG_CACHE_HOME', raising=False)
  monkeypatch.setattr(pwd, 'getpwuid', unknown)


def test_a_tilde_is_the_home_folder(monkeypatch):
  monkeypatch.setenv('HOME', '/home/me')
  root = pwd.getpwnam('root').pw_dir
  for given, path in {
    '~': '/home/me',
    '~/runs/a b': '/home/me/runs/a b',
    '~root/x': f'{root}/x',
    '~nobody knows/x': '~nobody knows/x',
    'runs/~/x': 'runs/~/x',
    '$HOME/x': '$HOME/x',  # The shell's work.
  }.items():
    assert paths.expand(given) == pathlib.Path(path)


def test_a_file_is_replaced_in_one_piece_whoever_else_writes_it(tmp_path):
  path = tmp_path / ('n' * 255)  # As long as a name can be.
  with paths.replacing(path) as ours:
    ours.write_text('ours')
    paths.write_text(path, 'theirs, caf\udce9')
    assert path.read_text() == 'theirs, caf\\udce9'
  assert path.read_text() == 'ours'
  with pytest.raises(KeyError), paths.replacing(path) as never:
    never.write_text('half')
    raise KeyError
  assert [file.read_text() for file in tmp_path.iterdir()] == ['ours']


def test_without_a_home_a_tilde_is_an_error(nobody):
  with pytest.raises(ValueError, match='this user has no home'):
    paths.expand('~/x')


def test_the_cache_is_where_it_can_be_written(tmp_path, monkeypatch):
  monkeypatch.setenv('HOME', str(tmp_path))
  monkeypatch.setenv('XDG_CACHE_HOME', 'relative')  # To be ignored.
  assert paths.cache('xla') == tmp_path / '.cache' / 'flatten_jax' / 'xla'
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'xdg'))
  assert paths.cache('xla') == tmp_path / 'xdg' / 'flatten_jax' / 'xla'
  assert not (tmp_path / 'xdg').exists()


@pytest.mark.parametrize('home', [None, '/dev/null', '/proc/sys'])
def test_without_a_cache_files_are_temporary(
  nobody, home, tmp_path, monkeypatch, caplog
):
  monkeypatch.setattr(paths.tempfile, 'tempdir', str(tmp_path))
  paths._temporary_cache.cache_clear()
  if home:
    monkeypatch.setenv('HOME', home)
  place = tmp_path / f'flatten_jax_{os.getuid()}'
  assert paths.cache('index/a.jsonl') == place / 'index' / 'a.jsonl'
  assert paths.cache('xla') == place / 'xla'
  assert place.stat().st_mode & 0o777 == 0o700
  [line] = caplog.messages
  assert str(place) in line and 'Set HOME or XDG_CACHE_HOME' in line
  paths._temporary_cache.cache_clear()


def test_a_read_only_cache_is_still_read(nobody, tmp_path, monkeypatch):
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
  monkeypatch.setattr(paths.os, 'access', lambda *_: False)
  weights = tmp_path / 'flatten_jax' / 'weights.pth'
  weights.parent.mkdir()
  weights.touch()
  assert paths.cache('weights.pth') == weights

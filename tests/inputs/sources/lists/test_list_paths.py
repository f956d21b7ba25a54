# SPDX-License-Identifier: Apache-2.0
"""Files are found whatever system the paths of a list were written on."""

import os
import unicodedata

import pytest

from flatten_jax.inputs.sources.lists import paths

NAMES = [f'{c}/{c} {i}.mp4' for c in ('left', 'Über') for i in range(3)]


@pytest.fixture
def open_list(tmp_path):
  """Writes a list of a few videos, and opens it. -> {path: file below it}."""
  for name in NAMES:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).touch()

  def write(names, suffix=',label\n', prefix='', name='list.csv'):
    file = tmp_path / name
    file.write_text(''.join(path + suffix for path in names))
    rows = paths.open_list(str(file), prefix)
    return {row.id: os.path.relpath(row.path, tmp_path) for row in rows}

  return write


@pytest.mark.parametrize(
  'spell',
  [
    lambda name: name.replace('/', '\\'),
    lambda name: '.\\' + name,
    lambda name: 'D:\\videos\\' + name.replace('/', '\\'),
    lambda name: '\\\\nas\\share\\' + name.replace('/', '\\'),
    lambda name: 'file:///home/me/' + name.replace(' ', '%20'),
    lambda name: name.replace(' ', '%20'),
    lambda name: '/home/me/data/' + name,
    lambda name: 'data/set/' + name,
    lambda name: '/' + name,
    lambda name: name.upper(),
    lambda name: unicodedata.normalize('NFD', name),
    lambda name: '\u200b' + name.replace(' ', '\u00a0'),
  ],
)
def test_paths_of_other_systems_are_found_and_said(open_list, caplog, spell):
  found = open_list(map(spell, NAMES))
  assert [*found.values()] == NAMES
  assert 'lead to files of another spelling' in caplog.text


def test_exact_names_come_first_and_doubtful_ones_are_missing(
  open_list, tmp_path, caplog
):
  (tmp_path / 'LEFT').mkdir()
  for name in ('LEFT/left 0.mp4', 'left/a.mp4', 'left/A.mp4', 'left/b\\c.mp4'):
    (tmp_path / name).touch()
  found = open_list(['left/left 0.mp4', 'left/b\\c.mp4', 'Left/left 0.mp4'])
  assert [*found.values()][:2] == ['left/left 0.mp4', 'left/b\\c.mp4']
  assert '1 videos of' in caplog.text
  assert 'are missing, like Left/left 0.mp4' in caplog.text


def test_a_list_may_name_the_videos_in_the_folder_of_its_split(
  open_list, tmp_path
):
  (tmp_path / 'videos_train').mkdir()
  (tmp_path / 'videos_train' / '7.mp4').touch()
  found = open_list(['7.mp4'], name='train.csv')
  assert found == {'7.mp4': 'videos_train/7.mp4'}


def test_the_error_says_where_a_file_is(open_list, tmp_path):
  (tmp_path / 'deep' / 'er').mkdir(parents=True)
  (tmp_path / 'deep' / 'er' / 'x.mp4').touch()
  with pytest.raises(FileNotFoundError, match=r'There is .*er/x\.mp4: set'):
    open_list(['x.mp4', 'y.mp4'])


def test_links_of_the_web_are_to_be_downloaded(open_list):
  with pytest.raises(
    FileNotFoundError, match=r'None of the 1.*: download them'
  ):
    open_list(['https://example.org/a.mp4'])


def test_previews_in_a_list_are_warned_of(open_list, tmp_path, caplog):
  (tmp_path / 'left' / '@eaDir').mkdir()
  (tmp_path / 'left' / '@eaDir' / 'x.mp4').touch()
  open_list([*NAMES, 'left/@eaDir/x.mp4'])
  assert '1 paths of' in caplog.text and 'previews' in caplog.text


def test_a_path_in_windows_own_encoding_is_found(tmp_path):
  (tmp_path / 'café.mp4').touch()
  file = tmp_path / 'list.csv'
  file.write_bytes('café.mp4,0\n'.encode('cp1252'))
  (row,) = paths.open_list(str(file), '')
  assert row.path == str(tmp_path / 'café.mp4')

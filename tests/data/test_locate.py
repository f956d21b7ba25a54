# SPDX-License-Identifier: Apache-2.0
"""Locating video files in any layout of a copy."""

import pathlib

import pytest

from data.annotations import Video
from data.locate import Files

ID = '-3B32lodo2M'
KINETICS = Video('v', 'val', 'air drumming', f'{ID}_000059_000069')


def touch(root, *names):
  for name in names:
    path = pathlib.Path(root) / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


def find(root, video, id_length=11):
  found = Files([root], id_length, progress=False).find(video)
  return found and pathlib.Path(found).relative_to(root).as_posix()


@pytest.mark.parametrize(
  'name',
  [
    f'{ID}_000059_000069.mp4',
    f'val/{ID}_000059_000069.mp4',
    f'val/air drumming/{ID}_000059_000069.mp4',
    f'val_256/air_drumming/{ID}_000059_000069.mkv',
    f'somewhere/else/{ID}.webm',
  ],
)
def test_kinetics_is_found_flat_by_split_and_by_class(tmp_path, name):
  touch(tmp_path, name, 'val/other_video_000059_000069.mp4')
  assert find(tmp_path, KINETICS) == name


def test_a_replacement_wins_over_the_corrupted_file(tmp_path):
  better = f'replacement/replacement_for_corrupted_k400/{ID}_000061_000071.mp4'
  touch(tmp_path, f'val/{ID}_000059_000069.mp4', better)
  assert find(tmp_path, KINETICS) == better


def test_another_part_of_the_same_video_is_not_used(tmp_path):
  touch(tmp_path, f'k600/{ID}_000100_000110.mp4')
  assert find(tmp_path, KINETICS) is None


def test_the_file_in_the_split_of_the_video_is_preferred(tmp_path):
  name = f'{ID}_000059_000069.mp4'
  touch(tmp_path, f'train/{name}', f'val/{name}')
  assert find(tmp_path, KINETICS) == f'val/{name}'


def test_a_bare_id_in_a_list_finds_the_file_with_times(tmp_path):
  touch(tmp_path, f'{ID}_000059_000069.mp4')
  video = Video('v', 'val', None, f'{ID}.mp4')
  assert find(tmp_path, video) == f'{ID}_000059_000069.mp4'


def test_class_folders_distinguish_equal_names(tmp_path):
  touch(tmp_path, 'brush_hair/a.avi', 'wave/a.avi')
  for label in ('brush_hair', 'wave'):
    video = Video('v', 'videos', label, f'{label}/a.avi')
    assert find(tmp_path, video, 0) == f'{label}/a.avi'


@pytest.mark.parametrize('name', ['a/x.1.mp4', 'a/x.1'])
def test_the_suffix_may_differ_or_be_missing(tmp_path, name):
  touch(tmp_path, 'a/x.1.webm')
  assert find(tmp_path, Video('v', 'train', 'a', name), 0) == 'a/x.1.webm'


def test_links_are_followed_but_not_in_circles(tmp_path):
  touch(tmp_path / 'there', 'x.mp4')
  (tmp_path / 'here').mkdir()
  (tmp_path / 'here' / 'link').symlink_to(tmp_path / 'there')
  (tmp_path / 'there' / 'back').symlink_to(tmp_path / 'here')
  video = Video('v', 'train', 'a', 'x.mp4')
  assert find(tmp_path / 'here', video, 0) == 'link/x.mp4'


@pytest.mark.parametrize('split', ['train', 'val', 'test'])
@pytest.mark.parametrize('above', ['my_training_videos', 'val', 'plain'])
def test_a_split_word_above_the_videos_is_ignored(tmp_path, above, split):
  root = tmp_path / above
  touch(root, *(f'{s}/clap/1.mp4' for s in ('train', 'val', 'test')))
  video = Video('v', split, 'clap', 'clap/1.mp4')
  assert find(root, video, 0) == f'{split}/clap/1.mp4'


def test_a_class_named_like_a_split_is_not_a_split(tmp_path):
  names = [f'{split}/training dog/{ID}.mp4' for split in ('train', 'val')]
  touch(tmp_path, *names)
  for split, name in zip(('train', 'val'), names, strict=True):
    video = Video('v', split, 'training dog', ID)
    assert find(tmp_path, video) == name


@pytest.mark.parametrize('suffix', ['.avi', '.mp4'])
def test_the_suffix_of_the_name_is_preferred(tmp_path, suffix):
  touch(tmp_path, 'a/1.avi', 'a/1.mp4')
  video = Video('v', 'videos', 'a', f'a/1{suffix}')
  assert find(tmp_path, video, 0) == f'a/1{suffix}'


def find_in_folder(root, name):
  files = Files([root], progress=False, by_folder=True)
  found = files.find(Video('v', 'videos', 'a', name))
  return found and pathlib.Path(found).relative_to(root).as_posix()


def test_a_file_of_another_class_is_not_used(tmp_path):
  touch(tmp_path, 'clap/1.mp4', 'clap/monday/2.mp4', '3.mp4')
  for name in ('wave/1.mp4', 'wave/monday/2.mp4', 'wave/3.mp4'):
    assert find_in_folder(tmp_path, name) is None


@pytest.mark.parametrize(
  'name', ['clap/1.mp4', '/there/clap/1.avi', './clap/1.mp4', '1.mp4']
)
def test_a_list_may_have_paths_of_another_place(tmp_path, name):
  touch(tmp_path, 'clap/1.mp4')
  assert find_in_folder(tmp_path, name) == 'clap/1.mp4'
  assert find_in_folder(tmp_path / 'clap', name) == '1.mp4'


def test_two_links_to_one_folder_are_two_places(tmp_path):
  touch(tmp_path / 'store', '1.mp4')
  (tmp_path / 'here').mkdir()
  for name in ('clap', 'wave'):
    (tmp_path / 'here' / name).symlink_to(tmp_path / 'store')
    assert find_in_folder(tmp_path / 'here', f'{name}/1.mp4')

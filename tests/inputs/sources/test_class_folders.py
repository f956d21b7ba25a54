# SPDX-License-Identifier: Apache-2.0
"""Folders are classes or splits, as the person meant them."""

import os

import pytest

from flatten_jax.inputs.sources import class_folders, dataset

CLASSES = ('left', 'up')


def touch(root, *names):
  for name in names:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).touch()


def fill(root, form, *splits):
  names = (form.format(s=s, c=c) for s in splits for c in CLASSES)
  touch(root, *(name % i for name in names for i in range(2)))


@pytest.mark.parametrize(
  'train, other, split',
  [
    ('Train', 'Test', 'test'),
    ('TRAINING', 'VALIDATION', 'val'),
    ('videos_train', 'videos_val', 'val'),
    ('train_256', 'val_256', 'val'),
    ('ucf101_train', 'ucf101_test', 'test'),
    ('hmdb51_train_split_1', 'hmdb51_test_split_1', 'test'),
    ('trainset', 'testset', 'test'),
    ('TrainVideos', 'ValidVideos', 'val'),
    ('train2017', 'val2017', 'val'),
    ('my training videos', 'my test videos', 'test'),
    ('01-train', '02-dev', 'val'),
    ('train', 'eval', 'test'),
    ('train ', 'test ', 'test'),
  ],
)
@pytest.mark.parametrize('form', ['{s}/{c}/%d.mp4', '{c}/{s}/%d.mp4'])
def test_splits_are_found_by_any_of_their_names(
  tmp_path, settings, form, train, other, split
):
  fill(tmp_path, form, train, other)
  splits = dataset.open_splits(settings | {'root': str(tmp_path)})
  assert {s: len(videos) for s, videos in splits.items()} == {
    'train': 4,
    split: 4,
  }
  assert splits['train'].class_names == CLASSES


@pytest.mark.parametrize(
  'names',
  [
    ('train', 'car', 'plane'),  # A vehicle.
    ('training dog', 'walking dog'),
    ('training dog', 'training cat'),
    ('test drive', 'train ride'),
  ],
)
def test_a_class_may_be_named_like_a_split(tmp_path, settings, names):
  touch(tmp_path, *(f'{name}/{i}.mp4' for name in names for i in range(2)))
  splits = dataset.open_splits(settings | {'root': str(tmp_path)})
  assert splits['train'].class_names == tuple(sorted(names))


@pytest.mark.parametrize(
  'names, complaint',
  [
    (['val/left/0.mp4', 'validation/left/0.mp4'], 'val and validation'),
    (
      ['train_a/left/0.mp4', 'train_b/left/0.mp4', 'test_a/up/0.mp4'],
      'two fol',
    ),
    (['test/x.mp4'], 'test has no videos in class folders'),
  ],
)
def test_split_folders_with_two_readings_are_refused(
  tmp_path, names, complaint
):
  if not names[0].startswith('train'):
    fill(tmp_path, '{s}/{c}/%d.mp4', 'train')
  touch(tmp_path, *names)
  with pytest.raises(ValueError, match=complaint):
    class_folders.read_folder(str(tmp_path))


def test_a_class_without_the_splits_of_the_others_is_refused(tmp_path):
  fill(tmp_path, '{c}/{s}/%d.mp4', 'train', 'test')
  touch(tmp_path, 'left/x.mp4')
  with pytest.raises(ValueError, match=r'left/x\.mp4 is in neither'):
    class_folders.read_folder(str(tmp_path))


def test_what_is_not_read_is_said(tmp_path, caplog):
  fill(tmp_path, '{s}/{c}/%d.mp4', 'train', 'test', 'extra')
  touch(tmp_path, 'train/1.mp4')
  assert len(class_folders.read_folder(str(tmp_path))) == 8
  assert 'has the splits train, test; not used: extra' in caplog.text
  assert '1 files are in' in caplog.text and 'not used: 1.mp4' in caplog.text


def test_folders_that_all_hold_the_same_classes_are_doubted(tmp_path, caplog):
  fill(tmp_path, '{s}/{c}/%d.mp4', 'fold1', 'fold2')
  class_folders.read_folder(str(tmp_path))
  assert (
    'fold1, fold2, are read as classes, and all hold left, up' in caplog.text
  )


def test_archives_are_to_be_unpacked(tmp_path):
  touch(tmp_path, 'hmdb51_org/brush_hair.rar')
  with pytest.raises(ValueError, match=r'archives, like .*hair\.rar: unpack'):
    class_folders.read_folder(str(tmp_path))


def test_notes_next_to_a_folder_around_the_classes_do_not_hide_it(tmp_path):
  touch(tmp_path, 'videos/left/1.mp4', 'videos/up/1.mp4', 'notes/a.pdf')
  with pytest.raises(
    ValueError, match=r'no videos: notes.*data\.root to .*videos'
  ):
    class_folders.read_folder(str(tmp_path))


@pytest.mark.parametrize('folder', ['UCF-101', 'videos/train'])
def test_a_folder_around_the_classes_is_named(tmp_path, folder):
  touch(tmp_path, *(f'{folder}/{c}/1.mp4' for c in CLASSES))
  first = folder.split('/')[0]
  with pytest.raises(ValueError, match=f'only one class folder, {first}'):
    class_folders.read_folder(str(tmp_path))


def test_debris_of_systems_is_passed_over_anywhere(tmp_path):
  fill(tmp_path, '{c}/{s}%d.mp4', 'v')
  found = class_folders.read_folder(str(tmp_path))
  touch(
    tmp_path,
    *('left/@eaDir/v0.mp4/SYNOPHOTO_FILM_H.mp4', '@eaDir/v0.mp4'),
    *('#recycle/left/1.mp4', '$RECYCLE.BIN/1.mp4', '.Trash-1000/files/1.mp4'),
    *('__MACOSX/left/._v0.mp4', 'left/._v0.mp4', 'left/.DS_Store'),
    *('left/Thumbs.db', 'System Volume Information/1.mp4', 'lost+found/.keep'),
    *('left/.ipynb_checkpoints/v0.mp4', '~snapshot/left/v0.mp4'),
    *('left/v0.mp4.part', 'left/v0.mp4.crdownload', 'left/v0.temp.mp4'),
  )
  assert class_folders.read_folder(str(tmp_path)) == found
  assert {row.label for row in found} == {'left', 'up'}


def test_a_link_in_a_circle_is_passed_over(tmp_path):
  fill(tmp_path, '{c}/{s}%d.mp4', 'v')
  (tmp_path / 'left' / 'loop').symlink_to('loop')
  (tmp_path / 'left' / 'up').symlink_to(tmp_path)
  assert len(class_folders.read_folder(str(tmp_path))) == 4


@pytest.mark.skipif(os.geteuid() == 0, reason='root may read every folder')
def test_a_folder_that_may_not_be_read_is_said(tmp_path, caplog):
  fill(tmp_path, '{c}/{s}%d.mp4', 'v')
  touch(tmp_path, 'left/secret/1.mp4')
  (tmp_path / 'left' / 'secret').chmod(0)
  class_folders.read_folder(str(tmp_path))
  (tmp_path / 'left' / 'secret').chmod(0o700)
  assert 'Cannot read the folder' in caplog.text

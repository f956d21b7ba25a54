# SPDX-License-Identifier: Apache-2.0
"""Folders and lists become splits whose classes are matched by name."""

import json
import logging
import pathlib
import pickle
import shutil

import pytest

from flatten_jax.inputs.sources import class_names, dataset, labels, rows
from flatten_jax.inputs.video.frame_files.frame_folder import FramesPath
from tests.support.video_maker import zip_frames


def touch(root, *names):
  """Makes empty files: only their names matter here."""
  for name in names:
    path = pathlib.Path(root) / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


def write(path, text):
  path = pathlib.Path(path)
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_text(text)
  return str(path)


def labels_by_id(videos):
  return {
    record.id: None if record.label < 0 else videos.class_names[record.label]
    for record in videos.records
  }


# --- Class folders ------------------------------------------------------------


def test_class_folders_hold_some_videos_of_each_class_out(tmp_path, settings):
  for name in ('wave', 'clap'):
    touch(tmp_path, *(f'{name}/{i}.mp4' for i in range(10)))
  splits = dataset.open_splits(settings | {'root': str(tmp_path)})
  assert splits['train'].class_names == ('clap', 'wave')
  assert [len(splits[s]) for s in ('train', 'test')] == [16, 4]
  held_out = [record.label for record in splits['test'].records]
  assert sorted(held_out) == [0, 0, 1, 1]
  ids = [r.id for videos in splits.values() for r in videos.records]
  assert len(set(ids)) == 20


@pytest.mark.parametrize(
  ('name', 'warned'), [('clips.csv', True), ('README.txt', False)]
)
def test_a_table_next_to_class_folders_is_named(
  tmp_path, settings, caplog, name, warned
):
  touch(tmp_path, *(f'{c}/{i}.mp4' for c in 'ab' for i in range(5)))
  (tmp_path / name).write_text('path,label,group\na/0.mp4,a,one\n')
  dataset.open_splits(settings | {'root': str(tmp_path)})
  said = f'no groups or folds. Or is {name} a list? Then set data.root to it.'
  assert (said in caplog.text) == warned


def test_held_out_videos_depend_on_names_only(tmp_path, settings):
  names = [f'{label}/{i}.mp4' for label in 'ab' for i in range(10)]
  touch(tmp_path / 'one', *names)
  touch(tmp_path / 'two', *reversed(names))
  one, two = (
    dataset.open_splits(settings | {'root': str(tmp_path / root)})['test']
    for root in ('one', 'two')
  )
  assert [r.id for r in one.records] == [r.id for r in two.records]


def test_every_video_is_held_out_in_exactly_one_fold(tmp_path, settings):
  touch(tmp_path, *(f'{label}/{i}.mp4' for label in 'ab' for i in range(9)))
  held_out = []
  for fold in range(3):
    fields = {'root': str(tmp_path), 'fold': fold, 'folds': 3}
    splits = dataset.open_splits(settings | fields)
    held_out += [record.id for record in splits['test'].records]
    assert [len(splits[s]) for s in ('train', 'test')] == [12, 6]
  assert len(held_out) == len(set(held_out)) == 18


def test_split_folders_are_found_by_their_names(tmp_path, settings):
  touch(tmp_path, 'train/a/1.mp4', 'train/b/2.avi', 'train/b/deep/er/3.webm')
  touch(tmp_path, 'validation/b/4.mkv', 'test/a/5.MOV', 'test/a/notes.txt')
  splits = dataset.open_splits(settings | {'root': str(tmp_path)})
  assert {split: len(videos) for split, videos in splits.items()} == {
    'train': 3,
    'val': 1,
    'test': 1,
  }
  assert labels_by_id(splits['val']) == {'b/4.mkv': 'b'}
  assert {videos.class_names for videos in splits.values()} == {('a', 'b')}


def test_hidden_files_are_not_videos(tmp_path, settings):
  touch(tmp_path, *(f'{label}/{i}.mp4' for label in 'ab' for i in range(2)))
  touch(tmp_path, 'a/._0.mp4', '.cache/0.mp4', '.DS_Store', 'a/.old/0.mp4')
  splits = dataset.open_splits(settings | {'root': str(tmp_path)})
  assert sum(len(videos) for videos in splits.values()) == 4


def test_links_are_followed_but_not_in_circles(tmp_path, settings):
  touch(tmp_path / 'store', '1.mp4', 'deep/2.mp4')
  touch(tmp_path / 'other', '2.mp4')
  touch(tmp_path / 'videos', 'b/3.mp4', 'c/4.mp4')
  root = tmp_path / 'videos'
  (root / 'a').symlink_to(tmp_path / 'store')
  (root / 'b' / 'more').symlink_to(tmp_path / 'other')
  (tmp_path / 'store' / 'back').symlink_to(tmp_path / 'store')
  splits = dataset.open_splits(settings | {'root': str(root), 'holdout': 0.5})
  assert {r.id for videos in splits.values() for r in videos.records} == {
    'a/1.mp4',
    'a/deep/2.mp4',
    'b/3.mp4',
    'b/more/2.mp4',
    'c/4.mp4',
  }


def test_a_class_with_one_video_trains_on_it(tmp_path, settings):
  touch(tmp_path, 'a/1.mp4', 'b/1.mp4', 'b/2.mp4')
  splits = dataset.open_splits(settings | {'root': str(tmp_path)})
  assert 'a/1.mp4' in labels_by_id(splits['train'])


@pytest.mark.parametrize(
  'names, complaint',
  [
    ([], 'no videos in class folders'),
    (['readme.txt', 'a.mp4'], 'no videos in class folders'),
    (['a/1.mp4', 'b/readme.txt'], 'hold no videos: b'),
    (['a/1.mp4', 'a/2.mp4'], 'only one class folder, a'),
    (['videos/1.mp4', 'clips.csv'], 'is clips.csv a list'),
    (['train/a/1.mp4', 'train/b/1.mp4', 'val/c/1.mp4'], 'val.*1 classes.*c'),
    (['train/a/1.mp4', 'train/b/1.mp4', 'test/x.mp4'], 'test.*class folders'),
  ],
)
def test_folders_that_cannot_be_used_are_refused(
  tmp_path, settings, names, complaint
):
  touch(tmp_path, *names)
  with pytest.raises(ValueError, match=complaint):
    dataset.open_splits(settings | {'root': str(tmp_path)})


def test_without_data_the_error_names_the_key_to_set(settings):
  with pytest.raises(ValueError, match=r'data\.root'):
    dataset.open_splits(settings)
  with pytest.raises(FileNotFoundError, match='no /nowhere'):
    dataset.open_splits(settings | {'root': '/nowhere'})
  with pytest.raises(ValueError, match=r'data\.train'):
    dataset.open_splits(settings | {'test': 'x.csv'})


# --- Lists --------------------------------------------------------------------


def test_lists_in_a_folder_are_splits(tmp_path, settings):
  touch(tmp_path, 'v/a 1.mp4', 'v/b.mp4')
  write(tmp_path / 'train.csv', 'v/a 1.mp4 0\nv/b.mp4 1\n')
  write(tmp_path / 'val.csv', 'v/b.mp4 1\n')
  splits = dataset.open_splits(settings | {'root': str(tmp_path)})
  assert splits['train'].class_names == ('0', '1')
  assert labels_by_id(splits['val']) == {'v/b.mp4': '1'}
  assert splits['val'][0].path == str(tmp_path / 'v' / 'b.mp4')


def test_paths_begin_at_the_prefix(tmp_path, settings):
  touch(tmp_path, 'videos/brush_hair/one.avi', 'videos/wave/two.avi')
  train = write(
    tmp_path / 'lists' / 'split1' / 'train.txt',
    'brush_hair/one 67 0\nwave/two 80 1\n',
  )
  fields = {'train': train, 'prefix': str(tmp_path / 'videos')}
  (videos,) = dataset.open_splits(settings | fields).values()
  assert videos[0].path.endswith('videos/brush_hair/one.avi')
  assert [record.label for record in videos.records] == [0, 1]


def test_a_fold_column_selects_the_test_videos(tmp_path, settings):
  touch(tmp_path, *(f'{i}.mp4' for i in range(8)))
  rows = ''.join(f'{i}.mp4,{"ab"[i % 2]},{i // 2}\n' for i in range(8))
  root = write(tmp_path / 'clips.csv', 'path,label,fold\n' + rows)
  splits = dataset.open_splits(settings | {'root': root, 'fold': 3})
  assert labels_by_id(splits['test']) == {'6.mp4': 'a', '7.mp4': 'b'}
  with pytest.raises(ValueError, match=r'\[0, 1, 2, 3\], not 4'):
    dataset.open_splits(settings | {'root': root, 'fold': 4})


def test_a_split_column_selects_the_splits(tmp_path, settings):
  touch(tmp_path, *(f'{i}.mp4' for i in range(4)))
  root = write(
    tmp_path / 'clips.csv',
    'path,label,split\n0.mp4,a,train\n1.mp4,b,train\n'
    '2.mp4,a,validate\n3.mp4,b,test\n',
  )
  splits = dataset.open_splits(settings | {'root': root})
  assert [len(splits[s]) for s in ('train', 'val', 'test')] == [2, 1, 1]
  write(root, 'path,label,split\n0.mp4,a,train\n1.mp4,b,both\n')
  with pytest.raises(ValueError, match=r"1\.mp4.*'both'"):
    dataset.open_splits(settings | {'root': root})


def test_missing_files_are_kept_and_counted(tmp_path, settings, caplog):
  touch(tmp_path, 'a.mp4')
  train = write(tmp_path / 'train.csv', 'a.mp4 0\ngone.mp4 1\n')
  videos = dataset.open_splits(settings | {'train': train})['train']
  assert len(videos) == 2
  assert 'are missing, like gone.mp4 (2 are listed)' in caplog.text


def test_a_list_without_any_file_is_refused_with_an_example(tmp_path, settings):
  train = write(tmp_path / 'train.csv', 'a.mp4 0\nb.mp4 1\n')
  with pytest.raises(FileNotFoundError, match=r'None of the 2.*a\.mp4.*prefix'):
    dataset.open_splits(settings | {'train': train})


def test_training_on_test_videos_is_logged(tmp_path, settings, caplog):
  touch(tmp_path, 'a.mp4', 'b.mp4')
  train = write(tmp_path / 'x.csv', 'a.mp4 0\nb.mp4 1\n')
  dataset.open_splits(settings | {'train': train, 'test': train})
  assert '2 videos of test are in train' in caplog.text


# --- Labels -------------------------------------------------------------------


def open_lists(tmp_path, settings, names='', **texts):
  """Opens lists of files that all exist."""
  fields = {'class_names': names}
  for split, text in texts.items():
    fields[split] = write(tmp_path / f'{split}.csv', text)
    for line in text.splitlines():
      touch(tmp_path, line.split('.mp4')[0] + '.mp4')
  return dataset.open_splits(settings | fields)


@pytest.mark.parametrize(
  'classes', [('clap', 'jump', 'wave'), ('2', '9', '10')]
)
def test_labels_are_sorted_as_names_or_as_numbers(tmp_path, settings, classes):
  text = ''.join(f'{name}.mp4 {name}\n' for name in reversed(classes))
  videos = open_lists(tmp_path, settings, train=text)['train']
  assert videos.class_names == classes
  assert labels_by_id(videos) == {f'{name}.mp4': name for name in classes}


@pytest.mark.parametrize(
  'file, text',
  [
    ('names.txt', 'air drumming\nabseiling\n'),
    ('names.txt', '0 air drumming\n1 abseiling\n'),
    ('names.txt', '7 air drumming\n9 abseiling\n'),
    ('names.csv', 'air drumming,0\nabseiling,1\n'),
    ('names.txt', 'abseiling\t1\nair drumming\t0\n'),
    ('names.json', '["air drumming", "abseiling"]'),
    ('names.json', json.dumps({'"air drumming"': 0, 'abseiling': 1})),
    ('names.json', json.dumps({'abseiling': '1', 'air drumming': '0'})),
  ],
)
def test_a_file_gives_numbers_their_names(tmp_path, settings, file, text):
  first, second = ('7', '9') if text.startswith('7') else ('0', '1')
  splits = open_lists(
    tmp_path,
    settings,
    names=write(tmp_path / file, text),
    train=f'a.mp4 {second}\nb.mp4 {first}\n',
    val='d.mp4 air_drumming\n',
    test=f'c.mp4 {second}\n',
  )
  assert splits['train'].class_names == ('air drumming', 'abseiling')
  assert labels_by_id(splits['train']) == {
    'a.mp4': 'abseiling',
    'b.mp4': 'air drumming',
  }
  assert labels_by_id(splits['val']) == {'d.mp4': 'air drumming'}
  assert labels_by_id(splits['test']) == {'c.mp4': 'abseiling'}


def test_files_of_ucf101_are_read(tmp_path, settings):
  splits = open_lists(
    tmp_path,
    settings,
    names=write(tmp_path / 'classInd.txt', '1 ApplyEyeMakeup\r\n2 Archery\r\n'),
    train='ApplyEyeMakeup/a.mp4 1\nArchery/b.mp4 2\n',
    test='Archery/c.mp4\nApplyEyeMakeup/d.mp4\n',
  )
  assert labels_by_id(splits['test']) == {
    'Archery/c.mp4': 'Archery',
    'ApplyEyeMakeup/d.mp4': 'ApplyEyeMakeup',
  }


def test_folders_of_several_labels_name_no_class(tmp_path, settings, caplog):
  splits = open_lists(
    tmp_path,
    settings,
    train='anna/a.mp4 0\nanna/b.mp4 1\nben/c.mp4 0\n',
    test='ben/d.mp4\n',
  )
  assert labels_by_id(splits['test']) == {'ben/d.mp4': None}
  assert '1 of 1 videos of test have no label' in caplog.text


def test_a_test_video_may_have_no_label(tmp_path, settings):
  train = 'a.mp4 0\nb.mp4 1\n'
  for test in ('c.mp4\n', 'c.mp4 -1\n'):
    splits = open_lists(tmp_path, settings, train=train, test=test)
    assert splits['test'][0].label == -1


@pytest.mark.parametrize(
  'texts, complaint',
  [
    ({'train': 'a.mp4 0\nb.mp4 0\n'}, "only one class, '0'"),
    ({'train': 'a.mp4\nb.mp4\n'}, '2 of 2 training videos have no label'),
    (
      {'train': 'a.mp4 run\nb.mp4 walk\n', 'test': 'c.mp4 swim\n'},
      'test split has 1 classes.*swim.*Known are run, walk',
    ),
    (
      {'train': 'a.mp4 0\nb.mp4 1\n', 'val': 'c.mp4 walk\n'},
      'val split has 1 classes.*walk',
    ),
    ({'train': 'a.mp4 a_b\nb.mp4 a b\n'}, 'differ in nothing but'),
  ],
)
def test_labels_that_do_not_agree_are_refused(
  tmp_path, settings, texts, complaint
):
  with pytest.raises(ValueError, match=complaint):
    open_lists(tmp_path, settings, **texts)


WEIGHTED = 'path,label,weight\na.mp4,run,2\nb.mp4,walk,0.5\n'


def test_training_videos_have_the_weights_of_their_list(tmp_path, settings):
  settings['weighted'] = True
  texts = {'train': WEIGHTED, 'test': 'c.mp4 run\nd.mp4 walk\n'}
  splits = open_lists(tmp_path, settings, **texts)
  assert splits['train'].weights == (2, 0.5)
  assert splits['test'].weights == ()


@pytest.mark.parametrize('weight', ['-1', 'nan', '', 'inf', 'heavy'])
def test_a_weight_that_is_none_is_refused_with_its_video(
  tmp_path, settings, weight
):
  train = WEIGHTED.replace('0.5', weight)
  splits = open_lists(tmp_path, settings, train=train)  # They are not used.
  assert splits['train'].weights == ()
  settings['weighted'] = True
  with pytest.raises(ValueError, match=f'b.mp4 has {weight or "none"}\\.'):
    open_lists(tmp_path, settings, train=train)


def test_a_file_of_names_decides_the_classes(tmp_path, settings, caplog):
  names = write(tmp_path / 'names.txt', 'run\nwalk\nswim\n')
  train = 'a.mp4 0\nb.mp4 2\n'
  splits = open_lists(tmp_path, settings, names=names, train=train)
  assert splits['train'].num_classes == 3
  assert '1 of 3 classes have no training video: walk' in caplog.text
  write(names, 'run\nwalk\n')
  with pytest.raises(ValueError, match=r'train split.*: 2\. Known are 0, 1'):
    open_lists(tmp_path, settings, names=names, train=train)


def test_empty_or_repeated_class_names_are_refused(tmp_path):
  for text in ('', 'run\nrun\n'):
    with pytest.raises(ValueError, match='no class names, or the same'):
      class_names.read(write(tmp_path / 'names.txt', text))


def test_records_are_pickled_in_few_bytes():
  records = tuple(
    dataset.Record(f'v{i}', f'/data/v{i}.mp4', i % 400) for i in range(1000)
  )
  videos = dataset.Videos(records, ('a',) * 400)
  data = pickle.dumps(videos)
  assert len(data) < 60 * len(records)
  assert pickle.loads(data) == videos


def test_a_class_name_that_is_not_utf_8_is_refused(tmp_path, settings):
  complaint = r"class name 'caf\\udce9' is not UTF-8: save the list as UTF-8"
  train = tmp_path / 'train.csv'
  touch(tmp_path, 'a.mp4', 'b.mp4')
  train.write_bytes(b'a.mp4,caf\xe9\nb.mp4,bar\n')
  with pytest.raises(ValueError, match=complaint):
    dataset.open_splits(settings | {'train': str(train)})
  names = tmp_path / 'names.txt'
  names.write_bytes(b'bar\ncaf\xe9\n')
  train.write_text('a.mp4 0\nb.mp4 1\n')
  fields = {'train': str(train), 'class_names': str(names)}
  with pytest.raises(ValueError, match=complaint):
    dataset.open_splits(settings | fields)


# --- Folders of frames --------------------------------------------------------


def frames(root, *names, count=3, pattern='{}/img_{:05d}.jpg'):
  for name in names:
    touch(root, *(pattern.format(name, i + 1) for i in range(count)))


def paths(splits):
  return {
    record.id: record.path
    for videos in splits.values()
    for record in videos.records
  }


def test_folders_of_frames_in_class_folders_are_videos(
  tmp_path, settings, caplog
):
  names = [f'{label}/{label}_{i}' for label in 'ab' for i in range(4)]
  frames(tmp_path, *names)
  touch(tmp_path, 'a/cover.jpg', 'b/notes1.png', 'a/Thumbs.db', 'demo.mp4')
  splits = dataset.open_splits(settings | {'root': str(tmp_path)})
  found = paths(splits)
  assert sorted(found) == names
  assert found['a/a_0'] == FramesPath(str(tmp_path / 'a' / 'a_0'))
  assert splits['train'].class_names == ('a', 'b')
  assert caplog.text.count('25 frames per second') == 1


def test_split_folders_may_hold_folders_of_frames(tmp_path, settings):
  frames(tmp_path, 'train/a/1', 'train/b/deep/2', 'test/a/3')
  touch(tmp_path, 'train/b/4.zip')
  splits = dataset.open_splits(settings | {'root': str(tmp_path)})
  assert labels_by_id(splits['train']) == {
    'a/1': 'a',
    'b/4.zip': 'b',  # Damaged.
    'b/deep/2': 'b',
  }
  assert labels_by_id(splits['test']) == {'a/3': 'a'}


def test_other_zip_files_in_class_folders_are_not_videos(tmp_path, settings):
  frames(tmp_path, 'a/1', 'b/2', 'b/3')
  zip_frames(tmp_path / 'a' / '1', tmp_path / 'a' / '4.zip')
  touch(tmp_path / 'texts', 'notes.txt')
  zip_frames(tmp_path / 'texts', tmp_path / 'a' / '5.zip')
  shutil.rmtree(tmp_path / 'texts')
  zip_frames(tmp_path / 'b' / '2', tmp_path / 'b' / '2.zip')
  splits = dataset.open_splits(settings | {'root': str(tmp_path)})
  assert sorted(paths(splits)) == ['a/1', 'a/4.zip', 'b/2', 'b/3']


@pytest.mark.parametrize(
  'pattern', ['{}/rgb/{:05d}.jpg', '{}/img_{:05d}.jpg', '{}/frames/{}.png']
)
def test_optical_flow_next_to_frames_is_not_a_video(
  tmp_path, settings, pattern
):
  names = ['a/flow', 'a/2', 'b/1', 'b/2']
  frames(tmp_path, *names, pattern=pattern)
  frames(tmp_path, *names, pattern='{}/flow_x/{:05d}.jpg')
  frames(tmp_path, *names, pattern='{}/v/{:05d}.jpg')
  splits = dataset.open_splits(settings | {'root': str(tmp_path)})
  folders = {path.path for path in paths(splits).values()}
  assert folders == {
    str((tmp_path / pattern.format(name, 1)).parent) for name in names
  }


def test_an_empty_folder_among_folders_of_frames_counts_as_unreadable(
  tmp_path, settings
):
  frames(tmp_path, 'a/1', 'a/2', 'b/1', 'b/2')
  (tmp_path / 'a' / '3').mkdir()
  splits = dataset.open_splits(settings | {'root': str(tmp_path)})
  assert 'a/3' in paths(splits)


def test_images_next_to_video_files_are_not_videos(tmp_path, settings, caplog):
  touch(tmp_path, *(f'{label}/{i}.mp4' for label in 'ab' for i in range(2)))
  frames(tmp_path, 'a/thumbs', 'b/0')
  splits = dataset.open_splits(settings | {'root': str(tmp_path)})
  assert all(name.endswith('.mp4') for name in paths(splits))
  assert 'a/thumbs' in caplog.text and 'in a list' in caplog.text


@pytest.mark.parametrize('names', [['a', 'b'], ['.'], ['a', 'b', 'c/d']])
def test_images_where_videos_are_expected_are_refused(
  tmp_path, settings, names
):
  frames(tmp_path, *names)
  with pytest.raises(ValueError, match=r'hold') as error:
    dataset.open_splits(settings | {'root': str(tmp_path)})
  if 'c/d' not in names:
    assert '<class>/<video>/img_00001.jpg' in str(error.value)
    assert 'data.images' in str(error.value)


@pytest.mark.parametrize(
  'text, want',
  [
    ('a/1 3 0\na/2 3 0\nb/1 3 1\n', {'claimed': 3}),
    ('a/1/ 3 0\na/2/ 3 0\nb/1/ 3 1\n', {'claimed': 3}),
    ('a/1,3,0\na/2,3,0\nb/1,3,1\n', {'claimed': 3}),
    ('a/1 0\na/2 0\nb/1 1\n', {}),
    ('a/1.mp4 0\na/2.mp4 0\nb/1.mp4 1\n', {}),
    ('a/1 1 2 0\na/2 1 2 0\nb/1 1 2 1\n', {'skip': 1, 'claimed': 2}),
    (
      'path,num_frames,label,fps\na/1,3,x,12.5\na/2,3,x,25/2\nb/1,3,y,12.50\n',
      {'claimed': 3, 'fps': 12.5},
    ),
    (
      'video_path\ttotal_frames\tclass\na/1\t3\tx\na/2\t3\tx\nb/1\t3\ty\n',
      {'claimed': 3},
    ),
  ],
)
@pytest.mark.parametrize('zipped', [False, True])
def test_lists_of_frames_find_folders_and_zip_files(
  tmp_path, settings, caplog, text, want, zipped
):
  frames(tmp_path, 'a/1', 'a/2', 'b/1')
  if zipped:
    for name in ('a/1', 'a/2', 'b/1'):
      zip_frames(tmp_path / name, tmp_path / f'{name}.zip')
      shutil.rmtree(tmp_path / name)
  file = write(tmp_path / 'list.txt', text)
  splits = dataset.open_splits(settings | {'root': file})
  suffix = '.zip' * zipped
  assert {*paths(splits).values()} == {
    FramesPath(str(tmp_path / f'{name}{suffix}'), **want)
    for name in ('a/1', 'a/2', 'b/1')
  }
  assert ('25 frames' in caplog.text) == ('fps' not in want)
  assert 'claims more' not in caplog.text


def test_lists_of_something_something_find_numbered_folders(
  tmp_path, settings, caplog
):
  frames(tmp_path / 'frames', '78687', '42326', '1', pattern='{}/{:06d}.jpg')
  file = write(tmp_path / 'train.txt', '78687 4 10\n42326 2 2\n1 3 2\n')
  data = settings | {'root': file, 'prefix': str(tmp_path / 'frames')}
  splits = dataset.open_splits(data)
  assert paths(splits)['78687'].claimed == 4
  assert splits['train'].class_names == ('2', '10')
  assert '1 of 3 folders' in caplog.text
  assert '78687 (3 of 4)' in caplog.text


def test_lists_of_frames_lead_to_their_folders(tmp_path, settings, caplog):
  labels = {'78687': 10, '42326': 2, '1': 2}
  frames(tmp_path / 'frames', *labels, pattern='{0}/{0}_{1:06d}.jpg')
  rows = [
    f'{name} {i} {frame} {name}/{name}_{frame:06d}.jpg {label}'
    for i, (name, label) in enumerate(labels.items())
    for frame in range(3)
  ]
  header = 'original_vido_id video_id frame_id path labels'
  file = write(tmp_path / 'train.csv', '\n'.join([header, *rows]))
  data = settings | {'root': file, 'prefix': str(tmp_path / 'frames')}
  assert paths(dataset.open_splits(data)) == {
    name: FramesPath(str(tmp_path / 'frames' / name)) for name in labels
  }
  file = write(
    tmp_path / 'train.txt', '78687/78687_000001.jpg 0\n42326 1\n1 1\n'
  )
  dataset.open_splits(data | {'root': file})
  assert 'a video of one frame' in caplog.text


def test_a_file_or_folder_of_a_name_is_chosen_by_what_is_in_it(
  tmp_path, settings
):
  frames(tmp_path, 'a')
  touch(tmp_path, 'a.mp4', 'b.mp4', 'b/features.npy', 'c.zip', 'c.avi')
  file = write(tmp_path / 'list.txt', 'a 0\nb 1\nc 1\nb.mp4 1\n')
  found = paths(dataset.open_splits(settings | {'root': file}))
  assert found == {
    'a': FramesPath(str(tmp_path / 'a')),
    'b': str(tmp_path / 'b.mp4'),
    'b.mp4': str(tmp_path / 'b.mp4'),
    'c': str(tmp_path / 'c.avi'),
  }
  touch(tmp_path, 'd', 'd.mp4')
  write(file, 'a 0\nd 1\n')
  assert paths(dataset.open_splits(settings | {'train': file}))['d'] == str(
    tmp_path / 'd'
  )


def test_published_splits_of_hmdb51_name_folders_of_frames(tmp_path, settings):
  for label in 'ab':
    frames(tmp_path / 'videos' / label, '1', '2', '3')
    text = '1.avi 1 \n2.avi 2 \n3.avi 0 \n'
    write(tmp_path / 'splits' / f'{label}_test_split1.txt', text)
  data = {'root': str(tmp_path / 'videos'), 'fold': 0}
  data['split_dir'] = str(tmp_path / 'splits')
  splits = dataset.open_splits(settings | data)
  assert labels_by_id(splits['train']) == {'a/1': 'a', 'b/1': 'b'}
  assert labels_by_id(splits['test']) == {'a/2': 'a', 'b/2': 'b'}


@pytest.mark.parametrize(
  'one, other',
  [
    ('Left', 'left'),
    ('caf\u00e9', 'cafe\u0301'),
    ('left', 'left\u200b'),
    ('turn left', 'turn\u00a0left'),
    ('turn left', 'turn  left'),
    ('turn-left', 'turn_left'),
    ('1', '01'),
  ],
)
def test_class_names_that_look_alike_are_refused_with_both(
  tmp_path, settings, one, other
):
  with pytest.raises(ValueError, match='differ in nothing but') as error:
    open_lists(tmp_path, settings, train=f'a.mp4,{one}\nb.mp4,{other}\n')
  assert ascii(one) in str(error.value) and ascii(other) in str(error.value)
  texts = {'train': f'a.mp4,{one}\nb.mp4,x\n', 'test': f'c.mp4,{other}\n'}
  with pytest.raises(ValueError, match='which looks alike') as error:
    open_lists(tmp_path, settings, **texts)
  assert ascii(one) in str(error.value) and ascii(other) in str(error.value)


def test_a_file_of_names_may_have_letters_of_both_cases(tmp_path, settings):
  names = write(tmp_path / 'names.txt', 'A\na\n')
  train = 'a.mp4,a\nb.mp4,A\n'
  splits = open_lists(tmp_path, settings, names=names, train=train)
  assert labels_by_id(splits['train']) == {'a.mp4': 'a', 'b.mp4': 'A'}
  members = [rows.Row('a.mp4', '0'), rows.Row('b.mp4', '1')]  # A prepared set.
  numbered = {0: 'A', 1: 'a'}
  indices, names = labels.number_classes({'train': members}, numbered=numbered)
  assert (indices['train'], names) == ([(0,), (1,)], ('A', 'a'))


@pytest.mark.parametrize(
  'file, text, names',
  [
    ('names.csv', 'id,name\n0,run\n1,walk\n', ['run', 'walk']),  # Kaggle
    ('names.csv', 'name\nrun\nwalk\n', ['run', 'walk']),
    ('names.csv', '"id","name"\n"0","run"\n"1","walk"\n', ['run', 'walk']),
    ('names.tsv', '"run"\t"0"\n"walk"\t"1"\n', ['run', 'walk']),
    ('names.csv', 'Class Name;Label ID\nrun;0\nwalk;1\n', ['run', 'walk']),
    ('names.csv', '"run, ""go"" on"\n"walk"\n', ['run, "go" on', 'walk']),
    ('names.csv', 'stop\ngo\n', ['stop', 'go']),
    (
      'names.csv',
      'label_id,split,name,clips\n0,train,run,9\n1,train,walk,8\n',
      ['run', 'walk'],
    ),
    ('names.tsv', 'name\tid\tnotes\nrun\t0\t3\nwalk\t1\t\n', ['run', 'walk']),
    ('names.txt', 'run 0\nwalk 1\n', ['run', 'walk']),
    ('names.txt', 'level 1\nlevel 2\n', ['level 1', 'level 2']),
    ('names.csv', '0,"run, then stop"\n1,walk\n', ['run, then stop', 'walk']),
    ('names.json', '{"0": "run", "1": "walk"}', ['run', 'walk']),  # id2label
  ],
)
def test_class_names_have_many_forms(tmp_path, file, text, names):
  found = class_names.read(write(tmp_path / file, text))
  assert found == dict(enumerate(names))


def test_names_next_to_numbered_lists_are_hinted_at(tmp_path, settings, caplog):
  write(tmp_path / 'classInd.txt', '1 run\n2 walk\n')
  write(tmp_path / 'class_notes.txt', 'nothing to see\n')
  open_lists(tmp_path, settings, train='a.mp4 1\nb.mp4 2\n')
  assert 'classInd.txt may hold their names' in caplog.text
  assert 'notes' not in caplog.text


def test_names_that_do_not_fit_the_numbers_are_no_hint(
  tmp_path, settings, caplog
):
  write(tmp_path / 'classes.txt', 'gestures\nrun\nwalk\n')
  write(tmp_path / 'labels.json', '5')
  open_lists(tmp_path, settings, train='a.mp4 0\nb.mp4 1\n')
  assert 'may hold their names' not in caplog.text


def test_an_unknown_header_of_names_is_doubted(tmp_path, settings, caplog):
  names = write(tmp_path / 'classes.txt', 'gestures\nrun\nwalk\n')
  open_lists(tmp_path, settings, names=names, train='a.mp4 0\nb.mp4 1\n')
  assert "video: walk. If 'gestures' is a header of" in caplog.text


def test_lists_next_to_flat_split_folders_are_read(tmp_path, settings, caplog):
  caplog.set_level(logging.INFO, 'flatten_jax')
  touch(tmp_path, 'train/1.mp4', 'train/2.mp4', 'test/1.mp4')
  write(tmp_path / 'train.csv', '1.mp4,a\n2.mp4,b\n')
  write(tmp_path / 'test.csv', '1.mp4,a\n')
  splits = dataset.open_splits(settings | {'root': str(tmp_path)})
  assert splits['train'][0].path == str(tmp_path / 'train' / '1.mp4')
  assert splits['test'][0].path == str(tmp_path / 'test' / '1.mp4')
  assert 'train.csv as path, label' in caplog.text
  assert 'folder per class' not in caplog.text
  assert 'another spelling' not in caplog.text


def test_metadata_in_split_folders_are_read(tmp_path, settings):
  touch(tmp_path, 'train/1.mp4', 'train/2.mp4', 'test/1.mp4')
  write(
    tmp_path / 'train' / 'metadata.csv', 'file_name,label\n1.mp4,a\n2.mp4,b'
  )
  line = json.dumps({'file_name': '1.mp4', 'label': 'a'})
  write(tmp_path / 'test' / 'metadata.jsonl', line)
  splits = dataset.open_splits(settings | {'root': str(tmp_path)})
  assert [len(splits[s]) for s in ('train', 'test')] == [2, 1]


def test_published_lists_in_the_root_are_read_or_mentioned(
  tmp_path, settings, caplog
):
  touch(tmp_path, *(f'{c}/{i}.avi' for c in ('jump', 'run') for i in '123'))
  write(tmp_path / 'trainlist01.txt', 'jump/1.avi 1\nrun/1.avi 2\n')
  write(tmp_path / 'testlist01.txt', 'jump/2.avi\nrun/2.avi\n')
  data = settings | {'root': str(tmp_path)}
  splits = dataset.open_splits(data)
  assert labels_by_id(splits['test']) == {'jump/2.avi': '1', 'run/2.avi': '2'}
  write(tmp_path / 'trainlist02.txt', 'jump/1.avi 1\nrun/1.avi 2\n')
  dataset.open_splits(data)
  assert '3 lists that are not read: testlist01.txt, trainlist01' in caplog.text


def test_lists_of_both_kinds_of_names_are_read(tmp_path, settings):
  touch(tmp_path, *(f'{c}/{i}.avi' for c in ('jump', 'run') for i in '123'))
  write(tmp_path / 'train_list.txt', 'jump/1.avi 1\nrun/1.avi 2\n')
  write(tmp_path / 'test.txt', 'jump/2.avi 1\n')
  splits = dataset.open_splits(settings | {'root': str(tmp_path)})
  assert [len(splits[s]) for s in ('train', 'test')] == [2, 1]


def test_a_list_of_one_split_that_holds_others_is_refused(tmp_path, settings):
  train = 'path,label,split\na.mp4,x,train\nb.mp4,y,test\n'
  with pytest.raises(
    ValueError, match='several splits of its own: test, train'
  ):
    open_lists(tmp_path, settings, train=train)


def test_each_video_with_a_class_of_its_own_is_doubted(
  tmp_path, settings, caplog
):
  open_lists(tmp_path, settings, train='a.mp4 x\nb.mp4 y\nc.mp4 z\n')
  assert 'Each video has a class of its own, like x and y' in caplog.text


def test_a_folder_may_be_named_for_each_split(tmp_path, settings):
  touch(tmp_path, *(f'{s}/{c}/1.mp4' for s in ('one', 'two') for c in 'ab'))
  fields = {'train': str(tmp_path / 'one'), 'test': str(tmp_path / 'two')}
  splits = dataset.open_splits(settings | fields)
  assert labels_by_id(splits['test']) == {'a/1.mp4': 'a', 'b/1.mp4': 'b'}


def test_a_prefix_that_does_not_exist_is_named(tmp_path, settings):
  touch(tmp_path, 'a.mp4')
  fields = {'train': write(tmp_path / 'x.csv', 'a.mp4 0'), 'prefix': '/nowhere'}
  with pytest.raises(FileNotFoundError, match=r'data\.prefix.* no .*/nowhere'):
    dataset.open_splits(settings | fields)

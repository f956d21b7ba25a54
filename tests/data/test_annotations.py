# SPDX-License-Identifier: Apache-2.0
"""Annotation readers: all published forms give the same videos."""

import json

import pytest

from data.annotations import Sources
from data.data_sets import DATA_SETS
from tests.support.dataset_maker import write


def read(data_set, *annotations, videos=(), **options):
  return DATA_SETS[data_set].read(Sources(annotations, videos, **options))


def labels(annotations, split):
  return {v.id: v.label for v in annotations.videos if v.split == split}


# --- Kinetics -----------------------------------------------------------------

CVDF = 'label,youtube_id,time_start,time_end,split,is_cc\n'
DEEPMIND = 'label,youtube_id,time_start,time_end,split\n'
TABLES = {
  'CVDF': {
    'train.csv': CVDF
    + '"air drumming",_dbcJuKJQNs,40,50,train,0\n'
    + 'abseiling,-3B32lodo2M,59,69,train,1\n',
    'val.csv': CVDF + '"air drumming",--GkrdYZ9Tc,0,10,val,0\n',
    'test.csv': CVDF + 'abseiling,0wR5jVB-WPk,417,427,test,0\n',
  },
  'DeepMind': {
    'train.csv': DEEPMIND
    + 'air drumming,_dbcJuKJQNs,40,50,train\n'
    + 'abseiling,-3B32lodo2M,59,69,train\n',
    'validate.csv': DEEPMIND + 'air drumming,--GkrdYZ9Tc,0,10,validate\n',
    'test.csv': DEEPMIND + 'abseiling,0wR5jVB-WPk,417,427,test\n',
  },
  'other times, ends, order': {
    'train.csv': '\ufefflabel,time_start,time_end,youtube_id\r\n'
    + 'air drumming,40.0,50.0,_dbcJuKJQNs\r\n'
    + 'abseiling,59.0,69.0,-3B32lodo2M\r\n',
    'val.csv': '\ufeff' + DEEPMIND + 'air drumming,--GkrdYZ9Tc,0.0,10.0,\r\n',
    'test.csv': DEEPMIND + 'abseiling,0wR5jVB-WPk,417,427,test\n',
  },
}


@pytest.mark.parametrize('form', TABLES)
def test_tables_of_kinetics_are_read_by_their_headers(tmp_path, form):
  for name, text in TABLES[form].items():
    write(tmp_path / name, text)
  found = read('kinetics400', tmp_path)
  assert found.class_names == ('abseiling', 'air drumming')
  assert labels(found, 'train') == {
    '_dbcJuKJQNs_000040_000050': 'air drumming',
    '-3B32lodo2M_000059_000069': 'abseiling',
  }
  assert labels(found, 'val') == {'--GkrdYZ9Tc_000000_000010': 'air drumming'}
  assert labels(found, 'test') == {'0wR5jVB-WPk_000417_000427': 'abseiling'}
  assert {(video.start, video.end) for video in found.videos} == {(0, 0)}


def test_old_test_tables_of_kinetics_have_no_labels(tmp_path):
  for name, text in TABLES['CVDF'].items():
    write(tmp_path / name, text)
  header = 'youtube_id,time_start,time_end,split,is_cc\n'
  write(tmp_path / 'test.csv', header + '0wR5jVB-WPk,417,427,test,0\n')
  found = read('kinetics400', tmp_path)
  assert labels(found, 'test') == {'0wR5jVB-WPk_000417_000427': None}


def test_whole_videos_keep_the_times_of_their_part(tmp_path):
  file = write(tmp_path / 'train.csv', TABLES['CVDF']['train.csv'])
  first, _ = read('kinetics400', file, untrimmed=True).videos
  assert (first.name, first.start, first.end) == ('_dbcJuKJQNs', 40, 50)


def test_a_damaged_table_is_refused_with_file_and_line(tmp_path):
  text = TABLES['CVDF']['train.csv'] + 'abseiling,tooshort\n'
  file = write(tmp_path / 'train.csv', text)
  with pytest.raises(ValueError, match=r'train\.csv, line 4'):
    read('kinetics400', file)


ALPHABET = {'air drumming': 0, 'marching': 1, 'riding a bike': 2}
UNIFORMER = {'riding a bike': 0, 'marching': 1, 'air drumming': 2}
LISTS = {
  'UniFormer': (
    '{name}.mp4,{label}\r\n',
    'k400_categories.txt',
    ''.join(f'{name}\t{i}\n' for name, i in UNIFORMER.items()),
  ),
  'PySlowFast': (
    '{folder}/{name}.mp4 {label}\n',
    'kinetics_classnames.json',
    json.dumps({f'"{name}"': i for name, i in ALPHABET.items()}),
  ),
  'MMAction2': (
    'train/{folder with blanks}/{name}.mp4 {label}\n',
    'label_map_k400.txt',
    '\n'.join(ALPHABET),
  ),
  'MMAction2, frames': (
    '{folder}/{name} 300 {label}\n',
    'label_map_k400.txt',
    '\n'.join(ALPHABET),
  ),
  'MMAction': ('{name}, 300, {label}\n', 'map.txt', '\n'.join(ALPHABET)),
  'V-JEPA 2': ('{name}.mp4::{label}\n', 'map.txt', '\n'.join(ALPHABET)),
  'pytorchvideo': ('{name}.mp4\t{label}\n', 'map.txt', '\n'.join(ALPHABET)),
}


@pytest.mark.parametrize('producer', LISTS)
def test_numbered_lists_get_the_names_of_their_publisher(tmp_path, producer):
  line, names_file, names = LISTS[producer]
  names_file = write(tmp_path / names_file, names)
  numbers = UNIFORMER if producer == 'UniFormer' else ALPHABET
  text = ''.join(
    line.replace('{folder with blanks}', label).format(
      name=f'{i:011d}_000000_000010',
      folder=label.replace(' ', '_'),
      label=number,
    )
    for i, (label, number) in enumerate(numbers.items())
  )
  file = write(tmp_path / 'kinetics400_train_list.txt', text)
  found = read('kinetics400', file, class_names=names_file)
  assert found.class_names == ('air drumming', 'marching', 'riding a bike')
  assert [video.label for video in found.videos] == list(numbers)
  assert {video.split for video in found.videos} == {'train'}
  with pytest.raises(ValueError, match='--class_names'):
    read('kinetics400', file)


def test_a_test_list_that_repeats_the_val_list_is_left_out(tmp_path):
  names = write(tmp_path / 'names.txt', 'marching\ndodgeball')
  for split in ('val', 'test'):
    write(tmp_path / 'lists' / f'{split}.csv', 'a.mp4,0\r\nb.mp4,1\r\n')
  found = read('kinetics400', tmp_path / 'lists', class_names=names)
  assert {video.split for video in found.videos} == {'val'}


@pytest.mark.parametrize(
  'text, complaint',
  [
    ('a.mp4 0\nb.mp4 0 1 2\n', 'several labels'),
    ('a.mp4 0\nwhat is this\n', 'labels this'),
    ('a.mp4 0\n' * 20 + 'what is this\n', 'line 21.*what is this'),
    ('\n', 'is empty'),
    ('a.mp4 0\nb.mp4 7\n', 'labels 7'),
  ],
)
def test_lists_that_cannot_be_read_are_refused(tmp_path, text, complaint):
  names = write(tmp_path / 'names.txt', 'marching\ndodgeball')
  file = write(tmp_path / 'train.txt', text)
  with pytest.raises(ValueError, match=complaint):
    read('kinetics400', file, class_names=names)


# --- Something-Something ------------------------------------------------------

TEMPLATES = {
  'Wiping [something] off of [something]': '2',
  'Approaching [something] with your camera': '0',
  'Pushing [something] from left to right': '1',
}
SOMETHING = {
  'labels': {
    name.replace('[', '').replace(']', ''): number
    for name, number in TEMPLATES.items()
  },
  'train': [
    {
      'id': '78687',
      'label': 'wiping a cup off of a table',
      'template': template,
    }
    | {'placeholders': ['a cup', 'a table']}
    for template in [*TEMPLATES][:1]
  ],
  'validation': [
    {'id': '74225', 'label': 'x', 'template': [*TEMPLATES][2]}
    | {'placeholders': []}
  ],
  'test': [{'id': '1420'}, {'id': '3000'}],
}


@pytest.mark.parametrize('prefix', ['something-something-v2-', 'labels/'])
def test_something_something_is_read_by_old_and_new_names(tmp_path, prefix):
  for name, content in SOMETHING.items():
    write(tmp_path / f'{prefix}{name}.json', json.dumps(content))
  found = read('something_something_v2', tmp_path)
  assert found.class_names == (
    'Approaching something with your camera',
    'Pushing something from left to right',
    'Wiping something off of something',
  )
  wiping = 'Wiping something off of something'
  assert labels(found, 'train') == {'78687': wiping}
  pushing = 'Pushing something from left to right'
  assert labels(found, 'val') == {'74225': pushing}
  assert labels(found, 'test') == {'1420': None, '3000': None}
  write(tmp_path / 'test-answers.csv', f'1420;{wiping}\n3000;{pushing}\n')
  found = read('something_something_v2', tmp_path)
  assert labels(found, 'test') == {'1420': wiping, '3000': pushing}


def test_lists_of_something_something_are_numbered_by_labels_json(tmp_path):
  write(tmp_path / 'labels.json', json.dumps(SOMETHING['labels']))
  write(tmp_path / 'train.txt', '78687 55 2\n74225 48 1\n')
  frames = 'original_vido_id video_id frame_id path labels\n' + ''.join(
    f'1420 0 {i} 1420/1420_{i:06d}.jpg ""\n' for i in range(3)
  )
  write(tmp_path / 'val.csv', frames.replace('1420 0', '0 1420'))
  found = read('something_something_v2', tmp_path)
  assert labels(found, 'train') == {
    '78687': 'Wiping something off of something',
    '74225': 'Pushing something from left to right',
  }
  assert labels(found, 'val') == {'1420': None}


def test_names_whose_order_differs_from_the_numbers_are_refused(tmp_path):
  """UniFormer's category.txt differs from its own lists from 25 on."""
  file = write(tmp_path / 'train.txt', '78687 55 2\n')
  category = write(tmp_path / 'category.txt', '\n'.join(SOMETHING['labels']))
  with pytest.raises(ValueError, match=r'labels\.json'):
    read('something_something_v2', file, class_names=category)


def test_a_template_that_is_not_a_class_is_refused(tmp_path):
  write(tmp_path / 'labels.json', json.dumps(SOMETHING['labels']))
  item = {'id': '1', 'template': 'Juggling [something]'}
  write(tmp_path / 'train.json', json.dumps([item]))
  with pytest.raises(ValueError, match='Juggling something'):
    read('something_something_v2', tmp_path)


# --- HMDB51 -------------------------------------------------------------------

ODD = '#20_Rhythm_&_(clap)_[u]_nm;np1_fr_goo_0!'


@pytest.mark.parametrize('name', ['{}_test_split{}', '{}_test_split_{}'])
def test_every_video_of_hmdb51_has_a_role_in_each_split(tmp_path, name):
  for division, codes in enumerate(['120', '210', '012'], start=1):
    text = ''.join(
      f'{video}.avi {code} \n'
      for video, code in zip(('a', 'b b', ODD), codes, strict=True)
    )
    write(tmp_path / (name.format('clap_hands', division) + '.txt'), text)
  found = read('hmdb51', tmp_path)
  assert {video.id: video.roles for video in found.videos} == {
    'clap_hands/a.avi': (1, 2, 0),
    'clap_hands/b b.avi': (2, 1, 1),
    f'clap_hands/{ODD}.avi': (0, 0, 2),
  }
  assert {(video.split, video.label) for video in found.videos} == {
    ('videos', 'clap_hands')
  }


def test_uniformer_lists_of_hmdb51_have_the_same_roles(tmp_path):
  for division, (train, val) in enumerate([('a', 'b'), ('b', 'a')], start=1):
    folder = tmp_path / f'split{division}'
    write(folder / 'train.txt', f'clap_hands/{train} 67 0\n')
    write(folder / 'val.txt', f'clap_hands/{val} 80 0\n')
  found = read('hmdb51', tmp_path)
  assert {video.id: video.roles for video in found.videos} == {
    'clap_hands/a': (1, 2),
    'clap_hands/b': (2, 1),
  }


def test_an_unknown_role_is_refused(tmp_path):
  write(tmp_path / 'clap_test_split1.txt', 'a.avi 1 \nb.avi 3 \n')
  with pytest.raises(ValueError, match=r'split1\.txt, line 2'):
    read('hmdb51', tmp_path)


# --- Your own videos ----------------------------------------------------------


def test_your_own_list_keeps_folds_splits_and_times(tmp_path):
  text = 'path,label,fold,start,end\na b.mp4,wave,0,1.5,3\nc.mp4,clap,1,,\n'
  first, second = read('folder', write(tmp_path / 'clips.csv', text)).videos
  assert (first.id, first.label, first.fold) == ('a b.mp4', 'wave', 0)
  assert (first.start, first.end, first.split) == (1.5, 3, 'videos')
  assert (second.fold, second.end) == (1, 0)
  text = 'path,label,Actor\na.mp4,wave,Ann\nb.mp4,clap,Ann\nc.mp4,wave,Bob\n'
  found = read('folder', write(tmp_path / 'clips.csv', text)).videos
  assert [video.group for video in found] == ['Ann', 'Ann', 'Bob']
  assert {video.group_column for video in found} == {'actor'}
  text = 'path,label,split\na.mp4,wave,train\nb.mp4,clap,validation\n'
  found = read('folder', write(tmp_path / 'clips.csv', text))
  assert [video.split for video in found.videos] == ['train', 'val']


@pytest.mark.parametrize(
  'name, splits, complaint',
  [
    ('list.csv', ('1', '2'), "a.mp4 has the split '1'; expected train, val or"),
    ('list.csv', ('train', 'heldout'), "b.mp4 has the split 'heldout'"),
    ('list.csv', ('train', ''), "b.mp4 has the split ''"),
    ('train.csv', ('', 'heldout'), "b.mp4 has the split 'heldout'"),
  ],
)
def test_splits_that_training_refuses_are_refused(
  tmp_path, name, splits, complaint
):
  text = 'path,label,split\na.mp4,wave,{}\nb.mp4,clap,{}\n'
  with pytest.raises(ValueError, match=complaint):
    read('folder', write(tmp_path / name, text.format(*splits)))


def test_rows_without_a_split_are_of_that_which_names_their_list(tmp_path):
  text = 'path,label,split\na.mp4,wave,\nb.mp4,clap,train\n'
  found = read('folder', write(tmp_path / 'train.csv', text))
  assert [video.split for video in found.videos] == ['train', 'train']


def test_a_table_without_labels_is_refused(tmp_path):
  with pytest.raises(ValueError, match='with a column label'):
    read('folder', write(tmp_path / 'clips.csv', 'path,start\na.mp4,1\n'))


def test_numbers_without_names_keep_their_order(tmp_path):
  text = ''.join(f'{i}.mp4 {i}\n' for i in (10, 9, 2))
  found = read('folder', write(tmp_path / 'train.txt', text))
  assert found.class_names == ('2', '9', '10')


def test_links_to_class_folders_are_class_folders(tmp_path):
  write(tmp_path / 'store' / '7' / 'one.mp4', '')
  write(tmp_path / 'store' / '8' / 'deep' / 'two.mp4', '')
  videos = tmp_path / 'videos'
  write(videos / 'wave' / 'three.mp4', '')
  (videos / 'clap').symlink_to(tmp_path / 'store' / '7')
  (videos / 'wave' / 'more').symlink_to(tmp_path / 'store' / '8')
  (tmp_path / 'store' / '8' / 'back').symlink_to(videos)
  found = read('folder', videos=[videos])
  assert labels(found, 'videos') == {
    'clap/one.mp4': 'clap',
    'wave/more/deep/two.mp4': 'wave',
    'wave/three.mp4': 'wave',
  }


def test_one_name_in_two_folders_is_refused(tmp_path):
  for root, name in (('one', '1.mp4'), ('two', '2.mp4')):
    write(tmp_path / root / 'wave' / name, '')
    write(tmp_path / root / 'clap' / f'{root}.mp4', '')
  roots = [tmp_path / 'one', tmp_path / 'two']
  assert len(read('folder', videos=[*roots, roots[0]]).videos) == 4
  write(tmp_path / 'two' / 'wave' / '1.mp4', '')
  complaint = r'one and .*two both hold wave/1\.mp4.*--annotations'
  with pytest.raises(ValueError, match=complaint):
    read('folder', videos=roots)


def test_a_class_name_that_is_not_utf_8_is_refused(tmp_path):
  file = tmp_path / 'train.csv'
  file.write_bytes(b'a.mp4,caf\xe9\nb.mp4,bar\n')
  complaint = r"class name 'caf\\udce9' is not UTF-8: save the list as UTF-8"
  with pytest.raises(ValueError, match=complaint):
    read('folder', file)


def test_a_class_that_is_not_in_class_names_is_refused(tmp_path):
  names = write(tmp_path / 'names.txt', 'clap\nwave\n')
  file = write(tmp_path / 'train.csv', 'a.mp4,clap\nb.mp4,jump\n')
  with pytest.raises(
    ValueError, match=r'labels jump, which are not in.*2 names'
  ):
    read('folder', file, class_names=names)


@pytest.mark.parametrize(
  'text',
  [
    'left\\a b.mp4,left\r\nup\\c.mp4,up\r\n',
    'left,left/a b.mp4\nup,up/c.mp4\n',
    'name,category\nleft/a b,left\nup/c,up\n',
    'file_name,label,text\nleft/a b.mp4,0,left\nup/c.mp4,1,up\n',
  ],
)
def test_your_own_list_is_read_as_training_reads_it(tmp_path, text):
  from data.locate import Files
  from flatten_jax.inputs.sources.lists import paths

  for name in ('left/a b.mp4', 'up/c.mp4'):
    write(tmp_path / name, '')
  file = write(tmp_path / 'list.csv', text)
  rows = paths.open_list(str(file), '')
  videos = read('folder', file, videos=[tmp_path]).videos
  files = Files([tmp_path], progress=False, by_folder=True)
  assert [(v.id, v.label, files.find(v)) for v in videos] == [
    (row.id, row.label, row.path) for row in rows
  ]


def test_texts_next_to_lists_are_passed_over(tmp_path, caplog):
  write(tmp_path / 'videos' / 'a.mp4', '')
  write(tmp_path / 'lists' / 'classInd.txt', '1 wave\n2 clap\n')
  write(tmp_path / 'lists' / '.ipynb_checkpoints' / 'train.csv', 'x.mp4,y')
  write(tmp_path / 'lists' / 'train.csv', 'a.mp4,wave\nb.mp4,clap\n')
  found = read('folder', tmp_path / 'lists', videos=[tmp_path / 'videos'])
  assert [video.id for video in found.videos] == ['a.mp4', 'b.mp4']
  assert 'classInd.txt lists no videos: passed over' in caplog.text

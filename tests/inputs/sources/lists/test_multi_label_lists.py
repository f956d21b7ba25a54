# SPDX-License-Identifier: Apache-2.0
"""Lists whose videos have several labels, in every published form."""

import pytest

from flatten_jax.inputs.sources.lists import multi_label, paths, read

CHARADES = (
  'id,subject,scene,quality,script,actions,length\n'
  '46GP8,HR43,Kitchen,6,"A person, cooking.",c092 11.90 21.20;c147 0.00 12.60,'
  '24.83\n'
  'N11GT,0KZ7,Bathroom,6,Nothing.,,18.17\n'
)


def labels_of(tmp_path, text, name='list.csv'):
  path = tmp_path / name
  path.write_text(text)
  rows = read.read_list(path, multi_label=True)
  assert all(row.label is None for row in rows)
  return {row.id: row.labels for row in rows}


@pytest.mark.parametrize(
  ('cell', 'labels'),
  [
    ('run;jump', ('run', 'jump')),
    ('"run; jump; run"', ('run', 'jump')),
    ('run|jump', ('run', 'jump')),
    ('holding some clothes', ('holding some clothes',)),
    ('3,7 , 9', ('3', '7', '9')),
    ('3.0', ('3',)),  # Of pandas, if another cell is empty.
    ('level 1', ('level 1',)),
    ("['run', 'jump, high', 'run']", ('run', 'jump, high')),
    ('["run", "don\'t; stop"]', ('run', "don't; stop")),
    ("['run' 'jump']", ('run', 'jump')),  # NumPy's.
    ('[3, 7]', ('3', '7')),
    ('[]', ()),
    ('[something] falls', ('[something] falls',)),
    ('c092 11.90 21.20;c147 0.00 12.60', ('c092', 'c147')),
    ('c092 0.00 3.10;c092 8.00 9.00', ('c092',)),
    ('', ()),
    (None, ()),
    ('nan', None),
    ('-1', None),
  ],
)
def test_a_cell_has_labels_each_once(cell, labels):
  assert multi_label.split_labels(cell) == labels


@pytest.mark.parametrize(
  ('name', 'text'),
  [
    ('list.csv', 'path,label\na.mp4,x;y\nb.mp4,y\nc.mp4,\n'),
    ('list.csv', 'path,labels,fold\na.mp4,x|y,0\nb.mp4,y,1\nc.mp4,,0\n'),
    ('list.tsv', 'path\taction\na.mp4\tx;y\nb.mp4\ty\nc.mp4\t\n'),
    ('list.txt', 'a.mp4,x;y\nb.mp4,y\nc.mp4,\n'),
    ('list.txt', 'a.mp4 x;y\nb.mp4 y\nc.mp4\n'),
    (
      'list.json',
      '[{"path": "a.mp4", "labels": ["x", "y"]},'
      ' {"path": "b.mp4", "labels": ["y"]}, {"path": "c.mp4", "labels": []}]',
    ),
  ],
)
def test_labels_have_separators_or_are_json_lists(tmp_path, name, text):
  assert labels_of(tmp_path, text, name) == {
    'a.mp4': ('x', 'y'),
    'b.mp4': ('y',),
    'c.mp4': (),
  }


def test_charades_has_classes_with_their_seconds(tmp_path):
  found = labels_of(tmp_path, CHARADES)
  assert found == {'46GP8': ('c092', 'c147'), 'N11GT': ()}


def test_mmaction2_has_numbers_after_the_path(tmp_path):
  text = 'some videos/a b.mp4 1 5 7\nb.mp4 3\n'
  found = labels_of(tmp_path, text, 'list.txt')
  assert found == {'some videos/a b.mp4': ('1', '5', '7'), 'b.mp4': ('3',)}


def test_mmaction2_has_the_number_of_frames_of_folders(tmp_path):
  path = tmp_path / 'list.txt'
  path.write_text('v/one 120 1 5\nv/two 98 3\n')
  rows = read.read_list(path, multi_label=True)
  assert [(r.id, r.num_frames, r.labels) for r in rows] == [
    ('v/one', 120, ('1', '5')),
    ('v/two', 98, ('3',)),
  ]


def test_a_list_without_a_column_of_labels_has_unknown_ones(tmp_path):
  assert labels_of(tmp_path, 'path,fold\na.mp4,1\n') == {'a.mp4': None}


def test_a_list_may_have_a_line_for_each_label(tmp_path):
  (tmp_path / 'a.mp4').touch()
  path = tmp_path / 'list.csv'
  path.write_text('path,label,start\na.mp4,x,0\na.mp4,y,0\na.mp4,z,9\n')
  rows = paths.open_list(str(path), '', multi_label=True)
  assert [(r.start, r.labels) for r in rows] == [(0, ('x', 'y')), (9, ('z',))]


def test_rows_of_other_splits_and_folds_keep_their_labels(tmp_path):
  path = tmp_path / 'list.csv'
  path.write_text(
    'path,label,split,fold\na,x,train,0\na,y,train,0\na,z,test,0\na,z,train,1\n'
  )
  rows = multi_label.merged(read.read_list(path, multi_label=True))
  assert [(r.split, r.fold, r.labels) for r in rows] == [
    ('train', 0, ('x', 'y')),
    ('test', 0, ('z',)),
    ('train', 1, ('z',)),
  ]


def test_a_video_that_is_there_twice_without_labels_has_unknown_ones(tmp_path):
  path = tmp_path / 'list.csv'
  path.write_text('path,label\na,-1\na,-1\nb,-1\nb,x\nc,\nc,\nd,x\nd,nan\n')
  rows = multi_label.merged(read.read_list(path, multi_label=True))
  assert [row.labels for row in rows] == [None, ('x',), (), ('x',)]


@pytest.mark.parametrize(
  'text', ['a.mp4 1 2 3\nb.mp4 4\n', 'path,label\na.mp4,"1,2"\n']
)
def test_several_numbers_name_the_setting_that_reads_them(tmp_path, text):
  path = tmp_path / 'list.csv'
  path.write_text(text)
  with pytest.raises(ValueError, match=r'data\.multi_label=True'):
    read.read_list(path)

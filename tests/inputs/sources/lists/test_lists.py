# SPDX-License-Identifier: Apache-2.0
"""Lists of videos in every published form."""

import json

import pytest

from flatten_jax.inputs.sources.lists.read import read_list

# Names like those in published data sets.
AWKWARD = [
  'brush hair/a clip.mp4',
  '#20_Rhythm_clap_u_nm_np1_fr_goo_0.avi',
  'Who!&Me;(2)_[x]_f_cm.avi',
  '-3B32lodo2M_000059_000069.mp4',
  'a, b.mp4',
  'tea 42 7.webm',
  'über/naïve.mp4',
]


def read(tmp_path, text, files=(), encoding='utf-8'):
  """Reads rows as (path, label); only `files` exist."""
  path = tmp_path / 'list.csv'
  path.write_bytes(text.encode(encoding))
  rows = read_list(str(path), lambda name: name in files)
  return [(row.id, row.label) for row in rows]


@pytest.mark.parametrize('separator', [' ', ',', '\t', '::', ';', ', ', '  '])
@pytest.mark.parametrize('end', ['\n', '\r\n'])
@pytest.mark.parametrize('exist', [True, False])
def test_path_and_label_may_have_any_separator(tmp_path, separator, end, exist):
  text = end.join(f'{name}{separator}{i}' for i, name in enumerate(AWKWARD))
  found = read(tmp_path, text + end, AWKWARD if exist else ())
  assert found == [(name, str(i)) for i, name in enumerate(AWKWARD)]


@pytest.mark.parametrize('separator', [' ', ',', '\t', '::'])
def test_labels_by_name_may_hold_blanks(tmp_path, separator):
  text = f'a b.mp4{separator}air drumming\nc.mp4{separator}abseiling\n'
  found = read(tmp_path, text, ['a b.mp4', 'c.mp4'])
  assert found == [('a b.mp4', 'air drumming'), ('c.mp4', 'abseiling')]


@pytest.mark.parametrize(
  'text',
  [
    'April_09_brush_hair 67 4\nlast 100 12\n',  # UniFormer's HMDB51, TSM
    'April_09_brush_hair, 67, 4\nlast, 100, 12\n',  # mmaction's Kinetics
    'April_09_brush_hair\t67\t4\nlast\t100\t12\n',
  ],
)
@pytest.mark.parametrize('exist', [True, False])
def test_name_count_label_without_suffix(tmp_path, text, exist):
  names = ['April_09_brush_hair', 'last']
  found = read(tmp_path, text, names if exist else ())
  assert found == [('April_09_brush_hair', '4'), ('last', '12')]


@pytest.mark.parametrize(
  'line, files, row',
  [
    ('a b.mp4 250 17', [], ('a b.mp4', '17')),
    ('78687 161', ['78687'], ('78687', '161')),
    ('Archery/with blank 1.avi', [], ('Archery/with blank 1.avi', None)),
    ('my clip 3', ['my clip 3'], ('my clip 3', None)),
    ('tea 42 7', ['tea'], ('tea', '7')),
    ('tea 42 7', ['tea 42'], ('tea 42', '7')),
  ],
)
def test_suffixes_and_files_decide_between_readings(tmp_path, line, files, row):
  assert read(tmp_path, line + '\n', files) == [row]


@pytest.mark.parametrize(
  'text',
  [
    'path,label,scene,fold,frames,fps\nv/a b.mp4,wave,S01,1,81,29.97\n',
    'Path;Label\nv/a b.mp4;wave\n',
    'video_path\tlabel\nv/a b.mp4\twave\n',
    'label,path\n"wave","v/a b.mp4"\n',
    '"path","label"\r\n"v/a b.mp4","wave"\r\n',
    'path labels\n"v/a b.mp4"  wave \n',
    'label_index,video_id,label_name\n3,v/a b.mp4,wave\n,,\n',
    'path\tlabel\tfold\nv/a b.mp4\twave\t\n \t\t\n',
  ],
)
def test_columns_are_found_by_name(tmp_path, text):
  assert read(tmp_path, text) == [('v/a b.mp4', 'wave')]


@pytest.mark.parametrize('fold', ['2', '2.0'])  # As pandas writes it.
def test_folds_splits_and_times_are_read(tmp_path, fold):
  path = tmp_path / 'list.csv'
  path.write_text(
    'video_path,start,end,label,fold,split\n'
    f'a.mp4,1.5,4,wave,{fold},val\n,,,,,\n'
  )
  (row,) = read_list(str(path), lambda name: False)
  assert (row.start, row.end, row.fold, row.split) == (1.5, 4.0, 2, 'val')


EMPTY = ('path', 'label', 'split', 'fold', 'end', 'frames', 'fps')


@pytest.mark.parametrize('cell', ['', 'nan', 'NaN', '<NA>'])
@pytest.mark.parametrize('form', ['csv', 'json'])
def test_what_programs_write_for_nothing_is_an_empty_cell(tmp_path, form, cell):
  path = tmp_path / f'list.{form}'
  path.write_text(f'{",".join(EMPTY)}\na.mp4,x{f",{cell}" * 5}\n')
  if form == 'json':
    value = float('nan') if cell == 'NaN' else cell or None
    item = {'path': 'a.mp4', 'label': 'x'} | dict.fromkeys(EMPTY[2:], value)
    path.write_text(json.dumps([item]))
  (row,) = read_list(path)
  assert (row.id, row.label, row.split, row.fold) == ('a.mp4', 'x', None, None)
  assert (row.end, row.num_frames, row.fps) == (0, None, 0)


def test_a_column_of_splits_may_have_empty_cells(tmp_path):
  text = 'path,label,subset\na.mp4,x,train\nb.mp4,x,NaN\n'
  (tmp_path / 'list.csv').write_text(text)
  found = [row.split for row in read_list(tmp_path / 'list.csv')]
  assert found == ['train', None]


CAPTIONS = (
  'path,label,caption\na.mp4,x,"one\n# two\n\nthree, four"\nb.mp4,y,z\n'
)


def test_quoted_cells_may_hold_line_ends(tmp_path):
  assert read(tmp_path, CAPTIONS) == [('a.mp4', 'x'), ('b.mp4', 'y')]
  assert read(tmp_path, 'path,label\na,"x\ny"\n') == [('a', 'x\ny')]
  with pytest.raises(ValueError, match='line 7: 2 fields under 3'):
    read(tmp_path, CAPTIONS + 'c.mp4,x\n')
  with pytest.raises(ValueError, match='line 7: no path'):
    read(tmp_path, CAPTIONS + ',x,\n')


def test_cells_may_be_long(tmp_path):
  text = f'path,label,points\na.mp4,wave,{"1.5 " * 50_000}\n'
  assert read(tmp_path, text) == [('a.mp4', 'wave')]


def test_a_line_in_quotes_is_no_row_of_its_own(tmp_path):
  text = 'path,label,caption\na.mp4,x,"first\nthe end, slowly, softly"\n'
  assert read(tmp_path, text) == [('a.mp4', 'x')]


def test_stray_quotes_hide_no_rows(tmp_path):
  rows = ['a.mp4,x,"5 tall', 'b.mp4,y,z', 'c.mp4,y,z', 'd.mp4,x,9"', 'e.mp4,x']
  with pytest.raises(ValueError, match='line 6: 2 fields under 3'):
    read(tmp_path, '\n'.join(['path,label,caption', *rows]) + '\n')
  found = read(tmp_path, '\n'.join(['path,label,caption', *rows[:-1]]) + '\n')
  assert [path for path, _ in found] == ['a.mp4', 'b.mp4', 'c.mp4', 'd.mp4']


@pytest.mark.parametrize('rest', ['', 'c.mp4,"x\n'])
def test_an_open_quote_takes_no_other_lines(tmp_path, rest):
  text = f'path,label\na.mp4,"x\nb.mp4,y\n{rest}'
  assert read(tmp_path, text)[:2] == [('a.mp4', 'x'), ('b.mp4', 'y')]
  with pytest.raises(ValueError, match='3 fields under 2'):
    read(tmp_path, text + 'd.mp4,y,z\n')


def test_a_header_without_labels_is_logged(tmp_path, caplog):
  text = 'path,scene,weather\na.mp4,S1,sun\nb.mp4,S1,rain\n'
  assert read(tmp_path, text)[0] == ('a.mp4', None)
  assert 'columns path, scene, weather, and none like label' in caplog.text


@pytest.mark.parametrize(
  'header, cells',
  [
    ('file_name,label', 'v/a b.mp4,wave'),  # Hugging Face
    ('clip_name,clip_path,label', 'a b,/v/a b.mp4,wave'),  # UCF101 on Kaggle
    ('videoPath;className', 'v/a b.mp4;wave'),
    ('Video Path|Class Name', 'v/a b.mp4|wave'),
    ('#path,label', 'v/a b.mp4,wave'),
    ('sep=;\npath;label', 'v/a b.mp4;wave'),  # Excel
    (',path,label,', '0,v/a b.mp4,wave,'),  # pandas
    ('Unnamed: 0,path,label', '0,v/a b.mp4,wave'),
    ('path,label,class_name', 'v/a b.mp4,3,wave'),  # Names before numbers.
    ('path,class_name,class_id', 'v/a b.mp4,wave,3'),
    ('path,target', 'v/a b.mp4,wave\nv/c.mp4,wave'),
    ('path,gesture_kind', 'v/a b.mp4,wave\nv/c.mp4,wave'),
    ('media,label,who', 'v/a b.mp4,wave,S1'),
    ("'path','label'", "'v/a b.mp4','wave'"),
  ],
)
def test_columns_have_names_of_many_publishers(tmp_path, header, cells):
  found = read(tmp_path, f'{header}\n{cells}\n', ['v/a b.mp4', '/v/a b.mp4'])
  assert found[0] in [('v/a b.mp4', 'wave'), ('/v/a b.mp4', 'wave')]


def test_numbers_that_no_name_stands_for_stay(tmp_path, caplog):
  coarse = 'path,label,category\na,1,sport\nb,2,sport\nc,3,art\n'
  assert [label for _, label in read(tmp_path, coarse)] == ['1', '2', '3']
  assert "'category' names 2 classes for 3 numbers" in caplog.text
  hacs = 'classname,youtube_id,label\nrun,a,1\nwalk,b,1\nrun,c,-1\n'
  assert [label for _, label in read(tmp_path, hacs)] == ['run', 'walk', None]


def test_what_was_read_is_logged(tmp_path, caplog):
  caplog.set_level('INFO')
  read(tmp_path, 'file_name,label,t_start,who\na.mp4,x,1,me\n')
  said = 'as path (file_name), label, start (t_start); 1 videos, 1 classes'
  assert f'{said}; ignored columns: who' in caplog.text
  read(tmp_path, 'a.mp4 25 wave\nb.mp4 30 clap\n')
  said = 'as path, num_frames, label; 2 videos, 2 classes'
  assert said in caplog.text


@pytest.mark.parametrize(
  'header, cells, expected',
  [
    ('start,end', '0.5,1.5', (0.5, 1.5)),
    ('time_start,time_end', '0.5,1.5', (0.5, 1.5)),
    ('start_time,end_time', '0.5,1.5', (0.5, 1.5)),
    ('StartTime,StopTime', '0.5,1.5', (0.5, 1.5)),
    ('starttime,endtime', '0.5,1.5', (0.5, 1.5)),
    ('start_sec,stop_sec', '0.5,1.5', (0.5, 1.5)),
    ('Start (s),End (s)', '0.5,1.5', (0.5, 1.5)),
    ('t_start,t_end', '0.5,1.5', (0.5, 1.5)),
    ('begin,stop', '0.5s,1.5s', (0.5, 1.5)),
    ('from,to', '0.5,1.5', (0.5, 1.5)),
    ('video_start,clip_end', '0.5,1.5', (0.5, 1.5)),
    ('start_timestamp,stop_timestamp', '00:00:01.089,0:01:02', (1.089, 62)),
    ('start,end', '1:02,1:00:05', (62, 3605)),
    ('start,end', '"0,5","1,5"', (0.5, 1.5)),
    ('start_ms,end_ms', '500,1500', (0.5, 1.5)),
    ('start_min,end_min', '0.5,1.5', (30, 90)),
    ('start,duration', '0.5,1', (0.5, 1.5)),
    ('begin_time,length', '0.5,1', (0.5, 1.5)),
    ('start,end,duration', '0.5,1.5,9', (0.5, 1.5)),
    ('start_frame,end_frame,start,end', '3,9,0.5,1.5', (0.5, 1.5)),
    ('duration', '9', (0, 0)),  # That of the file.
    ('end', '1.5', (0, 1.5)),
    ('start,end', ',', (0, 0)),
  ],
)
def test_times_are_read_in_every_spelling(tmp_path, header, cells, expected):
  path = tmp_path / 'list.csv'
  path.write_text(f'path,label,{header}\na.mp4,wave,{cells}\n')
  (row,) = read_list(str(path))
  assert (row.start, row.end) == pytest.approx(expected)


@pytest.mark.parametrize(
  'column, cell', [('t0', '1'), ('time_range', '1-2'), ('is_train', '1')]
)
def test_columns_that_look_like_times_or_splits_are_warned_of(
  tmp_path, caplog, column, cell
):
  read(tmp_path, f'path,label,{column}\na.mp4,wave,{cell}\n')
  assert f'look like times or splits are not read: {column}' in caplog.text


@pytest.mark.parametrize('column', ['subset', 'Partition', 'usage', 'for what'])
def test_a_column_with_names_of_splits_is_the_split(tmp_path, column):
  path = tmp_path / 'list.csv'
  path.write_text(f'path,label,{column}\na,x,training\nb,y,Test\n')
  assert [row.split for row in read_list(path)] == ['training', 'Test']


ITEM = {'path': 'a.mp4', 'label': 'wave', 'meta': {'fps': 25}, 'note': None}


@pytest.mark.parametrize(
  'content, expected',
  [
    (json.dumps([ITEM]), ('a.mp4', 'wave', 0)),
    (json.dumps(ITEM), ('a.mp4', 'wave', 0)),
    (json.dumps(ITEM) + '\n\n', ('a.mp4', 'wave', 0)),
    (json.dumps({'a.mp4': 'wave', 'b.mp4': 'clap'}), ('a.mp4', 'wave', 0)),
    (json.dumps([ITEM | {'segment': [1.5, 4]}]), ('a.mp4', 'wave', 1.5)),
    (
      json.dumps([{'id': '7', 'label': 'x', 'template': 'Put [a cup] up'}]),
      ('7', 'Put a cup up', 0),
    ),
  ],
)
def test_json_and_json_lines_are_read(tmp_path, content, expected):
  path = tmp_path / 'list.json'
  path.write_text(content)
  first = read_list(str(path))[0]
  assert (first.id, first.label, first.start) == expected


def test_parts_of_kinetics_may_be_cut_or_not(tmp_path):
  header = 'label,youtube_id,time_start,time_end\n'
  path = tmp_path / 'list.csv'
  path.write_text(header + 'wave,-3B32lodo2M,59,69\n')
  for name, start in (('-3B32lodo2M', 59), ('-3B32lodo2M_000059_000069', 0)):
    (row,) = read_list(path, lambda found, name=name: found == name)
    assert (row.id, row.start) == (name, start)


def test_kinetics_annotations_name_trimmed_files(tmp_path):
  text = (
    'label,youtube_id,time_start,time_end,split,is_cc\n'
    '"air drumming",_dbcJuKJQNs,40,50,val,0\n'
    'abseiling,-3B32lodo2M,59.0,69.0,val,0\n'
  )
  assert read(tmp_path, text) == [
    ('_dbcJuKJQNs_000040_000050', 'air drumming'),
    ('-3B32lodo2M_000059_000069', 'abseiling'),
  ]


@pytest.mark.parametrize('encoding', ['utf-8-sig', 'utf-16'])
@pytest.mark.parametrize(
  'text', ['a.mp4 0\nb.mp4 1\n', 'path,label\na.mp4,0\n']
)
def test_a_byte_order_mark_is_not_part_of_a_name(tmp_path, encoding, text):
  assert read(tmp_path, text, encoding=encoding)[0] == ('a.mp4', '0')


def test_blank_lines_and_old_line_ends_are_allowed(tmp_path):
  assert read(tmp_path, '\ra.mp4 0\r\rb.mp4 1') == [
    ('a.mp4', '0'),
    ('b.mp4', '1'),
  ]


def test_quoted_paths_lose_their_quotes(tmp_path):
  text = '"a, b.mp4",0\n"c.mp4",1\n'
  assert read(tmp_path, text) == [('a, b.mp4', '0'), ('c.mp4', '1')]


def test_a_path_that_is_not_utf_8_is_kept(tmp_path):
  path = tmp_path / 'list.txt'
  path.write_bytes(b'caf\xe9.mp4 0\n')
  (row,) = read_list(str(path), lambda name: False)
  assert row.id.encode('utf-8', 'surrogateescape') == b'caf\xe9.mp4'


@pytest.mark.parametrize(
  'text',
  [
    'a.mp4,wave,\nb.mp4,clap,\n',
    'a.mp4|wave\nb.mp4|clap\n',
    "'a.mp4','wave'\n'b.mp4','clap'\n",
    'wave,a.mp4\nclap,b.mp4\n',
    'wave a.mp4\nclap b.mp4\n',
    'a.mp4,0,wave\nb.mp4,1,clap\n',
    'a.mp4,wave,0\nb.mp4,clap,1\n',
    'a.mp4 25 wave\nb.mp4 30 clap\n',
    '0,a.mp4,wave\n1,b.mp4,clap\n',
    '# mine\n#\na.mp4 wave\n# c.mp4 wave\nb.mp4 clap\n',
    'Datei,Klasse\na.mp4,wave\nb.mp4,clap\n',
    'Datei Klasse\na.mp4 wave\nb.mp4 clap\n',
    'path,label\na.mp4,wave\npath,label\nb.mp4,clap\n',
  ],
)
def test_what_a_person_meant_by_a_list_is_read(tmp_path, text):
  found = read(tmp_path, text, ['a.mp4', 'b.mp4'])
  assert found == [('a.mp4', 'wave'), ('b.mp4', 'clap')]


def test_a_header_is_told_from_ids_by_the_files(tmp_path, caplog):
  text = 'ident,gesture\na,wave\nb,wave\nc,clap\n'
  found = read(tmp_path, text, ['a', 'b', 'c'])
  assert found == [('a', 'wave'), ('b', 'wave'), ('c', 'clap')]
  assert "'ident,gesture' is taken for a header" in caplog.text
  assert len(read(tmp_path, text.replace('ident', 'd'), ['a', 'd'])) == 4
  assert read(tmp_path, 'a b\nc 0\nd 1\n') == [('c', '0'), ('d', '1')]
  assert len(read(tmp_path, 'a 7\nb x\nc x\n', ['b', 'c'])) == 3


@pytest.mark.parametrize(
  'text, complaint',
  [
    ('', 'is empty'),
    ('# nothing\n', 'comments only'),
    ('a.mp4,wave,me\nb.mp4,clap,you\n', 'line 1 has columns that cannot'),
    ('a.mp4,wave,17\nb.mp4,wave,18\n', 'line 1 has columns that cannot'),
    (
      'a.mp4,wave,0.5,1.5\n',
      'Name them in a first line, like path',
    ),
    ('a.mp4 0.5 1.5 wave\n', 'columns that cannot be told'),
    ('a.mp4 0 0.5 1.5\n', 'columns that cannot be told'),
    ('a.mp4 wave 3 9\n', 'columns that cannot be told'),
    ('7,a.mp4,wave\n9,b.mp4,wave\n', 'columns that cannot be told'),
    ('a.mp4,Push, then pull\n', 'label with a separator into quotes'),
    ('a.mp4,wave\n,clap\n', 'line 2 has no path'),
    ('path,label\na.mp4,wave\n,clap\n', 'line 3: no path'),
    ('path,start,end\na.mp4,2,1\n', 'line 2: the end 1 s is not after.* 2 s'),
    ('path,end\na.mp4,0:61\n', "line 2.*end.*not '0:61'"),
    ('path,start_frame\na.mp4,30\n', 'times in frames .start_frame.; expected'),
    ('path,split1,split2\na,train,test\nb,test,train\n', 'several columns of'),
    ('[{"database": {}}, 1]', 'JSON of an unknown form'),
    ('\n \r\n', 'is empty'),
    ('path,label\n', 'no rows'),
    ('a.mp4 1 2\nb.mp4 3\n', "several labels.*'a.mp4 1 2'"),
    ('a.mp4 1 2 3\nb.mp4 3 4 5\n', 'several labels'),
    ('path,label\na.mp4,1,2\n', 'line 2: 3 fields under 2'),
    ('path,label,fold\na.mp4,1,one\n', r"csv, line 2.*fold, not 'one'"),
    ('path,label,fold\na.mp4,1,0.5\n', r"csv, line 2.*fold, not '0.5'"),
    ('path,start\n\na.mp4,1m2s\n', r"csv, line 3.*start.*not '1m2s'"),
    ('path,end\na.mp4,none\n', r"csv, line 2.*end.*not 'none'"),
    ('path,label,frames\na.mp4,x,12.5\n', r"number as frames, not '12.5'"),
    ('path,label,kfold\na.mp4,x,one\n', r"number as kfold, not 'one'"),
    ('path,label,frame_rate\na.mp4,x,fast\n', r"as frame_rate, not 'fast'"),
    ('youtube_id,time_start,time_end\na,x,1\n', r"line 2.*time_start.*'x'"),
    ('youtube_id,time_start,time_end\na,,1\n', 'line 2: expected two times'),
    ('path,label\n,\n', 'no rows'),
    ('path,label,label\na,b,c\n', 'two columns label'),
    (
      'original_vido_id video_id frame_id path labels\n1 0 0 1/1.jpg "1,2"\n',
      "expected one label, not '1,2'",
    ),
  ],
)
def test_files_that_are_not_lists_of_videos_are_refused(
  tmp_path, text, complaint
):
  with pytest.raises(ValueError, match=complaint):
    read(tmp_path, text)


@pytest.mark.parametrize('number', [0, 1, 333, 499])
def test_a_line_unlike_the_others_is_named(tmp_path, number):
  lines = [f'{i}.mp4,{i}' for i in range(500)]
  lines[number] = 'oops'
  with pytest.raises(ValueError, match=f"line {number + 1} differs.*'oops'"):
    read(tmp_path, '\n'.join(lines))


TABLE = """path,label,{columns},fps
a.mp4,left,{a},25
b.mp4,right,{b},25
c.mp4,left,{c},25
d.mp4,right,{d},25
"""
PER_PERSON = ['P1', 'P1', 'P2', 'P2']


@pytest.mark.parametrize(
  ('columns', 'cells', 'wanted', 'found'),
  [
    ('group', PER_PERSON, '', 'group'),
    ('Subject ID', PER_PERSON, '', 'subject_id'),
    ('subjectId', PER_PERSON, '', 'subject_id'),
    ('SPEAKER', PER_PERSON, '', 'speaker'),
    ('source_video', PER_PERSON, '', 'source_video'),
    ('Camera', PER_PERSON, '', 'camera'),
    ('who', PER_PERSON, '', None),
    ('who', PER_PERSON, 'Who', 'who'),
    ('group', PER_PERSON, 'none', None),
    ('scene,subject', ['x,P1', 'x,P2', 'x,P1', 'x,P2'], '', 'subject'),
    ('scene,subject', ['x,P1', 'y,P2', 'x,P3', 'y,P4'], '', 'scene'),
    ('group', ['train', 'train', 'test', 'test'], '', None),
    ('scene,subject', ['x,P1', 'y,P1', 'x,P2', 'y,P2'], '', 'subject'),
    ('scene,subject', ['x,P1', 'y,P1', 'x,P2', 'y,P2'], 'scene', 'scene'),
  ],
)
def test_a_column_of_groups_is_found_by_its_name(
  tmp_path, columns, cells, wanted, found
):
  path = tmp_path / 'list.csv'
  cells = dict(zip('abcd', cells, strict=True))
  path.write_text(TABLE.format(columns=columns, **cells))
  rows = read_list(path, group=wanted)
  assert [row.id for row in rows] == ['a.mp4', 'b.mp4', 'c.mp4', 'd.mp4']
  assert [row.label for row in rows] == ['left', 'right'] * 2
  assert {row.group and row.group.column for row in rows} == {found}
  if found and ',' not in columns:
    assert [row.group.name for row in rows] == list(cells.values())


def test_the_coarsest_column_of_groups_counts_and_the_others_are_named(
  tmp_path, caplog
):
  caplog.set_level('INFO')
  lines = [f'{i}.mp4,x,c{i % 2},s{i // 2},p{i // 4}' for i in range(24)]
  path = tmp_path / 'list.csv'
  header = 'path,label,camera,person,room'
  path.write_text('\n'.join([header, *lines]))
  assert {row.group.name for row in read_list(path)} == {
    f'p{i}' for i in range(6)
  }
  assert (
    'of one room stay together; not regarded: person, camera' in caplog.text
  )
  path.write_text('\n'.join([header.replace('person', 'group'), *lines]))
  assert len({row.group for row in read_list(path)}) == 12


def test_an_unknown_group_is_none(tmp_path):
  path = tmp_path / 'list.csv'
  path.write_text('path,label,scene\na,x,1\nb,y,1\nc,x,nan\nd,y,\ne,x,2\n')
  names = [row.group and row.group.name for row in read_list(path)]
  assert names == ['1', '1', None, None, '2']

# SPDX-License-Identifier: Apache-2.0
"""Lists of videos in every published form."""

import pytest

from flatten_jax.inputs.sources import lists

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
  rows = lists.read_list(str(path), lambda name: name in files)
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
  (row,) = lists.read_list(str(path), lambda name: False)
  assert (row.start, row.end, row.fold, row.split) == (1.5, 4.0, 2, 'val')


def test_a_header_without_labels_is_logged(tmp_path, caplog):
  text = 'path,scene,weather\na.mp4,S1,sun\nb.mp4,S1,rain\n'
  assert read(tmp_path, text)[0] == ('a.mp4', None)
  assert 'columns path, scene, weather, and none like label' in caplog.text


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
  (row,) = lists.read_list(str(path), lambda name: False)
  assert row.id.encode('utf-8', 'surrogateescape') == b'caf\xe9.mp4'


@pytest.mark.parametrize(
  'text, complaint',
  [
    ('', 'is empty'),
    ('\n \r\n', 'is empty'),
    ('path,label\n', 'no rows'),
    ('a.mp4 1 2\nb.mp4 3\n', "several labels.*'a.mp4 1 2'"),
    ('a.mp4 1 2 3\nb.mp4 3 4 5\n', 'several labels'),
    ('path,label\na.mp4,1,2\n', 'line 2: 3 fields under 2'),
    ('path,label,fold\na.mp4,1,one\n', r"csv, line 2.*fold, not 'one'"),
    ('path,label,fold\na.mp4,1,0.5\n', r"csv, line 2.*fold, not '0.5'"),
    ('path,start\n\na.mp4,1m2s\n', r"csv, line 3.*start.*not '1m2s'"),
    ('path,end\na.mp4,nan\n', r"csv, line 2.*end.*not 'nan'"),
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

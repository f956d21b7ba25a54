# SPDX-License-Identifier: Apache-2.0
"""The same video twice is found by its real file and its part."""

import os

import pytest

from flatten_jax.inputs.sources import dataset, duplicates
from flatten_jax.inputs.sources.rows import Row

TRAIN = 'left/0.mp4,left\nup/0.mp4,up\n'
PARTS = 'path,label,start,end\n'


@pytest.fixture
def open_lists(tmp_path, settings):
  """Opens a training and a test list of a few videos, with links to them."""
  for name in ('left/0.mp4', 'left/1.mp4', 'up/0.mp4'):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).touch()
  os.link(tmp_path / 'left' / '0.mp4', tmp_path / 'left' / 'hard.mp4')
  (tmp_path / 'left' / 'soft.mp4').symlink_to('0.mp4')
  (tmp_path / 'link').symlink_to('left')

  def open_them(train, test):
    fields = {}
    for split, text in (('train', train), ('test', test)):
      (tmp_path / f'{split}.csv').write_text(text.format(root=tmp_path))
      fields[split] = str(tmp_path / f'{split}.csv')
    return dataset.open_splits(settings | fields)

  return open_them


@pytest.mark.parametrize(
  'path',
  [
    *('./left/0.mp4', 'up/../left/0.mp4', 'left//0.mp4', 'left/0'),
    *('left/hard.mp4', 'left/soft.mp4', 'link/0.mp4', '{root}/left/0.mp4'),
    *('Left/0.MP4', 'left\\0.mp4'),
  ],
)
def test_another_spelling_is_the_same_video(open_lists, caplog, path):
  open_lists(TRAIN, f'{path},left\n')
  assert '1 videos of test are in train as well, like' in caplog.text
  assert '(left/0.mp4 in train)' in caplog.text
  caplog.clear()
  open_lists(TRAIN + f'{path},left\n', 'left/1.mp4,left\n')
  assert '1 videos of train are there twice, like left/0.mp4' in caplog.text
  with pytest.raises(ValueError, match="labels 'left' and 'up'; expected one"):
    open_lists(TRAIN + f'{path},up\n', 'left/1.mp4,left\n')


@pytest.mark.parametrize(
  'train, test, shared',
  [
    ('0,2', '1.5,3', True),
    ('0,2', ',', True),
    (',', '1,2', True),
    ('0,2', '2,3', False),
    ('5,', '0,5', False),
  ],
)
def test_parts_of_a_video_are_compared(open_lists, caplog, train, test, shared):
  open_lists(
    f'{PARTS}left/0.mp4,left,{train}\nup/0.mp4,up,,\n',
    f'{PARTS}./left/0.mp4,left,{test}\n',
  )
  assert ('in train as well' in caplog.text) == shared


def test_parts_may_have_labels_of_their_own(open_lists, caplog):
  parts = 'left/0.mp4,left,0,2\nleft/0.mp4,up,1,2\n'
  open_lists(PARTS + parts, f'{PARTS}up/0.mp4,up,,\n')
  assert 'twice' not in caplog.text


@pytest.mark.parametrize(
  ('column', 'train', 'test', 'source'),
  [
    ('person', 'P1', 'P1', 'column person'),
    ('person', 'P1', 'P2', ''),
    ('fold', '1', '1', 'column fold'),
    ('fold', '1', '2', ''),
  ],
)
def test_groups_on_both_sides_of_given_lists_are_warned_of(
  open_lists, caplog, column, train, test, source
):
  head, last = f'path,label,{column}\n', {'person': 'P3', 'fold': 0}[column]
  lines = f'left/0.mp4,left,{train}\nup/0.mp4,up,{last}\n'
  lines += f'up/2.mp4,up,{last}\n'
  more = f'left/3.mp4,left,{test}\n'
  open_lists(head + lines, f'{head}left/1.mp4,left,{test}\n{more}')
  text = '2 of 2 videos of test are of groups that train has as well, like '
  text += 'left/1.mp4 (left/0.mp4 in train): their score may be too high; '
  assert (text + source in caplog.text) == bool(source)
  assert ('are of groups' in caplog.text) == bool(source)


def test_the_groups_of_ucf101_are_warned_of_by_name(open_lists, caplog):
  open_lists(
    'left/v_Left_g01_c01.avi,left\nup/0.mp4,up\n',
    'left/1.mp4,left\nleft/v_Left_g01_c02.avi,left\n',
  )
  assert '1 of 2 videos of test are of groups' in caplog.text


def test_files_of_one_name_in_two_splits_are_not_of_one_group(caplog):
  splits = {
    split: [
      Row(id='left/0.mp4', path=f'/videos/{split}/left/0.mp4', label='left'),
      Row(id='up/0.mp4', path=f'/videos/{split}/up/0.mp4', label='up'),
    ]
    for split in ('train', 'test')
  }
  duplicates.check_groups(splits, '')
  assert 'are of groups' not in caplog.text

# SPDX-License-Identifier: Apache-2.0
"""Splits of videos with several labels: classes, and how they are drawn."""

import collections

import numpy as np
import pytest

from flatten_jax.inputs.sources import dataset, stratification
from flatten_jax.inputs.sources.rows import Row


@pytest.fixture
def several(settings):
  return settings | {'multi_label': True}


def write(tmp_path, settings, text, name='list.csv', **changes):
  """Opens a list whose files are made first."""
  path = tmp_path / name
  path.write_text(text)
  for line in text.splitlines()[1:]:
    (tmp_path / line.split(',')[0]).touch()
  return dataset.open_splits(settings | {'root': str(path)} | changes)


SPLIT = (
  'path,label,split\na.mp4,x;y,train\nb.mp4,z,train\nc.mp4,,train\n'
  'd.mp4,z;x,test\n'
)


def test_a_video_has_the_numbers_of_its_classes(tmp_path, several):
  splits = write(tmp_path, several, SPLIT)
  train, test = splits['train'], splits['test']
  assert train.class_names == ('x', 'y', 'z')
  assert [r.labels for r in train.records] == [(0, 1), (2,), ()]
  assert [r.is_labelled for r in train.records] == [True] * 3
  np.testing.assert_array_equal(
    train.targets(), [[1, 1, 0], [0, 0, 1], [0] * 3]
  )
  np.testing.assert_array_equal(test.targets(), [[1, 0, 1]])
  assert train.targets().dtype == np.int8


def test_without_the_setting_a_warning_names_it(tmp_path, settings, caplog):
  text = 'path,label,split\na.mp4,x;y,train\nb.mp4,z,train\nd.mp4,z,test\n'
  splits = write(tmp_path, settings, text)
  assert splits['train'].class_names == ('x;y', 'z')  # As ever.
  assert '--config.data.multi_label=True' in caplog.text


def test_commas_that_separate_no_labels_are_warned_of(
  tmp_path, several, caplog
):
  text = 'path,label,split\na.mp4,"x, y",train\nb.mp4,z,train\nd.mp4,z,test\n'
  splits = write(tmp_path, several, text)
  assert splits['train'].class_names == ('x, y', 'z')
  assert "labels like 'x, y', and none has several" in caplog.text
  caplog.clear()
  write(tmp_path, several, text.replace('b.mp4,z', 'b.mp4,z;u'))
  assert 'none has several' not in caplog.text


def test_a_split_with_empty_labels_only_is_unlabelled(tmp_path, several):
  text = 'path,label,split\na.mp4,x;y,train\nb.mp4,z,train\nd.mp4,,test\n'
  (record,) = write(tmp_path, several, text)['test'].records
  assert not record.is_labelled


def test_an_unknown_label_is_refused(tmp_path, several):
  text = 'path,label,split\na.mp4,x;y,train\nb.mp4,z,train\nd.mp4,x;u,test\n'
  with pytest.raises(ValueError, match='not among the 3 known ones: u'):
    write(tmp_path, several, text)


def test_training_videos_need_known_labels(tmp_path, several):
  with pytest.raises(
    ValueError,
    match=r'1 of 3 training videos have no label.* an empty cell is a video '
    'without any of the classes',
  ):
    write(tmp_path, several, SPLIT.replace('c.mp4,,', 'c.mp4,nan,'))


def test_an_empty_cell_is_no_advice_for_one_label(tmp_path, settings):
  text = 'path,label,split\na.mp4,x,train\nb.mp4,,train\nd.mp4,x,test\n'
  with pytest.raises(ValueError, match=r'with a column label\.$'):
    write(tmp_path, settings, text)


def test_names_may_begin_with_the_codes_of_charades(tmp_path, several):
  names = tmp_path / 'classes.txt'
  names.write_text('c000 Holding clothes\nc001 Sitting down\nc002 Eating\n')
  text = 'path,actions,split\na.mp4,c001 0.10 2.00;c002 1.00 3.00,train\n'
  text += 'b.mp4,c000 0.00 9.50,train\nd.mp4,c002 0.00 1.00,test\n'
  splits = write(tmp_path, several, text, class_names=str(names))
  assert splits['train'].class_names[1] == 'c001 Sitting down'
  assert [r.labels for r in splits['train'].records] == [(1, 2), (0,)]


def test_a_video_of_a_class_folder_has_one_label(class_folder, several):
  splits = dataset.open_splits(several | {'root': str(class_folder)})
  assert {len(r.labels) for r in splits['train'].records} == {1}


def test_a_video_with_other_labels_under_another_name_is_refused(
  tmp_path, several
):
  (tmp_path / 'a.mp4').touch()
  (tmp_path / 'b.mp4').symlink_to(tmp_path / 'a.mp4')
  with pytest.raises(ValueError, match='all labels of a video at each'):
    write(tmp_path, several, SPLIT)


# --- Drawing ------------------------------------------------------------------


def rows_of(count, classes=8, seed=0):
  """Rows with 0 to 3 labels; later classes are rarer."""
  rng = np.random.default_rng(seed)
  shares = 1 / np.arange(1, classes + 1)
  rows = []
  for i in range(count):
    some = rng.choice(
      classes, rng.integers(0, 4), replace=False, p=shares / shares.sum()
    )
    rows.append(Row(f'{i}.mp4', labels=tuple(f'c{k}' for k in some)))
  return rows


def counts(rows):
  return collections.Counter(label for row in rows for label in row.labels)


@pytest.mark.parametrize('seed', range(5))
def test_each_label_is_held_out_in_its_share(seed):
  rows = rows_of(300, seed=seed)
  parts = stratification.of_each_label(rows, [0.2])
  held = counts(row for row, part in zip(rows, parts, strict=True) if part)
  for label, total in counts(rows).items():
    assert abs(held[label] - 0.2 * total) <= max(2, 0.05 * total)
  assert abs(sum(parts) - 60) <= 12


@pytest.mark.parametrize('seed', range(20))
def test_every_label_of_two_videos_stays_in_training(seed):
  rows = rows_of(12, classes=12, seed=seed)
  parts = stratification.of_each_label(rows, [0.5])
  kept = counts(row for row, part in zip(rows, parts, strict=True) if not part)
  assert set(kept) == set(counts(rows))


def test_a_label_of_two_videos_is_tested():
  rows = [Row(f'{i}.mp4', labels=(f'c{i // 2}',)) for i in range(24)]
  parts = stratification.of_each_label(rows, [0.2])
  held = counts(row for row, part in zip(rows, parts, strict=True) if part)
  assert set(held.values()) == {1} and len(held) == 12


def test_folds_have_each_label_as_often():
  rows = rows_of(400)
  parts = stratification.of_each_label(rows, [0.25] * 4)
  assert set(parts) == {1, 2, 3, 4}
  for fold in range(1, 5):
    pairs = zip(rows, parts, strict=True)
    found = counts(row for row, part in pairs if part == fold)
    for label, total in counts(rows).items():
      assert abs(found[label] - total / 4) <= max(2, 0.1 * total)


def test_the_draw_does_not_depend_on_the_order_of_the_list():
  rows = rows_of(100)
  parts = dict(
    zip(rows, stratification.of_each_label(rows, [0.2]), strict=True)
  )
  other = rows[::-1]
  again = stratification.of_each_label(other, [0.2])
  assert parts == dict(zip(other, again, strict=True))


def test_lists_are_drawn_by_their_labels(tmp_path, several):
  lines = [f'{row.id},{";".join(row.labels)}' for row in rows_of(60, classes=3)]
  text = '\n'.join(['path,label', *lines]) + '\n'
  splits = write(tmp_path, several, text, val_holdout=0.2)
  sizes = {split: len(videos) for split, videos in splits.items()}
  assert sum(sizes.values()) == 60
  assert 9 <= sizes['test'] <= 15 and 7 <= sizes['val'] <= 13
  for videos in splits.values():
    assert videos.targets().any(0).all()  # Each class is in each split.

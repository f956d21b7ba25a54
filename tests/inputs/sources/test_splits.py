# SPDX-License-Identifier: Apache-2.0
"""Test, folds and validation are drawn in whole groups, and of each class."""

import collections
import logging
import random

import pytest

from flatten_jax.inputs.sources import grouping, splits, validation
from flatten_jax.inputs.sources.lists import read
from flatten_jax.inputs.sources.rows import Group, Row
from tests.inputs.conftest import SETTINGS


def rows_of(*groups, column='speaker', folds=()):
  """Makes rows of groups (name, {label: number of videos})."""
  rows = []
  for number, (name, counts) in enumerate(groups):
    for label, count in counts.items():
      rows += [
        Row(
          f'{label}/{name or "video"}{number}{i}x.mp4',
          label,
          group=Group(column, name) if name else None,
          fold=folds[number] if folds else None,
        )
        for i in range(count)
      ]
  return rows


PEOPLE = [(f'P{i:02}', {'left': 4, 'right': 4, 'up': 2}) for i in range(10)]


def make(rows, **changes):
  data = SETTINGS | changes
  return validation.hold_back(splits.make_splits(rows, data), data)


def groups_of(rows):
  return {row.group.name for row in rows}


def ids(found):
  return {s: sorted(row.id for row in rows) for s, rows in found.items()}


@pytest.mark.parametrize('share, count', [(0.2, 2), (0.3, 3), (0.02, 1)])
def test_whole_groups_are_held_out_of_a_share_and_named(caplog, share, count):
  caplog.set_level('INFO', 'flatten_jax')
  found = make(rows_of(*PEOPLE), holdout=share)
  tested = groups_of(found['test'])
  assert len(tested) == count and not tested & groups_of(found['train'])
  assert (
    f'test: groups {", ".join(sorted(tested))} ({count} of 10, with '
    f'{10 * count} of 100 videos) held out; column speaker'
  ) in caplog.text


def test_the_share_of_each_class_is_near_where_groups_differ_in_it():
  rng = random.Random(0)
  groups = [
    (f'g{i}', {c: rng.randrange(1, 9) for c in rng.sample('abcde', 2)})
    for i in range(40)
  ]
  found = make(rows_of(*groups))
  all_of, test = (
    collections.Counter(row.label for row in rows)
    for rows in (found['train'] + found['test'], found['test'])
  )
  assert abs(len(found['test']) / all_of.total() - 0.2) < 0.01
  for label, count in all_of.items():
    assert abs(test[label] / count - 0.2) < 0.04


def test_draws_do_not_depend_on_the_order_of_the_list():
  rows = rows_of(*PEOPLE)
  mixed = random.Random(1).sample(rows, len(rows))
  changes = [{}, {'fold': 1}, {'group': 'none'}, {'val_holdout': 0.2}]
  for change in changes:
    assert ids(make(mixed, **change)) == ids(make(rows, **change))


def test_drawn_folds_divide_the_groups():
  tested = []
  for fold in range(4):
    found = make(rows_of(*PEOPLE), fold=fold)
    tested += groups_of(found['test'])
    assert not groups_of(found['test']) & groups_of(found['train'])
    assert len(found['test']) in (20, 30)
  assert sorted(tested) == [name for name, _ in PEOPLE]


def test_groups_that_look_alike_are_one():
  rows = rows_of(('S1', {'a': 4, 'b': 4}), (' s1', {'a': 4, 'b': 4}), *PEOPLE)
  assert len({*grouping.find(rows).names}) == 11


SINGLE = [(f'P{i}', {'ab'[i % 2]: 1}) for i in range(20)]


@pytest.mark.parametrize('groups', [PEOPLE[:1], SINGLE])
def test_a_column_of_one_group_or_of_all_different_ones_divides_nothing(groups):
  rows = rows_of(*groups)
  assert ids(make(rows)) == ids(make(rows, group='none'))
  assert grouping.find(rows, 'speaker') is None or groups == PEOPLE[:1]


def test_videos_without_a_group_are_each_by_themselves():
  rows = rows_of(*PEOPLE, ('', {'left': 20, 'right': 20}))
  found = make(rows)
  tested = collections.Counter(row.group is None for row in found['test'])
  assert sum(tested.values()) == 28 and tested[True] and tested[False]


def test_a_class_of_one_group_is_trained_on_and_named(caplog):
  found = make(rows_of(*PEOPLE, ('P99', {'wave': 5, 'left': 1})))
  assert 'P99' in groups_of(found['train'])
  assert '1 classes are not tested' in caplog.text and 'wave' in caplog.text


ALONE = [(f'P{i}', {f'class{i}': 6}) for i in range(3)]


@pytest.mark.parametrize('change', [{}, {'fold': 0}])
def test_too_few_groups_of_a_column_are_refused_with_advice(change):
  with pytest.raises(ValueError, match='3 hold all videos of a class') as error:
    make(rows_of(*ALONE), **change)
  assert 'column speaker' in str(error.value)
  assert '--config.data.group=none' in str(error.value)
  assert ('or fewer data.folds' in str(error.value)) == bool(change)


def test_classes_of_one_video_are_refused_with_the_flags_for_lists():
  rows = rows_of(('', {'left': 1, 'right': 1}))
  with pytest.raises(
    ValueError, match=r'2 classes, 2 videos.*data\.train=.*data\.test='
  ):
    make(rows)


def test_one_group_for_each_of_two_sides_is_enough():
  found = make(rows_of(*PEOPLE[:2]))
  assert [len(rows) for rows in found.values()] == [10, 10]
  with pytest.raises(
    ValueError, match=r'2 of 2 groups .* not 4, one for each fold'
  ):
    make(rows_of(*PEOPLE[:2]), fold=0)


def test_none_draws_each_class_as_before_groups_were_known():
  """The value that a checkpoint without the key has."""
  found = make(rows_of(*PEOPLE), group='none')
  alone = [row._replace(group=None) for row in rows_of(*PEOPLE)]
  assert ids(found) == ids(make(alone))
  assert len(found['test']) == 8 + 8 + 4
  assert groups_of(found['test']) & groups_of(found['train'])


# --- Groups by files and names ------------------------------------------------


def named(*names, label='wave'):
  return [Row(f'{label}/{name}.avi', label) for name in names]


UCF = [
  row
  for label in ('Archery', 'Diving')
  for row in named(
    *(f'v_{label}_g{g:02}_c{c:02}' for g in range(1, 6) for c in range(1, 5)),
    label=label,
  )
]


def test_groups_in_the_names_of_ucf101_stay_together(caplog):
  caplog.set_level('INFO', 'flatten_jax')
  found = make(UCF)
  test, train = (
    {row.id[:-8] for row in found[split]} for split in ('test', 'train')
  )
  assert len(test) == 2 and not test & train
  assert '(2 of 10, with 8 of 40 videos) held out; names like' in caplog.text


def test_names_of_too_few_groups_do_not_stop_a_run(caplog):
  found = make([row for row in UCF if '_g01_' in row.id])
  assert len(found['test']) == 2
  assert 'cannot stay together' in caplog.text
  assert 'drawn from each class' in caplog.text


def test_parts_of_a_file_stay_together():
  rows = [
    Row(f'{"./" * (i % 2)}day{i // 5}.mp4', 'ab'[i % 2], start=i, end=i + 1)
    for i in range(50)
  ]
  found = make(rows)
  test, train = (
    {row.id.removeprefix('./') for row in found[split]}
    for split in ('test', 'train')
  )
  assert len(test) == 2 and not test & train


def test_parts_stay_together_if_their_file_is_written_in_other_ways():
  rows = [
    Row(
      f'{"Day" if i % 2 else "day"}{i // 5}{".mp4" * (i % 3 > 0)}',
      'ab'[i % 2],
      path=f'/videos/day{i // 5}.mp4',
      start=i,
      end=i + 1,
    )
    for i in range(50)
  ]
  found = make(rows)
  test, train = (
    {row.path for row in found[split]} for split in ('test', 'train')
  )
  assert len(test) == 2 and not test & train


SCENES = [f'{place}_{i:03}' for place in ('hall', 'yard') for i in range(4)]


def warnings(caplog):
  return [r for r in caplog.records if r.levelno >= logging.WARNING]


@pytest.mark.parametrize(
  'names',
  [
    SCENES,
    [f'rec-{r}-part{i}' for r in range(3) for i in range(3)],
    [f'v_wave_{r:02}_{i:02}' for r in range(3) for i in range(3)],
    [f'VIDEO{r}_{i}' for r in range(3) for i in range(3)],
    [f'tea_wave_u_cm_np1_{i}' for i in range(4)] + ['x_wave_f_cm_0'],
    [f'{r}x7Q_{i:06}_{i + 10:06}' for r in 'pq' for i in range(4)],
    [f'Interview Bob ({i})' for i in range(4)] + ['Interview Ann (1)'],
  ],
)
def test_names_like_parts_of_one_recording_are_warned_of(caplog, names):
  make(named(*names))
  text = caplog.text
  assert 'have names like parts of one recording: wave/' in text
  assert 'a column group' in text and 'data.group=none' in text
  caplog.clear()
  make(named(*names), group='none')
  assert not warnings(caplog)


@pytest.mark.parametrize(
  'names',
  [
    [f'wave_{i:05}' for i in range(9)],
    [f'Wave ({i})' for i in range(9)],
    [f'wav{i:03}' for i in range(9)],
    [f'clip_{i}' for i in range(5)] + [f'output-{i}' for i in range(5)],
    [f'IMG_{i:04}' for i in range(5)]
    + [f'VID_20260301_{i}' for i in (121314, 121316)],
    [f'WhatsApp Video 2026-03-{i} at 12.30.01' for i in range(10, 19)],
    [f'{i}' for i in range(9)],
    [f'gopro{i:04}' for i in range(9)],
    ['xK3d9', 'pq_7', 'hello', 'zz91'],
    [f'{c}_{i:06}_{i + 10:06}' for i, c in enumerate('abcdefgh')],
  ],
)
def test_names_that_number_videos_are_not_warned_of(caplog, names):
  make(named(*names))
  assert not warnings(caplog)


# --- Validation ---------------------------------------------------------------


@pytest.mark.parametrize(
  ('groups', 'change', 'line'),
  [
    (PEOPLE, {}, 'val: 1 of 8 groups (10 of 80 videos) held back from training;'
     ' column speaker'),
    (PEOPLE, {'val_holdout': 0.25}, 'val: 2 of 8 groups (20 of 80 videos)'),
    (PEOPLE, {'fold': 3}, 'val: 1 of 8 groups (10 of 80 videos)'),
    (PEOPLE, {'group': 'none'}, 'val: 8 of 80 videos, of each class, held'),
    (PEOPLE[:4], {}, 'val: 3 of 30 videos, of each class, held back from '
     'training, not by whole groups (column speaker): 10 videos would be too'),
    (PEOPLE[:2], {'holdout': 0.5}, 'val: nothing is held back from training: '
     '10 videos of 3 classes are too few'),
  ],
)  # fmt: skip
def test_validation_is_held_back_from_training(caplog, groups, change, line):
  caplog.set_level('INFO', 'flatten_jax')
  data = {'val_holdout': 0.1} | change
  rows = rows_of(*groups)
  found, without = make(rows, **data), make(rows, **data | {'val_holdout': 0.0})
  assert line in caplog.text
  assert found['test'] == without['test']
  parts = ids(found)
  train = sorted(parts['train'] + parts.get('val', []))
  assert train == ids(without)['train']
  if 'groups (1' in line or 'groups (2' in line:
    assert not groups_of(found['train']) & groups_of(found['val'])
  assert {r.label for r in found['train']} == {r.label for r in rows}
  assert list(found) == [s for s in ('train', 'val', 'test') if s in found]


def with_folds(count, column):
  """Returns rows of ten people in as many folds, perhaps without the people."""
  folds = [i % count for i in range(10)]
  rows = rows_of(*PEOPLE, folds=folds)
  return rows if column else [row._replace(group=None) for row in rows]


@pytest.mark.parametrize(
  ('count', 'column', 'line'),
  [
    (5, True, 'val: 1 of 8 groups (10 of 80 videos) held back from training;'
     ' column speaker'),
    (10, False, 'val: 1 of 9 groups (10 of 90 videos) held back from training;'
     ' column fold'),
    (4, False, 'val: 7 of 70 videos, of each class, held back from training, '
     'not by whole groups (column fold)'),
  ],
)  # fmt: skip
def test_folds_are_groups_of_validation_only_if_they_are_small(
  caplog, count, column, line
):
  caplog.set_level('INFO', 'flatten_jax')
  rows = with_folds(count, column)
  found = make(rows, val_holdout=0.1)
  assert line in caplog.text
  assert {row.fold for row in found['test']} == {0}


def test_videos_for_training_only_are_not_validated_on():
  folds = [0, 1, 1, 2, 2, -1, -1, -1, -1, None]
  for group in ('', 'none'):
    rows = rows_of(*PEOPLE, folds=folds)
    found = make(rows, val_holdout=0.15, group=group, fold=0)
    assert {row.fold for row in found['val']} <= {1, 2}
    assert len(found['val']) in (10, 13)


def test_a_val_split_that_is_given_stays():
  rows = [
    row._replace(split=('train', 'val', 'test')[i % 3])
    for i, row in enumerate(rows_of(*PEOPLE))
  ]
  found = make(rows, val_holdout=0.3, group='none')
  assert [len(rows) for rows in found.values()] == [34, 33, 33]


# --- Filmed videos ------------------------------------------------------------


@pytest.mark.parametrize(
  ('name', 'column', 'first', 'drawn'),
  [
    ('gestures', 'scene', (53, 124), (35, 142)),
    ('lips_words', 'group', (300, 900), (200, 1000)),
    ('fights', 'group', (55, 190), (49, 196)),
  ],
)
@pytest.mark.parametrize('has_folds', [True, False])
def test_filmed_sets_have_no_group_on_both_sides(
  real_clips, name, column, first, drawn, has_folds
):
  rows = read.read_list(real_clips / name / 'clips.csv')
  if not has_folds:
    rows = [row._replace(fold=None) for row in rows]
  found = make(rows, val_holdout=0.12)
  groups = [groups_of(rows) for rows in found.values()]
  assert sum(map(len, groups)) == len(set.union(*groups))
  assert {row.group.column for row in rows} == {column}
  sizes = len(found['test']), len(found['train']) + len(found['val'])
  assert sizes == (first if has_folds else drawn)

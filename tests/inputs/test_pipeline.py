# SPDX-License-Identifier: Apache-2.0
"""Batch k is a pure function of (seed, k); evaluation sees every view once."""

import collections
import dataclasses
import multiprocessing
import os
import shutil
import signal
import threading
import time

import numpy as np
import pytest

from configs import common
from flatten_jax.inputs import examples, parts
from flatten_jax.inputs.pipeline import eval_batches, train_batches
from flatten_jax.inputs.sources import dataset
from flatten_jax.inputs.sources.dataset import Record, Videos
from flatten_jax.inputs.video.container import VideoError
from flatten_jax.inputs.video.reader import Reader
from tests.support.batches import assert_same
from tests.support.video_maker import (
  damage_frame,
  decode_all,
  moving_square,
  write_video,
)


@pytest.fixture
def videos(class_folder, settings):
  """All twelve videos, as one split."""
  splits = dataset.open_splits(settings | {'root': str(class_folder)})
  records = [r for split in splits.values() for r in split.records]
  records.sort(key=lambda record: record.id)
  return Videos(tuple(records), splits['train'].class_names)


@pytest.fixture
def partly_broken(videos, tmp_path):
  """All videos, but 2 is not a video and 7 is absent."""
  (tmp_path / 'broken.mp4').write_text('<html>')
  records = list(videos.records)
  records[2] = Record('broken', str(tmp_path / 'broken.mp4'), 0)
  records[7] = Record('absent', str(tmp_path / 'absent.mp4'), 1)
  return Videos(tuple(records), videos.class_names)


def take(count, *args, **kwargs):
  """Returns the first batches of training."""
  with train_batches(*args, **kwargs) as batches:
    return [next(batches) for _ in range(count)]


def test_a_batch_has_the_promised_shapes_and_types(videos, settings):
  (batch,) = take(1, videos, settings, seed=0, batch_size=5)
  described = {key: (v.shape, v.dtype.str) for key, v in batch.items()}
  assert described == {
    'clip': ((5, 4, 16, 16, 3), '|u1'),
    'positions': ((5, 4), '<i4'),
    'label': ((5,), '<i4'),
    'index': ((5,), '<i4'),
    'failed': ((5,), '<i4'),
    'error': ((5,), '|S200'),
  }
  assert (batch['failed'] == -1).all() and (batch['error'] == b'').all()
  labels = [videos[i].label for i in batch['index']]
  np.testing.assert_array_equal(batch['label'], labels)


@pytest.mark.parametrize('threads', [1, 3])
def test_threads_change_nothing(videos, settings, threads):
  one = take(4, videos, settings, seed=3, batch_size=5, threads=2)
  two = take(4, videos, settings, seed=3, batch_size=5, threads=threads)
  assert_same(one, two)


@pytest.mark.slow
@pytest.mark.parametrize('workers', [1, 2])
def test_worker_processes_change_nothing(videos, settings, workers):
  one = take(4, videos, settings, seed=3, batch_size=5)
  two = take(4, videos, settings, seed=3, batch_size=5, workers=workers)
  assert_same(one, two)


def test_the_project_s_configs_work(videos):
  data = common.base().data
  # Unset in the base config, for the model to decide.
  data.update(num_frames=4, sampling='segment', short_side=20, crop=16)
  data.update(num_clips=1, num_crops=1)
  (batch,) = take(1, videos, data, seed=0, batch_size=3)
  assert batch['clip'].shape == (3, 4, 16, 16, 3)
  (batch,) = evaluate(videos, data, batch_size=12)
  assert batch['mask'].all()


def test_test_views_may_be_cut_from_larger_frames(videos, settings):
  """Frames of 24 x 32 px become 20 x 26: crops of 16 in rows 2 to 17."""
  settings |= {'test_short_side': 20, 'num_clips': 1}
  (batch,) = evaluate(videos, settings, batch_size=36)
  assert batch['clip'].shape == (36, 4, 16, 16, 3)
  example = examples.TestClips(videos, settings)(0)
  assert example['clip'].shape == (1, 4, 20, 26, 3)
  for view, left in enumerate((0, 5, 10)):
    expected = example['clip'][0, :, 2:18, left : left + 16]
    np.testing.assert_array_equal(batch['clip'][view], expected)
    assert batch['view'][view] == view


def test_frames_of_any_aspect_may_become_frames_of_one(videos, settings):
  """Frames of 24 x 32 px become 30 x 40 and, where 20 is asked, 20 x 27."""
  settings |= {'resize': (30, 40), 'crop': 20, 'num_clips': 1, 'num_crops': 10}
  example = examples.TestClips(videos, settings | {'test_short_side': 30})(0)
  assert example['clip'].shape == (1, 4, 30, 40, 3)
  example = examples.TestClips(videos, settings)(0)
  assert example['clip'].shape == (1, 4, 20, 27, 3)
  (batch,) = evaluate(videos, settings, batch_size=120)
  crops = batch['clip'][:10]
  np.testing.assert_array_equal(crops[5:], crops[:5, :, :, ::-1])
  settings |= {'resize': (20, 60), 'crop_method': 'multi_scale', 'flip': False}
  settings |= {'crop_sizes': (1.0,), 'color_jitter': 0.0}
  (batch,) = take(1, videos, settings, seed=0, batch_size=12)
  assert batch['clip'].shape == (12, 4, 20, 20, 3)
  with examples.Reader(settings).open(videos[0].path, (20, 60)) as video:
    frames = video.read(range(video.num_frames))
  assert frames.shape[1:] == (20, 60, 3)
  (clip,) = (batch['clip'][i] for i in np.flatnonzero(batch['index'] == 0))
  cut = [frames[:, :, x : x + 20] for x in (0, 10, 20, 30, 40)]
  assert any((clip[0] == frame).all() for part in cut for frame in part)


def test_the_video_that_cannot_be_read_has_views_of_the_same_size(
  partly_broken, settings
):
  settings |= {'test_short_side': 20}
  (batch,) = evaluate(partly_broken, settings, batch_size=72)
  assert batch['clip'].shape[1:] == (4, 16, 16, 3)
  assert batch['mask'].sum() == 60


def test_boxes_are_erased_with_the_color_that_is_given(videos, settings):
  settings |= {'random_erasing': 1.0, 'erasing_fill': 'mean', 'flip': False}
  mean = (0.0, 1.0, 0.2)
  (batch,) = take(1, videos, settings, seed=0, batch_size=6, mean=mean)
  erased = (batch['clip'] == (0, 255, 51)).all(-1)
  assert (erased.sum(axis=(1, 2, 3)) >= 4).all()
  assert (erased == erased[:, :1]).all()


def test_another_seed_gives_other_batches(videos, settings):
  (one,) = take(1, videos, settings, seed=0, batch_size=12)
  (two,) = take(1, videos, settings, seed=1, batch_size=12)
  assert (one['index'] != two['index']).any()


def test_any_batch_can_be_the_first(videos, settings):
  whole = take(6, videos, settings, seed=0, batch_size=5)
  rest = take(2, videos, settings, seed=0, batch_size=5, start=4)
  assert_same(whole[4:], rest)


@pytest.mark.parametrize('count', [2, 3])
def test_processes_share_the_batch_of_one(videos, settings, count):
  whole = take(3, videos, settings, seed=0, batch_size=6)
  parts = [
    take(
      3,
      videos,
      settings,
      seed=0,
      batch_size=6 // count,
      process_index=i,
      process_count=count,
    )
    for i in range(count)
  ]
  joined = [
    {key: np.concatenate([part[key] for part in step]) for key in step[0]}
    for step in zip(*parts, strict=True)
  ]
  assert_same(whole, joined)


def test_weighted_batches_have_no_video_of_weight_0(videos, settings):
  weights = (0.0, 4.0, *[1.0] * 8, 0.0, 0.0)
  videos = dataclasses.replace(videos, weights=weights)
  batches = take(6, videos, settings, seed=0, batch_size=4)
  drawn = collections.Counter(i for batch in batches for i in batch['index'])
  assert {0, 10, 11}.isdisjoint(drawn) and drawn[1] == 8
  for a, b in zip(
    batches[2:],
    take(4, videos, settings, seed=0, batch_size=4, start=2),
    strict=True,
  ):
    assert_same([a], [b])


def test_balanced_batches_do_not_depend_on_who_reads_them(videos, settings):
  """Ten videos of one class and two of another, half a batch each."""
  labels = [0] * 10 + [1] * 2
  records = (
    dataclasses.replace(record, label=label)
    for record, label in zip(videos.records, labels, strict=True)
  )
  videos = Videos(tuple(records), videos.class_names)
  settings |= {'balanced': True, 'repeated_aug': 2}
  whole = take(6, videos, settings, seed=0, batch_size=4)
  for batch in whole:
    assert sorted(batch['label']) == [0] * 4 + [1] * 4
  drawn = collections.Counter(i for batch in whole for i in batch['index'])
  assert [drawn[i] // 2 for i in (10, 11)] == [6, 6]
  assert {drawn[i] // 2 for i in range(10)} == {1, 2}
  options = {'seed': 0, 'batch_size': 2, 'process_count': 2, 'start': 3}
  parts = [
    take(3, videos, settings, process_index=i, threads=i, **options)
    for i in range(2)
  ]
  joined = [
    {key: np.concatenate([part[key] for part in step]) for key in step[0]}
    for step in zip(*parts, strict=True)
  ]
  assert_same(whole[3:], joined)


def test_frames_are_numbered_from_the_clip_in_training_and_the_video_in_tests(
  partly_broken, settings
):
  settings |= {'sampling': 'dense', 'num_frames': 3, 'stride': 2}
  batches = take(4, partly_broken, settings, seed=0, batch_size=4)
  numbers = np.concatenate([batch['positions'] for batch in batches])
  # A dense clip may begin between two frames.
  assert {tuple(row) for row in numbers.tolist()} <= {(0, 2, 5), (0, 3, 5)}
  with eval_batches(partly_broken, settings, batch_size=5) as batches:
    batches = list(batches)
  index, numbers = (
    np.concatenate([batch[key] for batch in batches])
    for key in ('index', 'positions')
  )
  # 'wave 3' has 13 frames, 6 of them in a clip; three crops of two clips.
  ids = [record.id for record in partly_broken.records]
  rows = numbers[index == ids.index('wave/wave 3.mp4')]
  np.testing.assert_array_equal(rows, [[0, 2, 5]] * 3 + [[7, 9, 12]] * 3)
  assert not numbers[np.isin(index, [-1, 2, 7])].any()


@pytest.fixture
def augmented(settings):
  """All augmentations, and two clips of each video."""
  return settings | {
    'randaugment': 'rand-m7-n4-mstd0.5-inc1',
    'random_erasing': 0.5,
    'repeated_aug': 2,
  }


def test_repeated_augmentation_gives_two_clips_of_each_video(videos, augmented):
  once = take(3, videos, augmented | {'repeated_aug': 1}, seed=0, batch_size=4)
  twice = take(3, videos, augmented, seed=0, batch_size=4)
  for one, two in zip(once, twice, strict=True):
    # The first of each pair equals the clip without repetition.
    assert two['clip'].shape[0] == 8
    np.testing.assert_array_equal(one['clip'], two['clip'][::2])
    np.testing.assert_array_equal(one['index'], two['index'][1::2])
    np.testing.assert_array_equal(one['label'], two['label'][1::2])
    differ = (two['clip'][::2] != two['clip'][1::2]).any(axis=(1, 2, 3, 4))
    assert differ.all()


def test_with_all_augmentations_batches_repeat_to_the_bit(videos, augmented):
  whole = take(4, videos, augmented, seed=1, batch_size=4)
  rest = take(2, videos, augmented, seed=1, batch_size=4, start=2, threads=1)
  assert_same(whole[2:], rest)
  parts = [
    take(
      2,
      videos,
      augmented,
      seed=1,
      batch_size=2,
      process_index=i,
      process_count=2,
    )
    for i in range(2)
  ]
  for number, batch in enumerate(whole[:2]):
    joined = np.concatenate([part[number]['clip'] for part in parts])
    np.testing.assert_array_equal(batch['clip'], joined)


def test_zero_clips_of_a_video_are_refused(videos, settings):
  with pytest.raises(ValueError, match='got 0 clips'):
    take(1, videos, settings | {'repeated_aug': 0}, seed=0, batch_size=4)


def test_an_epoch_shows_each_video_once_in_new_order(videos, settings):
  batches = take(9, videos, settings, seed=0, batch_size=4)
  epochs = np.concatenate([b['index'] for b in batches]).reshape(3, 12)
  for epoch in epochs:
    assert sorted(epoch) == list(range(12))
  assert len({tuple(epoch) for epoch in epochs}) == 3


def test_a_video_looks_different_in_every_epoch(videos, settings):
  one, two = take(2, videos, settings, seed=0, batch_size=12)
  first = one['clip'][list(one['index']).index(0)]
  again = two['clip'][list(two['index']).index(0)]
  assert (first != again).any()


def test_a_batch_may_be_larger_than_the_data(videos, settings):
  (batch,) = take(1, videos, settings, seed=0, batch_size=30)
  counts = collections.Counter(batch['index'].tolist())
  assert set(counts) == set(range(12)) and set(counts.values()) == {2, 3}


def test_a_video_that_cannot_be_read_is_replaced(partly_broken, settings):
  batches = take(12, partly_broken, settings, seed=0, batch_size=4)
  joined = {k: np.concatenate([b[k] for b in batches]) for k in batches[0]}
  assert not {2, 7} & set(joined['index'].tolist())
  causes = collections.defaultdict(set)
  for failed, error in zip(joined['failed'], joined['error'], strict=True):
    causes[int(failed)].add(error.decode())
  assert set(causes) == {-1, 2, 7}
  assert causes[-1] == {''}
  assert causes[7] == {'no such file'}
  assert 'no video' in causes[2].pop()
  # Each is replaced once in each of four epochs.
  assert (joined['failed'] >= 0).sum() == 8
  labels = [partly_broken[i].label for i in joined['index']]
  np.testing.assert_array_equal(joined['label'], labels)


def test_a_replacement_is_the_same_every_time(partly_broken, settings):
  one = take(6, partly_broken, settings, seed=0, batch_size=4, threads=1)
  two = take(3, partly_broken, settings, seed=0, batch_size=4, start=3)
  assert_same(one[3:], two)


def test_no_readable_video_is_an_error(settings):
  records = tuple(Record(str(i), f'/absent/{i}.mp4', 0) for i in range(5))
  batches = train_batches(
    Videos(records, ('a', 'b')), settings, seed=0, batch_size=2
  )
  with pytest.raises(RuntimeError, match=r'None of 5 videos.*no such file'):
    next(batches)
  with pytest.raises(RuntimeError, match='failed before'):
    next(batches)


def test_no_videos_and_impossible_numbers_are_refused(videos, settings):
  with pytest.raises(ValueError, match='no videos'):
    train_batches(Videos((), ('a', 'b')), settings, seed=0, batch_size=2)
  for wrong in ({'batch_size': 0}, {'batch_size': 2, 'process_index': 1}):
    for make in (train_batches, eval_batches):
      seed = {'seed': 0} if make is train_batches else {}
      with pytest.raises(ValueError, match='process'):
        make(videos, settings, **seed, **wrong)


def all_frames(part):
  return np.arange(part.length)


def test_times_of_a_list_cut_the_video(videos, settings):
  (record,) = (r for r in videos.records if r.id == 'jump/jump 3.mp4')
  part = Record(record.id, record.path, 0, start=0.2, end=0.36)  # 25 fps
  cut, whole = (
    parts.read_clip(Reader({}), r, None, all_frames)[0] for r in (part, record)
  )
  assert len(whole) == 13
  np.testing.assert_array_equal(cut, whole[5:9])


# 24 frames in the first ten seconds, 24 in the next one.
SLOW_THEN_FAST = [
  *(1250 * i // 3 for i in range(24)),
  *(10_000 + 125 * i // 3 for i in range(24)),
]


@pytest.mark.parametrize('cache', [0.0, 1.0])
@pytest.mark.parametrize('name', ['a.mp4', 'a.mkv', 'a.ts', 'a.avi'])
def test_seconds_are_those_that_players_show(tmp_path, name, cache):
  options = {'bf': '0' if name == 'a.avi' else '2', 'g': '8'}
  frames = moving_square(48)
  path = write_video(
    tmp_path / name, frames, pts=SLOW_THEN_FAST, options=options
  )
  truth, reader = np.stack(decode_all(path)), Reader({}, cache)
  for start, end, first, last, rate in (
    (0, 10, 0, 23, 2.4),
    (10, 11, 24, 47, 24),
    (0, 0, 0, 47, 48 / 11),
    (3, 3.5, 7, 7, 2.4),
  ):
    record, expected = Record('a', path, 0, start, end), truth[first : last + 1]
    rates = []

    def sample(part, rates=rates):
      rates.append(part.fps)
      return np.arange(part.length)

    clip, _ = parts.read_clip(reader, record, 48, sample)
    assert len(clip) == len(expected)
    assert rates == [pytest.approx(rate, rel=0.02)]
    # Rounding of colours may differ.
    assert np.abs(clip - expected.astype(float)).mean() < 3


@pytest.mark.parametrize('cache', [0.0, 1.0])
def test_a_part_outside_of_the_video_is_unreadable(videos, settings, cache):
  (whole,) = (r for r in videos.records if r.id == 'jump/jump 3.mp4')
  parts = [(20, 30), (0.3, 0.1), (-1, 0.2), (np.nan, 0.2), (0, 0), (0.2, 0.7)]
  records = tuple(
    Record(whole.id, whole.path, 0, start, end) for start, end in parts
  )
  settings |= {'frame_cache_gib': cache}
  part_videos = Videos(records, ('a', 'b'))
  with eval_batches(part_videos, settings, batch_size=6) as batches:
    batch = list(batches)
  rows = {
    int(index): (int(failed), bytes(error).decode())
    for rows in batch
    for index, failed, error in zip(
      rows['index'], rows['failed'], rows['error'], strict=True
    )
  }
  assert [rows[i][0] for i in range(6)] == [0, 1, 2, 3, -1, -1]
  assert rows[0][1] == (
    'seconds 20 to 30 of a video of 0.52 s: they begin after its end'
  )
  assert 'expected 0 <= start < end' in rows[3][1]
  with pytest.raises(RuntimeError, match='seconds 20 to 30 of a video'):
    take(1, Videos(records[:1], ('a', 'b')), settings, seed=0, batch_size=1)


def test_a_part_behind_the_damage_of_a_video_is_unreadable(tmp_path):
  frames, options = moving_square(50), {'g': '250'}
  path = write_video(tmp_path / 'video.mp4', frames, options=options)
  damage_frame(path, 30)
  record = Record('damaged', path, 0, 1.6, 1.9)
  with pytest.raises(VideoError, match='they begin after its end'):
    parts.read_clip(Reader({}), record, None, all_frames)


def test_a_damaged_video_is_sampled_again_from_its_true_length(tmp_path):
  path = write_video(
    tmp_path / 'video.mp4', moving_square(50), options={'g': '250'}
  )
  truth = decode_all(damage_frame(path, 30))
  lengths = []

  def last_frame(part):
    lengths.append(part.length)
    return np.array([part.length - 1])

  record = Record('damaged', str(path), 0)
  (frame,), numbers = parts.read_clip(Reader({}), record, None, last_frame)
  assert numbers == len(truth) - 1
  assert lengths == [50, len(truth)]
  np.testing.assert_array_equal(frame, truth[-1])


# --- Errors -------------------------------------------------------------------


@pytest.mark.slow
def test_a_killed_worker_ends_the_run_without_losing_clips(videos, settings):
  with train_batches(
    videos, settings, seed=0, batch_size=2, workers=2, threads=1
  ) as batches:
    next(batches)
    workers = multiprocessing.active_children()
    assert len(workers) == 2
    os.kill(workers[0].pid, signal.SIGKILL)
    with pytest.raises(RuntimeError):
      for _ in range(1000):
        next(batches)
    with pytest.raises(RuntimeError, match='failed before'):
      next(batches)


@pytest.mark.slow
def test_an_error_in_a_worker_arrives(settings):
  records = tuple(Record(str(i), f'/absent/{i}.mp4', 0) for i in range(5))
  videos = Videos(records, ('a', 'b'))
  with (
    train_batches(videos, settings, seed=0, batch_size=2, workers=1) as batches,
    pytest.raises(Exception, match='None of 5 videos'),
  ):
    next(batches)


def test_closing_ends_the_threads(videos, settings):
  before = set(threading.enumerate())
  with train_batches(videos, settings, seed=0, batch_size=2) as batches:
    next(batches)
    assert set(threading.enumerate()) - before
  deadline = time.monotonic() + 30
  while set(threading.enumerate()) - before and time.monotonic() < deadline:
    time.sleep(0.01)
  assert not set(threading.enumerate()) - before
  batches.close()  # A second time does nothing.


def test_too_little_shared_memory_is_refused_before_reading(
  videos, settings, monkeypatch
):
  full = os.statvfs_result((4096, 4096, 100, 16, 16, 0, 0, 0, 0, 255))
  monkeypatch.setattr(os, 'statvfs', lambda path: full)
  settings |= {'crop': 160, 'num_frames': 16}
  with pytest.raises(RuntimeError, match=r'need about 9 MiB.*has 0 MiB free'):
    train_batches(videos, settings, seed=0, batch_size=2, workers=2)


# --- Evaluation ---------------------------------------------------------------


def evaluate(videos, settings, **kwargs):
  with eval_batches(videos, settings, **kwargs) as batches:
    return list(batches)


def views_of(batches):
  """Returns (video, view) of every row that is not padding."""
  return [
    (int(i), int(v))
    for batch in batches
    for i, v in zip(
      batch['index'][batch['mask']], batch['view'][batch['mask']], strict=True
    )
  ]


@pytest.mark.parametrize('batch_size', [1, 5, 6, 7, 72, 100])
def test_every_view_of_every_video_comes_once(videos, settings, batch_size):
  batches = evaluate(videos, settings, batch_size=batch_size)
  assert len(batches) == -(-72 // batch_size)
  assert {b['clip'].shape for b in batches} == {(batch_size, 4, 16, 16, 3)}
  views = views_of(batches)
  assert sorted(views) == [(i, v) for i in range(12) for v in range(6)]
  padding = np.concatenate([b['mask'] for b in batches])[72:]
  assert not padding.any()


def test_views_are_clips_times_crops(videos, settings):
  """View 4 of 2 clips x 3 crops is the second clip's middle crop."""
  (batch,) = evaluate(videos, settings, batch_size=72)
  record = videos[0]
  both = examples.TestClips(videos, settings)(0)['clip']  # [2 4 16 w 3]
  left = (both.shape[-2] - 16 + 1) // 2
  ours = batch['clip'][(batch['index'] == 0) & (batch['view'] == 4)]
  np.testing.assert_array_equal(ours[0], both[1, :, :, left : left + 16])
  assert record.label == batch['label'][0]


@pytest.mark.parametrize('count', [2, 5, 13])
def test_processes_share_the_videos(videos, settings, count):
  parts = [
    evaluate(
      videos, settings, batch_size=7, process_index=i, process_count=count
    )
    for i in range(count)
  ]
  assert len({len(part) for part in parts}) == 1  # Or some would wait forever.
  views = [view for part in parts for view in views_of(part)]
  assert sorted(views) == [(i, v) for i in range(12) for v in range(6)]


def test_an_unreadable_video_is_scored_as_missing(partly_broken, settings):
  batches = evaluate(partly_broken, settings, batch_size=7)
  joined = {k: np.concatenate([b[k] for b in batches]) for k in batches[0]}
  assert {i for i, _ in views_of(batches)} == set(range(12)) - {2, 7}
  missing = joined['failed'] >= 0
  assert missing.sum() == 2 * 6
  np.testing.assert_array_equal(joined['failed'][missing], [2] * 6 + [7] * 6)
  np.testing.assert_array_equal(joined['index'][missing], [2] * 6 + [7] * 6)
  assert set(joined['error'][joined['index'] == 7]) == {b'no such file'}
  assert not joined['mask'][missing].any()


def test_a_video_is_opened_once_for_all_its_views(
  videos, settings, monkeypatch
):
  opened = collections.Counter()
  original = Reader.open

  def count(self, path, *args):
    opened[path] += 1
    return original(self, path, *args)

  monkeypatch.setattr(Reader, 'open', count)
  evaluate(videos, settings, batch_size=5)
  assert set(opened.values()) == {1} and len(opened) == 12


@pytest.mark.slow
def test_workers_change_nothing_in_evaluation(partly_broken, settings):
  one = evaluate(partly_broken, settings, batch_size=5)
  two = evaluate(partly_broken, settings, batch_size=5, workers=2, threads=1)
  assert_same(one, two)


def test_memory_stays_bounded_in_evaluation(videos, settings, monkeypatch):
  """Few videos are read ahead; their views are slices."""
  made = []
  original = examples.TestClips.__call__

  def count(self, index):
    made.append(index)
    return original(self, index)

  monkeypatch.setattr(examples.TestClips, '__call__', count)
  many = Videos(videos.records * 20, videos.class_names)
  with eval_batches(many, settings, batch_size=6, threads=2) as batches:
    for _ in range(3):
      next(batches)
    assert len(made) <= 12


def test_renaming_the_folder_changes_no_batch(
  videos, settings, class_folder, tmp_path
):
  moved = shutil.copytree(class_folder, tmp_path / 'moved')
  records = tuple(
    Record(r.id, r.path.replace(str(class_folder), str(moved)), r.label)
    for r in videos.records
  )
  one = take(2, videos, settings, seed=0, batch_size=4)
  two = take(
    2, Videos(records, videos.class_names), settings, seed=0, batch_size=4
  )
  assert_same(one, two)


def test_an_unused_iterator_closes(videos, settings):
  train_batches(videos, settings, seed=0, batch_size=2).close()
  eval_batches(videos, settings, batch_size=2).close()

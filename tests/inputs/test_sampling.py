# SPDX-License-Identifier: Apache-2.0
"""Frames of clips equal those of the reference.

The numbers were computed with the sampling functions of PySlowFast and
UniFormer.
"""

import itertools

import numpy as np
import pytest

from flatten_jax.inputs import sampling


def numbers(text):
  return [int(number) for number in text.split()]


# (length, stride, frames): the frames of every view.
DENSE = {
  (300, 4, 16): [
    numbers('0 4 8 12 16 21 25 29 33 37 42 46 50 54 58 63'),
    numbers('78 82 86 90 94 99 103 107 111 115 120 124 128 132 136 141'),
    numbers('156 160 164 168 172 177 181 185 189 193 198 202 206 210 214 219'),
    numbers('234 238 242 246 250 255 259 263 267 271 276 280 284 288 292 297'),
  ],
  (300, 8, 9): [
    numbers('0 8 17 26 35 44 53 62 71'),
    numbers('76 84 93 102 111 120 129 138 147'),
    numbers('152 160 169 178 187 196 205 214 223'),
    numbers('228 236 245 254 263 272 281 290 299'),
  ],
  (300, 8, 8): [
    numbers('0 9 18 27 36 45 54 63'),
    numbers('78 87 96 105 114 123 132 141'),
    numbers('156 165 174 183 192 201 210 219'),
    numbers('234 243 252 261 270 279 288 297'),
  ],
  (250, 4, 16): [
    numbers('93 97 101 105 109 114 118 122 126 130 135 139 143 147 151 156'),
  ],
  (40, 4, 16): [
    numbers('0 4 8 12 16 21 25 29 33 37 39 39 39 39 39 39'),
    numbers('0 4 8 12 16 21 25 29 33 37 39 39 39 39 39 39'),
    numbers('0 4 8 12 16 21 25 29 33 37 39 39 39 39 39 39'),
    numbers('0 4 8 12 16 21 25 29 33 37 39 39 39 39 39 39'),
  ],
}
# (length, stride, start): the frames of a training clip.
DENSE_AT = {
  (300, 4, 37.25): numbers('37 41 45 49 54 58 62 66 70 75 79 83 87 91 96 100'),
  (300, 8, 100.9): numbers('100 109 118 127 136 145 154 163 171'),
}
# (length, frames, views): frames counted from 1, as in the reference.
SEGMENTS = {
  (50, 16, 1): [
    numbers('2 5 8 11 14 17 20 23 26 30 33 36 39 42 45 48'),
  ],
  (12, 16, 1): [
    numbers('1 2 2 3 4 4 5 6 7 7 8 9 9 10 11 11'),
  ],
  (117, 9, 1): [
    numbers('7 20 33 46 59 71 84 97 110'),
  ],
  (50, 16, 2): [
    numbers('2 5 8 11 14 17 20 23 26 30 33 36 39 42 45 48'),
    numbers('3 6 9 12 15 18 21 24 27 31 34 37 40 43 46 49'),
  ],
}
# (length, frames): frames that two neighbouring segments share.
EDGES = {
  (50, 16): numbers('0 3 6 9 12 15 18 21 24 28 31 34 37 40 43 46 49'),
  (12, 16): numbers('0 1 1 2 3 3 4 5 6 6 7 8 8 9 10 10 11'),
  (117, 9): numbers('0 13 26 39 52 64 77 90 103 116'),
}


@pytest.mark.parametrize('length, stride, frames', DENSE)
def test_dense_views_equal_the_reference(length, stride, frames):
  views = DENSE[length, stride, frames]
  ours = sampling.dense_test(length, frames, stride, len(views))
  np.testing.assert_array_equal(ours, views)


def test_ten_dense_views_begin_26_frames_apart():
  views = sampling.dense_test(300, 16, 4, 10)
  np.testing.assert_array_equal(views[:, 0], np.arange(10) * 26)
  np.testing.assert_array_equal(views[9][-2:], [292, 297])


def test_five_dense_views_of_180_frames_begin_29_apart():
  views = sampling.dense_test(180, 16, 4, 5)
  np.testing.assert_array_equal(views[:, 0], np.arange(5) * 29)
  np.testing.assert_array_equal(views[4][-2:], [174, 179])


@pytest.mark.parametrize('length, stride, start', DENSE_AT)
def test_a_dense_clip_may_begin_between_two_frames(length, stride, start):
  frames = DENSE_AT[length, stride, start]
  ours = sampling.dense_indices(length, len(frames), stride, start)
  np.testing.assert_array_equal(ours, frames)


@pytest.mark.parametrize('length, frames, views', SEGMENTS)
def test_segment_views_equal_the_reference(length, frames, views):
  ours = sampling.segment_test(length, frames, views)
  np.testing.assert_array_equal(ours + 1, SEGMENTS[length, frames, views])


@pytest.mark.parametrize('length, frames', EDGES)
def test_segments_meet_as_in_the_reference(length, frames):
  low, high = sampling.segment_ranges(length, frames)
  np.testing.assert_array_equal(low, EDGES[length, frames][:-1])
  np.testing.assert_array_equal(high, EDGES[length, frames][1:])


def test_segment_training_draws_every_frame_of_every_segment():
  rng = np.random.default_rng(0)
  draws = np.stack([sampling.segment_train(50, 16, rng) for _ in range(400)])
  for drawn, ends in zip(
    draws.T, itertools.pairwise(EDGES[50, 16]), strict=True
  ):
    assert set(drawn) == set(range(ends[0], ends[1] + 1))


def test_dense_training_starts_anywhere_and_stays_inside():
  rng = np.random.default_rng(0)
  draws = np.stack([sampling.dense_train(80, 8, 8, rng) for _ in range(400)])
  assert set(draws[:, 0]) == set(range(16))
  assert draws[:, -1].max() <= 79


@pytest.mark.parametrize('kind', ['dense', 'segment'])
@pytest.mark.parametrize('length', [1, 2, 3, 15])
def test_short_videos_repeat_frames(settings, kind, length):
  settings |= {'sampling': kind, 'num_frames': 16, 'stride': 4}
  rng = np.random.default_rng(0)
  train = sampling.train_clip(settings, length, rng)
  tests = sampling.test_clips(settings, length, 3)
  assert train.shape == (16,) and tests.shape == (3, 16)
  for index in (train, tests):
    assert 0 <= index.min() <= index.max() < length
    assert (np.diff(index) >= 0).all()


def test_the_control_experiment_sees_one_frame(settings):
  settings |= {'repeat_frame': True, 'num_frames': 9}
  tests = sampling.test_clips(settings, 117, 1)
  np.testing.assert_array_equal(tests, [[58] * 9])  # 59, counted from 1.
  rng = np.random.default_rng(0)
  assert len(set(sampling.train_clip(settings, 117, rng))) == 1


def test_an_unknown_sampling_names_the_choices(settings):
  settings['sampling'] = 'dence'
  with pytest.raises(ValueError, match=r"'dense'.*'segment'.*'dence'"):
    sampling.test_clips(settings, 10, 1)

# SPDX-License-Identifier: Apache-2.0
"""Frames of clips equal those of the systems that the rules are named after.

The numbers were computed with the systems' own sampling functions.
"""

import itertools
import re
import types

import numpy as np
import pytest

from flatten_jax.inputs.sampling import clips, segments, whole_videos
from flatten_jax.inputs.sampling.rules import (
  RULES,
  of_data,
  test_clips as choose_test_clips,
  train_clip,
)
from tests.support.data_facts import entries


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

# The first test clip and its followers' first frames, by rule and (length,
# frames per second, frames, stride, clips).
TESTS = {
  ('mmaction2', 300, 0, 8, 2, 4): (numbers('35 37 39 41 43 45 47 49'), 249),
  ('mmaction2', 10, 0, 8, 2, 1): (numbers('0 2 4 6 8 0 2 4'), 0),
  ('mmaction2', 100, 0, 32, 2, 1): (list(range(18, 82, 2)), 18),
  ('segment_middle', 50, 0, 8, 1, 1): (numbers('3 9 15 21 27 34 40 46'), 3),
  ('timesformer', 250, 25, 8, 32, 1): (
    numbers('0 30 60 91 121 151 182 212'),
    0,
  ),
  ('timesformer', 200, 30, 8, 32, 1): (
    numbers('0 36 72 109 145 182 199 199'),
    0,
  ),
  ('vivit', 300, 0, 8, 2, 4): (numbers('0 2 4 6 8 10 12 14'), 284),
  ('vivit', 300, 0, 8, 2, 1): (numbers('142 144 146 148 150 152 154 156'), 142),
  ('vivit', 10, 0, 8, 2, 4): (numbers('0 2 4 6 8 0 2 4'), 0),
  ('vtn', 250, 25, 10, 8, 1): (
    numbers('0 27 55 83 110 138 166 193 221 249'),
    0,
  ),
  ('vtn', 400, 30, 4, 8, 1): (numbers('0 99 199 299'), 0),
  ('vtn', 30, 25, 4, 8, 1): (numbers('0 10 20 29'), 0),
  ('nonlocal', 300, 0, 8, 2, 10): (numbers('0 2 4 6 8 10 12 14'), 270),
  ('nonlocal', 124, 0, 4, 40, 10): (numbers('0 40 80 120'), 111),
  ('nonlocal', 100, 0, 4, 40, 1): (numbers('0 40 80 20'), 0),
  ('i3d', 250, 25, 250, 1, 1): (list(range(250)), 0),
  ('i3d', 300, 30, 250, 1, 1): ([6 * i // 5 for i in range(250)], 0),
  ('i3d', 10, 50, 8, 1, 1): (numbers('0 2 4 6 8 0 2 4'), 0),
  ('i3d', 300, 0, 4, 1, 1): (numbers('148 149 150 151'), 148),
  ('tsn', 100, 0, 4, 1, 2): (numbers('12 37 62 87'), 0),
  ('tsn_caffe', 100, 0, 25, 1, 1): (list(range(0, 100, 4)), 0),
  ('tsn_caffe', 96, 0, 25, 1, 1): (list(range(0, 75, 3)), 0),
  ('tsn_caffe', 24, 0, 25, 1, 1): ([0] * 25, 0),
  ('tsn_caffe', 100, 0, 1, 1, 25): ([0], 96),
  ('tsn_caffe', 100, 0, 1, 1, 1): ([50], 50),
  ('tsn_caffe', 13, 0, 3, 1, 2): (numbers('0 4 8'), 2),
  ('vidtr', 300, 0, 8, 2, 10): (numbers('0 2 4 6 8 10 12 14'), 256),
  ('vidtr', 10, 0, 8, 2, 10): (numbers('0 2 4 6 8 8 8 8'), 0),
}


def rule(name, num_frames, stride=1):
  return RULES[name](num_frames, stride)


class Draw:
  """A generator whose every draw is the lowest, or the highest."""

  def __init__(self, high):
    self.high = high

  def uniform(self, low, high):
    return high if self.high else low

  def integers(self, low, high=None, size=None, endpoint=False):
    low, high = (0, low) if high is None else (low, high)
    drawn = high - (not endpoint) if self.high else low
    return drawn if size is None else np.full(size, drawn)


@pytest.mark.parametrize('length, stride, frames', DENSE)
def test_dense_views_equal_the_reference(length, stride, frames):
  views = DENSE[length, stride, frames]
  ours = rule('dense', frames, stride).test(length, 0, len(views))
  np.testing.assert_array_equal(ours, views)


def test_ten_dense_views_begin_26_frames_apart():
  views = rule('dense', 16, 4).test(300, 0, 10)
  np.testing.assert_array_equal(views[:, 0], np.arange(10) * 26)
  np.testing.assert_array_equal(views[9][-2:], [292, 297])


def test_five_dense_views_of_180_frames_begin_29_apart():
  views = rule('dense', 16, 4).test(180, 0, 5)
  np.testing.assert_array_equal(views[:, 0], np.arange(5) * 29)
  np.testing.assert_array_equal(views[4][-2:], [174, 179])


@pytest.mark.parametrize('length, stride, start', DENSE_AT)
def test_a_dense_clip_may_begin_between_two_frames(length, stride, start):
  frames = DENSE_AT[length, stride, start]
  ours = clips.Dense(len(frames), stride).clip(length, start)
  np.testing.assert_array_equal(ours, frames)


@pytest.mark.parametrize('length, frames, views', SEGMENTS)
def test_segment_views_equal_the_reference(length, frames, views):
  ours = rule('segment', frames).test(length, 0, views)
  np.testing.assert_array_equal(ours + 1, SEGMENTS[length, frames, views])


@pytest.mark.parametrize('length, frames', EDGES)
def test_segments_meet_as_in_the_reference(length, frames):
  low, high = whole_videos.segment_ranges(length, frames)
  np.testing.assert_array_equal(low, EDGES[length, frames][:-1])
  np.testing.assert_array_equal(high, EDGES[length, frames][1:])


def test_segment_training_draws_every_frame_of_every_segment():
  rng = np.random.default_rng(0)
  drawn = (rule('segment', 16).train(50, 0, rng) for _ in range(400))
  draws = np.stack(list(drawn))
  for drawn, ends in zip(
    draws.T, itertools.pairwise(EDGES[50, 16]), strict=True
  ):
    assert set(drawn) == set(range(ends[0], ends[1] + 1))


def test_dense_training_starts_anywhere_and_stays_inside():
  rng = np.random.default_rng(0)
  drawn = (rule('dense', 8, 8).train(80, 0, rng) for _ in range(400))
  draws = np.stack(list(drawn))
  assert set(draws[:, 0]) == set(range(16))
  assert draws[:, -1].max() <= 79


@pytest.mark.parametrize('name, length, fps, frames, stride, count', TESTS)
def test_test_clips_equal_those_of_the_system(
  name, length, fps, frames, stride, count
):
  first, last = TESTS[name, length, fps, frames, stride, count]
  found = rule(name, frames, stride).test(length, fps, count)
  assert found.shape == (count, frames)
  np.testing.assert_array_equal(found[0], first)
  assert found[-1, 0] == last


# By rule and (length, frames per second, frames, stride): the clips of the
# lowest and of the highest draw.
TRAININGS = {
  ('mmaction2', 30, 0, 4, 3): (numbers('0 3 6 9'), numbers('18 21 24 27')),
  ('mmaction2', 7, 0, 4, 3): (numbers('0 3 6 2'), numbers('0 3 6 2')),
  ('segment_middle', 9, 0, 4, 1): (numbers('0 2 4 6'), numbers('2 4 6 8')),
  ('timesformer', 50, 15, 4, 8): (numbers('0 5 10 15'), numbers('34 39 44 49')),
  ('vivit', 30, 0, 4, 3): (numbers('0 3 6 9'), numbers('20 23 26 29')),
  ('vivit', 7, 0, 4, 3): (numbers('0 3 6 2'), numbers('0 3 6 2')),
  ('i3d', 60, 50, 4, 2): (numbers('0 4 8 12'), numbers('44 48 52 56')),
  ('nonlocal', 30, 0, 4, 3): (numbers('0 3 6 9'), numbers('18 21 24 27')),
  ('tsn', 11, 0, 3, 1): (numbers('0 3 6'), numbers('2 5 8')),
  ('tsn', 3, 0, 4, 1): (numbers('0 0 0 0'), numbers('0 0 0 0')),
  ('tsn_dense', 30, 0, 4, 3): (numbers('0 3 6 9'), numbers('17 20 23 26')),
  ('tsn_dense', 12, 0, 4, 3): (numbers('0 3 6 9'), numbers('0 3 6 9')),
  ('tsn_caffe', 11, 0, 3, 1): (numbers('0 3 6'), numbers('2 5 8')),
  ('tdn', 3, 0, 10, 1): (
    numbers('0 1 2 2 2 0 1 2 2 2'),
    numbers('0 1 2 2 2 0 1 2 2 2'),
  ),
  ('vtn', 200, 25, 4, 8): (
    numbers('0 10 20 31'),
    numbers('168 178 188 199'),
  ),
  ('vidtr', 30, 0, 4, 3): (numbers('0 4 8 11'), numbers('17 21 25 28')),
  ('vidtr', 7, 0, 4, 3): (numbers('0 6 6 6'), numbers('0 6 6 6')),
}


@pytest.mark.parametrize('name, length, fps, frames, stride', TRAININGS)
def test_training_clips_lie_between_those_of_the_system(
  name, length, fps, frames, stride
):
  ends = TRAININGS[name, length, fps, frames, stride]
  for high, expected in zip((False, True), ends, strict=True):
    if name == 'segment_middle':
      found = whole_videos.segment_ranges(length, frames)[high]
    else:
      found = rule(name, frames, stride).train(length, fps, Draw(high))
    np.testing.assert_array_equal(found, expected)


def test_rules_with_a_rate_of_their_own_take_videos_of_unknown_rate():
  for name, rate in (('timesformer', 30), ('vtn', 25), ('i3d', 25)):
    known = rule(name, 8, 4).test(300, rate, 1)
    np.testing.assert_array_equal(rule(name, 8, 4).test(300, 0, 1), known)
    assert rule(name, 8, 4).span(2 * rate) == 64


@pytest.mark.parametrize('name', RULES)
@pytest.mark.parametrize('length', [1, 2, 3, 15, 16, 63, 64, 65, 300])
def test_frames_of_every_rule_are_in_the_video(settings, name, length):
  settings |= {'sampling': name, 'num_frames': 15, 'stride': 4}
  settings['num_clips'] = 1 if of_data(settings).one_clip else 3
  for fps in (0.0, 12.5, 60.0):
    part = types.SimpleNamespace(length=length, fps=fps)
    rng = np.random.default_rng(0)
    train = train_clip(settings, part, rng)
    tests = choose_test_clips(settings, part)
    assert train.shape == (15,)
    assert tests.shape == (settings['num_clips'], 15)
    loops = name in (
      'mmaction2',
      'vivit',
      'nonlocal',
      'i3d',
      'tsn_dense',
      'tdn',
    )
    for index in (train, tests):
      assert index.dtype == np.int64
      assert 0 <= index.min() <= index.max() < length
      assert loops or (np.diff(index) >= 0).all()


@pytest.mark.parametrize(
  ('length', 'frames', 'clip'),
  [
    (4, 16, '0 0 0 0 1 1 1 1 2 2 2 2 3 3 3 3'),
    (5, 9, '0 0 1 1 2 3 3 4 4'),
    (9, 9, '0 1 2 3 4 5 6 7 8'),
    (4, 4, '0 1 2 3'),
    (1, 4, '0 0 0 0'),
    (27, 9, '1 4 7 10 13 16 19 22 25'),
  ],
)
def test_a_short_video_repeats_its_frames_evenly(length, frames, clip):
  even = rule('even', frames)
  np.testing.assert_array_equal(even.test(length, 0, 1), [numbers(clip)])
  rng = np.random.default_rng(0)
  for _ in range(20):
    counts = np.bincount(even.train(length, 0, rng), minlength=length)
    if length <= frames:
      assert counts.max() - counts.min() <= 1
    else:  # One of each part.
      assert (counts.reshape(frames, -1).sum(1) == 1).all()


@pytest.mark.parametrize('length', [1, 2, 9, 200])
def test_a_training_clip_may_come_from_a_part_of_the_video(settings, length):
  settings |= {'sampling': 'even', 'num_frames': 4}
  part = types.SimpleNamespace(length=length, fps=0.0)
  rng = np.random.default_rng(0)
  half = settings | {'time_crop': (0.5, 0.5)}
  drawn = np.array([train_clip(half, part, rng) for _ in range(500)])
  assert drawn.min() <= length // 20
  assert drawn.max() >= (length - 1) - length // 20
  assert (np.ptp(drawn, axis=1) < max(round(length / 2), 1)).all()
  assert (np.diff(drawn) >= 0).all()
  # By default it draws no number, so that clips stay what they were.
  rngs = np.random.default_rng(1), np.random.default_rng(1)
  expected = of_data(settings).train(length, 0.0, rngs[0])
  np.testing.assert_array_equal(train_clip(settings, part, rngs[1]), expected)
  assert rngs[0].random() == rngs[1].random()


def test_the_control_experiment_sees_one_frame(settings):
  settings |= {'repeat_frame': True, 'num_frames': 9, 'num_clips': 1}
  part = types.SimpleNamespace(length=117, fps=0.0)
  tests = choose_test_clips(settings, part)
  np.testing.assert_array_equal(tests, [[58] * 9])  # 59, counted from 1.
  rng = np.random.default_rng(0)
  assert len(set(train_clip(settings, part, rng))) == 1


def test_flow_is_taken_where_all_of_its_fields_are_in_the_video(settings):
  """L fields begin at one of the first n - L frames."""
  settings |= {'sampling': 'tsn_caffe', 'num_frames': 25, 'num_clips': 1}
  settings |= {'input': 'flow', 'flow_frames': 5}
  part = types.SimpleNamespace(length=101, fps=0.0)
  (found,) = choose_test_clips(settings, part)
  np.testing.assert_array_equal(found, np.arange(25) * 3)  # (96 - 1) // 24.
  drawn = train_clip(settings, part, Draw(high=True))
  assert drawn[-1] == 25 * (96 // 25) - 1
  part = types.SimpleNamespace(length=3, fps=0.0)
  assert not choose_test_clips(settings, part).any()


def test_tdn_takes_five_frames_of_each_part(settings):
  with pytest.raises(ValueError, match='to a multiple of 5; got 16'):
    of_data(settings | {'sampling': 'tdn', 'num_frames': 16})


def test_several_clips_of_tdn_are_drawn_as_in_training_and_repeat():
  clips = rule('tdn', 40).test(300, 0, 10)
  np.testing.assert_array_equal(clips, rule('tdn', 40).test(300, 0, 10))
  starts = clips.reshape(10, 8, 5)[..., 0]
  assert len(np.unique(starts, axis=0)) == 10
  np.testing.assert_array_equal(starts // 37, [np.arange(8)] * 10)


def test_an_unknown_sampling_names_the_choices(settings):
  settings['sampling'] = 'dence'
  with pytest.raises(ValueError, match=r"dense, even.*'dence'.*'dense'\?"):
    of_data(settings)


# --- All entries of the parity files ------------------------------------------


@pytest.mark.parametrize(
  'key, fact',
  entries(
    'data_facts_video_swin_timesformer.json',
    (
      'video_swin_k400_test_0based',
      'video_swin_k400_val_1clip_0based',
      'video_swin_ssv2_0based',
      'timesformer_k400_test_0based',
      'timesformer_ssv2_0based',
    ),
  ),
)
def test_clips_of_video_swin_and_timesformer_are_the_official_ones(key, fact):
  length, frames = fact['video_len'], fact['frames']
  if 'ssv2' in key:
    segments = rule('segment_middle', frames)
    np.testing.assert_array_equal(
      segments.test(length, 0, 1), [fact['test_index']]
    )
    ranges = np.stack(whole_videos.segment_ranges(length, frames), axis=1)
    np.testing.assert_array_equal(ranges, fact['train_inclusive_ranges'])
  elif 'swin' in key:
    ours = rule('mmaction2', frames, fact['interval'])
    found = ours.test(length, 0, fact.get('clips', 1))
    np.testing.assert_array_equal(found, np.reshape(fact['index'], found.shape))
    np.testing.assert_array_equal(found[:, 0], fact.get('start', found[:, 0]))
  else:
    ours = rule('timesformer', frames, fact['rate'])
    assert ours.span(fact['fps']) - 1 == fact['end']
    np.testing.assert_array_equal(
      ours.test(length, fact['fps'], 1), [fact['index']]
    )


@pytest.mark.parametrize(
  'video, fact', entries('data_facts_compared.json', ('dense_test_clips',))
)
def test_clips_of_slowfast_are_the_official_ones(video, fact):
  length, fps, frames, stride = re.fullmatch(
    r'(\d+)_frames_([\d.]+)fps_(\d+)x(\d+)', video
  ).groups()
  ours = rule('pyslowfast', int(frames), int(stride))
  found = ours.test(int(length), float(fps), 10)
  for clip in fact['clips_of_10']:
    np.testing.assert_array_equal(found[clip['clip']], clip['frames'])


def test_a_clip_of_slowfast_begins_between_two_frames():
  ours = rule('pyslowfast', 4, 2)
  clips = ours.test(17, 30, 4)  # Starts 0, 2.25, 4.5 and 6.75.
  expected = [[0, 2, 4, 7], [2, 4, 6, 9], [4, 6, 9, 11], [6, 9, 11, 13]]
  np.testing.assert_array_equal(clips, expected)


@pytest.mark.parametrize(
  'key, fact',
  entries(
    'data_facts_vivit_vtn_vidtr.json',
    (
      'vtn_test_frames',
      'vtn_train_frames',
      'vidtr_test_frames',
      'vidtr_train_frames',
    ),
  ),
)
def test_clips_of_vtn_and_vidtr_are_the_official_ones(key, fact):
  expected = fact.get('clips') or fact['index']
  if key == 'vtn_test_frames':
    ours = rule('vtn', len(expected))
    (found,) = ours.test(fact['video_frames'], fact['fps'], 1)
  elif key == 'vtn_train_frames':
    ours = rule('vtn', len(expected), 8)
    found = ours.train(fact['decoded_frames'], fact['fps'], Draw(high=False))
  elif key == 'vidtr_test_frames':
    ours = rule('vidtr', len(expected[0]), 2)
    found = ours.test(fact['video_frames'], 0, len(expected))
  else:
    ours, start = rule('vidtr', len(expected), 2), max(fact['end'] - 64, 0)
    rng = types.SimpleNamespace(integers=lambda high: start)
    found = ours.train(fact['video_frames'], 0, rng)
  np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
  'video, fact', entries('data_facts_compared.json', ('tsn_frames_0based',))
)
def test_frames_of_tsn_are_the_official_ones(video, fact):
  parts, length = map(int, re.findall(r'\d+', video))
  ours = rule('tsn', parts)
  np.testing.assert_array_equal(ours.test(length, 0, 1), [fact['test']])
  # Validation differs in short videos only, where all of it is the first frame.
  expected = ours.test(length, 0, 1)[0] * (length > parts)
  np.testing.assert_array_equal(expected, fact['val'])


@pytest.mark.parametrize(
  'key, fact',
  entries(
    'data_facts_tdn_msnet_two_stream.json',
    (
      'tdn_val_test_1based',
      'tdn_train_start_range_inclusive_1based',
      'msnet_test_uniform_1based',
      'msnet_test_dense_10clips_1based',
    ),
  ),
)
def test_frames_of_tdn_and_motion_squeeze_are_the_official_ones(key, fact):
  length = fact['video_len']
  if key == 'tdn_val_test_1based':
    found = rule('tdn', 5 * fact['segments']).test(length, 0, 1)
    found, expected = found.reshape(-1, 5), fact['frames']
    np.testing.assert_array_equal(found[:, 0] + 1, fact['start'])
  elif key.startswith('tdn'):
    draws = [
      segments.random_places(length, fact['segments'], 5, Draw(high))
      for high in (False, True)
    ]
    found, expected = np.stack(draws), [fact['first'], fact['last']]
  elif 'uniform' in key:
    found = rule('tsn', fact['frames']).test(length, 0, 1)
    expected = [fact['index']]
  else:
    frames = fact['frames']
    found = rule('tsn_dense', frames, 64 // frames).test(length, 0, 10)
    expected = fact['index']
  np.testing.assert_array_equal(found + 1, expected)

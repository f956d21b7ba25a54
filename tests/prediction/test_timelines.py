# SPDX-License-Identifier: Apache-2.0
"""Timelines: the frames of every window, and the files."""

import csv
import dataclasses
import json

import av
import jax.numpy as jnp
import numpy as np
import pytest

import flatten_jax as fj
from flatten_jax.inputs import timeline_windows
from flatten_jax.inputs.sources.dataset import Record
from flatten_jax.inputs.video.container import VideoError
from flatten_jax.prediction import annotated, results, timeline_files, timelines
from flatten_jax.runtime import callables
from tests.support.video_maker import write_video

DATA = dict(
  num_frames=4, sampling='dense', stride=2, repeat_frame=False, input='rgb'
)


@pytest.fixture(scope='module')
def video(tmp_path_factory):
  """Six and a half seconds at 10 frames a second: red, then blue from 4 s."""
  path = tmp_path_factory.mktemp('timeline') / 'two.mkv'
  frames = np.zeros((65, 32, 32, 3), np.uint8)
  frames[:40, ..., 0] = 200
  frames[40:, ..., 2] = 200
  with av.open(str(path), 'w') as file:
    stream = file.add_stream('libx264', rate=10)
    stream.width = stream.height = 32
    stream.pix_fmt = 'yuv420p'
    for pixels in frames:
      file.mux(stream.encode(av.VideoFrame.from_ndarray(pixels)))
    file.mux(stream.encode())
  return path


def test_windows_are_around_the_middle_of_every_second(video):
  found = [w for w, _ in timeline_windows.read_windows(video, DATA)]
  assert [(w.start, w.end) for w in found] == [
    *((i, i + 1.0) for i in range(6)),
    (6.0, 6.5),
  ]
  # 8 frames around frame 5, 15, ..., then as late as they can be.
  np.testing.assert_array_equal(found[0].frames, [1, 3, 5, 8])
  np.testing.assert_array_equal(found[3].frames, [31, 33, 35, 38])
  np.testing.assert_array_equal(found[6].frames, [57, 59, 61, 64])


@pytest.mark.parametrize('change', [{}, {'sampling': 'segment'}])
def test_windows_contain_the_frames_of_their_numbers(video, change):
  plain = []
  with av.open(str(video)) as file:
    plain = [f.to_ndarray(format='rgb24') for f in file.decode(video=0)]
  data = DATA | change
  windows = timeline_windows.read_windows(video, data, every=0.4, seconds=1.5)
  windows = list(windows)
  assert len(windows) == 17
  for window, clip in windows:
    expected = np.stack([plain[i] for i in window.frames])
    np.testing.assert_array_equal(clip, expected)


# Slow until 2 s, then fast until 3: 4 and 24 frames, whose values ascend.
SLOW_THEN_FAST = [
  *range(0, 2000, 500),
  *(2000 + 1000 * i // 24 for i in range(24)),
]


@pytest.mark.parametrize('name', ['a.mp4', 'a.mkv', 'a.ts'])
@pytest.mark.parametrize('sampling', ['segment', 'dense'])
def test_windows_show_what_a_screen_shows_at_a_varying_rate(
  tmp_path, name, sampling
):
  shades = np.arange(28).repeat(32 * 32 * 3).reshape(28, 32, 32, 3) * 8
  path = write_video(
    tmp_path / name, shades.astype(np.uint8), pts=SLOW_THEN_FAST
  )
  data = DATA | {'sampling': sampling, 'num_frames': 3, 'stride': 1}
  windows = [
    window
    for window, _ in timeline_windows.read_windows(
      path, data, every=0.5, seconds=0.5
    )
  ]
  assert windows[-1].end == pytest.approx(3, abs=0.05)
  times = np.array(SLOW_THEN_FAST) / 1000
  for window in windows[:4]:  # One frame is on the screen all the time.
    number = times.tolist().index(window.start)
    assert window.frames.tolist() == [number] * 3
  for window in windows[4:]:
    shown = times[window.frames]
    assert (window.start - 0.05 <= shown).all() and (shown < window.end).all()
    assert len(set(shown)) == 3


@pytest.mark.parametrize(
  ('every', 'ends'), [(0.52, [0.52, 1.04]), (0.5, [0.5, 1.04]), (9, [1.04])]
)
def test_a_timeline_ends_with_the_video(tmp_path, every, ends):
  frames = np.zeros((26, 32, 32, 3), np.uint8)
  path = write_video(tmp_path / 'a.mp4', frames, rate=25)
  windows = timeline_windows.read_windows(path, DATA, every=every)
  assert [window.end for window, _ in windows] == pytest.approx(ends)


def test_a_video_shorter_than_a_window_is_one(video):
  [(window, clip)] = timeline_windows.read_windows(
    video, DATA, every=60.0, seconds=100.0
  )
  assert (window.start, window.end) == (0.0, 6.5)
  np.testing.assert_array_equal(window.frames, [0, 21, 42, 64])
  assert clip.shape == (4, 32, 32, 3)


def test_a_damaged_video_is_read_until_the_damage(video, tmp_path):
  cut = tmp_path / 'cut.mkv'
  data = video.read_bytes()
  cut.write_bytes(data[: len(data) * 3 // 4])
  ends = [w.end for w, _ in timeline_windows.read_windows(cut, DATA)]
  assert 2 < ends[-1] < 6.5
  cut.write_bytes(data[:300])
  with pytest.raises(VideoError):
    list(timeline_windows.read_windows(cut, DATA))


def test_a_timeline_finds_when_the_class_changes(video, tmp_path, capsys):
  def redness(images):
    red, _, blue = jnp.moveaxis(images.mean((1, 2)), -1, 0)
    return 9 * jnp.stack([red, blue], -1)

  [found] = fj.predict(
    redness,
    video,
    class_names=['red', '<blue> $x$'],
    timeline=True,
    out=tmp_path,
    show=True,
    num_frames=4,
    crop=16,
    sampling='dense',
    stride=2,
  )
  timeline = found.timeline
  assert timeline.probabilities.shape == (7, 2)
  assert timeline.frames.shape == (7, 16, 16, 3)
  first, second = timeline.segments()
  assert first[:3] == (0.0, 4.0, 'red') and first[3] > 0.99
  assert second[:3] == (4.0, 6.5, '<blue> $x$') and second[3] > 0.99
  assert '0:00 - 0:04' in capsys.readouterr().out

  def written(suffix):
    return tmp_path / 'timelines' / f'two.mkv{suffix}'

  with written('.csv').open() as file:
    rows = list(csv.DictReader(file))
  assert [row['class_1'] for row in rows] == ['red'] * 4 + ['<blue> $x$'] * 3
  assert rows[6]['start'] == '6.0' and rows[6]['end'] == '6.5'
  content = json.loads(written('.json').read_text())
  assert content['segments'][1]['start'] == 4.0
  assert len(content['seconds']) == 7
  text = written('.txt').read_text()
  assert text == f'{found.timeline_text()}\n'
  assert text.splitlines()[:2] == [
    '  whole video: red 100% (1 clip of 4 frames, 2 apart, in 6.5 s)',
    '  timeline: windows of 8 frames, 4 frames each',
  ]
  assert written('.png').read_bytes()[:4] == b'\x89PNG'


def timeline_of(probabilities, seconds):
  return timelines.Timeline(
    np.array(seconds),
    np.array(probabilities, np.float32),
    ('left', 'up'),
    np.zeros((1, 8, 8, 3), np.uint8),
    'windows of 4 s, 9 frames each',
    '9 frames over 15.0 s',
  )


def test_several_labels_overlap_and_leave_gaps(tmp_path):
  seconds = [(0, 1), (1, 2), (2, 3), (3, 5)]
  shares = [[0.9, 0.1], [0.7, 0.4], [0.2, 0.6], [0.2, 0.1]]
  plain = timeline_of(shares, seconds)
  assert [name for *_, name, _ in plain.segments()] == ['left', 'up', 'left']
  windows = dataclasses.replace(plain, thresholds=(0.65, 0.4))
  # A class counts from its threshold on, in the type of its probability.
  assert windows.answer_mask.tolist() == [
    [True, False],
    [True, True],
    [False, True],
    [False, False],
  ]
  assert windows.segments() == [
    (0.0, 2.0, 'left', pytest.approx(0.8)),
    (1.0, 3.0, 'up', pytest.approx(0.5)),
  ]
  assert [windows.labels(row) for row in (0, 3)] == [
    [('left', pytest.approx(0.9))],
    [],
  ]
  assert timeline_files.shown_classes(windows).tolist() == [0, 1]

  found = results.Prediction(
    'a.mp4',
    windows.class_names,
    np.array([0.3, 0.5], np.float32),
    timeline=windows,
    thresholds=windows.thresholds,
  )
  assert found.basis() == [
    'whole video: up 50% (9 frames over 15.0 s)',
    'timeline: windows of 4 s, 9 frames each',
    'They show different frames and differ: left only below',
  ]
  timeline_files.write(tmp_path, found)
  content = json.loads((tmp_path / 'a.mp4.json').read_text())
  assert [len(row['labels']) for row in content['seconds']] == [1, 2, 1, 0]
  assert content['seconds'][1]['labels'][1]['class'] == 'up'
  assert content['labels'][0]['class'] == 'up'
  with (tmp_path / 'a.mp4.csv').open() as file:
    rows = [row['labels'] for row in csv.DictReader(file)]
  assert rows == ['left', 'left;up', 'up', '']
  assert (tmp_path / 'a.mp4.png').read_bytes()[:4] == b'\x89PNG'
  text = annotated.captions(found)
  assert [text(seconds) for seconds in (1.5, 4.0)] == [
    'left 70%\nup 40%',
    'no class',
  ]


def test_no_label_at_any_time_is_said(tmp_path):
  windows = timeline_of([[0.1, 0.2], [0.1, 0.1]], [(0, 1), (1, 2)])
  windows = dataclasses.replace(windows, thresholds=(0.5, 0.5))
  found = results.Prediction(
    'a.mp4',
    windows.class_names,
    np.array([0.6, 0.5], np.float32),
    timeline=windows,
    thresholds=(0.5, 0.5),
  )
  assert found.basis()[-1].endswith('differ: left, up only in the whole video')
  assert found.timeline_text().endswith('  no class')
  assert timeline_files.shown_classes(windows).tolist() == [1]
  timeline_files.write(tmp_path, found)
  assert json.loads((tmp_path / 'a.mp4.json').read_text())['segments'] == []


@pytest.mark.parametrize('limits', [None, (0.5, 0.5)])
def test_windows_without_finite_scores_have_no_answer(tmp_path, limits):
  nan = [np.nan, np.nan]
  windows = timeline_of([nan, [0.1, 0.9], nan], [(0, 1), (1, 2), (2, 3)])
  windows = dataclasses.replace(windows, thresholds=limits)
  found = results.Prediction(
    'a.mp4',
    windows.class_names,
    np.array([0.2, 0.8], np.float32),
    timeline=windows,
    thresholds=limits,
  )
  assert windows.segments() == [(1.0, 2.0, 'up', pytest.approx(0.9))]
  assert windows.answer() == 'up' and len(found.basis()) == 2
  assert [windows.labels(row) for row in (0, 2)] == [[], []]
  assert timeline_files.shown_classes(windows)[-1] == 1
  timeline_files.write(tmp_path, found)
  text = (tmp_path / 'a.mp4.json').read_text()
  assert 'NaN' not in text
  rows = json.loads(text)['seconds']
  error = 'the model gives no finite scores'
  assert rows[0] == {'start': 0, 'end': 1, 'error': error}
  assert rows[1]['top'][0]['class'] == 'up' and rows[2]['error'] == error
  assert 'nan' not in (tmp_path / 'a.mp4.csv').read_text()


def test_a_timeline_without_finite_scores_has_no_answer():
  windows = timeline_of([[np.nan, np.nan]], [(0, 1)])
  assert windows.answer() == ''
  found = results.Prediction(
    'a.mp4', windows.class_names, np.array([0.2, 0.8]), '', windows
  )
  assert found.basis()[-1].endswith('differ: mostly no class below')


def test_a_timeline_is_finite_where_the_model_is(video):
  def of_red(images):  # Finite on red frames alone.
    red, _, blue = jnp.moveaxis(images.mean((1, 2)), -1, 0)
    scores = jnp.stack([red, blue], -1)
    return jnp.where(scores[:, 1:] > scores[:, :1], jnp.inf, scores)

  loaded = callables.from_callable(
    of_red, ['red', 'blue'], {'data.num_frames': 4, 'data.crop': 16}
  )
  found = timelines.of_video(loaded, Record('a', str(video), -1), 1.0, 1.0)
  assert found.answer() == 'red'
  assert np.isfinite(found.probabilities[0]).all()
  assert np.isnan(found.probabilities[-1]).all()


def test_an_answer_that_differs_from_its_timeline_says_so():
  names, seconds = ('left', 'up'), [(0, 1), (1, 2), (2, 5)]
  windows = timeline_of([[0.9, 0.1], [0.9, 0.1], [0.2, 0.8]], seconds)
  video = results.Prediction(
    'a.mp4', names, np.array([0.76, 0.24]), '', windows
  )
  assert video.basis() == [
    'whole video: left 76% (9 frames over 15.0 s)',
    'timeline: windows of 4 s, 9 frames each',
    'They show different frames and differ: mostly up below',
  ]
  assert video.timeline_text().splitlines()[3].endswith('0:02      left  90%')
  agreed = results.Prediction('a.mp4', names, np.array([0.1, 0.9]), '', windows)
  assert len(agreed.basis()) == 2


@pytest.mark.parametrize(
  ('data', 'clips', 'window', 'texts'),
  [
    ({'sampling': 'segment'}, 2, 0.0, ('4 s', '18 frames over 3.0 s')),
    ({'sampling': 'segment'}, 1, 1.5, ('1.5 s', '9 frames over 3.0 s')),
    ({}, 1, 0.0, ('18 frames', '1 clip of 9 frames, 2 apart, in 3.0 s')),
    ({}, 4, 2.0, ('2 s', '4 clips of 9 frames, 2 apart, in 3.0 s')),
    (
      {'sampling': 'timesformer'},
      1,
      0.0,
      (
        '18 frames at 30 frames per second',
        '1 clip of 9 frames, 2 apart at 30 frames per second, in 3.0 s',
      ),
    ),
  ],
)
def test_words_tell_which_frames_were_shown(data, clips, window, texts):
  data = DATA | {'num_frames': 9} | data
  length, whole = texts
  assert timelines.describe(data, clips, window, 3.0) == (
    f'windows of {length}, 9 frames each',
    whole,
  )


def test_classes_are_drawn_in_order_of_their_first_answer():
  shares = np.full((20, 30), 0.01)
  for second, answer in enumerate([7] * 5 + [3] * 10 + [11] * 5):
    shares[second, answer] = 0.6
  shares[12, 29] = 0.3  # Never the answer, but probable.
  found = dataclasses.replace(
    timeline_of(shares, [(i, i + 1) for i in range(20)]),
    class_names=tuple(map(str, range(30))),
  )
  assert timeline_files.shown_classes(found).tolist() == [7, 3, 11, 29]


def test_few_evenly_spaced_frames_are_kept_of_any_number():
  stream = timelines.EvenlySpaced(12)
  for number in range(10_000):
    stream.add(np.array(number))
  chosen = [int(frame) for frame in stream.chosen()]
  assert len(chosen) == 12 and chosen[0] == 0 and chosen[-1] > 9500
  steps = np.diff(chosen)
  assert steps.max() < 1.4 * steps.min()


@pytest.mark.parametrize(
  ('seconds', 'fine', 'text'),
  [
    (0, False, '0:00'),
    (59.6, False, '1:00'),
    (3723, False, '1:02:03'),
    (83.25, True, '1:23.2'),
    (3599.99, True, '1:00:00.0'),
  ],
)
def test_times_are_formatted_as_clocks(seconds, fine, text):
  assert timelines.clock(seconds, fine) == text

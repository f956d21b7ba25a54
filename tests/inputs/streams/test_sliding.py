# SPDX-License-Identifier: Apache-2.0
"""Windows of a stream, and the seconds of its frames."""

import itertools

import numpy as np
import pytest

from flatten_jax.inputs import timeline_windows
from flatten_jax.inputs.streams.sliding import Frame, SlidingWindow, StreamClock
from tests.support.video_maker import write_video

DATA = dict(
  num_frames=4, sampling='dense', stride=2, repeat_frame=False, input='rgb'
)


def frame(number, seconds, shape=(2, 2, 3)):
  return Frame(number, seconds, seconds, np.zeros(shape, np.uint8))


def cut(windows, times):
  """Returns the windows of frames at some times, with the last frame's."""
  return [
    (number, window)
    for number, seconds in enumerate(times)
    for window in windows.add(frame(number, seconds))
  ]


@pytest.mark.parametrize('change', [{}, {'sampling': 'segment'}])
@pytest.mark.parametrize(('rate', 'seconds'), [(10, 1.0), (25, 1.0), (25, 3.0)])
def test_windows_have_the_frames_of_a_timeline(tmp_path, change, rate, seconds):
  data = DATA | change
  shades = np.zeros((rate * 6, 32, 32, 3), np.uint8)
  path = write_video(tmp_path / 'a.mp4', shades, rate=rate)
  rows = [
    window
    for window, _ in timeline_windows.read_windows(path, data, seconds=seconds)
  ]
  if seconds == 3:  # The first and last are not in the middle of their second.
    rows = rows[1:-1]
  found = cut(SlidingWindow(data, 1.0, seconds), np.arange(rate * 6) / rate)
  assert len(found) == len(rows) >= 4
  for (_, window), row in zip(found, rows, strict=True):
    numbers = [frame.number for frame in window.frames]
    assert numbers == row.frames.tolist()
    middle = (window.start + window.end) / 2
    assert middle == pytest.approx((row.start + row.end) / 2)


def test_the_first_window_is_there_as_soon_as_it_is_full():
  found = cut(SlidingWindow(DATA, 0.5, 2.0), np.arange(80) / 20)
  assert [number for number, _ in found[:3]] == [39, 49, 59]
  assert [(w.first, w.last) for _, w in found[:2]] == [(0, 39), (10, 49)]


def test_a_window_is_as_long_as_a_clip_if_no_length_is_given():
  dense = cut(SlidingWindow(DATA, 1.0, 0.0), np.arange(80) / 20)
  assert dense[0][1].end == pytest.approx(8 / 20)  # 4 frames, 2 apart
  data = DATA | {'sampling': 'segment'}
  whole = cut(SlidingWindow(data, 1.0, 0.0), np.arange(90) / 20)
  assert whole[0][1].end == pytest.approx(timeline_windows.WHOLE_VIDEO)


def test_frames_that_no_window_needs_are_let_go():
  windows = SlidingWindow(DATA, 0.2, 1.0)
  kept = []
  for number in range(1000):
    list(windows.add(frame(number, number / 20)))
    kept.append(len(windows._frames))
  assert max(kept) <= 20 + 3
  sparse = SlidingWindow(DATA, 5.0, 1.0)  # Nothing between windows.
  for number in range(1000):
    list(sparse.add(frame(number, number / 20)))
    kept.append(len(sparse._frames))
  assert max(kept) <= 20 + 3


def test_uneven_times_repeat_the_frame_on_the_screen():
  times = [0.0, 0.1, 0.2, 0.3, 0.8, 0.9, 1.0, 1.1, 1.2]
  [(_, window)] = cut(SlidingWindow(DATA, 2.0, 1.0), times)
  shown = [times[frame.number] for frame in window.frames]
  assert shown == sorted(shown) and 0.3 in shown
  assert window.positions[0] == 0


def test_frames_of_another_shape_begin_a_window_of_their_own():
  windows = SlidingWindow(DATA, 1.0, 1.0)
  found = []
  for number in range(75):
    shape = (2, 2, 3) if number < 30 else (2, 4, 3)
    found += windows.add(frame(number, number / 25, shape))
  assert [window.start for window in found] == pytest.approx([0, 1.2])
  assert found[1].clip.shape == (4, 2, 4, 3)


@pytest.mark.parametrize(
  ('live', 'stamps', 'seconds'),
  [
    (True, [7.0, 7.1, 7.2], [0, 0.1, 0.2]),
    (True, [7.0, 7.1, 900.0, 900.1], [0, 0.1, 0.2, 0.3]),  # A new clock.
    (False, [7.0, 7.1, 900.0], [0, 0.1, 893]),  # A film of a long silence.
    (True, [7.0, 7.1, 2.0, 2.1], [0, 0.1, 0.2, 0.3]),
    (True, [7.0, 7.1, None, 7.3], [0, 0.1, 0.2, 0.3]),
  ],
)
def test_seconds_count_from_the_first_frame(live, stamps, seconds):
  clock = StreamClock(live)
  found = [clock.seconds(stamp, 0.0) for stamp in stamps]
  assert found == pytest.approx(seconds)
  assert all(a <= b for a, b in itertools.pairwise(found))


def test_seconds_go_on_through_a_broken_connection():
  clock = StreamClock(live=True)
  assert [clock.seconds(5.0, 100.0), clock.seconds(5.1, 100.1)] == (
    pytest.approx([0, 0.1])
  )
  clock.reconnect()
  found = [clock.seconds(0.0, 103.1), clock.seconds(0.1, 103.2)]
  assert found == pytest.approx([3.1, 3.2])

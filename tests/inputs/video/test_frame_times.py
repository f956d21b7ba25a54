# SPDX-License-Identifier: Apache-2.0
"""Seconds are those of the frames' timestamps, in every kind of file."""

from fractions import Fraction

import av
import numpy as np
import pytest

from flatten_jax.inputs.sources import index_builder
from flatten_jax.inputs.sources.video_index import Entry
from flatten_jax.inputs.video import frame_table, frame_times
from flatten_jax.inputs.video.read import Video, probe
from flatten_jax.inputs.video.reader import Reader
from tests.support.video_maker import moving_square, write_video

MS = Fraction(1, 1000)


def milliseconds(*parts):
  """Returns timestamps: `count` frames `step` apart for each part."""
  steps = np.concatenate([[step] * count for count, step in parts])
  return [0, *np.cumsum(steps)[:-1].tolist()]


SLOW_THEN_FAST = milliseconds((12, 400), (12, 40))
LONG_STILL = milliseconds((9, 40), (1, 20_000), (10, 40))
STILL_AT_THE_END = milliseconds((18, 40), (1, 20_000), (1, 40))
JITTER = milliseconds(*[(1, step) for step in (33, 34, 20, 50, 33, 31) * 4])
CONSTANT = milliseconds((20, 40))
PATTERNS = {
  'slow then fast': SLOW_THEN_FAST,
  'long still': LONG_STILL,
  'still at the end': STILL_AT_THE_END,
  'jitter': JITTER,
}


def encode(
  path, pts, codec='libx264', rate=25, unit=MS, shift=0, last=40, **options
):
  """Encodes frames with timestamps `pts`, in `unit` seconds."""
  pixels = {'gif': 'rgb8', 'apng': 'rgb24', 'mjpeg': 'yuvj420p'}
  with av.open(str(path), 'w') as file:
    stream = file.add_stream(codec, rate=rate, options=options)
    stream.width, stream.height = 64, 48
    stream.pix_fmt = pixels.get(codec, 'yuv420p')
    stream.codec_context.time_base = unit
    for time, image in zip(pts, moving_square(len(pts)), strict=True):
      frame = av.VideoFrame.from_ndarray(image, format='rgb24')
      frame = frame.reformat(format=stream.pix_fmt)
      frame.pts, frame.time_base = time + shift, unit
      file.mux(stream.encode(frame))
    rest = stream.encode()
    for packet in rest:
      is_last = packet.pts == time + shift or packet is rest[-1]
      if codec == 'libx264' and is_last:
        packet.duration = time + shift + last - packet.pts
      file.mux(packet)
  return path


def times_of(path):
  with Video(path) as video:
    return video.times


FILES = {
  'a.mp4': {'bf': '0'},
  'b_frames.mp4': {'bf': '2'},
  'a.mov': {'bf': '2', 'codec': 'mpeg4'},
  'a.mkv': {'bf': '2'},
  'a.webm': {'codec': 'libvpx-vp9'},
  'a.flv': {'bf': '2'},
  'a.ts': {'bf': '2'},
  'a.wmv': {'codec': 'wmv2'},
  'a.nut': {'bf': '2'},
  'a.gif': {'codec': 'gif'},
  'a.apng': {'codec': 'apng'},
  'mjpeg.mov': {'codec': 'mjpeg'},
  'from five seconds on.mp4': {'bf': '2', 'shift': 5000},
  'from five seconds on.mkv': {'bf': '2', 'shift': 5000},
  'from three hours on.ts': {'bf': '2', 'shift': 3 * 3_600_000},
  'header 1000.mkv': {'rate': 1000},
  'header 90000.mkv': {'rate': 90_000, 'bf': '0'},
  'header 1.mp4': {'rate': 1, 'bf': '2'},
}


@pytest.mark.parametrize('pattern', PATTERNS)
@pytest.mark.parametrize('name', FILES)
def test_frames_have_the_times_of_their_timestamps(tmp_path, name, pattern):
  pts = PATTERNS[pattern]
  unit, options = MS, dict(FILES[name])
  if name.endswith('gif'):
    unit, pts = Fraction(1, 100), [time // 10 for time in pts]
  path = encode(tmp_path / name, pts, unit=unit, **options)
  times = times_of(path)
  np.testing.assert_allclose(times[:-1], np.array(pts) * float(unit), atol=2e-3)
  # Its encoder gives the last frame the duration of the one before.
  assert 0 < times[-1] - times[-2] <= (21 if name == 'a.apng' else 1)
  # An index and a cache know the same times.
  entry = index_builder.examine(str(path), False, 0)
  np.testing.assert_array_equal(Entry.from_json(entry.to_json()).times, times)
  assert entry.duration == times[-1]
  assert probe(path).duration == pytest.approx(times[-1], abs=21)
  with Reader({}, 1.0).open(path, 16) as cached:
    np.testing.assert_array_equal(cached.times, times)


@pytest.mark.parametrize('rate', ['24000/1001', '30000/1001', '25/2', '120'])
@pytest.mark.parametrize('name', ['a.mp4', 'a.mkv', 'a.ts', 'a.avi', 'a.wmv'])
def test_a_constant_rate_is_exact(tmp_path, rate, name):
  rate = Fraction(rate)
  codec = 'wmv2' if name == 'a.wmv' else 'libx264'
  path = encode(tmp_path / name, range(20), codec, rate, 1 / rate, last=1)
  expected = np.arange(21) / float(rate)
  np.testing.assert_allclose(times_of(path), expected, atol=2e-3)


@pytest.mark.parametrize('codec', ['libx264', 'libx265'])
@pytest.mark.parametrize('pattern', PATTERNS)
def test_an_index_and_the_last_packets_tell_times_of_frames_that_reorder(
  tmp_path, monkeypatch, codec, pattern
):
  pts = [*CONSTANT, *(1000 + np.array(PATTERNS[pattern])).tolist()]
  options = {'bf': '2', 'g': '5'} if codec == 'libx264' else {}
  path = encode(tmp_path / 'a.mp4', pts, codec, **options)
  monkeypatch.setattr(frame_table, 'table_from_packets', None)
  np.testing.assert_allclose(
    times_of(path)[:-1], np.array(pts) / 1000, atol=1e-4
  )


@pytest.mark.parametrize('b_frames', ['0', '2'])
@pytest.mark.parametrize('name', ['a.mp4', 'a.mkv'])
def test_the_last_frame_may_stay(tmp_path, name, b_frames):
  path = encode(tmp_path / name, CONSTANT, bf=b_frames, last=3000)
  assert times_of(path)[-2:] == pytest.approx([0.76, 3.76], abs=2e-3)


@pytest.mark.parametrize('name', ['a.h264', 'a.hevc', 'a.m2v', 'a.y4m'])
def test_files_without_timestamps_have_the_times_of_their_rate(tmp_path, name):
  codecs = {'.hevc': 'libx265', '.m2v': 'mpeg2video', '.y4m': 'rawvideo'}
  path = tmp_path / name
  codec = codecs.get(path.suffix, 'libx264')
  write_video(path, moving_square(20), codec)
  np.testing.assert_allclose(times_of(path), np.arange(21) / 25, atol=1e-6)


@pytest.mark.parametrize('name', ['a.ts', 'a.mpg'])
def test_files_that_were_joined_continue(tmp_path, name):
  codec = 'mpeg2video' if name == 'a.mpg' else 'libx264'
  path = encode(tmp_path / name, range(10), codec, 25, Fraction(1, 25))
  path.write_bytes(path.read_bytes() * 2)
  times = times_of(path)
  assert len(times) == 21 and times[-1] == pytest.approx(0.8)
  assert (np.diff(times) > 0).all()


def test_what_an_edit_list_cuts_away_has_no_time(tmp_path):
  path = encode(tmp_path / 'a.mp4', SLOW_THEN_FAST, shift=-1200, bf='2')
  expected = np.array(SLOW_THEN_FAST[3:]) / 1000 - 1.2
  np.testing.assert_allclose(times_of(path)[:-1], expected, atol=1e-4)


def test_an_unfinished_recording_ends_where_it_ends(tmp_path):
  """The header's duration is not that of the last frame."""
  path = encode(tmp_path / 'a.mkv', CONSTANT, g='5')
  path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
  times = times_of(path)
  assert 0.2 < times[-1] < 0.7 and times[-1] - times[-2] < 0.1


@pytest.mark.parametrize(
  ('timestamps', 'expected'),
  [
    ([5, 6, 7, 10], [0, 1, 2, 5, 6]),
    ([0, 5, 10, 11], [0, 5, 10, 11, 12]),
    ([0, None, 4, None], [0, 2, 4, 6, 8]),
    ([None, 3, 4, 5], [0, 1, 2, 3, 4]),
    ([0, 1, 2, 0, 1, 2], [0, 1, 2, 3, 4, 5, 6]),
    ([0, 0, 2, 2, 4, 4], [0, 0, 2, 2, 4, 4, 4]),
    ([-3, -2, -1], [0, 1, 2, 3]),
    ([None, None, None], [0, 0.5, 1, 1.5]),
    ([7, 7, 7], [0, 0.5, 1, 1.5]),
    ([7], [0, 0.5]),
  ],
)
def test_timestamps_become_times(timestamps, expected):
  found = frame_times.from_timestamps(timestamps, 1.0, rate=2.0)
  np.testing.assert_array_equal(found, expected)


def test_neither_timestamps_nor_a_rate_are_unknown_times():
  assert frame_times.from_timestamps([None, None], 0.1) is None
  with pytest.raises(ValueError, match='neither timestamps nor a frame rate'):
    frame_times.frames_between(None, 1.0, 2.0)


STILL = np.array([0, 0.04, 0.08, 8, 8.04, 8.08])  # 5 frames


@pytest.mark.parametrize(
  ('times', 'start', 'end', 'expected'),
  [
    (STILL, 0, 0, (0, 5)),
    (STILL, 0, 0.08, (0, 2)),
    (STILL, 5, 7, (2, 1)),  # On the screen all the time.
    (STILL, 5, 8.04, (2, 2)),
    (STILL, 7.99, 0, (3, 2)),  # Annotations are rounded.
    (STILL, 8.05, 8.3, (4, 1)),  # A little longer than the video.
    (STILL, 8.079, 0, (4, 1)),
    (np.arange(301) / 29.97, 3.3, 6.67, (99, 101)),
    (np.arange(301) / 25, 0.5, 0.5001, (12, 1)),
    (np.arange(251) / 25, 3, 13, (75, 175)),  # 7 of 10 seconds are there.
    (np.array([0, 0, 1, 1, 2, 2, 3]), 1, 2, (2, 2)),  # Doubled timestamps.
  ],
)
def test_seconds_are_frames_on_the_screen(times, start, end, expected):
  assert frame_times.frames_between(times, start, end) == expected


@pytest.mark.parametrize(
  ('start', 'end', 'cause'),
  [
    (8.08, 9, 'they begin after its end'),
    (100, 0, 'seconds 100 to the end of a video of 8.08 s'),
    (5, 4, 'expected 0 <= start < end'),
    (5, 5, 'expected 0 <= start < end'),
    (-1, 4, 'expected 0 <= start < end'),
    (0, -1, 'expected 0 <= start < end'),
    (np.nan, 4, 'expected 0 <= start < end'),
    (1, np.nan, 'expected 0 <= start < end'),
    (np.inf, 0, 'expected 0 <= start < end'),
    (0, 250, 'seconds 0 to 250 of a video of 8.08 s: most of them are after'),
    (8, 18, 'most of them are after its end'),
  ],
)
def test_seconds_outside_of_the_video_are_refused(start, end, cause):
  with pytest.raises(ValueError, match=cause):
    frame_times.frames_between(STILL, start, end)


@pytest.mark.parametrize(
  ('count', 'seconds', 'rate'),
  [
    (200, 6.666667, 30.0),
    (10, 0.333333, 30.0),
    (300, 10.01, 30_000 / 1001),
    (48, 2.002, 24_000 / 1001),
    (1, 0.04, 25.0),
    (48, 11.0, 48 / 11),
    (4, 4 * 3600.0, 1 / 3600),
    (3, 0.0, 0.0),
    (0, 0.5, 0.0),
  ],
)
def test_mean_rates_are_free_of_the_rounding_of_times(count, seconds, rate):
  assert frame_times.mean_rate(count, seconds) == rate

# SPDX-License-Identifier: Apache-2.0
"""Times at which the frames of a video are shown, and frames by their seconds.

Times are in seconds from the first frame on: of each frame, then of the end of
the last, float64 [N + 1]. Their source is the file's timestamps, since frame
rates are averages, and wrong in many headers.
"""

from collections.abc import Sequence
import fractions

import av
import numpy as np

from flatten_jax.inputs.video.container import VideoFile
from flatten_jax.inputs.video.keyframes import REORDER, FrameTable, Packet

# Files may end so much before their annotated end: durations are rounded, and
# sound is longer than the pictures.
TOLERANCE = 0.5  # seconds

UNKNOWN = 'neither timestamps nor a frame rate to find seconds by'


def uniform(count: int, rate: float) -> np.ndarray | None:
  """Returns times of `count` frames without timestamps; None without a rate."""
  return np.round(np.arange(count + 1) / rate, 6) if rate else None


def from_timestamps(
  timestamps: Sequence[int | None],
  time_base: float,
  last: int = 0,
  rate: float = 0.0,
) -> np.ndarray | None:
  """Returns the times of frames, given their timestamps in order of display.

  A frame whose timestamp is before that of its predecessor (in joined files) or
  absent (None) follows at the usual distance. `last` is the duration of the
  last frame, 0 if unknown; it and the timestamps are in units of `time_base`
  seconds. Without any, `rate`, in frames per second, gives the times.
  """
  ticks = np.array(timestamps, np.float64)  # None becomes NaN.
  known = np.flatnonzero(~np.isnan(ticks))
  if len(known) < 2 or ticks[known].max() == ticks[known].min():
    # One frame lasts as long as its packet says.
    rate = 1 / (last * time_base) if last > 0 and len(ticks) == 1 else rate
    return uniform(len(ticks), rate)
  ticks = np.interp(np.arange(len(ticks)), known, ticks[known])
  steps = np.diff(ticks)
  steps[: known[0]] = steps[known[-1] :] = np.nan
  usual = np.median(steps[steps > 0]) if (steps > 0).any() else 0.0
  usual = usual or 1 / (rate * time_base or 1)
  steps = np.where(steps >= 0, steps, usual)
  last = last if last > 0 else min(steps[-1], usual)
  steps = np.append(steps, last)
  times = np.round(np.append(0, np.cumsum(steps)) * time_base, 6)
  return times if times[-1] > 0 else uniform(len(ticks), rate)


def usual_step(times: np.ndarray) -> float:
  """Returns the usual seconds from one frame to the next.

  Their mean, or the median if a few that are long would spoil it.
  """
  steps = np.diff(times)
  mean = float(times[-1]) / len(steps)
  median = float(np.median(steps[steps > 0]))
  return mean if abs(mean - median) < mean / 20 else median


def mean_rate(count: int, seconds: float) -> float:
  """Returns the mean number of frames per second; 0 without a duration.

  It is the `nearest_rate`: times are rounded.
  """
  return float(nearest_rate(count / seconds)) if count and seconds > 0 else 0.0


def nearest_rate(rate: float) -> fractions.Fraction:
  """Returns the nearest rate like 25, 12.5, 30000/1001, or 1/3600 below 1."""
  if rate < 1:
    return 1 / fractions.Fraction(1 / rate).limit_denominator(1001)
  return fractions.Fraction(rate).limit_denominator(1001)


def frames_at(times: np.ndarray, seconds: np.ndarray) -> np.ndarray:
  """Returns the numbers of frames on the screen [S]; N from the end on.

  Seconds are rounded in many annotations: a frame that would be shown for less
  than half of the usual or its own time gives way to the next.
  """
  steps = np.diff(times)
  last = np.searchsorted(times, seconds, 'right') - 1
  last = np.clip(last, 0, len(steps) - 1)
  is_over = (
    times[last + 1] - seconds
    < np.minimum(steps[last], usual_step(times)) / 2 - 1e-6
  )
  # Of frames with the same time, the first.
  return np.where(
    is_over, last + 1, np.searchsorted(times, times[last], 'left')
  )


def frames_between(
  times: np.ndarray | None, start: float = 0.0, end: float = 0.0
) -> tuple[int, int]:
  """Returns the first frame and the number of frames on the screen.

  `start` and `end` are in seconds, 0 for the end of the video. A part may end
  up to TOLERANCE after it, or with at least half of its length in the video.
  Raises ValueError if there is no such part.
  """
  if times is None:
    raise ValueError(UNKNOWN)
  duration, count = float(times[-1]), len(times) - 1
  if not (0 <= start < np.inf and (end == 0 or start < end < np.inf)):
    cause = 'expected 0 <= start < end'
  elif start >= duration:
    cause = 'they begin after its end'
  elif end > max(duration + TOLERANCE, 2 * duration - start):
    cause = 'most of them are after its end'
  else:
    first, stop = frames_at(times, np.array([start, end or duration])).tolist()
    first = min(first, count - 1)
    return first, max(stop - first, 1)
  to = f'{end:g}' if end else 'the end'
  raise ValueError(
    f'seconds {start:g} to {to} of a video of {duration:.2f} s: {cause}'
  )


# --- From files ---------------------------------------------------------------


def index_times(
  video: VideoFile, dts: np.ndarray, shown: np.ndarray
) -> np.ndarray | None:
  """Returns the times of frames if those of decoding [N] are the same.

  An index has no others.
  """
  if video.stream.codec_context.has_b_frames or not shown.all():
    return None
  last = (video.stream.duration or 0) - int(dts[-1] - dts[0])
  return make_times(video, dts.tolist(), last)


def late_index_times(video: VideoFile, table: FrameTable) -> np.ndarray | None:
  """Returns the times of frames that reorder, by an index and the last packets.

  Most encoders take the times of display, some frames late, for those of
  decoding. Returns None if they did not, or if there is no index.
  """
  dts = [entry.timestamp for entry in video.stream.index_entries]
  start = video.stream.start_time
  if len(dts) != table.count or start not in dts[:REORDER]:
    return None
  key, delay = table.keyframe_before(table.count - REORDER), dts.index(start)
  if key.packet:
    video.seek(key.timestamp, table.places)
  try:
    pts = [packet.pts for packet in video.packets(key.packet) if packet.size]
  except av.FFmpegError:
    return None
  if None in pts or len(pts) < min(REORDER, table.count):
    return None
  pts.sort()
  stamps = dts[delay:] + pts[len(pts) - delay :]
  if stamps[-len(pts) :] != pts:
    return None
  last = start + (video.stream.duration or 0) - stamps[-1]
  return make_times(video, stamps, last)


def make_times(
  video: VideoFile, timestamps: Sequence[int | None], last: int
) -> np.ndarray | None:
  """Returns times of frames in order of display, see `frame_times`."""
  time_base = float(video.stream.time_base)
  return from_timestamps(timestamps, time_base, last, video.fps)


def packet_times(
  video: VideoFile, packets: Sequence[Packet], shown: Sequence[Packet]
) -> np.ndarray | None:
  """Returns the times of frames; `shown` are the packets that show them.

  Times of decoding are those of display, but for a delay.
  """
  known = [packet.dts for packet in packets if packet.dts is not None]
  is_joined = known != sorted(known)
  by_display = video.has_pts and not is_joined
  by_display &= all(packet.pts is not None for packet in shown)
  stamps = [packet.pts if by_display else packet.dts for packet in shown]
  last, stream = shown[-1].duration if shown else 0, video.stream
  if not is_joined and shown and None not in stamps:
    durations = [packet.duration for packet in shown]
    _, last = max(zip(stamps, durations, strict=True))
    stamps.sort()
  if stream.frames == len(packets) and stream.duration and by_display:
    # In mp4 and mov, packets have durations of decoding.
    last = (stream.start_time or 0) + stream.duration - max(stamps, default=0)
  return make_times(video, stamps, last)

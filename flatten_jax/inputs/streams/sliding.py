# SPDX-License-Identifier: Apache-2.0
"""Keeps the newest frames of a stream and cuts windows of them."""

from collections import deque
from collections.abc import Iterator, Mapping
import dataclasses
import math
from typing import NamedTuple

import numpy as np

from flatten_jax.inputs.timeline_windows import clip_frames, usual_length
from flatten_jax.inputs.video import frame_times

JUMP = 10.0  # Seconds; a live source whose time leaps further has a new clock.


class Frame(NamedTuple):
  """A frame of a stream."""

  number: int  # of those that were decoded
  seconds: float  # from the first frame on
  arrived: float  # `time.monotonic` seconds
  image: np.ndarray  # uint8 [h w 3]


@dataclasses.dataclass(frozen=True)
class StreamWindow:
  """A window of a stream.

  Attributes:
    start: seconds from the first frame of the stream on.
    end: of the window, in the same seconds.
    frames: of the clip, ascending, perhaps repeated.
    first: number of the first frame that is in the window.
    last: number of the last one.
    arrived: when the frame came that completed it, `time.monotonic` seconds.
  """

  start: float
  end: float
  frames: tuple[Frame, ...]
  first: int
  last: int
  arrived: float

  @property
  def clip(self) -> np.ndarray:
    """The frames, uint8 [T h w 3]."""
    return np.stack([frame.image for frame in self.frames])

  @property
  def positions(self) -> np.ndarray:
    """Numbers of the frames, from the first one of the clip on. [T]."""
    numbers = np.array([frame.number for frame in self.frames])
    return numbers - numbers[0]


class SlidingWindow:
  """Cuts a window every `every` seconds; its frames are as of a timeline.

  Frames that no later window needs are let go.

  Args:
    data: `config.data`, with the figures of the test views.
    every: seconds from the start of one window to that of the next.
    seconds: of a window; 0 for the length of a training clip, see
      `timeline_windows`.
  """

  def __init__(self, data: Mapping, every: float, seconds: float):
    self._data, self._every, self._seconds = data, every, seconds
    self.restart()

  def restart(self) -> None:
    """Forgets all frames: the next window begins with the next frame."""
    self._frames: deque[Frame] = deque()
    self._begin = math.nan  # Seconds of the first frame.
    self._steps = 0  # Windows since then.

  def add(self, frame: Frame) -> Iterator[StreamWindow]:
    """Adds the next frame, and yields the windows that it completes."""
    if self._frames and frame.image.shape != self._frames[-1].image.shape:
      self.restart()
    if not self._frames:
      self._begin = frame.seconds
    self._frames.append(frame)
    if len(self._frames) < 2:
      return
    times = np.array([frame.seconds for frame in self._frames])
    if times[-1] <= times[0]:
      return
    rate = 1 / frame_times.usual_step(times - times[0])
    length = self._seconds * rate or usual_length(self._data, rate)
    length = max(round(length), 1)
    seconds = self._seconds or length / rate
    # The newest frame is shown for one more step, give or take a little.
    while frame.seconds + 1.25 / rate >= self._next + seconds:
      yield self._cut(times, rate, length, self._next + seconds)
      self._steps += 1
    self._forget()

  @property
  def _next(self) -> float:
    """Seconds at which the next window begins."""
    return self._begin + self._every * self._steps

  def _cut(
    self, times: np.ndarray, rate: float, length: int, end: float
  ) -> StreamWindow:
    """Returns the next window, see `timeline_windows.plan_windows`."""
    start = self._next
    # Counted from a frame near by, since no rate is exact enough for hours.
    origin = times[np.abs(times - start).argmin()]
    first = round(((start + end) / 2 - origin) * rate - length / 2)
    middles = first + clip_frames(self._data, length, rate) + 0.5
    chosen = np.searchsorted(times, origin + middles / rate, 'right') - 1
    inside = np.searchsorted(times, [start - 0.25 / rate, end])
    numbers = [
      self._frames[min(i, len(times) - 1)].number
      for i in (int(inside[0]), int(inside[1]) - 1)
    ]
    frames = (self._frames[i] for i in np.maximum(chosen, 0).tolist())
    arrived = self._frames[-1].arrived
    return StreamWindow(start, end, tuple(frames), *numbers, arrived)

  def _forget(self) -> None:
    """Lets go of frames before the next window but for two, to round to."""
    while len(self._frames) > 2 and self._frames[2].seconds <= self._next:
      self._frames.popleft()


class StreamClock:
  """Seconds of frames from the first one on, whatever their timestamps do.

  Args:
    live: whether a leap forward is a new clock, too.
  """

  def __init__(self, live: bool):
    self._live = live
    self._offset = self._last = self._arrived = math.nan
    self._step = 0.04  # Until two frames tell.
    self._connected = True

  def reconnect(self) -> None:
    """Says that the timestamps of the next frame are new ones."""
    self._connected = False

  def seconds(self, stamp: float | None, arrived: float) -> float:
    """Returns the seconds of the next frame.

    Args:
      stamp: timestamp in seconds; None if it has none.
      arrived: `time.monotonic` seconds.
    """
    if math.isnan(self._last):
      now = 0.0
    elif not self._connected:
      now = self._last + max(arrived - self._arrived, self._step)
    else:
      now = self._last + self._step
      step = math.nan if stamp is None else stamp + self._offset - self._last
      if 0 <= step <= (JUMP if self._live else math.inf):
        now += step - self._step
        self._step = step or self._step
    if stamp is not None:
      self._offset = now - stamp
    self._last, self._arrived, self._connected = now, arrived, True
    return now

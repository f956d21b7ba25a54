# SPDX-License-Identifier: Apache-2.0
"""Clips all along a video, however long, from one pass over it.

Only the frames of windows that are not complete yet are in memory.
"""

from collections.abc import Iterator, Mapping, Sequence
import contextlib
import dataclasses
import math

import av
import numpy as np

from flatten_jax.inputs import sampling
from flatten_jax.inputs.video import frame_decoder
from flatten_jax.inputs.video.container import (
  VideoError,
  VideoFile,
  VideoPath,
  describe,
  open_video,
)
from flatten_jax.inputs.video.geometry import Layout
from flatten_jax.inputs.video.keyframes import FrameTable, frame_table

# Seconds that a model is shown at a time which was trained on whole videos:
# about the length of those of Something-Something (4.0) and HMDB51 (3.2).
WHOLE_VIDEO = 4.0


@dataclasses.dataclass(frozen=True)
class Window:
  """A part of a video, and the frames of it that make a clip.

  Attributes:
    start: seconds; this window speaks for the video from here
    end: to here. The frames are of a longer stretch around it.
    frames: their numbers, ascending, perhaps repeated [T].
  """

  start: float
  end: float
  frames: np.ndarray


def read_windows(
  path: VideoPath,
  data: Mapping,
  *,
  every: float = 1.0,
  seconds: float = 0.0,
  short_side: int | None = None,
) -> Iterator[tuple[Window, np.ndarray]]:
  """Decodes a window around the middle of every second of a video.

  Args:
    path: a video.
    data: `config.data`: which frames of a window make a clip.
    every: seconds from one window to the next.
    seconds: length of a window; 0 for that of a training clip, see
      `window_frames`. A video that is shorter is one window.
    short_side: see `decoding.read_clip`.

  Yields:
    Windows in the order of time, with their clips, uint8 [T H W 3].

  Raises:
    VideoError: the video cannot be read, or has no frame rate to tell seconds
      by. (Of a damaged one, what is before the damage is read.)
  """
  with open_video(path) as video:
    table, done = frame_table(video), 0
    if table and table.count:
      with contextlib.suppress(frame_decoder.MissingFrame, av.FFmpegError):
        plan = windows(video, table.count, data, every, seconds)
        for item in cut(video, table, plan, short_side):
          yield item
          done += 1
        return
    # Only a decoder understands it: it has to count, and then to begin again.
    count, _, _ = frame_decoder.decode_all(video)
    plan = windows(video, count, data, every, seconds)[done:]
    try:
      yield from cut(video, FrameTable(count), plan, short_side)
    except frame_decoder.MissingFrame as error:
      raise VideoError(video.file, describe(error)) from error


def windows(
  video: VideoFile, count: int, data: Mapping, every: float, seconds: float
) -> list[Window]:
  """The windows of a video of so many frames."""
  fps = video.fps
  if not fps:
    raise VideoError(video.file, 'no frame rate to find seconds by')
  length = round(seconds * fps) or window_frames(data, fps)
  length = min(max(length, 1), count)
  duration, found = count / fps, []
  for i in range(math.ceil(duration / every - 1e-6)):
    start, end = i * every, min((i + 1) * every, duration)
    # Around the middle of these seconds, as far as the video goes.
    first = round((start + end) / 2 * fps - length / 2)
    first = min(max(first, 0), count - length)
    found.append(Window(start, end, first + clip_frames(data, length)))
  return found


def window_frames(data: Mapping, fps: float) -> int:
  """How many frames of a video a training clip spans.

  With dense sampling `num_frames * stride`. With segment sampling it was the
  whole of a training video, and is taken to be WHOLE_VIDEO seconds.
  """
  if data['sampling'] == 'dense':
    return data['num_frames'] * data['stride']
  return round(WHOLE_VIDEO * fps)


def clip_frames(data: Mapping, length: int) -> np.ndarray:
  """The frames of a stretch that make a clip, as a test view's would. -> [T].

  A stretch of another length than a training clip's is read at another pace.
  """
  num_frames = data['num_frames']
  if data['sampling'] == 'dense':
    index = np.linspace(0, length - 1, num_frames).astype(np.int64)
    return sampling.repeat_middle(index) if data['repeat_frame'] else index
  return sampling.test_clips(data, length, 1)[0]


def cut(
  video: VideoFile,
  table: FrameTable,
  plan: Sequence[Window],
  short_side: int | None,
) -> Iterator[tuple[Window, np.ndarray]]:
  """The clip of each planned window, as soon as its last frame is decoded."""
  if not plan:
    return
  wanted = np.unique(np.concatenate([window.frames for window in plan]))
  layout, pictures, ahead = None, {}, iter(plan)
  window = next(ahead)
  for number, frame in frame_decoder.decode(video, table, wanted.tolist()):
    layout = layout or Layout.of(frame, video, short_side)
    pictures[number] = layout.rgb(frame).copy()  # The decoder's own memory.
    while window and window.frames[-1] <= number:
      yield window, np.stack([pictures[i] for i in window.frames.tolist()])
      window = next(ahead, None)
      first = window.frames[0] if window else number
      pictures = {i: p for i, p in pictures.items() if i >= first}

# SPDX-License-Identifier: Apache-2.0
"""Reads clips all along a video of any length, in one pass.

Only frames of incomplete windows are in memory.
"""

from collections.abc import Iterator, Mapping, Sequence
import dataclasses
import math

import numpy as np

from flatten_jax.inputs.flow import fields
from flatten_jax.inputs.flow.flow_video import FlowOptions
from flatten_jax.inputs.sampling import rules
from flatten_jax.inputs.video import frame_times
from flatten_jax.inputs.video.container import VideoError, VideoPath
from flatten_jax.inputs.video.interface import OpenVideo, Size
from flatten_jax.inputs.video.read import FrameCountCorrected
from flatten_jax.inputs.video.reader import open_any

# Seconds of a clip for models that were trained on whole videos: about the
# length of videos of Something-Something (4.0) and HMDB51 (3.2).
WHOLE_VIDEO = 4.0


@dataclasses.dataclass(frozen=True)
class Window:
  """A part of a video, and frames of a longer range around it for a clip."""

  start: float  # seconds
  end: float  # seconds
  frames: np.ndarray  # numbers, ascending, perhaps repeated [T]


def read_windows(
  path: VideoPath,
  data: Mapping,
  *,
  every: float = 1.0,
  seconds: float = 0.0,
  size: Size = None,
) -> Iterator[tuple[Window, np.ndarray]]:
  """Yields windows of a video and their clips, uint8 [T H W C].

  A window lies around the middle of `every` seconds and is `seconds` long,
  0 for the length of a training clip. Raises VideoError if the video cannot be
  read or has no frame rate; a damaged video is read up to the damage.
  """
  flow = FlowOptions.of(data)
  with open_any(path, size, flow=flow) as video:
    done = 0
    try:
      for item in cut(video, plan_windows(path, video, data, every, seconds)):
        yield item
        done += 1
    except FrameCountCorrected:
      plan = plan_windows(path, video, data, every, seconds)
      yield from cut(video, plan[done:])


def plan_windows(
  path: VideoPath, video: OpenVideo, data: Mapping, every: float, seconds: float
) -> list[Window]:
  """Returns the windows of an open video."""
  times = video.times
  if times is None:
    raise VideoError(str(path), frame_times.UNKNOWN)
  # Numbers below count the pictures of a screen at the usual rate: they are the
  # frames, if this rate never changes.
  duration, rate = float(times[-1]), 1 / frame_times.usual_step(times)
  count = max(round(duration * rate), 1)
  length = seconds * rate or usual_length(data, rate)
  length = min(max(round(length), 1), count)
  # A rest of less than a tenth belongs to the last window.
  num_windows = max(math.ceil(duration / every - 0.1), 1)
  edges = every * np.arange(num_windows + 1.0)
  edges[-1] = duration
  windows = []
  # Flow fields of a frame are of those after it, too.
  last = max(video.num_frames - 1 - fields.fields_of_frame(data), 0)
  for start, end in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
    # Around the middle of these seconds, inside of the video.
    first = round((start + end) / 2 * rate - length / 2)
    first = min(max(first, 0), count - length)
    middles = (first + clip_frames(data, length, rate) + 0.5) / rate
    frames = np.searchsorted(times, middles, 'right') - 1
    windows.append(Window(start, end, np.minimum(frames, last)))
  return windows


def usual_length(data: Mapping, rate: float) -> float:
  """Returns the frames of a window as long as a clip; `rate` in 1/s."""
  rule = rules.of_data(data)
  if rule.strided:
    return rule.span(rate)
  return (rule.seconds or WHOLE_VIDEO) * rate


def clip_frames(data: Mapping, length: int, rate: float) -> np.ndarray:
  """Chooses frames of a window as a test view does. -> [T].

  A window of another length than a training clip's is read at another speed;
  one frame is that in the middle.
  """
  rule = rules.of_data(data)
  if rule.num_frames == 1:
    index = np.array([(length - 1) // 2])
  elif rule.strided and length != round(rule.span(rate)):
    index = np.linspace(0, length - 1, rule.num_frames).astype(np.int64)
  else:
    (index,) = rule.test(length, rate, 1)
  return rules.repeat_middle(index) if data['repeat_frame'] else index


def cut(
  video: OpenVideo, windows: Sequence[Window]
) -> Iterator[tuple[Window, np.ndarray]]:
  """Yields the clip of each window as soon as its last frame is decoded."""
  if not windows:
    return
  wanted = np.unique(np.concatenate([window.frames for window in windows]))
  images, ahead = {}, iter(windows)
  window = next(ahead)
  for number, image in video.decode(wanted.tolist()):
    images[number] = image.copy()  # The decoder uses its memory again.
    while window and window.frames[-1] <= number:
      yield window, np.stack([images[i] for i in window.frames.tolist()])
      window = next(ahead, None)
      first = window.frames[0] if window else number
      images = {i: image for i, image in images.items() if i >= first}

# SPDX-License-Identifier: Apache-2.0
"""Opens the part of a video that a record names, and reads frames of it."""

from collections.abc import Callable
import dataclasses
from typing import TypeVar

import numpy as np

from flatten_jax.inputs.sources.dataset import Record
from flatten_jax.inputs.sources.video_index import Entry
from flatten_jax.inputs.video import frame_times
from flatten_jax.inputs.video.container import VideoError
from flatten_jax.inputs.video.interface import OpenVideo, Size
from flatten_jax.inputs.video.read import FrameCountCorrected
from flatten_jax.inputs.video.reader import Reader

Result = TypeVar('Result')


@dataclasses.dataclass(frozen=True)
class Part:
  """The part of an open video that a record names; all of it by default."""

  video: OpenVideo
  first: int  # frame
  length: int  # in frames

  @classmethod
  def of(cls, record: Record, video: OpenVideo) -> 'Part':
    """Finds the part; raises VideoError if there is none."""
    return cls(video, *frame_range(record, video))

  @property
  def fps(self) -> float:
    """Mean number of frames per second; 0 if unknown. May read the file."""
    times = self.video.times
    if times is None:
      return self.video.fps
    # Flow of one frame is longer than its video, see `FlowVideo`.
    last = min(self.first + self.length, len(times) - 1)
    seconds = times[last] - times[self.first]
    return frame_times.mean_rate(last - self.first, float(seconds))

  def read(self, numbers: np.ndarray) -> np.ndarray:
    """Decodes frames by their numbers in the part [T]. -> uint8 [T H W C]."""
    return self.video.read(self.first + numbers)

  def seconds(self, numbers: np.ndarray) -> np.ndarray:
    """Returns when frames are shown, from the video's first one on.

    float64 [T], NaN if the file does not tell. May read the file.
    """
    times = self.video.times
    if times is None:
      return np.full(len(numbers), np.nan)
    return times[self.first + numbers]


Sample = Callable[[Part], np.ndarray]


def read_clip(
  reader: Reader,
  record: Record,
  size: Size,
  sample: Sample,
  timed: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
  """Opens a record's part of a video and decodes some frames.

  `sample` chooses them by their numbers in the part. `size` is that of the
  frames. Raises VideoError.

  Returns:
    uint8 [T H W C], and the numbers [T]; `timed`, their `Part.seconds` instead.
  """

  def read(part: Part) -> tuple[np.ndarray, np.ndarray]:
    numbers = sample(part)
    frames = part.read(numbers)
    return frames, part.seconds(numbers) if timed else numbers

  return read_part(reader, record, size, read)


def read_part(
  reader: Reader, record: Record, size: Size, read: Callable[[Part], Result]
) -> Result:
  """Opens a record's part of a video and reads in it; raises VideoError."""
  with reader.open(record.path, size) as video:
    try:
      return read(Part.of(record, video))
    except FrameCountCorrected:  # A damaged file: sample what it really has.
      return read(Part.of(record, video))


def frame_range(record: Record, video: OpenVideo | Entry) -> tuple[int, int]:
  """Returns the first frame and the number of frames of a record's part.

  Raises VideoError if there is no such part.
  """
  if not (record.start or record.end):
    return 0, video.num_frames
  try:
    return frame_times.frames_between(video.times, record.start, record.end)
  except ValueError as error:
    raise VideoError(str(record.path), str(error)) from error

# SPDX-License-Identifier: Apache-2.0
"""Reads exactly the frames of a video that are asked for.

Frames are numbered in the order in which a full decode shows them. Only wanted
frames are converted to RGB, at their final size.
"""

from collections.abc import Iterator
import contextlib
import dataclasses
import math
from typing import NoReturn

import av
import numpy as np

from flatten_jax.inputs.video import frame_decoder
from flatten_jax.inputs.video.container import (
  DecoderStuck,
  VideoError,
  VideoFile,
  VideoPath,
  describe,
  library_errors,
  open_video,
)
from flatten_jax.inputs.video.frame_table import (
  decode_all,
  frame_table,
  with_times,
)
from flatten_jax.inputs.video.geometry import FrameGeometry, Orientation
from flatten_jax.inputs.video.interface import OpenVideo, Size
from flatten_jax.inputs.video.keyframes import FrameTable


class FrameCountCorrected(VideoError):
  """A damaged video; `num_frames` is now the number that can be decoded."""


class Video(OpenVideo):
  """An open video file; `table` is the one of its frames, if it is known."""

  def __init__(
    self,
    path: VideoPath,
    size: Size = None,
    time_limit: float = 0.0,
    table: FrameTable | None = None,
  ):
    super().__init__(path, size, time_limit)
    self._geometry: FrameGeometry | None = None
    self._counted = False  # Whether all frames have been decoded once.
    self._limit.call(self._open, table)

  def _open(self, table: FrameTable | None) -> None:
    with library_errors(self._path):
      self._file = VideoFile(self._path, self._limit.deadline)
      try:
        self._table = table or frame_table(self._file)
        if not self._table or not self._table.count:
          self._count()
        self.fps = self._file.fps
      except BaseException:
        self._file.close()
        raise

  @property
  def num_frames(self) -> int:
    """Number of frames; a damaged file may claim too many."""
    return self._table.count

  @property
  def times(self) -> np.ndarray | None:
    """When frames are shown, see `frame_times`; None if the file tells not."""
    self._table = self._limit.call(self._with_times)
    return self._table.times

  def _with_times(self) -> FrameTable:
    with library_errors(self._path):
      return with_times(self._file, self._table)

  def decode(self, wanted: list[int]) -> Iterator[tuple[int, np.ndarray]]:
    """Yields frames and their numbers, see `OpenVideo`."""
    with library_errors(self._path):
      try:
        frames = frame_decoder.decode(self._file, self._table, wanted)
        for number, frame in frames:
          # From a keyframe, which may tell the orientation for those after it.
          self._geometry = self._geometry or FrameGeometry.of(
            frame, self._file, self._size
          )
          if number is not None:
            is_same = self._geometry.is_of(frame)
            self.depends_on_clip |= frame.is_corrupt or not is_same
            yield number, self._image(frame)
      except (frame_decoder.MissingFrame, av.FFmpegError) as error:
        self._correct(error)

  def _image(self, frame: av.VideoFrame) -> np.ndarray:
    return self._geometry.rgb(frame)

  def _correct(self, error: Exception) -> NoReturn:
    """Counts the frames after decoding by the file's own table failed.

    From then on, all frames are decoded from the beginning.
    """
    if self._counted and not self._table.keyframes:
      raise VideoError(self._file.file, describe(error)) from error
    claimed = self.num_frames
    if not self._counted:
      self._count()
    self._table = dataclasses.replace(self._table, keyframes=(), order=None)
    cause = f'{self.num_frames} of {claimed} frames can be decoded'
    raise FrameCountCorrected(self._file.file, cause) from error

  def _count(self) -> None:
    self._table, _, _ = decode_all(self._file)
    self._counted = True

  def close(self) -> None:
    """Frees the decoder, unless it is stuck.

    That the time is over is no error any more: what was read is whole.
    """
    if not self._limit.busy:
      with contextlib.suppress(DecoderStuck):
        self._limit.call(self._file.close)


@dataclasses.dataclass(frozen=True)
class VideoInfo:
  """Properties of a video; size in pixels as shown: upright, square pixels."""

  num_frames: int
  fps: float  # 0 if unknown
  duration: float  # seconds
  width: int
  height: int
  rotation: int  # see `Orientation`; width and height are after it
  codec: str
  damage: str = ''  # the error that stopped the decoder before the end

  @classmethod
  def of(
    cls,
    file: VideoFile,
    frame: av.VideoFrame,
    table: FrameTable,
    damage: str = '',
  ) -> 'VideoInfo':
    """Describes an open video, given one of its frames and their times."""
    height, width = FrameGeometry.of(frame, file).shape
    duration = 0.0 if table.times is None else float(table.times[-1])
    return cls(
      num_frames=table.count,
      fps=file.fps,
      duration=duration,
      width=width,
      height=height,
      rotation=Orientation.of(frame).rotation,
      codec=file.codec,
      damage=damage,
    )


def probe(path: VideoPath, deadline: float = math.inf) -> VideoInfo:
  """Decodes a whole video and describes it; raises VideoError if it fails."""
  with open_video(path, deadline) as file:
    table, frame, damage = decode_all(file)
    return VideoInfo.of(file, frame, table, damage)

# SPDX-License-Identifier: Apache-2.0
"""Reads chosen frames of a video file, exactly those, and says why it cannot.

Frames are numbered in the order in which a full decode shows them. Only wanted
ones are converted to RGB, at their final size.
"""

from collections.abc import Callable, Sequence
import contextlib
import dataclasses
import math

import av
import numpy as np

from flatten_jax.inputs.video.container import (
  VideoError,
  VideoFile,
  VideoPath,
  open_video,
)
from flatten_jax.inputs.video.frame_decoder import (
  MissingFrame,
  decode,
  decode_all,
)
from flatten_jax.inputs.video.geometry import Layout
from flatten_jax.inputs.video.keyframes import FrameTable, frame_table

__all__ = ['VideoError', 'VideoInfo', 'probe', 'read_clip']


@dataclasses.dataclass(frozen=True)
class VideoInfo:
  """What a video holds; size in pixels as shown: upright, square pixels."""

  num_frames: int
  fps: float  # 0 where unknown
  duration: float  # seconds
  width: int
  height: int
  rotation: int  # degrees, counterclockwise; width and height are after it
  codec: str
  damage: str = ''  # what stopped the decoder before the end of the file


def probe(path: VideoPath, deadline: float = math.inf) -> VideoInfo:
  """Decodes the whole video, converting nothing, and says what it holds.

  Raises:
    VideoError: for a file without a single frame.
  """
  with open_video(path, deadline) as video:
    count, frame, damage = decode_all(video)
    height, width = Layout.of(frame, video).shape
    return VideoInfo(
      num_frames=count,
      fps=video.fps,
      duration=count / video.fps if video.fps else 0.0,
      width=width,
      height=height,
      rotation=frame.rotation,
      codec=video.codec,
      damage=damage,
    )


def read_clip(
  path: VideoPath,
  choose: Callable[[int, float], Sequence[int]],
  short_side: int | None = None,
  deadline: float = math.inf,
  table: FrameTable | None = None,
) -> np.ndarray:
  """Decodes the frames that `choose` names.

  Args:
    path: a video file, or one inside of a prepared set.
    choose: called with (num_frames, fps), returns frame numbers, in any order
      and as often as wanted. A damaged file may turn out to have fewer frames
      than it says; then `choose` is called again, with the true number.
    short_side: resizes while decoding, so that the shorter side has this many
      pixels.
    deadline: when to give up, by `time.monotonic`.
    table: what `frame_table` says of this video, where it was asked before.

  Returns:
    uint8 [T H W 3] RGB, upright, with square pixels.

  Raises:
    VideoError: for a file that is no video, or has no frame that can be read,
      or not in time.
  """
  with open_video(path, deadline) as video:
    table = table or frame_table(video)
    if table and table.count:
      with contextlib.suppress(MissingFrame, av.FFmpegError):
        return read_frames(video, table, choose, short_side)
    # Damaged, or of a kind that only a decoder understands: it has to tell.
    count, _, _ = decode_all(video)
    try:
      return read_frames(video, FrameTable(count), choose, short_side)
    except MissingFrame as error:
      raise VideoError(video.file, str(error)) from error


def read_frames(
  video: VideoFile, table: FrameTable, choose, short_side: int | None
) -> np.ndarray:
  """The chosen frames of an open video. -> uint8 [T H W 3]."""
  index = np.asarray(choose(table.count, video.fps), np.int64)
  wanted = np.unique(index).tolist()
  if not 0 <= wanted[0] <= wanted[-1] < table.count:
    raise IndexError(
      f'Frames {wanted[0]} to {wanted[-1]} were asked of {video.file}, which '
      f'has {table.count}.'
    )
  layout = clip = None
  for number, frame in decode(video, table, wanted):
    if layout is None:
      layout = Layout.of(frame, video, short_side)
      clip = np.empty((len(index), *layout.shape, 3), np.uint8)
    clip[index == number] = layout.rgb(frame)
  return clip

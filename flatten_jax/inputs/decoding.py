# SPDX-License-Identifier: Apache-2.0
"""Reads chosen frames of a video file, exactly those, and says why it cannot.

Frames are numbered as a decoder shows them from the first to the last. Only the
stretch from the keyframe before a wanted frame is decoded, and only wanted
frames are converted to RGB.
"""

from collections.abc import Callable, Iterator, Sequence
import contextlib
import dataclasses
import os

import av
from av.stream import Discard, Disposition
from av.video.reformatter import VideoReformatter
import numpy as np


class VideoError(Exception):
  """A video that cannot be read: which file, and why, in one line."""

  def __init__(self, file: str, cause: str):
    super().__init__(file, cause)
    self.file = file
    self.cause = cause

  def __str__(self) -> str:
    return f'{self.file}: {self.cause}'


@dataclasses.dataclass(frozen=True)
class VideoInfo:
  """What a video holds; size in pixels as shown: upright, square pixels."""

  num_frames: int
  fps: float
  duration: float  # seconds
  width: int
  height: int
  rotation: int  # degrees counterclockwise that the player turns each frame
  codec: str


def probe(path: str | os.PathLike) -> VideoInfo:
  """What a full decode of the video gives; raises VideoError if nothing."""
  with opened(path) as (_, stream, container):
    first, count = None, 0
    with contextlib.suppress(av.FFmpegError):
      for frame in container.decode(stream):
        first = first or frame
        count += 1
    if first is None:
      raise VideoError(os.fspath(path), 'no frame can be decoded')
    fps = frame_rate(stream)
    width, height = display_size(first)
    return VideoInfo(
      num_frames=count,
      fps=fps,
      duration=count / fps if fps else 0.0,
      width=width,
      height=height,
      rotation=first.rotation,
      codec=stream.codec_context.name,
    )


def read_clip(
  path: str | os.PathLike,
  choose: Callable[[int, float], Sequence[int]],
  short_side: int | None = None,
) -> np.ndarray:
  """The frames that `choose(num_frames, fps)` names. -> uint8 [T H W 3] RGB."""
  with opened(path) as (file, stream, container):
    order = display_order(container, stream)
    if not order:
      raise VideoError(file, 'no frame can be decoded')
    index = np.asarray(choose(len(order), frame_rate(stream)))
  wanted = sorted(set(index.tolist()))
  reformatter, frames = VideoReformatter(), {}
  with opened(path) as (file, stream, container):
    for number, frame in enumerate(container.decode(stream)):
      if number == wanted[len(frames)]:
        frames[number] = to_rgb(frame, reformatter, short_side)
        if len(frames) == len(wanted):
          break
  if len(frames) < len(wanted):
    raise VideoError(file, f'only {number + 1} frames can be decoded')
  return np.stack([frames[i] for i in index.tolist()])


def display_order(container, stream) -> list[int]:
  return sorted(p.pts for p in container.demux(stream) if p.size)


@contextlib.contextmanager
def opened(path: str | os.PathLike) -> Iterator[tuple]:
  """The file's name, its video stream and its container, closed afterwards."""
  file = os.fspath(path)
  if not os.path.isfile(file):
    raise VideoError(file, 'no such file')
  try:
    # A name may hold colons; a playlist must not make us open anything else.
    with av.open(
      f'file:{file}',
      metadata_errors='ignore',
      options={'protocol_whitelist': 'file'},
    ) as container:
      yield file, choose_stream(file, container), container
  except av.FFmpegError as error:
    raise VideoError(file, error.strerror or type(error).__name__) from error


def choose_stream(file: str, container):
  """The first stream that is a moving picture; all others are left unread."""
  videos = [
    stream
    for stream in container.streams.video
    if not stream.disposition & Disposition.attached_pic
  ]
  if not videos:
    raise VideoError(file, 'no video stream')
  for stream in container.streams:
    if stream is not videos[0]:
      stream.discard = Discard.all
  videos[0].thread_type = 'NONE'
  videos[0].codec_context.thread_count = 1
  return videos[0]


def frame_rate(stream) -> float:
  """Frames per second, 0 where the file does not say."""
  return float(stream.average_rate or stream.guessed_rate or 0)


def display_size(frame) -> tuple[int, int]:
  return frame.width, frame.height


def to_rgb(frame, reformatter, short_side) -> np.ndarray:
  width, height = frame.width, frame.height
  if short_side:
    scale = short_side / min(width, height)
    width, height = round(width * scale), round(height * scale)
  image = reformatter.reformat(
    frame, width, height, 'rgb24', threads=1
  ).to_ndarray()
  return np.rot90(image, frame.rotation // 90)

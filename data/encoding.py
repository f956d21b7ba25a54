# SPDX-License-Identifier: Apache-2.0
"""Encodes videos and folders of frames as H.264 in mp4, upright."""

from collections.abc import Iterator, Mapping
import contextlib
from fractions import Fraction
import io
import itertools
import math

import av
from av.video.frame import PictureType
from av.video.reformatter import (
  ColorRange,
  Colorspace,
  Interpolation,
  VideoReformatter,
)
import numpy as np

from flatten_jax.inputs.video import frame_times
from flatten_jax.inputs.video.container import (
  StoredVideo,
  VideoError,
  open_video,
)
from flatten_jax.inputs.video.frame_decoder import decode_from_start
from flatten_jax.inputs.video.frame_files.frame_folder import (
  FrameFolder,
  FramesPath,
)
from flatten_jax.inputs.video.frame_writer import FrameWriter
from flatten_jax.inputs.video.geometry import (
  FrameGeometry,
  Orientation,
  correct_matrix,
)
from flatten_jax.inputs.video.read import Video

UNKNOWN_RATE = (
  25  # Frames per second of files that tell neither rate nor times.
)


def encode(
  video: StoredVideo, short_side: int, options: Mapping[str, str]
) -> bytes:
  """Encodes as H.264 in mp4, with the same frames and times but fewer pixels.

  `options` are x264's. The pictures themselves are turned, not by a tag.
  Frames behind a damaged one are lost, as they are in reading.
  """
  target = io.BytesIO()
  with Video(video) as opened:
    times = opened.times
    if times is None:
      times = frame_times.uniform(opened.num_frames, UNKNOWN_RATE)
  with open_video(video) as source:
    frames = decode_from_start(source)
    first = next(frames, None)
    if first is None:
      raise VideoError(str(video), 'no frame')
    with av.open(target, 'w', format='mp4') as output:
      rate = source.stream.average_rate or source.stream.guessed_rate or 25
      geometry = FrameGeometry.of(first, source)
      shape = scaled_shape(geometry.shape, short_side)
      stream = add_stream(output, first, shape, rate, options)
      scaler = Scaler(stream, geometry.orientation)
      writer = FrameWriter(output, stream)
      frames = itertools.chain([first], up_to_damage(frames))
      for frame, shown in zip(frames, itertools.pairwise(times), strict=False):
        writer.add(scaler(frame), *shown)
      writer.finish()
  return target.getvalue()


def encode_frames(
  path: FramesPath, short_side: int, options: Mapping[str, str]
) -> bytes:
  """Encodes a folder of frames as H.264 in mp4, with exactly these frames.

  Raises:
    VideoError: a frame is damaged, or of another size.
  """
  target = io.BytesIO()
  with (
    FrameFolder(path) as video,
    av.open(target, 'w', format='mp4') as output,
  ):
    rate, stream = frame_times.nearest_rate(video.fps), None
    for number, image in video.decode(range(video.num_frames)):
      frame = av.VideoFrame.from_ndarray(image, format='rgb24')
      frame.pts, frame.time_base = number, 1 / rate
      if not stream:
        shape = scaled_shape(image.shape[:2], short_side)
        stream = add_stream(output, frame, shape, rate, options)
        scaler = Scaler(stream, Orientation())
      output.mux(stream.encode(scaler(frame)))
    output.mux(stream.encode())
  return target.getvalue()


def add_stream(
  output: av.container.OutputContainer,
  first: av.VideoFrame,
  shape: tuple[int, int],
  rate: Fraction,
  options: Mapping[str, str],
) -> av.VideoStream:
  """Adds a stream for frames of a shape, with the colours of the first."""
  stream = output.add_stream('libx264', rate=rate, options=dict(options))
  stream.height, stream.width = shape
  stream.pix_fmt = 'yuv420p'
  context = stream.codec_context
  context.thread_count = 1
  context.time_base = first.time_base
  context.color_range = ColorRange.MPEG
  context.colorspace = stored_matrix(first)
  context.color_primaries = first.color_primaries
  context.color_trc = first.color_trc
  return stream


def stored_matrix(frame: av.VideoFrame) -> int:
  """Returns the matrix of a frame's colours; FFmpeg's default if unknown."""
  correct_matrix(frame)
  has_matrix = frame.colorspace in iter(Colorspace)
  return frame.colorspace if has_matrix else Colorspace.ITU601


def scaled_shape(shape: tuple[int, int], short_side: int) -> tuple[int, int]:
  """Returns height and width, even; never enlarges. 0 keeps the size."""
  factor = min(1.0, (short_side or math.inf) / min(shape))
  return tuple(max(2, 2 * round(x * factor / 2)) for x in shape)


class Scaler:
  """Makes frames upright, of a stream's size and range of colours."""

  def __init__(self, stream: av.VideoStream, orientation: Orientation):
    self._orientation = orientation
    self._size = orientation.swap(stream.width, stream.height)
    self._matrix = stream.codec_context.colorspace
    self._reformatter = VideoReformatter()

  def __call__(self, frame: av.VideoFrame) -> av.VideoFrame:
    """Returns the frame to encode; the encoder chooses keyframes."""
    scaled = self._reformatter.reformat(
      frame,
      *self._size,
      'yuv420p',
      src_colorspace=stored_matrix(frame),
      dst_colorspace=self._matrix,
      dst_color_range=ColorRange.MPEG,
      interpolation=Interpolation.AREA | Interpolation.ACCURATE_RND,
      threads=1,
    )
    small = turn_planes(scaled, self._orientation)
    small.pts, small.time_base = frame.pts, frame.time_base
    small.pict_type = PictureType.NONE
    return small


def turn_planes(
  frame: av.VideoFrame, orientation: Orientation
) -> av.VideoFrame:
  """Returns a frame with even sides, in yuv420p, upright."""
  pixels, sides = frame.to_ndarray().ravel(), (frame.height, frame.width)
  half = [side // 2 for side in sides]
  luma, chroma = np.split(pixels, [math.prod(sides)])
  planes = [luma.reshape(sides), *chroma.reshape(2, *half)]
  pixels = np.concatenate([orientation.apply(p).ravel() for p in planes])
  width, _ = orientation.swap(*sides[::-1])
  return av.VideoFrame.from_ndarray(pixels.reshape(-1, width), 'yuv420p')


def up_to_damage(frames: Iterator[av.VideoFrame]) -> Iterator[av.VideoFrame]:
  """Yields the frames before the first that cannot be decoded."""
  with contextlib.suppress(av.FFmpegError):
    yield from frames

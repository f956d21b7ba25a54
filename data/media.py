# SPDX-License-Identifier: Apache-2.0
"""Checks videos before they are stored, and re-encodes them on request."""

from collections.abc import Iterable, Iterator, Mapping
import contextlib
import dataclasses
from fractions import Fraction
import io
import itertools
import math
import os

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
  VideoError,
  describe,
  open_video,
)
from flatten_jax.inputs.video.frame_decoder import decode_from_start
from flatten_jax.inputs.video.frame_folder import FrameFolder, FramesPath
from flatten_jax.inputs.video.geometry import (
  FrameGeometry,
  Orientation,
  correct_matrix,
)
from flatten_jax.inputs.video.read import Video

UNKNOWN_RATE = (
  25  # Frames per second of files that tell neither rate nor times.
)
CHECKS = ('none', 'first', 'all')
# Records are protocol buffers, which end at 2 GiB.
LARGEST = 2**31 - 2**16


@dataclasses.dataclass(frozen=True)
class LoadedVideo:
  """A video file in memory."""

  path: str
  data: bytes = dataclasses.field(repr=False)

  @property
  def suffix(self) -> str:
    """Suffix of the file name."""
    return os.path.splitext(self.path)[1]

  def __str__(self) -> str:
    return self.path

  def read(self) -> bytes:
    """Returns the bytes of the file."""
    return self.data


@dataclasses.dataclass(frozen=True)
class Treatment:
  """Converts a video file, or a folder of frames, to the bytes to store.

  Attributes:
    check: frames to decode before it is stored: 'none', the 'first' or 'all'.
    short_side: in pixels; larger videos are scaled down and re-encoded as H.264
      without sound. 0 stores the file's own bytes; frames are encoded in
      their own size.
    gop: greatest distance of keyframes, in frames.
    crf: quality in x264's scale: less is better, 18 is nearly lossless.
  """

  check: str = 'first'
  short_side: int = 0
  gop: int = 12
  crf: int = 20

  def __post_init__(self):
    if self.check not in CHECKS:
      raise ValueError(f'check is one of {CHECKS}, not {self.check!r}.')
    if self.short_side < 0 or self.gop < 1 or not 0 <= self.crf <= 51:
      raise ValueError(
        'Expected short_side >= 0, gop >= 1 and crf in 0 to 51, got '
        f'{self.short_side}, {self.gop} and {self.crf}.'
      )

  def __call__(self, path: str | FramesPath) -> tuple[bytes, str]:
    """Returns the bytes to store, and their suffix.

    Raises:
      VideoError: the file cannot be read, or holds no frame.
    """
    if isinstance(path, FramesPath):
      return encode_frames(path, self), '.mp4'
    try:
      size = os.path.getsize(path)
      if size > LARGEST:
        raise VideoError(path, f'{size} bytes are more than a record can hold')
      with open(path, 'rb') as file:
        video = LoadedVideo(path, file.read())
    except OSError as error:
      raise VideoError(path, describe(error)) from error
    if not video.data:
      raise VideoError(path, 'the file is empty')
    if self.short_side:
      return encode(video, self), '.mp4'
    if self.check != 'none':
      decode(video, whole=self.check == 'all')
    return video.data, video.suffix


def decode(video: LoadedVideo, whole: bool) -> None:
  """Decodes the first frame, or all of them.

  Raises:
    VideoError: there is no frame, or one of all frames is damaged.
  """
  with open_video(video) as opened:
    frames = decode_from_start(opened)
    if next(frames, None) is None:
      raise VideoError(str(video), 'no frame')
    if whole:
      for _ in frames:
        pass


def encode(video: LoadedVideo, treatment: Treatment) -> bytes:
  """Encodes as H.264 in mp4, with the same frames and times but fewer pixels.

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
    durations = {}  # By timestamp.
    with av.open(target, 'w', format='mp4') as output:
      rate = source.stream.average_rate or source.stream.guessed_rate or 25
      geometry = FrameGeometry.of(first, source)
      stream = add_stream(output, first, geometry.shape, treatment, rate)
      scaler = Scaler(stream, geometry.orientation)
      frames = itertools.chain([first], up_to_damage(frames))
      for frame, duration in retime(frames, times):
        durations[frame.pts] = duration
        write(output, stream.encode(scaler(frame)), durations)
      rest = stream.encode()
      if rest:  # The track lasts as long as its last packet.
        end = frame.pts + duration
        durations[rest[-1].pts] = end - rest[-1].pts
      write(output, rest, durations)
  return target.getvalue()


def write(
  output: av.container.OutputContainer,
  packets: Iterable[av.Packet],
  durations: Mapping[int, int],
) -> None:
  """Writes packets with their durations, which encoders do not pass on."""
  for packet in packets:
    packet.duration = durations[packet.pts]
    output.mux(packet)


def encode_frames(path: FramesPath, treatment: Treatment) -> bytes:
  """Encodes a folder of frames as H.264 in mp4, with exactly these frames.

  Raises:
    VideoError: a frame is damaged, or of another size.
  """
  target = io.BytesIO()
  with (
    FrameFolder(path) as video,
    av.open(target, 'w', format='mp4') as output,
  ):
    rate, stream = Fraction(video.fps).limit_denominator(1001), None
    for number, image in video.decode(range(video.num_frames)):
      frame = av.VideoFrame.from_ndarray(image, format='rgb24')
      frame.pts, frame.time_base = number, 1 / rate
      if not stream:
        stream = add_stream(output, frame, image.shape[:2], treatment, rate)
        scaler = Scaler(stream, Orientation())
      output.mux(stream.encode(scaler(frame)))
    output.mux(stream.encode())
  return target.getvalue()


def add_stream(
  output: av.container.OutputContainer,
  first: av.VideoFrame,
  shape: tuple[int, int],
  treatment: Treatment,
  rate: Fraction,
) -> av.VideoStream:
  """Adds a stream for frames of an upright shape, with the first's colours."""
  options = {'crf': str(treatment.crf), 'g': str(treatment.gop)}
  options['preset'] = 'fast'
  stream = output.add_stream('libx264', rate=rate, options=options)
  stream.height, stream.width = scaled_shape(shape, treatment.short_side)
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


def retime(
  frames: Iterable[av.VideoFrame], times: np.ndarray
) -> Iterator[tuple[av.VideoFrame, int]]:
  """Yields frames with timestamps as they are shown, and their durations.

  Timestamps begin at 0 and increase; `times` are in seconds, of each frame and
  of the end [N + 1].
  """
  last = -1
  for frame, (start, end) in zip(
    frames, itertools.pairwise(times), strict=False
  ):
    start, end = (round(time / frame.time_base) for time in (start, end))
    last = frame.pts = max(start, last + 1)
    yield frame, max(end - last, 1)

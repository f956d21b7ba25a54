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
from av.video.reformatter import ColorRange, Colorspace
import numpy as np

from flatten_jax.inputs.video import frame_times
from flatten_jax.inputs.video.container import (
  VideoError,
  describe,
  open_video,
)
from flatten_jax.inputs.video.frame_decoder import decode_from_start
from flatten_jax.inputs.video.frame_folder import FrameFolder, FramesPath
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
      aspect = source.stream.sample_aspect_ratio or 1
      stream = add_stream(output, first, treatment, rate, aspect)
      frames = itertools.chain([first], up_to_damage(frames))
      for frame, duration in retime(frames, times):
        durations[frame.pts] = duration
        write(output, stream.encode(scale(frame, stream)), durations)
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
      stream = stream or add_stream(output, frame, treatment, rate)
      output.mux(stream.encode(scale(frame, stream)))
    output.mux(stream.encode())
  return target.getvalue()


def add_stream(
  output: av.container.OutputContainer,
  first: av.VideoFrame,
  treatment: Treatment,
  rate: Fraction,
  aspect: Fraction = Fraction(1),
) -> av.VideoStream:
  """Adds a stream with the rotation and colours of the first frame."""
  options = {'crf': str(treatment.crf), 'g': str(treatment.gop)}
  options['preset'] = 'fast'
  stream = output.add_stream('libx264', rate=rate, options=options)
  stream.width, stream.height = scaled_size(first, aspect, treatment.short_side)
  stream.pix_fmt = 'yuv420p'
  context = stream.codec_context
  context.thread_count = 1
  context.time_base = first.time_base
  if first.format.is_rgb:  # Converted by FFmpeg's default.
    context.colorspace, context.color_range = Colorspace.ITU601, ColorRange.MPEG
  else:
    context.colorspace = first.colorspace
  if first.rotation:
    stream.set_display_rotation(first.rotation)
  return stream


def scaled_size(
  frame: av.VideoFrame, aspect: float, short_side: int
) -> tuple[int, int]:
  """Returns width and height, even, for square pixels; never enlarges.

  A `short_side` of 0 keeps the size.
  """
  width, height = float(frame.width * aspect), float(frame.height)
  factor = min(1.0, (short_side or math.inf) / min(width, height))
  return tuple(max(2, 2 * round(x * factor / 2)) for x in (width, height))


def scale(frame: av.VideoFrame, stream: av.VideoStream) -> av.VideoFrame:
  """Scales a frame to the stream's size; the encoder chooses keyframes."""
  small = frame.reformat(
    stream.width, stream.height, 'yuv420p', interpolation='AREA'
  )
  small.pts, small.time_base = frame.pts, frame.time_base
  small.pict_type = PictureType.NONE
  return small


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

# SPDX-License-Identifier: Apache-2.0
"""Looks into videos before they are stored, and makes them small on request."""

from collections.abc import Iterator
import contextlib
import dataclasses
import io
import itertools
import os

import av
from av.stream import Disposition
from av.video.frame import PictureType

CHECKS = ('none', 'first', 'all')
# Records are protocol buffers, which end at 2 GiB.
LARGEST = 2**31 - 2**16


class Unreadable(Exception):
  """Why a video cannot be stored, in one line."""


@dataclasses.dataclass(frozen=True)
class Treatment:
  """What is done to a video on the way.

  Attributes:
    check: frames to decode before it is stored: 'none', the 'first' or 'all'.
    short_side: in pixels; larger videos are scaled down and encoded anew as
      H.264 without sound. 0 stores the file's own bytes.
    gop: a keyframe at least every so many frames.
    crf: quality, x264's: less is better, 18 can hardly be told from the source.
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

  def __call__(self, path: str) -> tuple[bytes, str]:
    """The bytes to store, and the suffix that they go by.

    Raises:
      Unreadable: there is no frame in them.
    """
    suffix = os.path.splitext(path)[1]
    try:
      size = os.path.getsize(path)
      if not size:
        raise Unreadable('the file is empty')
      if size > LARGEST:
        raise Unreadable(f'{size} bytes are more than a record can hold')
      with open(path, 'rb') as file:
        data = file.read()
      if self.short_side:
        return encode(data, suffix, self), '.mp4'
      if self.check != 'none':
        check(data, suffix, whole=self.check == 'all')
    except FileNotFoundError as error:
      raise Unreadable('no such file') from error
    except (av.FFmpegError, OSError) as error:
      text = getattr(error, 'strerror', None) or str(error)
      raise Unreadable(' '.join(text.split())) from error
    return data, suffix


def open_video(data: bytes, suffix: str) -> av.container.InputContainer:
  """A container around bytes; the suffix helps to tell its format."""
  source = io.BytesIO(data)
  source.name = f'video{suffix}'
  # A playlist must not lead to other places.
  options = {'protocol_whitelist': 'file'}
  return av.open(source, metadata_errors='ignore', options=options)


def moving_picture(container: av.container.InputContainer) -> av.VideoStream:
  """The first stream that is one; cover art is not.

  Raises:
    Unreadable: there is none, or no decoder for it.
  """
  for stream in container.streams.video:
    if not stream.disposition & Disposition.attached_pic:
      if stream.codec_context is None:
        raise Unreadable('no decoder for its video stream')
      # Videos are handled side by side; threads within one get in the way.
      stream.thread_type = 'NONE'
      stream.codec_context.thread_count = 1
      return stream
  raise Unreadable('no video stream')


def check(data: bytes, suffix: str, whole: bool) -> None:
  """Decodes the first frame, or all of them.

  Raises:
    Unreadable: there is no frame, or, of a `whole` video, one is damaged.
  """
  with open_video(data, suffix) as container:
    frames = container.decode(moving_picture(container))
    if next(frames, None) is None:
      raise Unreadable('no frame')
    if whole:
      for _ in frames:
        pass


def encode(data: bytes, suffix: str, treatment: Treatment) -> bytes:
  """The video as H.264 in mp4: same frames and times, fewer pixels.

  Frames behind a damaged one are lost, as they would be at reading.
  """
  target = io.BytesIO()
  with open_video(data, suffix) as container:
    source = moving_picture(container)
    frames = container.decode(source)
    first = next(frames, None)
    if first is None:
      raise Unreadable('no frame')
    with av.open(target, 'w', format='mp4') as output:
      stream = add_stream(output, source, first, treatment)
      for frame in timed(itertools.chain([first], up_to_damage(frames))):
        output.mux(stream.encode(scale(frame, stream)))
      output.mux(stream.encode())
  return target.getvalue()


def add_stream(
  output: av.container.OutputContainer,
  source: av.VideoStream,
  first: av.VideoFrame,
  treatment: Treatment,
) -> av.VideoStream:
  """The stream to encode to, shown as large, upright and coloured as before."""
  options = {'crf': str(treatment.crf), 'g': str(treatment.gop)}
  options['preset'] = 'fast'
  rate = source.average_rate or source.guessed_rate or 25
  stream = output.add_stream('libx264', rate=rate, options=options)
  stream.width, stream.height = scaled_size(first, source, treatment)
  stream.pix_fmt = 'yuv420p'
  context = stream.codec_context
  context.thread_count = 1
  context.time_base = first.time_base
  if not first.format.is_rgb:
    context.colorspace = first.colorspace
  if first.rotation:
    stream.set_display_rotation(first.rotation)
  return stream


def scaled_size(
  frame: av.VideoFrame, source: av.VideoStream, treatment: Treatment
) -> tuple[int, int]:
  """Width and height, even, with square pixels; nothing is enlarged."""
  aspect = source.sample_aspect_ratio or 1
  width, height = float(frame.width * aspect), float(frame.height)
  factor = min(1.0, treatment.short_side / min(width, height))
  return tuple(max(2, 2 * round(x * factor / 2)) for x in (width, height))


def scale(frame: av.VideoFrame, stream: av.VideoStream) -> av.VideoFrame:
  """The frame at the stream's size; the encoder says where keyframes are."""
  small = frame.reformat(
    stream.width, stream.height, 'yuv420p', interpolation='AREA'
  )
  small.pts, small.time_base = frame.pts, frame.time_base
  small.pict_type = PictureType.NONE
  return small


def up_to_damage(frames: Iterator[av.VideoFrame]) -> Iterator[av.VideoFrame]:
  """The frames before the first that cannot be decoded."""
  with contextlib.suppress(av.FFmpegError):
    yield from frames


def timed(frames: Iterator[av.VideoFrame]) -> Iterator[av.VideoFrame]:
  """The frames with times that begin at 0 and grow, whatever they were."""
  origin, last = None, -1
  for frame in frames:
    pts = last + 1 if frame.pts is None else frame.pts
    origin = pts if origin is None else origin
    last = frame.pts = max(pts - origin, last + 1)
    yield frame

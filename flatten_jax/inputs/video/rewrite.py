# SPDX-License-Identifier: Apache-2.0
"""Writes the frames of a video again, changed, with its times and its sound."""

from collections.abc import Callable, Iterator
import contextlib
from fractions import Fraction
import itertools
import logging
import math
import os
import pathlib

import av
from av.video.reformatter import ColorRange, Colorspace
import numpy as np

from flatten_jax import paths
from flatten_jax.inputs.video import frame_times
from flatten_jax.inputs.video.container import (
  VideoPath,
  library_errors,
  name_of,
  to_end,
)
from flatten_jax.inputs.video.frame_writer import FrameWriter
from flatten_jax.inputs.video.interface import DecodedVideo, OpenVideo, Size
from flatten_jax.inputs.video.read import FrameCountCorrected
from flatten_jax.inputs.video.reader import open_any
from flatten_jax.inputs.video.stream_choice import rank

log = logging.getLogger('flatten_jax')

Change = Callable[[np.ndarray, float], np.ndarray]

_TICKS = 90_000  # A second; the usual frame rates have whole numbers of them.
_RATE = 25.0  # Of frames whose source tells none.
_ENCODER = {'crf': '18', 'preset': 'veryfast'}
_INDEX_FIRST = {'movflags': 'faststart'}  # A browser plays while it loads.
# That mp4 contains, and players know.
_SOUND = frozenset({'aac', 'ac3', 'alac', 'eac3', 'flac', 'mp3', 'opus'})


def rewrite(
  path: VideoPath,
  out: pathlib.Path,
  change: Change = lambda image, seconds: image,
  *,
  size: Size = None,
  longest: float = math.inf,
) -> None:
  """Writes a video as H.264 in mp4, upright, with square pixels.

  Its frames keep their size (sides become even) and their times, and its sound
  is copied if mp4 can contain it. The file is there once it is whole.

  Args:
    path: the video; a folder of frames, or frames in memory, too.
    out: file to write.
    change: of a frame, uint8 [H W 3], and its seconds -> uint8 [H W 3].
    size: of the frames; their own by default.
    longest: seconds after which the rest is left out.

  Raises:
    VideoError: the video cannot be read.
  """
  out.parent.mkdir(parents=True, exist_ok=True)
  with (
    paths.replacing(out) as part,
    open_any(path, size) as video,
    library_errors(path),
  ):
    try:
      _write(path, video, part, change, longest)
    except FrameCountCorrected:  # Damaged: what can be decoded.
      _write(path, video, part, change, longest)


def _write(
  path: VideoPath,
  video: OpenVideo,
  out: pathlib.Path,
  change: Change,
  longest: float,
) -> None:
  """Writes the frames and the sound."""
  times = video.times
  if times is None:
    times = frame_times.uniform(video.num_frames, video.fps or _RATE)
  count = int(np.searchsorted(times[:-1], longest))
  with (
    Sound.of(path) as sound,
    av.open(f'file:{out}', 'w', format='mp4', options=_INDEX_FIRST) as file,
  ):
    stream = None
    for number, image in _frames(video, count):
      start, end = times[number : number + 2].tolist()
      image = _even(change(np.array(image), start))
      if stream is None:
        stream = _add_film(file, image.shape, times)
        writer = FrameWriter(file, stream)
        sound.add_to(file)
      frame = av.VideoFrame.from_ndarray(image, format='rgb24')
      frame.time_base = Fraction(1, _TICKS)
      file.mux(sound.until(start))
      writer.add(frame, start, end)
    if stream is not None:
      writer.finish()
    file.mux(sound.until(float(times[count])))


def _frames(video: OpenVideo, count: int) -> Iterator[tuple[int, np.ndarray]]:
  """Yields the first `count` frames with their numbers."""
  if isinstance(video, DecodedVideo):
    return enumerate(video.frames[:count])
  return video.decode(list(range(count)))


def _add_film(
  file: av.container.OutputContainer,
  shape: tuple[int, ...],
  times: np.ndarray,
) -> av.VideoStream:
  """Adds a stream of frames of a shape [H W 3], shown at `times`."""
  rate = frame_times.mean_rate(len(times) - 1, float(times[-1])) or _RATE
  stream = file.add_stream(
    'libx264', rate=frame_times.nearest_rate(rate), options=_ENCODER
  )
  stream.height, stream.width = shape[:2]
  stream.pix_fmt = 'yuv420p'
  stream.time_base = stream.codec_context.time_base = Fraction(1, _TICKS)
  # FFmpeg's defaults; players would guess others from the size.
  stream.codec_context.colorspace = Colorspace.ITU601
  stream.codec_context.color_range = ColorRange.MPEG
  return stream


def _even(image: np.ndarray) -> np.ndarray:
  """Repeats the last row and column if H.264 needs one more."""
  height, width = image.shape[:2]
  return np.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), 'edge')


class Sound(contextlib.AbstractContextManager):
  """The packets of a video's sound, to be copied; there may be none.

  Times are moved by those of the first frame, which becomes second 0.
  """

  def __init__(self, file: av.container.InputContainer | None = None):
    self._file, self._packets = file, iter(())
    self._ahead: av.Packet | None = None
    self._offset = Fraction(0)
    self._copy: av.AudioStream | None = None

  @classmethod
  def of(cls, path: VideoPath) -> 'Sound':
    """Opens the sound of a video file."""
    if not isinstance(path, str | os.PathLike) or not os.path.isfile(path):
      return cls()
    options = {'protocol_whitelist': 'file'}
    try:
      return cls(av.open(f'file:{name_of(path)}', options=options))
    except (av.FFmpegError, UnicodeDecodeError):
      return cls()  # Nothing but a film, then, if that can be read.

  def add_to(self, out: av.container.OutputContainer) -> None:
    """Adds a stream for the sound, if there is any that can be copied."""
    streams = self._file and self._file.streams
    if not streams or not streams.audio or not streams.video:
      return
    sound = streams.audio[0]
    codec = sound.codec_context and sound.codec_context.codec
    if codec is None or codec.canonical_name not in _SOUND:
      name = self._file.name.removeprefix('file:')
      log.warning('%s: its sound cannot be copied into mp4', name)
      return
    films = [stream for stream in streams.video if stream.codec_context]
    if films and (first := max(films, key=rank)).start_time:
      self._offset = first.start_time * first.time_base
    self._copy = out.add_stream_from_template(sound)
    self._packets = to_end(self._file.demux(sound))

  def until(self, seconds: float) -> Iterator[av.Packet]:
    """Yields the packets that are next, up to a time."""
    with contextlib.suppress(av.FFmpegError):  # It ends there.
      for packet in itertools.chain([self._ahead], self._packets):
        if packet is None or packet.dts is None or packet.pts is None:
          continue
        if packet is not self._ahead:
          shift = round(self._offset / packet.time_base)
          packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
          packet.stream = self._copy
        self._ahead = packet
        if packet.pts * packet.time_base > seconds:
          return
        self._ahead = None
        if packet.pts >= 0:
          yield packet

  def __exit__(self, *_) -> None:
    if self._file:
      self._file.close()

# SPDX-License-Identifier: Apache-2.0
"""An open video file; whatever is wrong with it becomes a VideoError."""

from collections.abc import Iterator
import contextlib
import io
import math
import os
import time
from typing import Protocol, runtime_checkable

import av
from av.stream import Discard, Disposition

from flatten_jax.text import escape_surrogates


@runtime_checkable
class StoredVideo(Protocol):
  """An encoded video inside of something else; `str` tells which it is."""

  @property
  def suffix(self) -> str:
    """What its file's name ended in, like '.mp4'."""

  def read(self) -> bytes:
    """The bytes that its file held. Raises VideoError where there are none."""


VideoPath = str | os.PathLike | StoredVideo


class VideoError(Exception):
  """A video that cannot be read: which file, and why, in one line."""

  def __init__(self, file: str, cause: str):
    super().__init__(file, cause)
    self.file = file
    self.cause = cause

  def __str__(self) -> str:
    return f'{escape_surrogates(self.file)}: {self.cause}'


class VideoTimeout(VideoError):
  """A video that took longer to read than it may."""


class DecoderStuck(VideoTimeout):
  """A video whose decoder did not even come back to say so."""


@contextlib.contextmanager
def open_video(
  path: VideoPath, deadline: float = math.inf
) -> Iterator['VideoFile']:
  """Opens a video and closes it; errors of the libraries become VideoError.

  After `deadline`, by `time.monotonic`, reading on is a VideoTimeout.
  """
  if isinstance(path, StoredVideo):
    file, data = str(path), path.read()
    empty = not data
  else:
    file, data = os.fspath(path), None
    if not os.path.exists(file):
      raise VideoError(file, 'no such file')
    if not os.path.isfile(file):  # Opening a pipe would wait for ever.
      raise VideoError(file, 'not a file')
    empty = not os.path.getsize(file)
  if empty:
    raise VideoError(file, 'the file is empty')
  suffix = path.suffix if data else ''
  try:
    with contextlib.closing(VideoFile(file, data, suffix, deadline)) as video:
      yield video
  except (av.FFmpegError, OSError) as error:
    raise VideoError(file, describe(error)) from error


def describe(error: Exception) -> str:
  """What went wrong, without the file's name. One line."""
  text = getattr(error, 'strerror', None) or str(error) or type(error).__name__
  return ' '.join(text.split())


class VideoFile:
  """A container and the one of its streams that is the moving picture."""

  def __init__(
    self,
    file: str,
    data: bytes | None = None,
    suffix: str = '',
    deadline: float = math.inf,
  ):
    self.file = file
    self._deadline = deadline
    self._data = data  # What the file holds; None: it is on disk.
    self._suffix = suffix
    self._open()

  def _open(self) -> None:
    source = f'file:{self.file}'  # A name may hold colons.
    if self._data is not None:
      source = io.BytesIO(self._data)
      source.name = f'video{self._suffix}'  # Formats go by names, too.
    try:
      # A playlist must not lead to other places.
      self.container = av.open(
        source,
        metadata_errors='ignore',
        options={'protocol_whitelist': 'file'},
        timeout=self._remaining(),
      )
    except av.ExitError:
      raise self._too_long() from None
    except av.FFmpegError as error:
      cause = f'no video, or damaged: {describe(error)}'
      raise VideoError(self.file, cause) from error
    try:
      self.stream = self._choose_stream()
    except BaseException:
      self.close()
      raise
    self.untouched = True

  def close(self) -> None:
    """Frees what the libraries hold."""
    self.container.close()

  def _choose_stream(self):
    """The first stream that is a moving picture; the others are not read."""
    videos = [
      stream
      for stream in self.container.streams.video
      if not stream.disposition & Disposition.attached_pic  # Cover art.
    ]
    if not videos:
      raise VideoError(self.file, 'no video stream')
    if videos[0].codec_context is None:
      raise VideoError(self.file, 'no decoder for its video stream')
    for stream in self.container.streams:
      if stream is not videos[0]:
        stream.discard = Discard.all
    # Clips are decoded side by side; threads within one only get in the way.
    videos[0].thread_type = 'NONE'
    videos[0].codec_context.thread_count = 1
    return videos[0]

  @property
  def codec(self) -> str:
    """Name of the decoder."""
    return self.stream.codec_context.name

  @property
  def fps(self) -> float:
    """Frames per second, on average; 0 where the file does not say."""
    return float(self.stream.average_rate or self.stream.guessed_rate or 0)

  def packets(self) -> Iterator[av.Packet]:
    """All packets of the stream in decoding order, then an empty one."""
    if not self.untouched:
      # Seeking back is not exact in every container; opening again is.
      self.close()
      self._open()
    self.untouched = False
    return self._watched(self.container.demux(self.stream))

  def seek(self, dts: int) -> tuple[av.Packet, Iterator[av.Packet]]:
    """The keyframe at or before a decoding time, about, and what follows it."""
    self.untouched = False
    self.container.seek(dts, stream=self.stream)
    packets = self._watched(self.container.demux(self.stream))
    return next(packets), packets

  def _remaining(self) -> float | None:
    """Seconds until the deadline, for one call of the library; None: no end."""
    if self._deadline == math.inf:
      return None
    remaining = self._deadline - time.monotonic()
    if remaining <= 0:
      raise self._too_long()
    return remaining

  def _too_long(self) -> VideoTimeout:
    return VideoTimeout(self.file, 'decoding takes too long (data.time_limit)')

  def _watched(self, packets: Iterator[av.Packet]) -> Iterator[av.Packet]:
    """The packets, while there is time: decoders ask for one after another."""
    try:
      for packet in packets:
        if time.monotonic() > self._deadline:
          raise self._too_long()
        yield packet
    except av.ExitError:  # The library looked at the clock itself.
      raise self._too_long() from None

# SPDX-License-Identifier: Apache-2.0
"""Opens video files with PyAV; every error of a file becomes a VideoError."""

import collections
from collections.abc import Iterator, Mapping
import contextlib
import io
import itertools
import math
import os
from typing import Protocol, runtime_checkable

import av
from av.stream import Discard

from flatten_jax.inputs.video import running_time
from flatten_jax.inputs.video.packed_frames import unpack
from flatten_jax.inputs.video.stream_choice import choose_stream
from flatten_jax.text import escape_surrogates


@runtime_checkable
class StoredVideo(Protocol):
  """An encoded video inside of another file; `str` gives its name."""

  @property
  def suffix(self) -> str:
    """Suffix of the original file's name, like '.mp4'."""

  def read(self) -> bytes:
    """Returns the encoded video. Raises VideoError if it cannot be read."""


VideoPath = str | os.PathLike | StoredVideo

# PyAV before 19 raises for metadata that is not UTF-8; later ones know no such
# argument.
_IS_OLD = int(av.__version__.split('.')[0]) < 19
_READ_ANY_METADATA = {'metadata_errors': 'ignore'} if _IS_OLD else {}


class VideoError(Exception):
  """A video that cannot be read: the file, and the cause in one line."""

  def __init__(self, file: str, cause: str):
    super().__init__(file, cause)
    self.file = file
    self.cause = cause

  def __str__(self) -> str:
    return f'{escape_surrogates(self.file)}: {self.cause}'


class VideoTimeout(VideoError):
  """A video that takes longer to read than `data.time_limit`."""


class DecoderStuck(VideoTimeout):
  """A video whose decoder did not return at all."""


@contextlib.contextmanager
def open_video(
  path: VideoPath, deadline: float = math.inf
) -> Iterator['VideoFile']:
  """Opens a `VideoFile`, closes it, and raises VideoError for PyAV's errors."""
  with (
    library_errors(path),
    contextlib.closing(VideoFile(path, deadline)) as file,
  ):
    yield file


@contextlib.contextmanager
def library_errors(path: VideoPath) -> Iterator[None]:
  """Raises a VideoError for errors of PyAV and of the disk."""
  try:
    yield
  except (av.FFmpegError, OSError) as error:
    raise VideoError(name_of(path), describe(error)) from error


def name_of(path: VideoPath) -> str:
  """Returns the name of a video for errors."""
  return str(path) if isinstance(path, StoredVideo) else os.fspath(path)


def describe(error: Exception) -> str:
  """Returns an error's message in one line, without the file's name."""
  text = getattr(error, 'strerror', None) or str(error) or type(error).__name__
  return ' '.join(text.split())


def to_end(packets: Iterator[av.Packet]) -> Iterator[av.Packet]:
  """Yields the packets of PyAV's `demux`, also if streams begin midway."""
  with contextlib.suppress(IndexError):  # Then 18.1 raises it at the end.
    # `yield from` would close them together with this generator.
    for packet in packets:  # noqa: UP028
      yield packet


def has_display_times(
  container: av.container.InputContainer, stream: av.VideoStream
) -> bool:
  """True if timestamps tell when frames are shown, even if they reorder."""
  # AVI and ASF have times of decoding only; PyAV's others are made up.
  only_decoding = container.format.name in ('avi', 'asf')
  return not (only_decoding and stream.codec_context.has_b_frames)


def has_pts(
  container: av.container.InputContainer, stream: av.VideoStream
) -> bool:
  """True if `pts` are right; PyAV's of AVI are of later packets."""
  return has_display_times(container, stream) and container.format.name != 'avi'


# Containers in which seeking is exact, and packets are whole frames.
EXACT = frozenset({'mov', 'matroska', 'avi', 'flv', 'asf'})
FIRST_PACKETS = 200  # Enough to tell a film from a still.


class VideoFile:
  """The packets of the film that players show.

  Reading raises VideoTimeout after `deadline`, by `running_time.now`.
  """

  def __init__(self, path: VideoPath, deadline: float = math.inf):
    self.file = name_of(path)
    self._deadline = deadline
    self._number: int | None = None  # of the stream
    self._keeps_packed = False  # see `keep_packed`
    self._suffix, self._data = '', None
    if isinstance(path, StoredVideo):
      self._suffix, self._data = path.suffix, path.read()
    elif not os.path.isfile(path):  # Opening a pipe would wait forever.
      cause = 'not a file' if os.path.exists(path) else 'no such file'
      raise VideoError(self.file, cause)
    size = os.path.getsize(path) if self._data is None else len(self._data)
    if not size:
      raise VideoError(self.file, 'the file is empty')
    self._open()

  def _open(self) -> None:
    self._open_container()
    try:
      if self._number is None:
        self._number = self._choose_stream()
      self.stream = self.container.streams[self._number]
      for stream in self.container.streams:
        if stream is not self.stream:
          stream.discard = Discard.all
      # Clips are decoded in parallel already; threads within one cost time.
      self.stream.thread_type = 'NONE'
      self.stream.codec_context.thread_count = 1
    except BaseException:
      self.close()
      raise
    # Before anything is decoded, which may change it.
    self._may_be_packed = (
      self.container.format.name == 'avi'
      and self.codec == 'mpeg4'
      and self.stream.codec_context.has_b_frames
    )
    self._packets = self._demux()
    self.position: float = 0  # Number of the next packet that is not empty.

  def _demux(self) -> Iterator[av.Packet]:
    packets = self.container.demux(self.stream)
    if self._may_be_packed and not self._keeps_packed:
      return unpack(packets, self.stream)
    return packets

  def _open_container(self) -> None:
    source = f'file:{self.file}'  # A name may contain colons.
    if self._data is not None:
      source = io.BytesIO(self._data)
      source.name = f'video{self._suffix}'  # FFmpeg also looks at suffixes.
    # A playlist must not open other places.
    given = _READ_ANY_METADATA | {'options': {'protocol_whitelist': 'file'}}
    remaining = self._deadline - running_time.now()
    if remaining <= 0:
      raise self._too_long()
    timeout = None if remaining == math.inf else remaining
    try:
      self.container = av.open(source, timeout=timeout, **given)
    except av.ExitError:
      raise self._too_long() from None
    except av.FFmpegError as error:
      cause = f'no video, or damaged: {describe(error)}'
      raise VideoError(self.file, cause) from error

  def close(self) -> None:
    """Frees the container."""
    self.container.close()

  def _choose_stream(self) -> int:
    try:
      return choose_stream(self.container.streams, self._count_first_frames)
    except ValueError as error:
      raise VideoError(self.file, str(error)) from None

  def _count_first_frames(self) -> dict[int, int]:
    """Returns how many of the first packets belong to each stream."""
    counts = collections.Counter()
    packets = self._in_time(self.container.demux(*self.container.streams.video))
    with contextlib.suppress(av.FFmpegError):
      for packet in itertools.islice(packets, FIRST_PACKETS):
        counts[packet.stream_index] += packet.size > 0
    self.close()
    self._open_container()
    return counts

  @property
  def codec(self) -> str:
    """Name of the decoder."""
    return self.stream.codec_context.name

  @property
  def fps(self) -> float:
    """Average number of frames per second; 0 if unknown."""
    return float(self.stream.average_rate or self.stream.guessed_rate or 0)

  def keep_packed(self) -> None:
    """From now on, packets of two frames are not split, see `packed_frames`."""
    if self._may_be_packed and not self._keeps_packed:
      self._keeps_packed = True
      self.position = math.inf  # The next packets are read from the beginning.

  @property
  def is_packed(self) -> bool:
    """True if packets may contain two frames."""
    return self._may_be_packed and self._keeps_packed

  def packets(self, first: int = 0) -> Iterator[av.Packet]:
    """Yields packets in decoding order from number `first` on; one is empty.

    Raises MisplacedFrame, see `unpack`.
    """
    if self.position > first:  # Seeking back is not exact everywhere.
      self.close()
      self._open()
    elif self.position:
      self.stream.codec_context.flush_buffers()
    try:
      for packet in self._in_time(self._packets):
        self.position += packet.size > 0
        if self.position > first or not packet.size:
          yield packet
    except av.FFmpegError:
      self.position = math.inf
      raise

  def decode(self, packet: av.Packet | None) -> list[av.VideoFrame]:
    """Decodes a packet; None flushes the decoder."""
    return self.stream.decode(packet)

  @property
  def has_display_times(self) -> bool:
    """See `has_display_times`."""
    return has_display_times(self.container, self.stream)

  @property
  def has_pts(self) -> bool:
    """See `has_pts`."""
    return has_pts(self.container, self.stream)

  @property
  def seeks_exactly(self) -> bool:
    """True if packets are the same after seeking in this kind of container."""
    return bool(EXACT & set(self.container.format.name.split(',')))

  def seek(self, timestamp: int, places: Mapping[int, int]) -> None:
    """Moves to the keyframe at or before a timestamp, or to the beginning.

    `places` are numbers of packets by their positions in the file.
    """
    self.position = math.inf
    with contextlib.suppress(av.FFmpegError):
      self.container.seek(timestamp, stream=self.stream)
      packets = self._demux()
      head = next(packets, None)
      if head and head.is_keyframe and head.pos in places:
        self._packets = itertools.chain([head], packets)
        self.position = places[head.pos]

  def _too_long(self) -> VideoTimeout:
    flags = '--config.data.time_limit or, of --mode=predict, --time_limit'
    return VideoTimeout(self.file, f'decoding takes too long (raise {flags})')

  def _in_time(self, packets: Iterator[av.Packet]) -> Iterator[av.Packet]:
    """Checks the deadline between packets."""
    try:
      for packet in to_end(packets):
        if running_time.now() > self._deadline:
          raise self._too_long()
        yield packet
    except av.ExitError:  # PyAV's own timeout.
      raise self._too_long() from None

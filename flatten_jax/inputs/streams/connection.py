# SPDX-License-Identifier: Apache-2.0
"""Decodes the frames of a source as they arrive."""

from collections.abc import Iterator
import logging
import math
import time
from typing import NamedTuple

import av
import numpy as np

from flatten_jax.inputs.streams.sources import Source, StreamError
from flatten_jax.inputs.video.container import describe, has_pts, to_end
from flatten_jax.inputs.video.geometry import FrameGeometry
from flatten_jax.inputs.video.interface import Size
from flatten_jax.inputs.video.stream_choice import rank

log = logging.getLogger('flatten_jax')


class Picture(NamedTuple):
  """A decoded frame."""

  stamp: float | None  # seconds of the source's clock
  arrived: float  # `time.monotonic` seconds, of the packet that completed it
  image: np.ndarray  # uint8 [h w 3]


class Connection:
  """An open source, from which every frame is decoded once.

  Args:
    source: to open.
    size: of the frames; they are upright, with square pixels.
    timeout: seconds without data after which the connection counts as broken.
    live: whether frames are lost that are not read in time; None: as the
      source tells.

  Attributes:
    stream: that is decoded; of several, the default one, or the largest.
    live: whether it drops what it is too slow to decode.
    undecoded: packets that were dropped.
    reading: since when it waits for data; None if it does not.

  Raises:
    StreamError: the source cannot be opened, or has no video.
  """

  def __init__(
    self, source: Source, size: Size, timeout: float, live: bool | None
  ):
    self._source, self._size, self._timeout = source, size, timeout
    self._container = source.open(timeout)
    self.stream = max(
      (s for s in self._container.streams.video if s.codec_context), key=rank
    )
    self.live = source.is_live(self._container) if live is None else live
    self.undecoded = 0
    self.reading: float | None = None
    self._geometry: FrameGeometry | None = None

  def pictures(self) -> Iterator[Picture]:
    """Yields frames in the order of display; raises StreamError if it breaks.

    Packets that are damaged are passed over.
    """
    is_damaged = False
    for packet, arrived in self._packets():
      try:
        frames = self.stream.decode(packet)
      except av.FFmpegError as error:
        if not is_damaged:
          name, cause = self._source.name, describe(error)
          log.warning('%s: passes over what is damaged: %s', name, cause)
        is_damaged = True
        continue
      for frame in frames:
        is_right = has_pts(self._container, self.stream)
        ticks = frame.pts if is_right else frame.dts
        stamp = None if ticks is None else float(ticks * frame.time_base)
        yield Picture(stamp, arrived, self._image(frame))

  def close(self) -> None:
    """Closes the source."""
    self._container.close()

  def _packets(self) -> Iterator[tuple[av.Packet, float]]:
    """Yields packets, and when they came."""
    lag, packets = Lag(), to_end(self._container.demux(self.stream))
    while True:
      self.reading = before = time.monotonic()
      try:
        packet = next(packets, None)
      except av.ExitError:
        cause = f'nothing came for {self._timeout:g} s'
        raise StreamError(self._source.name, cause) from None
      except (av.FFmpegError, OSError) as error:
        cause = describe(error) + self._source.hint
        raise StreamError(self._source.name, cause) from None
      self.reading, now = None, time.monotonic()
      if packet is None:
        return
      if self.live and packet.size and lag.is_late(packet, now, now - before):
        self.undecoded += 1
        continue
      yield packet, now

  def _image(self, frame: av.VideoFrame) -> np.ndarray:
    """Returns a frame in its final size; that of the stream may change."""
    coded = frame.width, frame.height
    if self._geometry is None or self._geometry.coded != coded:
      self._geometry = FrameGeometry.of(frame, self, self._size)
    return self._geometry.rgb(frame).copy()  # It may share the frame's memory.


class Lag:
  """Tells which packets of a live source waited too long in buffers.

  They are dropped, and those after them until a keyframe that is in time: no
  other can be decoded.
  """

  MOST = 1.0  # seconds
  LEAK = 1e-3  # By which clocks may differ.

  def __init__(self) -> None:
    self._delay = self._least = self._then = math.nan
    self._is_dropping = False

  def is_late(self, packet: av.Packet, now: float, waited: float) -> bool:
    """Returns whether to drop a packet.

    Args:
      packet: that was read.
      now: in `time.monotonic` seconds.
      waited: seconds of this until it came.
    """
    stamp = packet.dts if packet.dts is not None else packet.pts
    if stamp is None:
      return self._is_dropping
    before, self._delay = self._delay, now - float(stamp * packet.time_base)
    # No buffer is full if it had to wait, or if the source has a new clock.
    if waited > self.MOST / 2 or not abs(self._delay - before) < 10:
      self._least = self._delay
    else:
      drift = self.LEAK * (now - self._then)
      self._least = min(self._delay, self._least + drift)
    self._then, late = now, self._delay - self._least
    if late > self.MOST:
      self._is_dropping = True
    elif packet.is_keyframe and late < self.MOST / 2:
      self._is_dropping = False
    return self._is_dropping

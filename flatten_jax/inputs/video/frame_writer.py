# SPDX-License-Identifier: Apache-2.0
"""Encodes frames into a file, each shown for its own time."""

from collections.abc import Iterable

import av


class FrameWriter:
  """Encodes the frames of one stream with timestamps that increase.

  Files may show two frames at the same time; mp4 cannot. Encoders do not pass
  on durations, and without that of the last frame a file of an uneven rate ends
  at another time.
  """

  def __init__(
    self, output: av.container.OutputContainer, stream: av.VideoStream
  ):
    self._output, self._stream = output, stream
    self._durations: dict[int, int] = {}  # By timestamp.
    self._last = -1

  def add(self, frame: av.VideoFrame, start: float, end: float) -> None:
    """Encodes a frame that is shown from `start` to `end`, in seconds."""
    start, end = (round(time / frame.time_base) for time in (start, end))
    self._last = frame.pts = max(start, self._last + 1)
    self._durations[frame.pts] = max(end - frame.pts, 1)
    self._write(self._stream.encode(frame))

  def finish(self) -> None:
    """Writes what the encoder has held back."""
    rest = self._stream.encode()
    if rest:  # The track lasts as long as its last packet.
      end = self._last + self._durations[self._last]
      self._durations[rest[-1].pts] = end - rest[-1].pts
    self._write(rest)

  def _write(self, packets: Iterable[av.Packet]) -> None:
    for packet in packets:
      packet.duration = self._durations[packet.pts]
      self._output.mux(packet)

# SPDX-License-Identifier: Apache-2.0
"""The table of a video's frames, and the keyframes at which decoding begins."""

import bisect
import collections
from collections.abc import Sequence
import dataclasses
import functools
from typing import Any

import av
import numpy as np

HIDDEN = -1  # The number of a packet that shows no frame.
# H.264 and HEVC move a frame by at most 16 places; twice that is safe.
REORDER = 32


@dataclasses.dataclass(frozen=True)
class Keyframe:
  """A frame at which decoding can begin."""

  number: int  # of the frame; or of frames that are coded before it
  packet: int  # its number in decoding order
  place: int  # position of its packet in the file, in bytes
  timestamp: int  # to seek to, in the stream's time base


@dataclasses.dataclass(frozen=True)
class FrameTable:
  """The number of frames of a video, and its keyframes."""

  count: int
  # The first is the video's beginning. Without any, frames can only be counted
  # from there.
  keyframes: tuple[Keyframe, ...] = ()
  # The number of the frame that each packet shows, or HIDDEN, in decoding
  # order. Without it, timestamps after a keyframe give the order of display.
  order: np.ndarray | None = dataclasses.field(
    default=None, compare=False, repr=False
  )
  # True if frames to which no other refers may be left out; the decoder repairs
  # what is missing in a damaged file with any frames.
  may_skip: bool = True
  # See `frame_times`; None if the table does not tell them (`with_times`).
  times: np.ndarray | None = dataclasses.field(
    default=None, compare=False, repr=False
  )

  def keyframe_before(self, number: int) -> Keyframe:
    """Returns the last keyframe from which frame `number` may be decoded."""
    i = bisect.bisect_right(self.keyframes, number, key=lambda key: key.number)
    return self.keyframes[max(i - 1, 0)]

  @functools.cached_property
  def places(self) -> dict[int, int]:
    """Numbers of keyframes' packets by their positions in the file."""
    counts = collections.Counter(key.place for key in self.keyframes)
    return {
      key.place: key.packet for key in self.keyframes if counts[key.place] == 1
    }


@dataclasses.dataclass(slots=True)
class Packet:
  """Properties of a packet that is not empty; its bytes are forgotten."""

  pts: int | None
  dts: int | None
  duration: int
  place: int  # position in the file, in bytes
  is_keyframe: bool
  is_shown: bool  # whether it shows a frame
  key: Any  # see `display_key`

  @classmethod
  def of(
    cls, packet: av.Packet, is_shown: bool = True, key: Any = None
  ) -> 'Packet':
    """Returns the properties of a packet."""
    duration, place = packet.duration or 0, packet.pos or 0
    times = packet.pts, packet.dts, duration
    return cls(*times, place, packet.is_keyframe, is_shown, key)


def make_table(packets: Sequence[Packet], display: Sequence[int]) -> FrameTable:
  """Makes a table of packets, given their numbers in the order of display."""
  order = np.full(len(packets), HIDDEN, np.int32)
  order[display] = np.arange(len(display))
  before = np.append(HIDDEN, np.maximum.accumulate(order)[:-1])
  keyframes, last = [], len(packets) - 1
  for number in reversed(range(len(packets))):
    packet = packets[number]
    if number == 0 or packet.is_keyframe:
      # Any time before the next keyframe will do; the last is the safest, since
      # some demuxers compare presentation times, which follow decoding times.
      time = packets[last].dts if packet.dts is not None else packet.pts
      last = number - 1
      if number == 0 or order[number] > before[number]:
        frame = int(order[number]) if number else 0
        keyframes.append(Keyframe(frame, number, packet.place, time or 0))
  return FrameTable(len(display), tuple(keyframes[::-1]), order)

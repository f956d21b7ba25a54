# SPDX-License-Identifier: Apache-2.0
"""Splits packets of MPEG-4 part 2 that contain two frames, in AVI files.

AVI has no place for a frame that is shown before the one that it refers to, so
DivX and Xvid put both into one packet, and later an empty one: I, PB, -, PB, -.
Many files of HMDB51 and UCF101 are of this kind. FFmpeg's filter makes I, P, B,
P, B of it, of which any can be sought and skipped.
"""

from collections.abc import Iterator
import re

import av
from av.bitstream import BitStreamFilterContext

MAX_EMPTY = 19  # bytes of a packet that FFmpeg takes for an empty one
# The code before a picture (6.2.1); `bytes.count` is five times as slow.
START = re.compile(b'\0\0\1\xb6')


def picture_places(packet: av.Packet | bytes) -> list[int]:
  """Returns where the headers of a packet's pictures begin, in bytes."""
  return [match.end() for match in START.finditer(packet)]


class MisplacedFrame(Exception):
  """Packed frames that do not come in turns with empty packets.

  Decoders show of them what they like.
  """


def unpack(
  packets: Iterator[av.Packet], stream: av.VideoStream
) -> Iterator[av.Packet]:
  """Yields as many packets, each of at most one frame.

  Raises MisplacedFrame, at the latest at the end.
  """
  filtered = BitStreamFilterContext('mpeg4_unpack_bframes', stream)
  is_packed = is_misplaced = False
  waits = False  # Whether a frame waits for an empty packet.
  for packet in packets:
    if not packet.size:
      yield packet
      continue
    pictures = len(picture_places(packet))
    if pictures > 1:
      is_misplaced |= waits or pictures > 2
      is_packed = waits = True
    elif pictures and packet.size <= MAX_EMPTY:
      is_misplaced |= not waits
      waits = False
    if is_packed and is_misplaced:
      raise MisplacedFrame
    yield from filtered.filter(packet)

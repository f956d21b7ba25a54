# SPDX-License-Identifier: Apache-2.0
"""Tells from coded pictures which packets show a frame, and in which order.

Timestamps do not always tell.
"""

from collections.abc import Callable

import av

from flatten_jax.inputs.video.container import VideoFile
from flatten_jax.inputs.video.packed_frames import picture_places

# Numbers that sort packets in the order of display, or None.
Key = tuple[int, ...] | int | None


def display_key(video: VideoFile) -> Callable[[av.Packet], Key]:
  """Returns a function of the packets that show a frame, in decoding order.

  It returns their key, or None if neither timestamps nor pictures tell it.
  """
  is_mpeg = video.codec in PICTURES
  # MPEG gives a timestamp to few frames, and joined files begin again.
  if video.has_display_times and (video.seeks_exactly or not is_mpeg):
    return lambda packet: packet.pts
  if not is_mpeg:
    return lambda packet: None
  order = MpegOrder(video)
  return lambda packet: order.key(bytes(packet))


# --- MPEG-1, 2 and 4 ----------------------------------------------------------

# The bytes before a picture's header, and a test of the header for B-pictures.
PICTURES = {
  'mpeg1video': (b'\0\0\1\0', lambda header: header[1] >> 3 & 7 == 3),
  'mpeg2video': (b'\0\0\1\0', lambda header: header[1] >> 3 & 7 == 3),
  'mpeg4': (b'\0\0\1\xb6', lambda header: header[0] >> 6 == 2),
}


class MpegOrder:
  """Sorts pictures: a B-picture is shown before the one that it follows."""

  def __init__(self, video: VideoFile):
    self._start, self._is_b = PICTURES[video.codec]
    self._one = video.codec == 'mpeg4'  # Fields of MPEG-2 are two pictures.
    self._references, self._count = 0, 0

  def key(self, packet: bytes) -> Key:
    """Returns the key of a packet; None if it has no picture, or several."""
    at = packet.find(self._start)
    if not 0 <= at < len(packet) - 6:
      return None
    if self._one and len(picture_places(packet)) > 1:
      return None
    is_b = self._is_b(packet[at + 4 : at + 6])
    self._references += not is_b
    self._count += 1
    return self._references, not is_b, self._count


# --- Packets that show a frame ------------------------------------------------


def shown_packets(video: VideoFile) -> Callable[[av.Packet], bool]:
  """Returns a predicate for packets that show a frame, to call in order."""
  hiding = HIDING.get(video.codec)
  shown = hiding(video) if hiding else lambda packet: True
  # Edit lists mark what they cut away as discarded.
  return lambda packet: not packet.is_discard and shown(packet)


def mpeg4_shown(video: VideoFile) -> Callable[[av.Packet], bool]:
  """MPEG-4 part 2: packets may be empty, or contain two frames.

  AVI writers "packed" a B-frame into the packet before and put an empty one in
  its place. A frame spends at least a bit on each macroblock, or it is empty.
  """
  packed = False
  least = video.stream.width * video.stream.height / 256 / 8  # bytes

  def shown(packet: av.Packet) -> bool:
    nonlocal packed
    starts = picture_places(packet)
    ends = [*(start - 4 for start in starts[1:]), packet.size]
    coded = sum(
      end - start >= least for start, end in zip(starts, ends, strict=False)
    )
    before, packed = packed, coded > 1 or (packed and coded == 1)
    return coded > 0 or before

  return shown


def vp8_shown(video: VideoFile) -> Callable[[av.Packet], bool]:
  """VP8: one bit of the first byte is set if the frame is shown."""
  del video
  return lambda packet: bool(memoryview(packet)[0] & 0x10)


HIDING = {'mpeg4': mpeg4_shown, 'vp8': vp8_shown, 'libvpx': vp8_shown}

# SPDX-License-Identifier: Apache-2.0
"""Finds the packets that show a frame: in some codecs, not all do."""

from collections.abc import Callable

import av


def shown_packets(codec: str) -> Callable[[av.Packet], bool]:
  """Returns a predicate for packets that show a frame, to call in order."""
  shown = HIDING[codec]() if codec in HIDING else lambda packet: True
  # Edit lists mark what they cut away as discarded.
  return lambda packet: not packet.is_discard and shown(packet)


def mpeg4_shown() -> Callable[[av.Packet], bool]:
  """MPEG-4 part 2: packets may be empty, or contain two frames.

  AVI writers "packed" a B-frame into the packet before and put an empty one in
  its place, which the decoder exchanges for it. A frame spends at least one bit
  on each macroblock, so a shorter one is empty.
  """
  packed = False

  def shown(packet: av.Packet) -> bool:
    nonlocal packed
    least = packet.stream.width * packet.stream.height / 256 / 8
    frames = bytes(packet).split(b'\0\0\1\xb6')[1:]
    coded = sum(len(frame) >= least for frame in frames)
    before, packed = packed, coded > 1 or (packed and coded == 1)
    return coded > 0 or before

  return shown


def vp8_shown() -> Callable[[av.Packet], bool]:
  """VP8: one bit of the first byte is set if the frame is shown."""
  return lambda packet: bool(memoryview(packet)[0] & 0x10)


HIDING = {'mpeg4': mpeg4_shown, 'vp8': vp8_shown, 'libvpx': vp8_shown}

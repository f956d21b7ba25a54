# SPDX-License-Identifier: Apache-2.0
"""Tells from coded pictures which packets show a frame, and in which order.

Timestamps do not always tell. Names and section numbers are of ITU-T H.264.
"""

from collections.abc import Callable

import av

from flatten_jax.inputs.video.container import VideoFile
from flatten_jax.inputs.video.keyframes import REORDER
from flatten_jax.inputs.video.packed_frames import picture_places
from flatten_jax.inputs.video.reference_frames import unit_splitter

# Numbers that sort packets in the order of display, or None.
Key = tuple[int, ...] | int | None


def display_key(video: VideoFile) -> Callable[[av.Packet], Key]:
  """Returns a function of the packets that show a frame, in decoding order.

  It returns their key, or None if neither timestamps nor pictures tell it.
  """
  codec = video.codec
  # MPEG gives a timestamp to few frames, and joined files begin again.
  if video.has_display_times and (video.seeks_exactly or codec not in ORDERS):
    return lambda packet: packet.pts
  try:
    order = ORDERS[codec](video)
  except (KeyError, ValueError):
    return lambda packet: None

  def key(packet: av.Packet) -> Key:
    try:
      return order.key(bytes(packet))
    except (ValueError, IndexError):
      return None

  return key


PICTURE, IDR, SPS = 1, 5, 7  # Types of NAL units.


class Bits:
  """Reads numbers of some bits."""

  def __init__(self, data: bytes):
    data = data.replace(b'\0\0\3', b'\0\0')  # 7.4.1.1
    self._value, self._left = int.from_bytes(data), 8 * len(data)

  def read(self, bits: int) -> int:
    """Reads an unsigned number. Raises ValueError at the end."""
    self._left -= bits
    if self._left < 0:
      raise ValueError('the header is too short')
    return self._value >> self._left & ((1 << bits) - 1)

  def golomb(self) -> int:
    """Reads an unsigned Exp-Golomb code (9.1); signed ones are as long."""
    zeros = 0
    while not self.read(1):
      zeros += 1
    return (1 << zeros) - 1 + self.read(zeros)


WITHOUT_CHROMA = (66, 77, 88)  # The profiles Baseline, Main and Extended.


class H264Order:
  """Sorts pictures by their picture order count (8.2.1), without timestamps.

  Raises ValueError for what is not covered: fields, other parameters midway.
  """

  def __init__(self, video: VideoFile):
    self._split = unit_splitter(video)
    self._parameters = b''
    self._high = self._low = self._last = self._idr = self._count = 0
    extradata = video.stream.codec_context.extradata or b''
    if extradata[:1] == b'\1':  # ISO 14496-15, avcC
      self._read(extradata[8 : 8 + int.from_bytes(extradata[6:8])])
    else:
      for unit in self._split(extradata):
        if unit[0] & 31 == SPS:
          self._read(bytes(unit))

  def _read(self, parameters: bytes) -> None:
    """Reads what slice headers depend on (7.3.2.1.1)."""
    parameters = parameters.rstrip(b'\0')
    if self._parameters and parameters != self._parameters:
      raise ValueError('parameters change')
    bits, self._has_planes, self._order_bits = Bits(parameters[4:]), 0, 0
    bits.golomb()
    if parameters[1] not in WITHOUT_CHROMA:
      if bits.golomb() == 3:
        self._has_planes = bits.read(1)
      bits.golomb(), bits.golomb(), bits.read(1)
      if bits.read(1):
        raise ValueError('scaling matrices are not read')
    self._frame_num_bits = bits.golomb() + 4
    self._order_type = bits.golomb()
    if self._order_type == 0:
      self._order_bits = bits.golomb() + 4
    elif self._order_type == 1:
      raise ValueError('differences of order are not read')
    bits.golomb(), bits.read(1), bits.golomb(), bits.golomb()
    self._frames_only = bits.read(1)
    self._parameters = parameters

  def key(self, packet: bytes) -> Key:
    """Returns the key of a packet."""
    for unit in self._split(packet):
      if unit and unit[0] & 31 == SPS:
        self._read(bytes(unit))
      elif unit and unit[0] & 31 in (PICTURE, IDR):
        return self._picture(unit)
    raise ValueError('a packet without a picture')

  def _picture(self, unit: memoryview) -> Key:
    self._count += 1
    if not self._parameters:  # Not decoded, and before all others.
      return -1, self._count
    is_idr, is_reference = unit[0] & 31 == IDR, unit[0] & 0x60
    bits = Bits(bytes(unit[1:40]))
    bits.golomb(), bits.golomb(), bits.golomb()
    bits.read(2 * self._has_planes + self._frame_num_bits)
    if not self._frames_only and bits.read(1):
      raise ValueError('fields')
    if is_idr:
      bits.golomb()
      self._idr += 1
      self._high = self._low = self._last = 0
    if self._order_type == 2:
      return self._idr, self._count
    low, half = bits.read(self._order_bits), 1 << (self._order_bits - 1)
    if self._count == 1 and not is_idr:  # The file begins in the middle.
      self._low = low
    high = self._high
    if low < self._low and self._low - low >= half:
      high += 2 * half
    elif low > self._low and low - self._low > half:
      high -= 2 * half
    if is_reference:
      self._high, self._low = high, low
    self._last = max(self._last, high + low)
    if high + low < self._last - 4 * REORDER:
      raise ValueError('pictures of a joined file')
    return self._idr, high + low


# --- MPEG-1, 2 and 4 ----------------------------------------------------------

# The bytes before a picture's header, and a test of the header for B-pictures.
PICTURES = {
  'mpeg1video': (b'\0\0\1\0', lambda header: header[1] >> 3 & 7 == 3),
  'mpeg2video': (b'\0\0\1\0', lambda header: header[1] >> 3 & 7 == 3),
  'mpeg4': (b'\0\0\1\xb6', lambda header: header[0] >> 6 == 2),
}


class MpegOrder:
  """Sorts pictures: B-pictures are shown before the picture that they follow.

  Raises ValueError for packets of more than one picture or of none.
  """

  def __init__(self, video: VideoFile):
    self._start, self._is_b = PICTURES[video.codec]
    self._one = video.codec == 'mpeg4'  # Fields of MPEG-2 are two pictures.
    self._references, self._count = 0, 0

  def key(self, packet: bytes) -> Key:
    """Returns the key of a packet."""
    at = packet.find(self._start)
    if not 0 <= at < len(packet) - 6:
      raise ValueError('a packet without a picture')
    if self._one and len(picture_places(packet)) > 1:
      raise ValueError('two pictures in a packet')
    is_b = self._is_b(packet[at + 4 : at + 6])
    self._references += not is_b
    self._count += 1
    return self._references, not is_b, self._count


ORDERS = {'h264': H264Order} | dict.fromkeys(PICTURES, MpegOrder)


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

# SPDX-License-Identifier: Apache-2.0
"""Finds coded frames to which no other frame refers: they can be skipped.

Decoders have an option for that, `skip_frame`, but while it is on, they pass
over damaged frames without an error.
"""

from collections.abc import Callable, Iterator
import itertools
import re

import av

from flatten_jax.inputs.video.container import VideoFile
from flatten_jax.inputs.video.keyframes import FrameTable
from flatten_jax.inputs.video.packed_frames import picture_places


def droppable_packets(
  video: VideoFile, table: FrameTable
) -> Callable[[av.Packet], bool]:
  """Returns a predicate for packets that need not be decoded.

  For H.264 and MPEG-4 part 2. HEVC marks such frames per temporal layer, and
  frames of higher layers may still refer to them; other codecs are rare.
  """
  if table.may_skip and video.codec == 'mpeg4':
    return is_b_picture
  if video.codec != 'h264' or not table.may_skip:
    return lambda packet: False
  split = unit_splitter(video)
  return lambda packet: is_unreferenced(split(bytes(packet)))


def is_b_picture(packet: av.Packet) -> bool:
  """Checks that a packet of MPEG-4 has one picture, and this is a B-picture."""
  match picture_places(packet):
    case [place] if place < packet.size:
      return memoryview(packet)[place] >> 6 == 2  # vop_coding_type (6.3.5)
  return False


START_CODE = re.compile(b'\0\0\1')
# The header of a slice to which others refer.
REFERENCE = memoryview(b'\x65')
SLICES = range(1, 6)  # Types of NAL units.


def unit_splitter(video: VideoFile) -> Callable[[bytes], Iterator[memoryview]]:
  """Returns a function that splits packets of H.264 into NAL units."""
  extradata = video.stream.codec_context.extradata or b''
  if extradata[:1] == b'\1' and len(extradata) > 4:  # ISO 14496-15, avcC
    size = (extradata[4] & 3) + 1
    return lambda packet: split_by_size(packet, size)
  return split_by_start_code


def split_by_size(packet: bytes, size: int) -> Iterator[memoryview]:
  """Yields NAL units that follow their size (mp4, mkv)."""
  data, at = memoryview(packet), 0
  while at + size < len(data):
    length = int.from_bytes(data[at : at + size])
    yield data[at + size : at + size + length] or data[at + size :]
    at += size + length
  if at != len(data):
    yield REFERENCE  # Damaged: the decoder shall report it.


def split_by_start_code(packet: bytes) -> Iterator[memoryview]:
  """Yields NAL units that follow 00 00 01 (ts, avi)."""
  data = memoryview(packet)
  starts = [match.end() for match in START_CODE.finditer(data)]
  for start, end in itertools.pairwise([*starts, len(data) + 3]):
    if start < end - 3:
      yield data[start : end - 3]


def is_unreferenced(units: Iterator[memoryview]) -> bool:
  """Checks that no slice is a reference (nal_ref_idc is 0)."""
  slices = [unit[0] for unit in units if unit[0] & 31 in SLICES]
  return bool(slices) and not any(header & 0x60 for header in slices)

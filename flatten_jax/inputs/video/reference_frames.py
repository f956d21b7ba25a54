# SPDX-License-Identifier: Apache-2.0
"""Finds coded frames to which no other frame refers: they can be skipped.

Decoders have an option for that, `skip_frame`, but while it is on, they pass
over damaged frames without an error.
"""

from collections.abc import Callable, Iterator
import re

import av

from flatten_jax.inputs.video.container import VideoFile


def droppable_packets(video: VideoFile) -> Callable[[av.Packet], bool]:
  """Returns a predicate for packets that need not be decoded.

  For H.264 only. HEVC marks such frames per temporal layer, and frames of
  higher layers may still refer to them; other codecs are rare.
  """
  if video.codec != 'h264':
    return lambda packet: False
  extradata = video.stream.codec_context.extradata or b''
  if extradata[:1] == b'\1' and len(extradata) > 4:  # ISO 14496-15, avcC
    size = (extradata[4] & 3) + 1
    return lambda packet: is_unreferenced(headers_by_size(packet, size))
  return lambda packet: is_unreferenced(headers_by_start_code(packet))


def is_unreferenced(headers: Iterator[int]) -> bool:
  """Checks that no slice is a reference (nal_ref_idc is 0)."""
  slices = [header for header in headers if 1 <= header & 31 <= 5]
  return bool(slices) and not any(header & 0x60 for header in slices)


def headers_by_size(packet: av.Packet, size: int) -> Iterator[int]:
  """Yields first bytes of NAL units that follow their size (mp4, mkv)."""
  data, at = memoryview(packet), 0
  while at + size < len(data):
    yield data[at + size]
    at += size + int.from_bytes(data[at : at + size])
  if at != len(data):
    yield REFERENCE  # Damaged: the decoder shall report it.


def headers_by_start_code(packet: av.Packet) -> Iterator[int]:
  """Yields first bytes of NAL units that follow 00 00 01 (ts, avi)."""
  return (match[1][0] for match in START_CODE.finditer(bytes(packet)))


START_CODE = re.compile(b'\0\0\1(.)', re.DOTALL)
REFERENCE = 0x65  # The header of a slice to which others refer.

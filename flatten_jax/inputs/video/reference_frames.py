# SPDX-License-Identifier: Apache-2.0
"""Tells which coded frames no other frame refers to: they need no decoding.

A decoder has a switch for that, `skip_frame`, but while it is on, the decoder
passes over damaged frames in silence.
"""

from collections.abc import Callable, Iterator
import re

import av

from flatten_jax.inputs.video.container import VideoFile


def droppable_packets(video: VideoFile) -> Callable[[av.Packet], bool]:
  """A function that tells whether a packet can be left out, if not wanted.

  For H.264 only. HEVC marks such frames per temporal layer, where frames of
  higher layers may still refer to them; other codecs are seldom met.
  """
  if video.codec != 'h264':
    return lambda packet: False
  extradata = video.stream.codec_context.extradata or b''
  if extradata[:1] == b'\1' and len(extradata) > 4:  # ISO 14496-15, avcC
    size = (extradata[4] & 3) + 1
    return lambda packet: unreferenced(headers_by_size(packet, size))
  return lambda packet: unreferenced(headers_by_start_code(packet))


def unreferenced(headers: Iterator[int]) -> bool:
  """Whether all slices say that they are no reference (nal_ref_idc is 0)."""
  slices = [header for header in headers if 1 <= header & 31 <= 5]
  return bool(slices) and not any(header & 0x60 for header in slices)


def headers_by_size(packet: av.Packet, size: int) -> Iterator[int]:
  """First bytes of the units of a packet, each led by its size (mp4, mkv)."""
  data, at = memoryview(packet), 0
  while at + size < len(data):
    yield data[at + size]
    at += size + int.from_bytes(data[at : at + size])
  if at != len(data):
    yield REFERENCE  # Damaged: let the decoder complain.


def headers_by_start_code(packet: av.Packet) -> Iterator[int]:
  """First bytes of the units of a packet, each led by 00 00 01 (ts, avi)."""
  return (match[1][0] for match in START_CODE.finditer(bytes(packet)))


START_CODE = re.compile(b'\0\0\1(.)', re.DOTALL)
REFERENCE = 0x65  # The header of a slice that others refer to.

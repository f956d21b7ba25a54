# SPDX-License-Identifier: Apache-2.0
"""How many frames a video has, and from where they can be decoded.

The answer that counts is that of a full decode, which costs more than the clip
itself. It can be had from the container's index, or from looking at every
packet without decoding it, for files where one packet is known to be one frame.
Whatever looks doubtful is decoded.
"""

import bisect
from collections.abc import Callable
import dataclasses

import av
import numpy as np

from flatten_jax.inputs.video.container import VideoFile


@dataclasses.dataclass(frozen=True)
class Start:
  """A keyframe: decoding can begin there."""

  number: int  # frames shown before it in the order of decoding
  dts: int  # decoding time of its packet, in the stream's time base
  last_dts: int  # of the last packet before the next keyframe


@dataclasses.dataclass(frozen=True)
class FrameTable:
  """The frames of a video, before any is decoded."""

  count: int
  # Keyframes in order, the first of them the beginning of the video.
  starts: tuple[Start, ...] = ()
  # Whether sorting by timestamp gives the order in which frames are shown. If
  # not, frames can only be counted, from the beginning.
  timed: bool = False

  def start_at(self, dts: int) -> Start | None:
    """The keyframe with this decoding time."""
    return next((start for start in self.starts if start.dts == dts), None)

  def start_before(self, number: int) -> Start:
    """The last keyframe from which frame `number` may be decoded."""
    i = bisect.bisect_right(self.starts, number, key=lambda start: start.number)
    return self.starts[max(i - 1, 0)]


def frame_table(video: VideoFile) -> FrameTable | None:
  """What index or packets say; None where only decoding can tell."""
  return table_from_index(video) or table_from_packets(video)


def table_from_index(video: VideoFile) -> FrameTable | None:
  """From the sample table of mp4 and its kin, which lists all packets.

  None where it is absent (fragments), disagrees with the header, was rearranged
  by an edit list, or points past the end of the file.
  """
  if 'mov' not in video.container.format.name.split(','):
    return None
  if video.codec in SHOWN:
    return None
  entries = list(video.stream.index_entries)
  if not entries or len(entries) != video.stream.frames:
    return None
  dts, flags, ends = (
    np.fromiter(column, np.int64, len(entries))
    for column in (
      (entry.timestamp for entry in entries),
      (entry.flags for entry in entries),
      (entry.pos + entry.size for entry in entries),
    )
  )
  if (np.diff(dts) <= 0).any() or ends.max() > video.container.size:
    return None
  return make_table(
    dts,
    keyframe=(flags & INDEX_KEYFRAME) != 0,
    shown=(flags & INDEX_DISCARD) == 0,
    seekable=seekable(video),
  )


# Flags of libavformat's AVIndexEntry; a discarded one is cut by an edit list.
INDEX_KEYFRAME, INDEX_DISCARD = 1, 2


def table_from_packets(video: VideoFile) -> FrameTable | None:
  """From one pass over all packets, decoding none."""
  if not one_packet_one_frame(video):
    return None
  is_shown = shown_packets(video.codec)
  pts, dts, keyframe, shown = [], [], [], []
  try:
    for packet in video.packets():
      if packet.is_corrupt:
        return None
      if packet.size:
        pts.append(packet.pts)
        dts.append(packet.dts)
        keyframe.append(packet.is_keyframe)
        shown.append(is_shown(packet))
  except av.FFmpegError:
    return None
  if not pts:
    return None
  times = [time for time in pts if time is not None]
  if times and pts[0] is not None and pts[0] > min(times):
    return None  # Begins in the middle of something.
  if untimed(video) or not proper(pts) or not proper(dts):
    return FrameTable(sum(shown))
  return make_table(
    np.array(dts), np.array(keyframe), np.array(shown), seekable(video)
  )


def make_table(
  dts: np.ndarray, keyframe: np.ndarray, shown: np.ndarray, seekable: bool
) -> FrameTable | None:
  """The table of packets [N], given in the order of decoding.

  None where the first is no keyframe.
  """
  if not keyframe[0]:
    return None
  before = np.cumsum(shown) - shown  # Frames shown before each packet.
  keys = np.flatnonzero(keyframe)
  lasts = np.append(keys[1:], len(dts)) - 1
  chosen = shown[keys] | (keys == 0)
  columns = (before[keys], dts[keys], dts[lasts])
  starts = [
    Start(*(int(value) for value in row))
    for row in zip(*(column[chosen] for column in columns), strict=True)
  ]
  starts = starts if seekable else starts[:1]
  return FrameTable(int(shown.sum()), tuple(starts), timed=True)


def seekable(video: VideoFile) -> bool:
  """Whether a decoder can begin at any keyframe, and get there exactly.

  In H.264 with full colour the decoder has to know the encoder's version, for
  an old bug, and only the first packet tells it.
  """
  if video.container.format.name == 'mpeg':
    return False
  pixels = video.stream.codec_context.pix_fmt or ''
  return not (video.codec == 'h264' and '444' in pixels)


def one_packet_one_frame(video: VideoFile) -> bool:
  """Whether packets of this container and codec are whole frames.

  Transport streams may carry the two fields of a frame separately, and begin
  anywhere; so may whatever we do not know.
  """
  names = set(video.container.format.name.split(','))
  if names & {'mov', 'matroska', 'avi', 'flv', 'asf'}:
    return True
  return 'mpeg' in names and video.codec == 'mpeg1video'


def untimed(video: VideoFile) -> bool:
  """Whether timestamps are made up: AVI has none, and B-frames reorder."""
  reorders = video.stream.codec_context.has_b_frames
  return video.container.format.name == 'avi' and reorders


def proper(times: list[int | None]) -> bool:
  """Whether all timestamps are there and differ."""
  return None not in times and len(set(times)) == len(times)


# --- Packets that show no frame ----------------------------------------------


def shown_packets(codec: str) -> Callable[[av.Packet], bool]:
  """A function that tells, packet by packet, which ones show a frame."""
  shown = SHOWN[codec]() if codec in SHOWN else lambda packet: True
  # Edit lists mark what they cut away as discarded.
  return lambda packet: not packet.is_discard and shown(packet)


def mpeg4_shown() -> Callable[[av.Packet], bool]:
  """MPEG-4 part 2: packets may be empty, or hold two frames.

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
  """VP8: one bit of the first byte says whether the frame is shown."""
  return lambda packet: bool(memoryview(packet)[0] & 0x10)


SHOWN = {'mpeg4': mpeg4_shown, 'vp8': vp8_shown, 'libvpx': vp8_shown}

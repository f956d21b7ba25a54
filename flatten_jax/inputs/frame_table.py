# SPDX-License-Identifier: Apache-2.0
"""How many frames a video has, and from where they can be decoded.

The answer that counts is that of a full decode, which costs more than the clip
itself. It can be had from the container's index, or from looking at every
packet without decoding it, for files where one packet is known to be one frame.
Whatever looks doubtful is decoded.
"""

import bisect
from collections import deque
from collections.abc import Callable, Iterable, Iterator
import dataclasses
import heapq
import itertools
import math

import av

from flatten_jax.inputs.video_file import VideoFile


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
  times = [entry.timestamp for entry in entries]
  if any(a >= b for a, b in itertools.pairwise(times)):
    return None
  if max(entry.pos + entry.size for entry in entries) > video.container.size:
    return None
  return make_table(
    [
      Packet(entry.timestamp, entry.is_keyframe, not entry.is_discard)
      for entry in entries
    ],
    seekable(video),
  )


def table_from_packets(video: VideoFile) -> FrameTable | None:
  """From one pass over all packets, decoding none."""
  if not one_packet_one_frame(video):
    return None
  shown = shown_packets(video.codec)
  packets, times, whole = [], [], True
  for packet in video.packets():
    if packet.size:
      packets.append(Packet(packet.dts, packet.is_keyframe, shown(packet)))
      times.append(packet.pts)
      whole &= not packet.is_corrupt
  if not packets or not whole:
    return None
  if untimed(video) or not proper(times):
    return FrameTable(sum(packet.shown for packet in packets))
  if times[0] != min(times) or not proper([packet.dts for packet in packets]):
    return None  # Begins in the middle of something.
  return make_table(packets, seekable(video))


@dataclasses.dataclass(frozen=True, slots=True)
class Packet:
  """What matters of a packet here."""

  dts: int
  keyframe: bool
  shown: bool


def make_table(packets: list[Packet], seekable: bool) -> FrameTable | None:
  """The table of packets in decoding order; they must begin with a keyframe."""
  if not packets[0].keyframe:
    return None
  keys = [i for i, packet in enumerate(packets) if packet.keyframe]
  lasts = [*(i - 1 for i in keys[1:]), len(packets) - 1]
  before = [0, *itertools.accumulate(int(packet.shown) for packet in packets)]
  starts = tuple(
    Start(before[key], packets[key].dts, packets[last].dts)
    for key, last in zip(keys, lasts, strict=True)
    if packets[key].shown or key == 0
  )
  if not seekable:
    starts = starts[:1]
  return FrameTable(before[-1], starts, timed=True)


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


# --- Numbering packets --------------------------------------------------------

# H.264 and HEVC move a frame at most 16 places; twice that is plenty.
REORDER = 32


class MissingFrame(Exception):
  """A frame that the table promised and the file does not give."""


def numbered(
  packets: Iterable[av.Packet], shown: Callable[[av.Packet], bool], first: int
) -> Iterator[tuple[av.Packet, int | None]]:
  """Pairs each packet with the number of its frame in the order of showing.

  Args:
    packets: in decoding order, from a keyframe on.
    shown: which packets show a frame; the others get None.
    first: number of the frame that is shown first.

  Raises:
    MissingFrame: where timestamps are absent, repeat or are out of order.
  """
  waiting: deque[tuple[av.Packet, bool]] = deque()
  times: list[int] = []  # A heap of those that have no number yet.
  numbers: dict[int, int] = {}
  count, latest = itertools.count(first), -math.inf

  def settle() -> tuple[av.Packet, int | None]:
    nonlocal latest
    packet, visible = waiting.popleft()
    if not visible:
      return packet, None
    while packet.pts not in numbers:
      time = heapq.heappop(times)
      if time <= latest:
        raise MissingFrame('timestamps repeat or are out of order')
      numbers[time], latest = next(count), time
    return packet, numbers.pop(packet.pts)

  for packet in packets:
    if not packet.size:  # PyAV ends with an empty packet, a flush.
      continue
    visible = shown(packet)
    waiting.append((packet, visible))
    if visible:
      if packet.pts is None:
        raise MissingFrame('timestamps are missing')
      heapq.heappush(times, packet.pts)
    if len(waiting) > REORDER:
      yield settle()
  while waiting:
    yield settle()

# SPDX-License-Identifier: Apache-2.0
"""Counts a video's frames and finds its keyframes without decoding.

Reads the container's index or all packets, if one packet is known to be one
frame, so that the count equals a full decode's. Doubtful files are decoded.
"""

import bisect
from collections.abc import Callable, Sequence
import dataclasses
import itertools

import av
import numpy as np

from flatten_jax.inputs.video import frame_times
from flatten_jax.inputs.video.container import VideoFile


@dataclasses.dataclass(frozen=True)
class Keyframe:
  """A frame at which decoding can begin."""

  number: int  # frames that are shown before it
  dts: int  # decoding time of its packet, in the stream's time base
  last_dts: int  # of the last packet before the next keyframe


@dataclasses.dataclass(frozen=True)
class FrameTable:
  """The number of frames of a video, and its keyframes."""

  count: int
  keyframes: tuple[Keyframe, ...] = ()  # the first is the video's beginning
  # Sorting by timestamp gives the order of display. If not, frames can only be
  # counted from the beginning.
  has_reliable_pts: bool = False
  # See `frame_times`; None if the table does not tell them (`with_times`).
  times: np.ndarray | None = dataclasses.field(
    default=None, compare=False, repr=False
  )

  def keyframe_before(self, number: int) -> Keyframe:
    """Returns the last keyframe from which frame `number` may be decoded."""
    i = bisect.bisect_right(self.keyframes, number, key=lambda key: key.number)
    return self.keyframes[max(i - 1, 0)]


def frame_table(video: VideoFile) -> FrameTable | None:
  """Reads the table of a video; None if only decoding can give it."""
  return table_from_index(video) or table_from_packets(video)


def table_from_index(video: VideoFile) -> FrameTable | None:
  """Reads the sample table of mp4 and mov files, which lists all packets.

  Returns None if it is absent (fragments), disagrees with the header, was
  rearranged by an edit list, or points past the end of the file.
  """
  is_mov = 'mov' in video.container.format.name.split(',')
  if not is_mov or video.codec in SHOWN:
    return None
  entries = list(video.stream.index_entries)
  if not entries or len(entries) != video.stream.frames:
    return None
  rows = ((e.timestamp, e.flags, e.pos + e.size) for e in entries)
  dts, flags, ends = np.fromiter(rows, (np.int64, 3), len(entries)).T
  if (np.diff(dts) <= 0).any() or ends.max() > video.container.size:
    return None
  keyframe, shown = flags & INDEX_KEYFRAME != 0, flags & INDEX_DISCARD == 0
  table = make_table(dts, keyframe, shown, is_seekable(video))
  times = index_times(video, dts, shown)
  return table and dataclasses.replace(table, times=times)


def index_times(
  video: VideoFile, dts: np.ndarray, shown: np.ndarray
) -> np.ndarray | None:
  """Returns the times of frames if those of decoding [N] are enough for them.

  An index has no others. They are if frames are shown in the order of decoding
  or are all equally long.
  """
  if not shown.all():
    return None
  even = np.linspace(dts[0], dts[-1], len(dts))
  reorders = video.stream.codec_context.has_b_frames
  if reorders and np.abs(dts - even).max() > 1:
    return None
  last = (video.stream.duration or 0) - int(dts[-1] - dts[0])
  return make_times(video, dts.tolist(), last)


def make_times(
  video: VideoFile, timestamps: Sequence[int | None], last: int
) -> np.ndarray | None:
  """Returns times of frames in order of display, see `frame_times`."""
  time_base = float(video.stream.time_base)
  return frame_times.from_timestamps(timestamps, time_base, last, video.fps)


def with_times(video: VideoFile, table: FrameTable) -> FrameTable:
  """Returns the table with `times`, None only if the file tells none at all."""
  if table.times is not None:
    return table
  found = table_from_packets(video)
  if found and found.count == table.count and found.times is not None:
    times = found.times
  else:
    times = frame_times.uniform(table.count, video.fps)
  return dataclasses.replace(table, times=times)


# Flags of libavformat's AVIndexEntry; edit lists discard what they cut away.
INDEX_KEYFRAME, INDEX_DISCARD = 1, 2


def table_from_packets(video: VideoFile) -> FrameTable | None:
  """Makes the table in one pass over all packets, without decoding any."""
  if not has_one_frame_per_packet(video):
    return None
  is_shown = shown_packets(video.codec)
  rows = []
  try:
    for packet in video.packets():
      if packet.is_corrupt:
        return None
      if packet.size:
        shows, duration = is_shown(packet), packet.duration or 0
        rows.append(
          (packet.pts, packet.dts, packet.is_keyframe, shows, duration)
        )
  except av.FFmpegError:
    return None
  if not rows:
    return None
  pts, dts, keyframe, shown, _ = zip(*rows, strict=True)
  times = [time for time in pts if time is not None]
  if times and pts[0] is not None and pts[0] > min(times):
    return None  # Begins in the middle of a group of pictures.
  # AVI has no timestamps: PyAV's are made up, and wrong if B-frames reorder.
  is_avi = video.container.format.name == 'avi'
  made_up = is_avi and video.stream.codec_context.has_b_frames
  times = packet_times(video, rows)
  if made_up or any(None in t or len(set(t)) < len(t) for t in (pts, dts)):
    return FrameTable(sum(shown), times=times)
  table = make_table(
    np.array(dts), np.array(keyframe), np.array(shown), is_seekable(video)
  )
  return table and dataclasses.replace(table, times=times)


def packet_times(video: VideoFile, rows: Sequence[tuple]) -> np.ndarray | None:
  """Returns the times of the frames that packets, as decoded, show."""
  pts, dts, _, shown, durations = zip(*rows, strict=True)
  known = [time for time in dts if time is not None]
  is_joined = known != sorted(known)
  stamps = pts
  if video.container.format.name == 'avi' or None in pts or is_joined:
    stamps = dts  # The same as those of display, but for a delay.
  frames = list(itertools.compress(zip(stamps, durations, strict=True), shown))
  if not (is_joined or any(stamp is None for stamp, _ in frames)):
    frames.sort()
  last = frames[-1][1] if frames else 0
  return make_times(video, [stamp for stamp, _ in frames], last)


def make_table(
  dts: np.ndarray, keyframe: np.ndarray, shown: np.ndarray, seekable: bool
) -> FrameTable | None:
  """Makes the table of packets [N] as decoded; None if no keyframe leads."""
  if not keyframe[0]:
    return None
  before = np.cumsum(shown) - shown  # Frames shown before each packet.
  keys = np.flatnonzero(keyframe)
  lasts = np.append(keys[1:], len(dts)) - 1
  chosen = shown[keys] | (keys == 0)
  rows = np.stack([before[keys], dts[keys], dts[lasts]], axis=1)[chosen]
  keyframes = tuple(Keyframe(*row) for row in rows.tolist())
  keyframes = keyframes if seekable else keyframes[:1]
  return FrameTable(int(shown.sum()), keyframes, has_reliable_pts=True)


def is_seekable(video: VideoFile) -> bool:
  """Checks that seeking is exact, and decoding can begin at any keyframe.

  For H.264 4:4:4, the decoder needs the encoder's version because of an old
  bug, and only the first packet contains it.
  """
  if video.container.format.name == 'mpeg':
    return False
  pixels = video.stream.codec_context.pix_fmt or ''
  return not (video.codec == 'h264' and '444' in pixels)


def has_one_frame_per_packet(video: VideoFile) -> bool:
  """Checks that packets of this container and codec are whole frames.

  Transport streams may carry the two fields of a frame separately and begin
  anywhere, as may unknown containers.
  """
  names = set(video.container.format.name.split(','))
  if 'mpeg' in names and video.codec == 'mpeg1video':
    return True
  return bool(names & {'mov', 'matroska', 'avi', 'flv', 'asf'})


def shown_packets(codec: str) -> Callable[[av.Packet], bool]:
  """Returns a predicate for packets that show a frame, to call in order."""
  shown = SHOWN[codec]() if codec in SHOWN else lambda packet: True
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


SHOWN = {'mpeg4': mpeg4_shown, 'vp8': vp8_shown, 'libvpx': vp8_shown}

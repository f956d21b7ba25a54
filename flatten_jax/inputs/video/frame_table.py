# SPDX-License-Identifier: Apache-2.0
"""Counts a video's frames and finds its keyframes without decoding all of it.

Reads the container's index or all packets, if one packet is known to be one
frame, so that the count equals a full decode's. Doubtful files are decoded.
"""

from collections.abc import Sequence
import dataclasses
import itertools

import av
import numpy as np

from flatten_jax.inputs.video import frame_times
from flatten_jax.inputs.video.container import VideoError, VideoFile, describe
from flatten_jax.inputs.video.display_order import (
  HIDING,
  ORDERS,
  display_key,
  shown_packets,
)
from flatten_jax.inputs.video.keyframes import (
  REORDER,
  FrameTable,
  Keyframe,
  Packet,
  make_table,
)
from flatten_jax.inputs.video.packed_frames import MisplacedFrame


def frame_table(video: VideoFile) -> FrameTable | None:
  """Reads the table of a video; None if only decoding can give it."""
  return table_from_index(video) or table_from_packets(video)


def table_from_index(video: VideoFile) -> FrameTable | None:
  """Reads the sample table of mp4 and mov files, which lists all packets.

  Returns None if it is absent (fragments), disagrees with the header, was
  rearranged by an edit list, or points past the end of the file.
  """
  is_mov = 'mov' in video.container.format.name.split(',')
  if not is_mov or video.codec in HIDING:
    return None
  entries = list(video.stream.index_entries)
  if not entries or len(entries) != video.stream.frames:
    return None
  rows = ((e.timestamp, e.flags, e.pos, e.pos + e.size) for e in entries)
  dts, flags, places, ends = np.fromiter(rows, (np.int64, 4), len(entries)).T
  keyframe, shown = flags & INDEX_KEYFRAME != 0, flags & INDEX_DISCARD == 0
  in_file = ends.max() <= video.container.size
  if not (in_file and keyframe[0]) or (np.diff(dts) <= 0).any():
    return None
  before = np.cumsum(shown) - shown  # Frames shown before each packet.
  keys = np.flatnonzero(keyframe)
  lasts = np.append(keys[1:], len(dts)) - 1
  rows = np.stack([before[keys], keys, places[keys], dts[lasts]], axis=1)
  rows = rows[shown[keys] | (keys == 0)]
  keyframes = tuple(Keyframe(*row) for row in rows.tolist())
  times = frame_times.index_times(video, dts, shown)
  return FrameTable(int(shown.sum()), keyframes, times=times)


# Flags of libavformat's AVIndexEntry; edit lists discard what they cut away.
INDEX_KEYFRAME, INDEX_DISCARD = 1, 2


# --- From packets -------------------------------------------------------------

# Codecs of which libavformat makes packets of whole frames in all containers.
WHOLE_FRAMES = frozenset({'h264', 'hevc', 'mpeg1video', 'mpeg2video'})


def table_from_packets(video: VideoFile) -> FrameTable | None:
  """Makes the table in one pass over all packets, and decodes few of them.

  Transport streams and unknown containers may begin anywhere; which of their
  first frames are shown, only decoding tells.
  """
  if not video.seeks_exactly and video.codec not in WHOLE_FRAMES:
    return None
  packets = read_packets(video)
  if not packets:
    return None
  begins_clean = video.seeks_exactly and packets[0].is_keyframe
  display = display_order(video, packets)
  # MPEG-4 part 2 moves frames by one place or none, and tells which.
  is_certain = video.has_display_times or video.codec == 'mpeg4'
  if display and not (begins_clean and is_certain and display[0] == 0):
    display = decode_beginning(video, display)
  if not (display or begins_clean):
    return None
  if display:
    shown = [packets[number] for number in sorted(display)]
    table = make_table(packets, display)
  else:
    shown = [packet for packet in packets if packet.is_shown]
    table = FrameTable(len(shown))
  times = frame_times.packet_times(video, packets, shown)
  return dataclasses.replace(table, times=times)


def read_packets(video: VideoFile) -> list[Packet] | None:
  """Reads all packets that are not empty; None if the file is damaged."""
  is_shown, key = shown_packets(video), display_key(video)
  packets, corrupt = [], []
  try:
    for packet in video.packets():
      if packet.is_corrupt:
        corrupt.append(len(packets))
      if packet.size:
        shown = is_shown(packet)
        packets.append(Packet.of(packet, shown, key(packet) if shown else None))
  except (av.FFmpegError, MisplacedFrame):
    return None
  second = 1 / float(video.stream.time_base)
  # Transport streams call the packets before a joint corrupt, for its sake.
  if all(is_before_joint(packets[n : n + 4], second) for n in corrupt):
    return packets
  return None


def is_before_joint(packets: Sequence[Packet], second: float) -> bool:
  """Checks that a keyframe at another time follows."""
  return any(
    after.is_keyframe
    and None not in (before.dts, after.dts)
    and not 0 < after.dts - before.dts < second
    for before, after in itertools.pairwise(packets)
  )


def display_order(
  video: VideoFile, packets: Sequence[Packet]
) -> list[int] | None:
  """Returns packets' numbers in the order of display; None if unknown."""
  if not (video.seeks_exactly or video.codec in ORDERS):
    dts = [packet.dts for packet in packets]
    if None in dts or any(a >= b for a, b in itertools.pairwise(dts)):
      return None  # Joined files begin again.
  keys = {n: packet.key for n, packet in enumerate(packets) if packet.is_shown}
  if None in keys.values() or len(set(keys.values())) < len(keys):
    return None
  return sorted(keys, key=keys.get)


def decode_beginning(video: VideoFile, display: list[int]) -> list[int] | None:
  """Leaves out frames that decoders do not show at the beginning.

  Decodes until a number of frames came without a gap. Returns None if they are
  not in the expected order.
  """
  places = {number: place for place, number in enumerate(display)}
  shown, last, since_gap = [], -1, 0
  try:
    for packet in video.packets():
      packet.pts = video.position - 1  # Decoders pass it on.
      for frame in video.decode(packet):
        place = places.get(frame.pts, -1)
        if place <= last:
          return None
        since_gap = since_gap + 1 if place == last + 1 else 0
        shown.append(frame.pts)
        last = place
        if since_gap > REORDER:
          return shown + display[last + 1 :]
  except av.FFmpegError:
    return None
  return shown or None


# --- From decoding everything -------------------------------------------------


def decode_all(video: VideoFile) -> tuple[FrameTable, av.VideoFrame, str]:
  """Decodes a whole video, of which at least one frame must be sound.

  Returns the table of its frames, the first frame, and the error that stopped
  the decoder or ''. Decoding can only begin at keyframes of a sound video.
  """
  video.keep_packed()
  packets, display, timestamps, last = [], [], [], 0
  first, cause = None, ''
  try:
    for packet in video.packets():
      if packet.size:
        packets.append(Packet.of(packet))
        packet.pts = len(packets) - 1  # Decoders pass it on.
      for frame in video.decode(packet):
        first, last = first or frame, frame.duration or 0
        display.append(frame.pts)
        origin = None if frame.pts is None else packets[frame.pts]
        has_pts = origin and video.has_pts
        timestamps.append(origin.pts if has_pts else frame.dts)
        if origin and frame.is_corrupt:  # Perhaps repaired from those before.
          origin.is_keyframe = False
  except av.FFmpegError as error:
    cause = describe(error)
  if first is None:
    detail = cause or 'there is no video data'
    raise VideoError(video.file, f'no frame can be decoded: {detail}')
  is_clear = None not in display and len(set(display)) == len(display)
  is_sound = is_clear and not cause and not video.is_packed
  table = make_table(packets, display) if is_sound else FrameTable(len(display))
  times = frame_times.make_times(video, timestamps, last)
  return dataclasses.replace(table, may_skip=False, times=times), first, cause


def with_times(video: VideoFile, table: FrameTable) -> FrameTable:
  """Returns the table with `times`, None only if the file tells none at all."""
  if table.times is not None:
    return table
  times = frame_times.late_index_times(video, table)
  if times is None:
    found = table_from_packets(video)
    times = found.times if found and found.count == table.count else None
  if times is None:
    times = frame_times.uniform(table.count, video.fps)
  return dataclasses.replace(table, times=times)

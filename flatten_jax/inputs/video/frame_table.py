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
from flatten_jax.inputs.video.container import VideoFile
from flatten_jax.inputs.video.display_order import (
  HIDING,
  ORDERS,
  shown_packets,
)
from flatten_jax.inputs.video.keyframes import (
  REORDER,
  FrameTable,
  Keyframe,
  Packet,
  make_table,
)


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
  count = int(shown.sum())
  times = frame_times.index_times(video, dts, shown)
  return FrameTable(count, usable(video, keyframes), times=times)


# Flags of libavformat's AVIndexEntry; edit lists discard what they cut away.
INDEX_KEYFRAME, INDEX_DISCARD = 1, 2


def usable(
  video: VideoFile, keyframes: tuple[Keyframe, ...]
) -> tuple[Keyframe, ...]:
  """Returns the keyframes at which decoding can begin.

  For H.264 4:4:4, the decoder needs the encoder's version because of an old
  bug, and only the first packet contains it.
  """
  pixels = video.stream.codec_context.pix_fmt or ''
  return keyframes[: 1 if video.codec == 'h264' and '444' in pixels else None]


# --- From packets -------------------------------------------------------------

# Codecs of which libavformat makes packets of whole frames in all containers.
WHOLE_FRAMES = frozenset({'h264', 'hevc', 'mpeg1video', 'mpeg2video'})


def table_from_packets(video: VideoFile) -> FrameTable | None:
  """Makes the table in one pass over all packets, and decodes few of them.

  Transport streams and unknown containers may begin anywhere; which of their
  first frames are shown, only decoding tells.
  """
  container_is_known = video.seeks_exactly
  if not container_is_known and video.codec not in WHOLE_FRAMES:
    return None
  packets = read_packets(video)
  if not packets:
    return None
  display = display_by_time(video, packets)
  is_certain = display and container_is_known and packets[0].is_keyframe
  if not (is_certain and display[0] == 0):
    display = display or display_by_codec(video, packets)
    display = display and decode_beginning(video, packets, display)
  if display:
    shown = set(display)
    for number, packet in enumerate(packets):
      packet.is_shown = number in shown
    table = make_table(packets, display)
  elif container_is_known and packets[0].is_keyframe:
    table = FrameTable(sum(packet.is_shown for packet in packets))
  else:
    return None
  return dataclasses.replace(
    table,
    keyframes=usable(video, table.keyframes),
    times=frame_times.packet_times(video, packets),
  )


def read_packets(video: VideoFile) -> list[Packet] | None:
  """Reads all packets that are not empty; None if the file is damaged."""
  is_shown, packets, corrupt = shown_packets(video.codec), [], []
  try:
    for packet in video.packets():
      if packet.is_corrupt:
        corrupt.append(len(packets))
      if packet.size:
        packets.append(Packet.of(packet, is_shown(packet)))
  except av.FFmpegError:
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


def display_by_time(
  video: VideoFile, packets: Sequence[Packet]
) -> list[int] | None:
  """Returns packets' numbers in the order of display, if timestamps tell it."""
  if not video.has_display_times:
    return None
  # Joined files begin again, and MPEG gives a timestamp to few frames.
  joined = not video.seeks_exactly and not is_sorted([p.dts for p in packets])
  if joined or (not video.seeks_exactly and video.codec in ORDERS):
    return None
  shown = [n for n, packet in enumerate(packets) if packet.is_shown]
  times = [packets[n].pts for n in shown]
  if None in times or len(set(times)) < len(times):
    return None
  return sorted(shown, key=lambda n: packets[n].pts)


def display_by_codec(
  video: VideoFile, packets: Sequence[Packet]
) -> list[int] | None:
  """Returns packets' numbers in the order of display, if pictures tell it."""
  if video.codec not in ORDERS:
    return None
  order, keys = ORDERS[video.codec](video), {}
  coded = (packet for packet in video.packets() if packet.size)
  try:
    for number, packet in enumerate(coded):
      if packets[number].is_shown:
        keys[number] = order.key(bytes(packet))
  except (av.FFmpegError, ValueError, IndexError):
    return None
  is_unique = len(set(keys.values())) == len(keys)
  return sorted(keys, key=keys.get) if is_unique else None


def is_sorted(times: Sequence[int | None]) -> bool:
  """Checks that times are known and increase."""
  return None not in times and all(a < b for a, b in itertools.pairwise(times))


def decode_beginning(
  video: VideoFile, packets: Sequence[Packet], display: list[int]
) -> list[int] | None:
  """Leaves out frames that decoders do not show at the beginning.

  Decodes until a number of frames came without a gap. Returns None if they are
  not in the expected order.
  """
  places = {number: place for place, number in enumerate(display)}
  shown, last, since_gap = [], -1, 0
  try:
    for number, packet in enumerate(video.packets()):
      packet.pts = number  # Decoders pass it on.
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


def with_times(video: VideoFile, table: FrameTable) -> FrameTable:
  """Returns the table with `times`, None only if the file tells none at all."""
  times = table.times
  if times is None:
    times = frame_times.late_index_times(video, table)
  if times is None:
    found = table_from_packets(video)
    times = found.times if found and found.count == table.count else None
  if times is None:
    times = frame_times.uniform(table.count, video.fps)
  return dataclasses.replace(table, times=times)

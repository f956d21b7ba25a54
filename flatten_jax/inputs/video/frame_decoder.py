# SPDX-License-Identifier: Apache-2.0
"""Decodes wanted frames of an open video, and as little else as possible.

Only the stretches between the keyframe before a wanted frame and that frame are
decoded; within them, frames that neither are wanted nor help others are
skipped.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
import heapq
import itertools
import math

import av

from flatten_jax.inputs.video.container import VideoError, VideoFile, describe
from flatten_jax.inputs.video.keyframes import FrameTable, Start, shown_packets
from flatten_jax.inputs.video.reference_frames import droppable_packets

# Seeking ahead costs about as much as decoding this many frames.
SEEK_FRAMES = 8
# H.264 and HEVC move a frame at most 16 places; twice that is plenty.
REORDER = 32


class MissingFrame(Exception):
  """A frame that the table promised and the file does not give."""


def decode(
  video: VideoFile, table: FrameTable, wanted: list[int]
) -> Iterator[tuple[int, av.VideoFrame]]:
  """The `wanted` frames, given in ascending order, and their numbers."""
  if not table.timed:
    yield from count_off(video, wanted)
    return
  for start, stretch in stretches(table, wanted):
    yield from decode_stretch(video, table, start, stretch)


def stretches(
  table: FrameTable, wanted: list[int]
) -> Iterator[tuple[Start, list[int]]]:
  """Cuts `wanted` where seeking to a keyframe saves decoding."""
  start, stretch = table.start_before(wanted[0]), wanted[:1]
  for number in wanted[1:]:
    ahead = table.start_before(number)
    if ahead.number - stretch[-1] > SEEK_FRAMES:
      yield start, stretch
      start, stretch = ahead, []
    stretch.append(number)
  yield start, stretch


def decode_stretch(
  video: VideoFile, table: FrameTable, start: Start, wanted: list[int]
) -> Iterator[tuple[int, av.VideoFrame]]:
  """The `wanted` frames, decoding from the keyframe `start`."""
  packets, start = seek(video, table, start)
  pairs = numbered(packets, shown_packets(video.codec), start.number)
  head = next(pairs, None)
  if head is None:
    raise MissingFrame('the file has no more packets')
  first = start.number if head[1] is None else head[1]
  if first > wanted[0]:
    # Frames that are shown before this keyframe but coded after it (an "open"
    # group of pictures) need what is before the keyframe as well.
    if start.number == 0:
      raise MissingFrame(f'frame {wanted[0]} refers to frames that are cut off')
    earlier = table.start_before(start.number - 1)
    yield from decode_stretch(video, table, earlier, wanted)
    return
  pairs = itertools.chain([head], pairs)
  chosen = choose_packets(pairs, first, wanted, droppable_packets(video))
  frames = decode_chosen(video, chosen)
  if start.number > 0:
    key = next(frames, None)
    if (
      key is None or not key[1].key_frame
    ):  # The container lies about its keyframes.
      yield from decode_stretch(video, table, table.starts[0], wanted)
      return
    frames = itertools.chain([key], frames)
  yield from (pair for pair in frames if pair[0] is not None)


def decode_chosen(
  video: VideoFile, chosen: Iterator[tuple[av.Packet, int | None]]
) -> Iterator[tuple[int | None, av.VideoFrame]]:
  """Decodes packets; each frame comes with its number, None if not wanted."""
  numbers = {}  # of the wanted frames that are in the decoder, by timestamp
  for packet, number in chosen:
    if number is not None:
      numbers[packet.pts] = number
    for frame in video.stream.decode(packet):
      yield numbers.pop(frame.pts, None), frame
  for frame in video.stream.decode(None):  # Those that wait to be shown.
    yield numbers.pop(frame.pts, None), frame
  if numbers:
    raise MissingFrame(f'frame {min(numbers.values())} is damaged')


def choose_packets(
  pairs: Iterator[tuple[av.Packet, int | None]],
  first: int,
  wanted: list[int],
  droppable: Callable[[av.Packet], bool],
) -> Iterator[tuple[av.Packet, int | None]]:
  """Packets to decode, up to the last wanted one; a number where it is wanted.

  Leaves out those of frames before `first`, which cannot be decoded, and those
  to which no other frame refers.
  """
  remaining = set(wanted)
  for packet, number in pairs:
    if number in remaining:
      yield packet, number
      remaining.remove(number)
      if not remaining:
        return
    elif (number is None or number >= first) and not droppable(packet):
      yield packet, None
  raise MissingFrame(f'frame {min(remaining)} is missing')


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


def seek(
  video: VideoFile, table: FrameTable, start: Start
) -> tuple[Iterator[av.Packet], Start]:
  """Packets from `start`, or from an earlier keyframe if that must be."""
  beginning = table.starts[0]
  if start != beginning or not video.untouched:
    # Any time before the next keyframe will do. The later, the safer: some
    # demuxers compare it to times of showing, which come after decoding.
    head, packets = video.seek(start.last_dts)
    landed = table.start_at(head.dts) if head.is_keyframe else None
    if landed and landed.number <= start.number:
      return itertools.chain([head], packets), landed
  return video.packets(), beginning


def count_off(
  video: VideoFile, wanted: list[int]
) -> Iterator[tuple[int, av.VideoFrame]]:
  """The `wanted` frames, counted from the first frame on."""
  ahead = iter(wanted)
  target = next(ahead)
  for number, frame in enumerate(decode_from_start(video)):
    if number == target:
      yield number, frame
      target = next(ahead, None)
      if target is None:
        return
  raise MissingFrame(f'frame {target} is missing')


def decode_all(video: VideoFile) -> tuple[int, av.VideoFrame, str]:
  """How many frames can be decoded, the first of them, and what stopped it.

  Raises:
    VideoError: for a file without a single frame.
  """
  count, first, cause = 0, None, ''
  try:
    for frame in decode_from_start(video):
      first = first or frame
      count += 1
  except av.FFmpegError as error:
    cause = describe(error)
  if first is None:
    detail = cause or 'there is no video data'
    raise VideoError(video.file, f'no frame can be decoded: {detail}')
  return count, first, cause


def decode_from_start(video: VideoFile) -> Iterator[av.VideoFrame]:
  """All frames, one after the other."""
  for packet in video.packets():
    yield from video.stream.decode(packet)

# SPDX-License-Identifier: Apache-2.0
"""Decodes wanted frames of an open video, and as few others as possible.

Decoding begins at the keyframe before a wanted frame; frames between them to
which no other refers are skipped.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
import heapq
import itertools
import math

import av

from flatten_jax.inputs.video.container import VideoError, VideoFile, describe
from flatten_jax.inputs.video.keyframes import (
  FrameTable,
  Keyframe,
  make_times,
  shown_packets,
)
from flatten_jax.inputs.video.reference_frames import droppable_packets

# Seeking ahead costs about as much as decoding this many frames.
SEEK_FRAMES = 8
# H.264 and HEVC move a frame by at most 16 places; twice that is safe.
REORDER = 32


class MissingFrame(Exception):
  """A frame that the table lists and the file does not contain."""


def decode(
  video: VideoFile, table: FrameTable, wanted: list[int]
) -> Iterator[tuple[int, av.VideoFrame]]:
  """Yields the `wanted` frames, given in ascending order, with their numbers.

  Raises MissingFrame if the table is wrong about the file.
  """
  if not table.has_reliable_pts:
    yield from decode_sequential(video, wanted)
    return
  for keyframe, numbers in gop_ranges(table, wanted):
    yield from decode_gop_range(video, table, keyframe, numbers)


def gop_ranges(
  table: FrameTable, wanted: list[int]
) -> Iterator[tuple[Keyframe, list[int]]]:
  """Splits `wanted` where seeking to a keyframe saves decoding."""
  keyframe, numbers = table.keyframe_before(wanted[0]), wanted[:1]
  for number in wanted[1:]:
    ahead = table.keyframe_before(number)
    if ahead.number - numbers[-1] > SEEK_FRAMES:
      yield keyframe, numbers
      keyframe, numbers = ahead, []
    numbers.append(number)
  yield keyframe, numbers


def decode_gop_range(
  video: VideoFile, table: FrameTable, keyframe: Keyframe, wanted: list[int]
) -> Iterator[tuple[int, av.VideoFrame]]:
  """Yields the `wanted` frames, decoding from `keyframe` on."""
  packets, keyframe = seek(video, table, keyframe)
  pairs = number_packets(packets, shown_packets(video.codec), keyframe.number)
  head = next(pairs, None)
  if head is None:
    raise MissingFrame('the file has no more packets')
  first = keyframe.number if head[1] is None else head[1]
  if first > wanted[0]:
    # Frames that are shown before this keyframe but coded after it (an "open"
    # group of pictures) also need what precedes the keyframe.
    if keyframe.number == 0:
      raise MissingFrame(f'frame {wanted[0]} refers to frames that are cut off')
    earlier = table.keyframe_before(keyframe.number - 1)
    yield from decode_gop_range(video, table, earlier, wanted)
    return
  pairs = itertools.chain([head], pairs)
  chosen = choose_packets(pairs, first, wanted, droppable_packets(video))
  frames = decode_packets(video, chosen)
  if keyframe.number > 0:
    key = next(frames, None)
    if key is None or not key[1].key_frame:  # The container is wrong about it.
      yield from decode_gop_range(video, table, table.keyframes[0], wanted)
      return
    frames = itertools.chain([key], frames)
  yield from (pair for pair in frames if pair[0] is not None)


def decode_packets(
  video: VideoFile, chosen: Iterator[tuple[av.Packet, int | None]]
) -> Iterator[tuple[int | None, av.VideoFrame]]:
  """Decodes packets; yields frames with their numbers, None if not wanted."""
  numbers = {}  # Wanted frames that are still in the decoder, by timestamp.
  for packet, number in itertools.chain(chosen, [(None, None)]):
    if number is not None:
      numbers[packet.pts] = number
    for frame in video.stream.decode(packet):  # None flushes the decoder.
      yield numbers.pop(frame.pts, None), frame
  if numbers:
    raise MissingFrame(f'frame {min(numbers.values())} is damaged')


def choose_packets(
  pairs: Iterator[tuple[av.Packet, int | None]],
  first: int,
  wanted: list[int],
  droppable: Callable[[av.Packet], bool],
) -> Iterator[tuple[av.Packet, int | None]]:
  """Yields packets to decode up to the last wanted frame.

  Leaves out frames before `first`, which cannot be decoded, and frames to which
  no other refers. Numbers of frames that are not wanted become None.
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


def number_packets(
  packets: Iterable[av.Packet], shown: Callable[[av.Packet], bool], first: int
) -> Iterator[tuple[av.Packet, int | None]]:
  """Pairs packets in decoding order with their frames' places in display order.

  Counts from `first`; packets that show no frame get None. Raises MissingFrame
  if timestamps are absent, repeat or are out of order.
  """
  waiting: deque[tuple[av.Packet, bool]] = deque()
  times: list[int] = []  # A heap of timestamps without a frame number.
  numbers: dict[int, int] = {}
  count, latest = itertools.count(first), -math.inf

  def assign_frame_number() -> tuple[av.Packet, int | None]:
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
    if not packet.size:  # PyAV ends with an empty packet.
      continue
    visible = shown(packet)
    waiting.append((packet, visible))
    if visible:
      if packet.pts is None:
        raise MissingFrame('timestamps are missing')
      heapq.heappush(times, packet.pts)
    if len(waiting) > REORDER:
      yield assign_frame_number()
  while waiting:
    yield assign_frame_number()


def seek(
  video: VideoFile, table: FrameTable, keyframe: Keyframe
) -> tuple[Iterator[av.Packet], Keyframe]:
  """Returns packets from `keyframe` on, or from an earlier one if necessary."""
  beginning = table.keyframes[0]
  if keyframe != beginning or not video.at_start:
    # Any time before the next keyframe will do; the last is the safest, since
    # some demuxers compare presentation times, which follow decoding times.
    head, packets = video.seek(keyframe.last_dts)
    landed = next((k for k in table.keyframes if k.dts == head.dts), None)
    if landed and head.is_keyframe and landed.number <= keyframe.number:
      return itertools.chain([head], packets), landed
  return video.packets(), beginning


def decode_sequential(
  video: VideoFile, wanted: list[int]
) -> Iterator[tuple[int, av.VideoFrame]]:
  """Yields the `wanted` frames, counting from the first frame of the video."""
  ahead = deque(wanted)
  for number, frame in enumerate(decode_from_start(video)):
    if number == ahead[0]:
      yield ahead.popleft(), frame
      if not ahead:
        return
  raise MissingFrame(f'frame {ahead[0]} is missing')


def decode_all(video: VideoFile) -> tuple[FrameTable, av.VideoFrame, str]:
  """Decodes a whole video, of which at least one frame must be sound.

  Returns number and times of the frames, the first frame, and the error that
  stopped the decoder or ''.
  """
  timestamps, last, first, cause = [], 0, None, ''
  is_avi = video.container.format.name == 'avi'
  try:
    for frame in decode_from_start(video):
      first = first or frame
      # AVI has no timestamps but those of decoding, which are in their order.
      timestamps.append(frame.dts if is_avi else frame.pts)
      last = frame.duration or 0
  except av.FFmpegError as error:
    cause = describe(error)
  if first is None:
    detail = cause or 'there is no video data'
    raise VideoError(video.file, f'no frame can be decoded: {detail}')
  times = make_times(video, timestamps, last)
  return FrameTable(len(timestamps), times=times), first, cause


def decode_from_start(video: VideoFile) -> Iterator[av.VideoFrame]:
  """Yields all frames in the order of display."""
  for packet in video.packets():
    yield from video.stream.decode(packet)

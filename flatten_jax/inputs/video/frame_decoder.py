# SPDX-License-Identifier: Apache-2.0
"""Decodes wanted frames of an open video, and as few others as possible.

Decoding begins at the keyframe before a wanted frame; frames between them to
which no other refers are skipped.
"""

import bisect
from collections import deque
from collections.abc import Callable, Iterable, Iterator
import dataclasses
import itertools
import math

import av
from av.video.frame import PictureType

from flatten_jax.inputs.video.container import VideoFile
from flatten_jax.inputs.video.keyframes import (
  HIDDEN,
  REORDER,
  FrameTable,
  Keyframe,
)
from flatten_jax.inputs.video.reference_frames import droppable_packets

# Seeking ahead costs about as much as decoding this many frames.
SEEK_FRAMES = 8
NEAR = 64  # Packets that are read sooner than sought over.


class MissingFrame(Exception):
  """A frame that the table lists and the file does not contain."""


class FalseKeyframe(Exception):
  """A keyframe that is none, though the container says so."""


def decode(
  video: VideoFile, table: FrameTable, wanted: list[int]
) -> Iterator[tuple[int, av.VideoFrame]]:
  """Yields the `wanted` frames, given in ascending order, with their numbers.

  Other frames that had to be decoded come too, without a number. Raises
  MissingFrame if the table is wrong about the file.
  """
  if not table.keyframes:
    yield from decode_sequential(video, wanted)
    return
  pixels = video.stream.codec_context.pix_fmt or ''
  if video.codec == 'h264' and '444' in pixels:
    # The decoder needs the encoder's version because of an old bug, and only
    # the first packet contains it.
    table = dataclasses.replace(table, keyframes=table.keyframes[:1])
  for keyframe, numbers in gop_ranges(table, wanted):
    try:
      yield from decode_gop_range(video, table, keyframe, numbers)
    except FalseKeyframe:
      numbers = [number for number in wanted if number >= numbers[0]]
      beginning = table.keyframes[0]
      yield from decode_gop_range(video, table, beginning, numbers)
      return


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
  """Yields the `wanted` frames, decoding from `keyframe` on.

  Raises FalseKeyframe before the first frame if that is impossible.
  """
  pairs = numbered_packets(video, table, keyframe)
  head = next(pairs, None)
  if head is None:
    raise MissingFrame('the file has no more packets')
  is_counted = head[1] is not None and table.order is None
  first = head[1] if is_counted else keyframe.number
  if first > wanted[0]:
    # Frames that are shown before this keyframe but coded after it (an "open"
    # group of pictures) also need what precedes the keyframe.
    if keyframe.packet == 0:
      raise MissingFrame(f'frame {wanted[0]} refers to frames that are cut off')
    earlier = table.keyframe_before(keyframe.number - 1)
    yield from decode_gop_range(video, table, earlier, wanted)
    return
  pairs = itertools.chain([head], pairs)
  droppable = droppable_packets(video, table)
  frames = decode_packets(
    video, choose_packets(pairs, first, wanted, droppable)
  )
  if keyframe.packet > 0:
    try:
      key = next(frames)
    except (StopIteration, MissingFrame):
      raise FalseKeyframe from None
    if not is_clean(key[1]):
      raise FalseKeyframe
    yield key
  yield from frames


def is_clean(frame: av.VideoFrame) -> bool:
  """Checks that a frame is the first packet's, and refers to no other."""
  is_intra = frame.pict_type in (PictureType.I, PictureType.NONE)
  return frame.pts == 0 and frame.key_frame and is_intra


def decode_packets(
  video: VideoFile, chosen: Iterable[tuple[av.Packet, int | None]]
) -> Iterator[tuple[int | None, av.VideoFrame]]:
  """Decodes packets; yields frames with their numbers, None if not wanted.

  Timestamps become the places in `chosen`, since those of files may repeat.
  """
  numbers = {}  # Wanted frames that are still in the decoder.
  for place, (packet, number) in enumerate(chosen):
    packet.pts = place
    if number is not None:
      numbers[place] = number
    for frame in video.decode(packet):
      yield numbers.pop(frame.pts, None), frame
  for frame in video.decode(None):  # Flushes the decoder.
    yield numbers.pop(frame.pts, None), frame
  if numbers:
    raise MissingFrame(f'frame {min(numbers.values())} is damaged')


def choose_packets(
  pairs: Iterable[tuple[av.Packet, int | None]],
  first: int,
  wanted: list[int],
  droppable: Callable[[av.Packet], bool],
) -> Iterator[tuple[av.Packet, int | None]]:
  """Yields packets to decode up to the last wanted frame.

  Leaves out frames before `first`, which cannot be decoded, and frames to which
  no other refers. Numbers of frames that are not wanted become None.
  """
  remaining, is_taken = set(wanted), True
  for packet, number in pairs:
    # Packets that show no frame, like a second field, belong to the one before.
    if number is not None:
      if not remaining:
        return
      is_taken = number in remaining or (
        number >= first and not droppable(packet)
      )
    if is_taken:
      yield packet, number if number in remaining else None
    remaining.discard(number)
  if remaining:
    raise MissingFrame(f'frame {min(remaining)} is missing')


def numbered_packets(
  video: VideoFile, table: FrameTable, keyframe: Keyframe
) -> Iterator[tuple[av.Packet, int | None]]:
  """Yields packets from `keyframe` on, and their frames' numbers or None."""
  ahead = keyframe.packet - video.position
  if table.places and video.seeks_exactly and not 0 <= ahead <= NEAR:
    video.seek(keyframe.timestamp, table.places)
  packets = (p for p in video.packets(keyframe.packet) if p.size)
  if table.order is None:
    return number_packets(packets, keyframe.number)
  numbers = table.order[keyframe.packet :].tolist()
  numbers = (None if number == HIDDEN else number for number in numbers)
  return zip(packets, numbers, strict=False)


def number_packets(
  packets: Iterable[av.Packet], first: int
) -> Iterator[tuple[av.Packet, int | None]]:
  """Pairs packets with their frames, counted from `first` by timestamps.

  Raises MissingFrame if these are absent, repeat or are out of order.
  """
  waiting, times, latest = deque(), [], -math.inf
  for packet in itertools.chain(packets, REORDER * [None]):
    if packet and not packet.is_discard:  # Edit lists discard what they cut.
      if packet.pts is None:
        raise MissingFrame('timestamps are missing')
      if packet.pts <= latest or packet.pts in times[-2 * REORDER :]:
        raise MissingFrame('timestamps repeat or are out of order')
      bisect.insort(times, packet.pts)
    waiting.append(packet)
    oldest = waiting.popleft() if len(waiting) > REORDER else None
    if oldest and oldest.is_discard:
      yield oldest, None
    elif oldest:
      latest = max(latest, oldest.pts)
      yield oldest, first + bisect.bisect_left(times, oldest.pts)


def decode_sequential(
  video: VideoFile, wanted: list[int]
) -> Iterator[tuple[int, av.VideoFrame]]:
  """Yields the `wanted` frames, counting from the first frame of the video."""
  ahead = deque(wanted)
  for number, frame in enumerate(decode_from_start(video)):
    yield (ahead.popleft() if number == ahead[0] else None), frame
    if not ahead:
      return
  raise MissingFrame(f'frame {ahead[0]} is missing')


def decode_from_start(video: VideoFile) -> Iterator[av.VideoFrame]:
  """Yields all frames in the order of display."""
  video.keep_packed()
  for packet in video.packets():
    yield from video.decode(packet)

# SPDX-License-Identifier: Apache-2.0
"""Reads chosen frames of a video file, exactly those, and says why it cannot.

Frames are numbered in the order in which a full decode shows them. Of the file,
only the stretches between the keyframe before a wanted frame and that frame are
decoded; within them, frames that neither are wanted nor help others are
skipped; and only wanted frames are converted to RGB, at their final size.
"""

from collections.abc import Callable, Iterator, Sequence
import contextlib
import dataclasses
import itertools
import os

import av
from av.video.reformatter import VideoReformatter
import cv2
import numpy as np

from flatten_jax.inputs.frame_table import (
  FrameTable,
  MissingFrame,
  Start,
  frame_table,
  numbered,
  shown_packets,
)
from flatten_jax.inputs.video_file import (
  VideoError,
  VideoFile,
  describe,
  open_video,
)

# Seeking ahead costs about as much as decoding this many frames.
SEEK_FRAMES = 8
# Codecs that mark a frame to which no other refers. HEVC marks it per temporal
# layer only, where frames of higher layers may still refer to it.
SKIPPABLE = frozenset({'h264', 'mpeg4', 'mpeg1video', 'mpeg2video'})
# How nearly all videos store their pixels.
PLANAR = frozenset({'yuv420p', 'yuvj420p'})


@dataclasses.dataclass(frozen=True)
class VideoInfo:
  """What a video holds; size in pixels as shown: upright, square pixels."""

  num_frames: int
  fps: float  # 0 where unknown
  duration: float  # seconds
  width: int
  height: int
  rotation: int  # degrees, counterclockwise; width and height are after it
  codec: str
  damage: str = ''  # what stopped the decoder before the end of the file


def probe(path: str | os.PathLike) -> VideoInfo:
  """Decodes the whole video, converting nothing, and says what it holds.

  Raises:
    VideoError: for a file without a single frame.
  """
  with open_video(path) as video:
    count, frame, damage = decode_all(video)
    height, width = Layout.of(frame, video).shape
    return VideoInfo(
      num_frames=count,
      fps=video.fps,
      duration=count / video.fps if video.fps else 0.0,
      width=width,
      height=height,
      rotation=frame.rotation,
      codec=video.codec,
      damage=damage,
    )


def read_clip(
  path: str | os.PathLike,
  choose: Callable[[int, float], Sequence[int]],
  short_side: int | None = None,
) -> np.ndarray:
  """Decodes the frames that `choose` names.

  Args:
    path: a video file.
    choose: called with (num_frames, fps), returns frame numbers, in any order
      and as often as wanted. A damaged file may turn out to have fewer frames
      than it says; then `choose` is called again, with the true number.
    short_side: resizes while decoding, so that the shorter side has this many
      pixels.

  Returns:
    uint8 [T H W 3] RGB, upright, with square pixels.

  Raises:
    VideoError: for a file that is no video, or has no frame that can be read.
  """
  with open_video(path) as video:
    table = frame_table(video)
    if table and table.count:
      with contextlib.suppress(MissingFrame, av.FFmpegError):
        return read_frames(video, table, choose, short_side)
    # Damaged, or of a kind that only a decoder understands: it has to tell.
    count, _, _ = decode_all(video)
    try:
      return read_frames(video, FrameTable(count), choose, short_side)
    except MissingFrame as error:
      raise VideoError(video.file, str(error)) from error


def read_frames(
  video: VideoFile, table: FrameTable, choose, short_side: int | None
) -> np.ndarray:
  """The chosen frames of an open video. -> uint8 [T H W 3]."""
  index = np.asarray(choose(table.count, video.fps), np.int64)
  wanted = np.unique(index).tolist()
  if not 0 <= wanted[0] <= wanted[-1] < table.count:
    raise IndexError(
      f'Frames {wanted[0]} to {wanted[-1]} were asked of {video.file}, which '
      f'has {table.count}.'
    )
  layout = clip = None
  for number, frame in decode(video, table, wanted):
    if layout is None:
      layout = Layout.of(frame, video, short_side)
      clip = np.empty((len(index), *layout.shape, 3), np.uint8)
    clip[index == number] = layout.rgb(frame)
  return clip


# --- Which packets to decode -----------------------------------------------


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
  head = next(pairs)
  first = start.number if head[1] is None else head[1]
  if first > wanted[0]:
    # Frames that are shown before this keyframe but coded after it (an "open"
    # group of pictures) need what is before the keyframe as well.
    if start.number == 0:
      raise MissingFrame(f'frame {wanted[0]} refers to frames that are cut off')
    earlier = table.start_before(start.number - 1)
    yield from decode_stretch(video, table, earlier, wanted)
    return
  chosen = choose_packets(itertools.chain([head], pairs), first, wanted)
  frames = decode_chosen(video, chosen)
  if start.number > 0:
    key = next(frames)
    if not key[1].key_frame:  # The container lies about its keyframes.
      yield from decode_stretch(video, table, table.starts[0], wanted)
      return
    frames = itertools.chain([key], frames)
  yield from (pair for pair in frames if pair[0] is not None)


def decode_chosen(
  video: VideoFile, chosen: Iterator[tuple[av.Packet, int | None]]
) -> Iterator[tuple[int | None, av.VideoFrame]]:
  """Decodes packets; each frame comes with its number, None if not wanted."""
  context = video.stream.codec_context
  numbers = {}  # of the wanted frames that are in the decoder, by timestamp
  first = True
  for packet, number in chosen:
    if number is not None:
      numbers[packet.pts] = number
    if video.codec in SKIPPABLE:
      skip = number is None and not first
      context.skip_frame = 'NONREF' if skip else 'DEFAULT'
    first = False
    for frame in video.stream.decode(packet):
      yield numbers.pop(frame.pts, None), frame
  for frame in video.stream.decode(None):  # Those that wait to be shown.
    yield numbers.pop(frame.pts, None), frame
  if numbers:
    raise MissingFrame(f'frame {min(numbers.values())} is damaged')


def choose_packets(
  pairs: Iterator[tuple[av.Packet, int | None]], first: int, wanted: list[int]
) -> Iterator[tuple[av.Packet, int | None]]:
  """Packets to decode, up to the last wanted one; a number where it is wanted.

  Leaves out those of frames before `first`, which cannot be decoded.
  """
  remaining = set(wanted)
  for packet, number in pairs:
    if number is not None and number < first:
      continue
    yield packet, number if number in remaining else None
    remaining.discard(number)
    if not remaining:
      return
  raise MissingFrame(f'frame {min(remaining)} is missing')


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
  packets = video.packets()
  video.stream.codec_context.skip_frame = 'DEFAULT'
  for packet in packets:
    yield from video.stream.decode(packet)


# --- What to make of a frame -----------------------------------------------


@dataclasses.dataclass(frozen=True)
class Layout:
  """How decoded frames become upright pictures with square pixels."""

  width: int  # before turning
  height: int
  transpose: bool = False
  mirror: bool = False  # left to right, after transposing
  flip: bool = False  # top to bottom, after transposing
  scaler: VideoReformatter = dataclasses.field(default_factory=VideoReformatter)
  converter: VideoReformatter = dataclasses.field(
    default_factory=VideoReformatter
  )

  @classmethod
  def of(
    cls, frame: av.VideoFrame, video: VideoFile, short_side: int | None = None
  ) -> 'Layout':
    """The layout for all frames of a video, given one of them."""
    width, height = frame.width, frame.height
    aspect = float(video.stream.sample_aspect_ratio or 1)
    if 1 / 8 < aspect < 8:  # Otherwise it is nonsense.
      width = max(1, round(width * aspect))
    if short_side:
      scale = short_side / min(width, height)
      # Even numbers are converted faster.
      width, height = (
        short_side if x == min(width, height) else 2 * round(x * scale / 2)
        for x in (width, height)
      )
    return cls(width, height, *orientation(frame))

  @property
  def shape(self) -> tuple[int, int]:
    """Height and width of the picture."""
    shape = self.height, self.width
    return shape[::-1] if self.transpose else shape

  def rgb(self, frame: av.VideoFrame) -> np.ndarray:
    """The picture. -> uint8 [H W 3]; may share the frame's memory."""
    if frame.format.name in PLANAR:
      # Scaling planes and converting the few pixels that are left takes a third
      # of the time of doing both at once.
      frame = self.scaler.reformat(frame, self.width, self.height, threads=1)
    image = self.converter.reformat(
      frame, self.width, self.height, 'rgb24', threads=1
    ).to_ndarray()
    if self.transpose:
      image = cv2.transpose(image)
    if self.mirror or self.flip:
      both = self.mirror and self.flip
      image = cv2.flip(image, -1 if both else int(self.mirror))
    return image


def orientation(frame: av.VideoFrame) -> tuple[bool, bool, bool]:
  """Whether to transpose, then mirror, then flip a frame to see it upright.

  From the display matrix that cameras write: a point (x, y) of the frame is
  shown at (a x + c y, b x + d y), rows being (a b _), (c d _), (_ _ _), in
  16.16 fixed point. Turns are taken to the nearest quarter.
  """
  matrix = frame.side_data.get('DISPLAYMATRIX')
  if matrix is None:
    return False, False, False
  (a, b, _), (c, d, _), _ = np.frombuffer(matrix, np.int32).reshape(3, 3)
  if abs(int(a)) >= abs(int(b)):
    return False, bool(a < 0), bool(d < 0)
  return True, bool(c < 0), bool(b < 0)

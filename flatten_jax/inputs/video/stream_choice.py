# SPDX-License-Identifier: Apache-2.0
"""Chooses the stream of a file that players show: the film, not a still."""

from collections.abc import Callable

import av
from av.container.streams import StreamContainer
from av.stream import Disposition

# Covers and thumbnails, if they are flagged at all.
STILL = (
  Disposition.attached_pic
  | Disposition.timed_thumbnails
  | Disposition.still_image
)
IMAGE_CODECS = frozenset(
  {'mjpeg', 'png', 'bmp', 'webp', 'tiff', 'jpeg2000', 'libopenjpeg'}
)
FEW = 5  # A stream of fewer frames is a still, or slides, if there is another.


def choose_stream(
  streams: StreamContainer, count_frames: Callable[[], dict[int, int]]
) -> int:
  """Returns the index of the stream.

  Of several films, it is the one that is flagged as default, then the largest.
  `count_frames` counts the first frames of all streams; it closes `streams`.
  Raises ValueError if there is no film that can be decoded.
  """
  if not streams.video:
    raise ValueError('no video stream')
  films = [s for s in streams.video if not s.disposition & STILL]
  decodable = [s for s in films if s.codec_context is not None]
  if films and not decodable:
    raise ValueError('no decoder for its video stream')
  ranks = {s.index: rank(s) for s in decodable}
  maybe_still = any(s.codec_context.name in IMAGE_CODECS for s in decodable)
  if len(ranks) > 1 or (maybe_still and streams.audio):
    counts = {s.index: s.frames for s in decodable}
    if not all(counts.values()):  # Most containers do not tell.
      counts = count_frames()
    ranks = {i: (min(counts[i], FEW), *key) for i, key in ranks.items()}
    if maybe_still and len(ranks) == 1 and max(ranks.values())[0] == 1:
      ranks = {}
  if not ranks:
    raise ValueError('no video stream, only a still picture')
  return max(ranks, key=ranks.get)


def rank(stream: av.VideoStream) -> tuple[bool, bool, int, int]:
  """Returns a key that is greatest for the stream that players show."""
  return (
    not stream.disposition & Disposition.dependent,  # A layer of another one.
    bool(stream.disposition & Disposition.default),
    stream.codec_context.width * stream.codec_context.height,
    stream.codec_context.bit_rate or 0,
  )

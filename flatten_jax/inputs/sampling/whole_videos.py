# SPDX-License-Identifier: Apache-2.0
"""Rules whose test clips are spread over a whole video."""

import numpy as np

from flatten_jax.inputs.sampling.clips import TimeSformer, truncated_linspace
from flatten_jax.inputs.sampling.rule import Rule


class Segment(Rule):
  """UniFormer's: one frame in each of T equal segments."""

  strided = False
  frames = 'the middle frame of each of num_frames equal parts of the video'

  def train(self, length, fps, rng):
    """Draws a frame of each segment."""
    low, high = segment_ranges(length, self.num_frames)
    return rng.integers(low, high, endpoint=True)

  def test(self, length, fps, clips):
    """Splits each segment into V + 1 parts.

    Source: UniFormer's Something-Something test, start + int(segment /
    (views + 1) * (view + 1)); one view takes the middle of every segment.
    """
    low, _ = segment_ranges(length, self.num_frames)
    segment = (length - 1) / self.num_frames
    views = np.arange(1, clips + 1)
    offset = (segment / (clips + 1) * views).astype(np.int64)
    return low + offset[:, None]


class SegmentMiddle(Segment):
  """TimeSformer's and Video Swin's of Something-Something."""

  one_clip = True

  def test(self, length, fps, clips):
    """Takes the middle of each segment's rounded ends."""
    low, high = segment_ranges(length, self.num_frames)
    return np.broadcast_to((low + high) // 2, (clips, self.num_frames))


class VTN(TimeSformer):
  """VTN's: trains as TimeSformer, at 25 frames per second, and tests on all."""

  strided = False
  one_clip = True
  rate = 25.0
  seconds = 10.0
  frames = 'num_frames frames spread over the first 10 seconds'

  def test(self, length, fps, clips):
    """Spreads the frames over the video, at most 10 seconds of it."""
    end = min(length, self.seconds * (fps or self.rate) - 1)
    index = truncated_linspace(end, self.num_frames)
    index = np.minimum(index, length - 1)
    return np.broadcast_to(index, (clips, self.num_frames))


def segment_ranges(
  length: int, num_frames: int
) -> tuple[np.ndarray, np.ndarray]:
  """Returns first and last frame of each segment, inclusive. -> [T], [T]."""
  # rint rounds halves to even, as Python's round in the reference does.
  edges = np.rint((length - 1) / num_frames * np.arange(num_frames + 1))
  edges = edges.astype(np.int64)
  return edges[:-1], edges[1:]

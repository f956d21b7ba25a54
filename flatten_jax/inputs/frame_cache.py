# SPDX-License-Identifier: Apache-2.0
"""Keeps the frames of a small data set in memory, decoded once."""

from collections.abc import Callable, Sequence

import numpy as np

from flatten_jax.inputs.decoding import read_clip
from flatten_jax.inputs.video_file import VideoPath


class FrameCache:
  """Reads like `read_clip`; a video that fits is decoded the first time only.

  What comes out is the same with and without it. A video that does not fit
  into what is left is read from its file every time. Copies, as worker
  processes get them, start empty.

  Args:
    gib: how much memory this process may use for frames.
    read: reads what is not here; None for `decoding.read_clip`.
  """

  def __init__(self, gib: float, read: Callable[..., np.ndarray] | None = None):
    self._reads = read
    self._limit = int(gib * 2**30)
    self._used = 0
    self._videos: dict[tuple, tuple[np.ndarray, float]] = {}
    self._damaged: set[tuple] = set()

  def __reduce__(self):
    return FrameCache, (self._limit / 2**30, self._reads)

  def read_clip(
    self,
    path: VideoPath,
    choose: Callable[[int, float], Sequence[int]],
    short_side: int | None = None,
  ) -> np.ndarray:
    """The frames that `choose` names, see `decoding.read_clip`.

    `choose` has to answer the same when it is asked the same.
    """
    key = str(path), short_side
    if key not in self._videos:
      clip = self._read(key, path, choose, short_side)
      if clip is not None:
        return clip
    frames, fps = self._videos[key]
    return frames[np.asarray(choose(len(frames), fps))]

  def _read(self, key, path, choose, short_side) -> np.ndarray | None:
    """Stores the whole video and returns None, or returns the chosen frames."""
    read = self._reads or read_clip
    lengths, whole, rate = [], False, 0.0

    def pick(count: int, fps: float) -> Sequence[int]:
      nonlocal whole, rate
      lengths.append(count)
      whole, rate = self._fits(count, short_side), fps
      return range(count) if whole else choose(count, fps)

    if key in self._damaged:
      return read(path, choose, short_side)
    frames = read(path, pick, short_side)
    if not whole:
      return frames
    if len(lengths) > 1:
      # The file has fewer frames than it says. A clip from its sound part is
      # sampled by what it says, and must be whether or not there is a cache.
      self._damaged.add(key)
      return read(path, choose, short_side)
    # Two threads may have read the same video; the later one counts nothing.
    if self._videos.setdefault(key, (frames, rate))[0] is frames:
      self._used += frames.nbytes
    return None

  def _fits(self, count: int, short_side: int | None) -> bool:
    if not short_side:
      return False  # Full frames are for those who have the memory to waste.
    pixels = short_side * short_side * 16 // 9
    return self._used + 3 * count * pixels <= self._limit

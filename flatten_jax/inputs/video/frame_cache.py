# SPDX-License-Identifier: Apache-2.0
"""Keeps the frames of a small data set in memory, decoded once."""

from collections.abc import Callable, Sequence
import threading

import numpy as np

from flatten_jax.inputs.video.container import (
  DecoderStuck,
  VideoPath,
  VideoTimeout,
)
from flatten_jax.inputs.video.read import read_clip

# The part of the memory that one video may take. Longer ones are read clip by
# clip: to decode all of one for a few frames is what takes too long.
SHARE = 1 / 16


class FrameCache:
  """Reads like `read_clip`; a video that fits is decoded the first time only.

  What comes out is the same with and without it. A video that does not fit
  into what is left, takes more than a sixteenth of the memory, or cannot be
  decoded whole in time, is read from its file every time. Copies, as worker
  processes get them, start empty.

  Args:
    gib: how much memory this process may use for frames.
    read: reads what is not here; None for `decoding.read_clip`.
  """

  def __init__(self, gib: float, read: Callable[..., np.ndarray] | None = None):
    self._reads = read
    self._limit = int(gib * 2**30)
    self._used = 0
    self._reserved: dict[tuple, int] = {}  # For what is being decoded.
    self._videos: dict[tuple, tuple[np.ndarray, float]] = {}
    self._in_parts: set[tuple] = set()  # Never decoded whole again.
    self._lock = threading.Lock()

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
    if key in self._in_parts:
      return read(path, choose, short_side)
    asked, whole, rate = 0, False, 0.0

    def pick(count: int, fps: float) -> Sequence[int]:
      nonlocal asked, whole, rate
      asked, rate = asked + 1, fps
      if asked > 1 and whole:
        return [0]  # Damaged; what comes of it is not used.
      whole = self._reserve(key, count)
      return range(count) if whole else choose(count, fps)

    try:
      frames = read(path, pick, short_side)
    except VideoTimeout as error:
      stuck = isinstance(error, DecoderStuck)
      if whole or stuck:
        self._give_up(key)
      if stuck or not whole:
        raise
      return read(path, choose, short_side)
    except BaseException:
      if whole:
        self._give_up(key)
      raise
    if not whole:
      return frames
    if asked > 1:
      # The file has fewer frames than it says. A clip from its sound part is
      # sampled by what it says, and must be whether or not there is a cache.
      self._give_up(key)
      return read(path, choose, short_side)
    with self._lock:
      self._reserved.pop(key, None)
      self._videos[key] = frames, rate
      self._used += frames.nbytes
    return None

  def _reserve(self, key: tuple, count: int) -> bool:
    """Sets memory aside for a video, if there is so much."""
    short_side = key[1]
    if not short_side:
      return False  # Full frames are for those who have the memory to waste.
    size = 3 * count * short_side * short_side * 16 // 9
    with self._lock:
      taken = self._used + sum(self._reserved.values())
      if size > self._limit * SHARE or taken + size > self._limit:
        return False
      # Another thread decodes it, or a decoder comes back that was given up.
      known = self._reserved, self._videos, self._in_parts
      if any(key in places for places in known):
        return False
      self._reserved[key] = size
      return True

  def _give_up(self, key: tuple) -> None:
    """Gives back what was set aside for a video; it stays in its file."""
    with self._lock:
      self._in_parts.add(key)
      self._reserved.pop(key, None)

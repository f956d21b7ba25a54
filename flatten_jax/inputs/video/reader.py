# SPDX-License-Identifier: Apache-2.0
"""Reads videos that nobody has looked at, and always comes back.

A video gets so much time and no more. Whatever happens ends in frames or in a
VideoError.
"""

from collections.abc import Callable, Mapping, Sequence
import time

import numpy as np

from flatten_jax.inputs.sources import images
from flatten_jax.inputs.sources.video_index import VideoIndex
from flatten_jax.inputs.video import read, time_limit
from flatten_jax.inputs.video.container import (
  DecoderStuck,
  VideoError,
  VideoPath,
)
from flatten_jax.inputs.video.frame_cache import FrameCache

MAX_STUCK = 16  # Videos, before the cause must be something else.


class Reader:
  """Reads clips as `config.data` says; one for each process.

  Args:
    data: `config.data`: time_limit in seconds, 0 for none.
    cache_gib: memory for decoded frames, see `FrameCache`.
    index: what is known of the videos already.
  """

  def __init__(
    self,
    data: Mapping,
    cache_gib: float = 0.0,
    index: VideoIndex | None = None,
  ):
    self._arguments = {'time_limit': data.get('time_limit', 0.0)}, cache_gib
    self._index = index
    self._limit = self._arguments[0]['time_limit']
    self._cache = FrameCache(cache_gib, self._read)
    self._stuck = 0

  def __reduce__(self):
    return Reader, (*self._arguments, self._index)

  def read_clip(
    self,
    path: VideoPath,
    choose: Callable[[int, float], Sequence[int]],
    short_side: int | None = None,
  ) -> np.ndarray:
    """The frames that `choose` names, see `decoding.read_clip`.

    Raises:
      VideoError: they cannot be decoded, or it takes too long.
    """
    return self._cache.read_clip(path, choose, short_side)

  def _read(self, path, choose, short_side=None) -> np.ndarray:
    if images.is_image(path):
      return images.read_clip(path, choose, short_side)
    if not self._limit:
      return self._decode(path, choose, short_side, float('inf'))
    if self._stuck >= MAX_STUCK:
      raise RuntimeError(
        f'{self._stuck} videos did not come back from the decoder; the last '
        f'would be {path}. Is the disk still there? If videos are that long, '
        'set data.time_limit higher.'
      )
    deadline = time.monotonic() + self._limit
    try:
      return time_limit.call(
        lambda: self._decode(path, choose, short_side, deadline),
        time_limit.patience(self._limit),
        path,
      )
    except DecoderStuck:
      self._stuck += 1
      raise

  def _decode(self, path, choose, short_side, deadline) -> np.ndarray:
    known = self._index and self._index.get(path)
    if known and known.cause:
      raise VideoError(str(path), known.cause)
    table = known.table if known else None
    return read.read_clip(path, choose, short_side, deadline, table)

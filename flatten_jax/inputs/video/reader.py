# SPDX-License-Identifier: Apache-2.0
"""Reads videos that nobody has looked at, and always comes back.

A video gets so much time and no more; where the first decoder fails, a second
one is tried. Whatever happens ends in frames or in a VideoError.
"""

from collections.abc import Callable, Mapping, Sequence
import time

import numpy as np

from flatten_jax.inputs.sources import images
from flatten_jax.inputs.sources.video_index import VideoIndex
from flatten_jax.inputs.video import read, second_decoder, time_limit
from flatten_jax.inputs.video.container import (
  DecoderStuck,
  NoVideo,
  VideoError,
  VideoPath,
  VideoTimeout,
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
    self._fallbacks: dict[str, str] = {}
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
      VideoError: neither decoder gives them, or it takes too long.
    """
    return self._cache.read_clip(path, choose, short_side)

  def fallback(self, path: VideoPath) -> str:
    """Why the second decoder had to read this video; empty if it had not."""
    return self._fallbacks.get(str(path), '')

  def _read(self, path, choose, short_side=None) -> np.ndarray:
    if images.is_image(path):
      return images.read_clip(path, choose, short_side)
    if not self._limit:
      return self._try_both(path, choose, short_side, float('inf'))
    if self._stuck >= MAX_STUCK:
      raise RuntimeError(
        f'{self._stuck} videos did not come back from the decoder; the last '
        f'would be {path}. Is the disk still there? If videos are that long, '
        'set data.time_limit higher.'
      )
    deadline = time.monotonic() + self._limit
    try:
      return time_limit.call(
        lambda: self._try_both(path, choose, short_side, deadline),
        time_limit.patience(self._limit),
        path,
      )
    except DecoderStuck:
      self._stuck += 1
      raise

  def _try_both(self, path, choose, short_side, deadline) -> np.ndarray:
    known = self._index and self._index.get(path)
    if known and known.cause:
      raise VideoError(str(path), known.cause)
    table = known.table if known else None
    try:
      return read.read_clip(path, choose, short_side, deadline, table)
    except (NoVideo, VideoTimeout):
      raise
    except VideoError as error:
      first = error
    try:
      clip = second_decoder.read_clip(path, choose, short_side, deadline)
    except VideoTimeout:
      raise
    except VideoError as error:
      raise first from error
    self._fallbacks[str(path)] = first.cause
    return clip

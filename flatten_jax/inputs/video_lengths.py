# SPDX-License-Identifier: Apache-2.0
"""Counts the frames of some videos of a split, without decoding them."""

from collections.abc import Mapping

import numpy as np

from flatten_jax.inputs import parts
from flatten_jax.inputs.sources import video_index
from flatten_jax.inputs.sources.dataset import Videos
from flatten_jax.inputs.video.container import VideoError
from flatten_jax.inputs.video.reader import Reader

TIME_LIMIT = 10.0  # seconds for a video


def of_some(videos: Videos, data: Mapping, most: int) -> list[int]:
  """Returns the numbers of frames of up to `most` videos, evenly spaced.

  Those that cannot be read are left out.
  """
  limit = min(data['time_limit'] or TIME_LIMIT, TIME_LIMIT)
  plain = dict(data) | {'input': 'rgb', 'time_limit': limit}
  reader = Reader(plain, index=video_index.find(videos, data))
  places = np.linspace(0, len(videos) - 1, min(len(videos), most))
  found = []
  for place in places.round().astype(int).tolist():
    try:
      with reader.open(videos[place].path) as video:
        found.append(parts.frame_range(videos[place], video)[1])
    except (VideoError, OSError):
      continue
  return found

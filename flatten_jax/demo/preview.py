# SPDX-License-Identifier: Apache-2.0
"""Writes any video that can be read as one that every browser plays."""

import contextlib
from fractions import Fraction
import itertools
import os

import av
import numpy as np

from flatten_jax.inputs.video import frame_times
from flatten_jax.inputs.video.container import VideoError
from flatten_jax.inputs.video.interface import OpenVideo
from flatten_jax.inputs.video.reader import open_any

SIDE = 360  # px, the shorter side
MAX_RATE = 25.0  # frames per second
LONGEST = 600.0  # seconds
_ENCODER = {'preset': 'veryfast', 'crf': '23', 'movflags': '+faststart'}


def write(video: str | os.PathLike, out: str | os.PathLike) -> None:
  """Writes a video as small H.264 in mp4, without sound, at an even rate.

  What follows `LONGEST`, or a damage, is left out.

  Raises:
    VideoError: it cannot be read, or has no times.
  """
  with open_any(video, SIDE) as opened:
    numbers, rate = _plan(opened)
    wanted, repeats = np.unique(numbers, return_counts=True)
    images = opened.decode(wanted.tolist())
    first = next(images)
    with av.open(f'file:{os.fspath(out)}', 'w', format='mp4') as file:
      stream = file.add_stream('libx264', rate=rate, options=_ENCODER)
      stream.height, stream.width = first[1].shape[:2]
      stream.pix_fmt = 'yuv420p'
      with contextlib.suppress(VideoError):  # Damaged from there on.
        for (_, image), count in zip(
          itertools.chain([first], images), repeats, strict=False
        ):
          for _ in range(count):
            frame = av.VideoFrame.from_ndarray(image, format='rgb24')
            file.mux(stream.encode(frame))
      file.mux(stream.encode())


def _plan(video: OpenVideo) -> tuple[np.ndarray, Fraction]:
  """Returns the frames of an open video to show, and how many a second.

  Raises:
    VideoError: it has no times.
  """
  if video.times is None:
    raise VideoError('', frame_times.UNKNOWN)
  usual = 1 / frame_times.usual_step(video.times)
  rate = Fraction(min(usual, MAX_RATE)).limit_denominator(1000)
  count = max(round(min(float(video.times[-1]), LONGEST) * rate), 1)
  middles = (np.arange(count) + 0.5) / float(rate)
  numbers = np.searchsorted(video.times, middles, 'right') - 1
  return numbers.clip(max=video.num_frames - 1), rate

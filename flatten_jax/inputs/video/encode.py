# SPDX-License-Identifier: Apache-2.0
"""Writes frames as a video file."""

from fractions import Fraction
import os

import av
from av.video.reformatter import ColorRange, Colorspace
import numpy as np

# Only keyframes, all with one quantizer: compression of a frame then cannot
# depend on the frames around it, and its artefacts cannot betray the motion.
# One thread, so that a machine writes the same bytes on every run.
_ENCODER = {'g': '1', 'qp': '22', 'preset': 'veryfast', 'threads': '1'}


def write_video(path: str | os.PathLike, frames: np.ndarray, fps: int) -> None:
  """Writes RGB frames, uint8 [T H W 3], as H.264 in mp4."""
  exact = {'fflags': '+bitexact'}
  url = f'file:{os.fspath(path)}'  # A name may contain colons.
  with av.open(url, 'w', format='mp4', container_options=exact) as file:
    stream = file.add_stream('libx264', rate=fps, options=_ENCODER)
    stream.height, stream.width = frames.shape[1:3]
    stream.pix_fmt = 'yuv420p'
    # FFmpeg's defaults; players would guess others from the size.
    stream.codec_context.colorspace = Colorspace.ITU601
    stream.codec_context.color_range = ColorRange.MPEG
    for number, frame in enumerate(frames):
      image = av.VideoFrame.from_ndarray(frame, format='rgb24')
      image.pts, image.time_base = number, Fraction(1, fps)
      file.mux(stream.encode(image))
    file.mux(stream.encode())

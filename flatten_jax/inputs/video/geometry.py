# SPDX-License-Identifier: Apache-2.0
"""Converts decoded frames to upright RGB images with square pixels."""

import dataclasses

import av
from av.video.reformatter import VideoReformatter
import cv2
import numpy as np

from flatten_jax.inputs.video.container import VideoFile

# Pixel formats of nearly all videos.
PLANAR = frozenset({'yuv420p', 'yuvj420p'})
ROTATIONS = {  # By quarter turns, counterclockwise.
  1: cv2.ROTATE_90_COUNTERCLOCKWISE,
  2: cv2.ROTATE_180,
  3: cv2.ROTATE_90_CLOCKWISE,
}


@dataclasses.dataclass(frozen=True)
class FrameGeometry:
  """Size and rotation of a video's images, and the converters to them."""

  width: int  # before rotation
  height: int
  quarter_turns: int  # counterclockwise
  scaler: VideoReformatter = dataclasses.field(default_factory=VideoReformatter)
  to_rgb: VideoReformatter = dataclasses.field(default_factory=VideoReformatter)

  @classmethod
  def of(
    cls, frame: av.VideoFrame, video: VideoFile, short_side: int | None = None
  ) -> 'FrameGeometry':
    """Returns the geometry for all frames of a video, given one of them."""
    width, height = frame.width, frame.height
    aspect = float(video.stream.sample_aspect_ratio or 1)
    if 1 / 8 < aspect < 8:  # Others are damaged.
      width = max(1, round(width * aspect))
    if short_side:
      scale = short_side / min(width, height)
      # Even sizes are converted faster.
      width, height = (
        short_side if x == min(width, height) else 2 * round(x * scale / 2)
        for x in (width, height)
      )
    # PyAV also has the display matrix itself, with mirroring, but reading it
    # leaks the frame (18.1).
    return cls(width, height, round(frame.rotation / 90) % 4)

  @property
  def shape(self) -> tuple[int, int]:
    """Height and width of an image."""
    shape = self.height, self.width
    return shape[::-1] if self.quarter_turns % 2 else shape

  def rgb(self, frame: av.VideoFrame) -> np.ndarray:
    """Converts a frame. -> uint8 [H W 3]; may share the frame's memory."""
    if frame.format.name in PLANAR:
      # Scaling planes, then converting the remaining pixels, takes a third of
      # the time of doing both at once.
      frame = self.scaler.reformat(frame, self.width, self.height, threads=1)
    image = self.to_rgb.reformat(
      frame, self.width, self.height, 'rgb24', threads=1
    ).to_ndarray()
    turns = self.quarter_turns
    return cv2.rotate(image, ROTATIONS[turns]) if turns else image

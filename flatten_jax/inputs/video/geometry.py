# SPDX-License-Identifier: Apache-2.0
"""What to make of a decoded frame: an upright picture with square pixels."""

import dataclasses

import av
from av.video.reformatter import VideoReformatter
import cv2
import numpy as np

from flatten_jax.inputs.video.container import VideoFile

# How nearly all videos store their pixels.
PLANAR = frozenset({'yuv420p', 'yuvj420p'})


# By quarter turns, counterclockwise.
TURNS = {
  1: cv2.ROTATE_90_COUNTERCLOCKWISE,
  2: cv2.ROTATE_180,
  3: cv2.ROTATE_90_CLOCKWISE,
}


@dataclasses.dataclass(frozen=True)
class Layout:
  """How decoded frames become upright pictures with square pixels."""

  width: int  # before turning
  height: int
  turns: int  # quarters, counterclockwise
  scaler: VideoReformatter = dataclasses.field(default_factory=VideoReformatter)
  converter: VideoReformatter = dataclasses.field(
    default_factory=VideoReformatter
  )

  @classmethod
  def of(
    cls, frame: av.VideoFrame, video: VideoFile, short_side: int | None = None
  ) -> 'Layout':
    """The layout for all frames of a video, given one of them."""
    width, height = frame.width, frame.height
    aspect = float(video.stream.sample_aspect_ratio or 1)
    if 1 / 8 < aspect < 8:  # Otherwise it is nonsense.
      width = max(1, round(width * aspect))
    if short_side:
      scale = short_side / min(width, height)
      # Even numbers are converted faster.
      width, height = (
        short_side if x == min(width, height) else 2 * round(x * scale / 2)
        for x in (width, height)
      )
    # From the matrix that cameras write. PyAV shows the matrix itself as well,
    # mirrored ones included, but whoever looks at it leaks the frame (18.1).
    return cls(width, height, round(frame.rotation / 90) % 4)

  @property
  def shape(self) -> tuple[int, int]:
    """Height and width of the picture."""
    shape = self.height, self.width
    return shape[::-1] if self.turns % 2 else shape

  def rgb(self, frame: av.VideoFrame) -> np.ndarray:
    """The picture. -> uint8 [H W 3]; may share the frame's memory."""
    if frame.format.name in PLANAR:
      # Scaling planes and converting the few pixels that are left takes a third
      # of the time of doing both at once.
      frame = self.scaler.reformat(frame, self.width, self.height, threads=1)
    image = self.converter.reformat(
      frame, self.width, self.height, 'rgb24', threads=1
    ).to_ndarray()
    return cv2.rotate(image, TURNS[self.turns]) if self.turns else image

# SPDX-License-Identifier: Apache-2.0
"""What to make of a decoded frame: an upright picture with square pixels."""

import dataclasses

import av
from av.video.reformatter import VideoReformatter
import cv2
import numpy as np

from flatten_jax.inputs.video_file import VideoFile

# How nearly all videos store their pixels.
PLANAR = frozenset({'yuv420p', 'yuvj420p'})


@dataclasses.dataclass(frozen=True)
class Layout:
  """How decoded frames become upright pictures with square pixels."""

  width: int  # before turning
  height: int
  transpose: bool = False
  mirror: bool = False  # left to right, after transposing
  flip: bool = False  # top to bottom, after transposing
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
    return cls(width, height, *orientation(frame))

  @property
  def shape(self) -> tuple[int, int]:
    """Height and width of the picture."""
    shape = self.height, self.width
    return shape[::-1] if self.transpose else shape

  def rgb(self, frame: av.VideoFrame) -> np.ndarray:
    """The picture. -> uint8 [H W 3]; may share the frame's memory."""
    if frame.format.name in PLANAR:
      # Scaling planes and converting the few pixels that are left takes a third
      # of the time of doing both at once.
      frame = self.scaler.reformat(frame, self.width, self.height, threads=1)
    image = self.converter.reformat(
      frame, self.width, self.height, 'rgb24', threads=1
    ).to_ndarray()
    if self.transpose:
      image = cv2.transpose(image)
    if self.mirror or self.flip:
      both = self.mirror and self.flip
      image = cv2.flip(image, -1 if both else int(self.mirror))
    return image


def orientation(frame: av.VideoFrame) -> tuple[bool, bool, bool]:
  """Whether to transpose, then mirror, then flip a frame to see it upright.

  From the display matrix that cameras write: a point (x, y) of the frame is
  shown at (a x + c y, b x + d y), rows being (a b _), (c d _), (_ _ _), in
  16.16 fixed point. Turns are taken to the nearest quarter.
  """
  matrix = frame.side_data.get('DISPLAYMATRIX')
  if matrix is None:
    return False, False, False
  (a, b, _), (c, d, _), _ = np.frombuffer(matrix, np.int32).reshape(3, 3)
  if abs(int(a)) >= abs(int(b)):
    return False, bool(a < 0), bool(d < 0)
  return True, bool(c < 0), bool(b < 0)

# SPDX-License-Identifier: Apache-2.0
"""Converts decoded frames to upright RGB images with square pixels."""

import contextlib
import dataclasses
import math
import struct
from typing import Protocol

import av
from av.sidedata.sidedata import SideDataContainer
from av.video.reformatter import VideoReformatter
import cv2
import numpy as np

from flatten_jax.inputs.video.interface import Size, scaled_shape

# Pixel formats of nearly all videos.
PLANAR = frozenset({'yuv420p', 'yuvj420p'})
SLANT = math.tan(math.radians(1))  # As much from a right angle is none.
# FFmpeg's numbers of matrices from RGB that it converts; 2 means unknown.
MATRICES = frozenset({0, 1, 2, 4, 5, 6, 7, 9})
UNKNOWN_MATRIX, BT2020, BT2020_CONSTANT_LUMINANCE = 2, 9, 10


@dataclasses.dataclass(frozen=True)
class Orientation:
  """Makes stored images upright: transposes them or not, then flips them."""

  transposed: bool = False
  flips_x: bool = False  # left and right
  flips_y: bool = False  # up and down

  @classmethod
  def of(cls, frame: av.VideoFrame) -> 'Orientation':
    """Returns the orientation that a frame's display matrix tells.

    Angles other than right ones, and matrices without an area, are left alone,
    as most players do.
    """
    a, b, c, d = display_matrix(frame)
    if max(abs(b), abs(c)) < SLANT * min(abs(a), abs(d)):
      return cls(False, a < 0, d < 0)
    if max(abs(a), abs(d)) < SLANT * min(abs(b), abs(c)):
      return cls(True, c < 0, b < 0)
    return cls()

  @property
  def rotation(self) -> int:
    """Degrees counterclockwise, after exchanging left and right if mirrored."""
    if self.transposed:
      return -90 if self.flips_x else 90
    return -180 if self.flips_y else 0

  def swap(self, first: int, second: int) -> tuple[int, int]:
    """Exchanges width and height if images are transposed."""
    return (second, first) if self.transposed else (first, second)

  def apply(self, image: np.ndarray) -> np.ndarray:
    """Makes an image upright. [H W] or [H W C] -> the same or [W H C]."""
    if self.transposed:
      image = cv2.transpose(image)
    if self.flips_x or self.flips_y:
      both = self.flips_x and self.flips_y
      image = cv2.flip(image, -1 if both else int(self.flips_x))
    return image


def display_matrix(frame: av.VideoFrame) -> tuple[int, int, int, int]:
  """Returns a, b, c and d: a pixel (x, y) is shown at (ax + cy, bx + dy)."""
  # `frame.side_data` would keep the frame in memory for ever (PyAV 18).
  side_data = SideDataContainer.__new__(SideDataContainer)
  # PyAV 18 stops at the first entry of a kind that it does not know.
  with contextlib.suppress(ValueError):
    side_data.__init__(frame)
  try:
    matrix = struct.unpack('=9i', bytes(side_data['DISPLAYMATRIX']))
  except KeyError:
    return 1, 0, 0, 1
  return matrix[0], matrix[1], matrix[3], matrix[4]


class HasStream(Protocol):
  """An open video, or a connection to a live one."""

  stream: av.VideoStream


@dataclasses.dataclass(frozen=True)
class FrameGeometry:
  """Size and orientation of a video's images, and the converters to them."""

  width: int  # before transposing
  height: int
  orientation: Orientation
  coded: tuple[int, int]  # width and height in the file
  scaler: VideoReformatter = dataclasses.field(default_factory=VideoReformatter)
  to_rgb: VideoReformatter = dataclasses.field(default_factory=VideoReformatter)

  @classmethod
  def of(
    cls, frame: av.VideoFrame, video: HasStream, size: Size = None
  ) -> 'FrameGeometry':
    """Returns the geometry for all frames of a video, given one of them."""
    width, height = frame.width, frame.height
    aspect = float(video.stream.sample_aspect_ratio or 1)
    if 1 / 8 < aspect < 8:  # Others are damaged.
      width = max(1, round(width * aspect))
    orientation, coded = Orientation.of(frame), (frame.width, frame.height)
    upright = orientation.swap(height, width)
    height, width = orientation.swap(*scaled_shape(upright, size))
    return cls(width, height, orientation, coded)

  @property
  def shape(self) -> tuple[int, int]:
    """Height and width of an image."""
    return self.orientation.swap(self.height, self.width)

  def is_of(self, frame: av.VideoFrame) -> bool:
    """Checks whether a later frame tells the size and orientation of this."""
    is_as_large = self.coded == (frame.width, frame.height)
    return is_as_large and self.orientation == Orientation.of(frame)

  def rgb(self, frame: av.VideoFrame) -> np.ndarray:
    """Converts a frame. -> uint8 [H W 3]; may share the frame's memory."""
    correct_matrix(frame)
    size = self.width, self.height
    if frame.format.name in PLANAR:
      # Scaling planes, then converting the remaining pixels, takes a third of
      # the time of doing both at once.
      frame = self.scaler.reformat(frame, *size, threads=1)
    image = self.to_rgb.reformat(frame, *size, 'rgb24', threads=1)
    return self.orientation.apply(image.to_ndarray())


def correct_matrix(frame: av.VideoFrame) -> None:
  """Replaces a colour matrix that FFmpeg 8 refuses by the one it used before.

  These are rare, or nonsense that no player minds.
  """
  if frame.colorspace not in MATRICES:
    known = frame.colorspace == BT2020_CONSTANT_LUMINANCE
    frame.colorspace = BT2020 if known else UNKNOWN_MATRIX

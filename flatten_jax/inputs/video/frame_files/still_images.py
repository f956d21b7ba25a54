# SPDX-License-Identifier: Apache-2.0
"""Reads image files as upright RGB images."""

import os

import cv2
import numpy as np

from flatten_jax.inputs.augment import transforms
from flatten_jax.inputs.video.container import VideoError, VideoPath
from flatten_jax.inputs.video.interface import (
  FloorSide,
  LargestSide,
  Size,
  scaled_shape,
)

SUFFIXES = frozenset(
  {'.bmp', '.jpeg', '.jpg', '.png', '.tif', '.tiff', '.webp'}
)


def is_image(path: VideoPath) -> bool:
  """Checks whether a file is named like an image."""
  return os.path.splitext(str(path))[1].lower() in SUFFIXES


def read(path: VideoPath, size: Size = None) -> np.ndarray:
  """Reads an image as a video of one frame. -> uint8 [1 H W 3].

  Resizes it to `size`.
  """
  try:
    with open(path, 'rb') as file:
      encoded = file.read()
  except OSError as error:
    raise VideoError(str(path), error.strerror or str(error)) from error
  image = decode(encoded, size)
  if image is None:
    raise VideoError(str(path), 'not an image that OpenCV can read')
  return image[None]


def decode(encoded: bytes, size: Size) -> np.ndarray | None:
  """Decodes an image file, uint8 [H W 3]; None if OpenCV cannot read it."""
  try:
    # Applies the rotation in EXIF, and drops transparency.
    image = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_COLOR)
  except cv2.error:  # Empty, or larger than OpenCV permits.
    return None
  if image is None:
    return None
  image = np.ascontiguousarray(image[..., ::-1])  # BGR -> RGB
  if not size:
    return image
  shape = image.shape[:2]
  if isinstance(size, tuple | FloorSide | LargestSide):
    shape = scaled_shape(shape, size)
  else:
    shape = tuple(round(side * size / min(shape)) for side in shape)
  return transforms.resize(image[None], shape)[0]

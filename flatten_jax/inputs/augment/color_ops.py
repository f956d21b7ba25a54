# SPDX-License-Identifier: Apache-2.0
"""The fifteen operations of RandAugment, on whole clips.

Each takes a uint8 clip [T H W 3] and an argument and returns a new clip, equal
to Pillow's operation of the same name on every frame.
"""

from collections.abc import Sequence

import cv2
import numpy as np

LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601
GREY = 128  # Fills the area that a frame was moved away from.

_LEVELS = np.arange(256)


def autocontrast(clip: np.ndarray) -> np.ndarray:
  """Stretches every channel of every frame to the full range."""

  def table(channel):
    low, high, _, _ = cv2.minMaxLoc(channel)
    return (_LEVELS - low) * (255 / (high - low)) if high > low else _LEVELS

  return _per_channel(clip, table)


def equalize(clip: np.ndarray) -> np.ndarray:
  """Makes every level as frequent as the next, by channel and frame."""

  def table(channel):
    counts = cv2.calcHist([channel], [0], None, [256], [0, 256])
    counts = counts.ravel().astype(np.int64)
    step = (counts.sum() - counts[counts > 0][-1]) // 255
    below = np.cumsum(counts) - counts
    return (below + step // 2) // step if step else _LEVELS

  return _per_channel(clip, table)


def invert(clip: np.ndarray) -> np.ndarray:
  """Inverts all levels."""
  return _look_up(clip, 255 - _LEVELS)


def posterize(clip: np.ndarray, bits: int) -> np.ndarray:
  """Keeps the highest `bits` of eight."""
  return _look_up(clip, _LEVELS & ~((1 << (8 - bits)) - 1))


def solarize(clip: np.ndarray, threshold: int) -> np.ndarray:
  """Inverts levels of `threshold` and above."""
  return _look_up(clip, np.where(threshold > _LEVELS, _LEVELS, 255 - _LEVELS))


def solarize_add(clip: np.ndarray, amount: int) -> np.ndarray:
  """Adds `amount` to the darker half of the levels."""
  return _look_up(clip, np.where(_LEVELS < 128, _LEVELS + amount, _LEVELS))


def brightness(clip: np.ndarray, factor: float) -> np.ndarray:
  """Scales brightness: factor 0 is black, 1 the unchanged clip."""
  return _look_up(clip, _LEVELS * factor)


def contrast(clip: np.ndarray, factor: float) -> np.ndarray:
  """Scales contrast: factor 0 is a frame's mean grey, 1 the unchanged clip."""

  def table(frame):
    # OpenCV's mean takes a hundredth of the time of numpy's.
    grey = int(cv2.mean(frame)[:3] @ LUMA + 0.5)
    return grey + factor * (_LEVELS - grey)

  return _per_frame(clip, table)


def color(clip: np.ndarray, factor: float) -> np.ndarray:
  """Scales saturation: factor 0 is black and white, 1 the unchanged clip."""
  pixels = clip.reshape(1, -1, 3)
  return cv2.transform(pixels, saturation_matrix(factor)).reshape(clip.shape)


def saturation_matrix(factor: float) -> np.ndarray:
  """Returns the matrix that scales the saturation of RGB pixels [3 3]."""
  return factor * np.eye(3) + (1 - factor) * np.tile(LUMA, (3, 1))


def sharpness(clip: np.ndarray, factor: float) -> np.ndarray:
  """Sharpens: factor 0 is smoothed, 1 unchanged; outermost pixels stay."""
  smooth = np.ones((3, 3))
  smooth[1, 1] = 5
  kernel = (1 - factor) * smooth / smooth.sum()
  kernel[1, 1] += factor
  # Filters all frames as one image; rows that mix two frames are restored.
  rows = clip.reshape(-1, *clip.shape[2:])
  out = cv2.filter2D(rows, -1, kernel).reshape(clip.shape)
  for edge in (0, -1):
    out[:, edge] = clip[:, edge]
    out[:, :, edge] = clip[:, :, edge]
  return out


def rotate(clip: np.ndarray, degrees: float) -> np.ndarray:
  """Rotates counterclockwise about the centre."""
  height, width = clip.shape[1:3]
  cos, sin = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
  turn = np.array([[cos, -sin], [sin, cos]])
  centre = np.array([width / 2, height / 2])
  return _warp(clip, turn, centre - turn @ centre)


def shear_x(clip: np.ndarray, factor: float) -> np.ndarray:
  """Moves each row to the left by `factor` times its height from the top."""
  return _warp(clip, np.array([[1, factor], [0, 1]]))


def shear_y(clip: np.ndarray, factor: float) -> np.ndarray:
  """Moves each column up by `factor` times its distance from the left."""
  return _warp(clip, np.array([[1, 0], [factor, 1]]))


def translate_x(clip: np.ndarray, share: float) -> np.ndarray:
  """Moves to the left by a share of the width."""
  return _warp(clip, np.eye(2), np.array([share * clip.shape[2], 0]))


def translate_y(clip: np.ndarray, share: float) -> np.ndarray:
  """Moves up by a share of the height."""
  return _warp(clip, np.eye(2), np.array([0, share * clip.shape[1]]))


def _per_channel(clip: np.ndarray, table) -> np.ndarray:
  """Applies `table(channel)` [256] to the levels of each channel and frame."""
  return _per_frame(
    clip, lambda frame: np.dstack([table(c) for c in cv2.split(frame)])
  )


def _per_frame(clip: np.ndarray, table) -> np.ndarray:
  """Applies `table(frame)` [256] or [1 256 3] to the levels of each frame."""
  out = np.empty_like(clip)
  for frame, target in zip(clip, out, strict=True):
    cv2.LUT(frame, _as_levels(table(frame)), dst=target)
  return out


def _look_up(clip: np.ndarray, table: np.ndarray) -> np.ndarray:
  """Applies a table [256] to all levels."""
  rows = clip.reshape(clip.shape[0] * clip.shape[1], -1)
  return cv2.LUT(rows, _as_levels(table)).reshape(clip.shape)


def _as_levels(table: np.ndarray) -> np.ndarray:
  """Truncates to integers and clips at 0 and 255, as Pillow does."""
  return np.clip(table, 0, 255).astype(np.uint8, order='C')


def _warp(
  clip: np.ndarray, matrix: np.ndarray, offset: Sequence[float] = (0, 0)
) -> np.ndarray:
  """Samples pixel (x, y) at matrix @ (x, y) + offset, bilinearly."""
  offset = matrix @ (0.5, 0.5) + offset - 0.5  # Pixels have centres at 0.5.
  transform = np.column_stack([matrix, offset])
  out = np.empty_like(clip)
  for frame, target in zip(clip, out, strict=True):
    cv2.warpAffine(
      frame,
      transform,
      frame.shape[1::-1],
      dst=target,
      flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
      borderMode=cv2.BORDER_CONSTANT,
      borderValue=(GREY,) * 3,
    )
  return out

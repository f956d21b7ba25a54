# SPDX-License-Identifier: Apache-2.0
"""What moves in a clip, and how much of a heat map lies there: a number."""

import cv2
import numpy as np

# Of the luminance range; more than what compression, flicker and shake change.
_THRESHOLD = 0.1
_REACH = 1 / 32  # Of the frame's short side, that edges are thickened by.


def moving_pixels(clip: np.ndarray) -> np.ndarray:
  """Where a frame differs from the one before or after it, and next to that.

  uint8 [T H W 3] -> bool [T H W].
  """
  grey = clip.astype(np.float32).mean(axis=-1) / 255
  change = np.abs(np.diff(grey, axis=0))
  before, after = np.zeros_like(grey), np.zeros_like(grey)
  before[1:], after[:-1] = change, change
  moving = np.maximum(before, after) > _THRESHOLD
  reach = max(1, round(_REACH * min(clip.shape[1:3])))
  kernel = np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)
  frames = [cv2.dilate(frame.astype(np.uint8), kernel) for frame in moving]
  return np.stack(frames) > 0


def heat_on_motion(heat: np.ndarray, clip: np.ndarray) -> list[float] | None:
  """The share of heat on moving pixels, and that of heat spread evenly.

  Args:
    heat: [T H W], 0 or more.
    clip: uint8 [T H W 3].

  Returns:
    [share, chance], the second being the share of pixels that move; None where
    nothing moves or nothing is hot.
  """
  moving = moving_pixels(clip)
  if not moving.any() or not heat.any():
    return None
  return [float(heat[moving].sum() / heat.sum()), float(moving.mean())]

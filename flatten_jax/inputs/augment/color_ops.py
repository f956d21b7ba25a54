# SPDX-License-Identifier: Apache-2.0
"""What RandAugment does to pictures: fifteen operations on whole clips.

Each takes a uint8 clip [T H W 3] and an argument and returns a new clip. They
do what Pillow's operations of the same names do to every frame. Whatever an
operation measures (a histogram, a mean) it measures frame by frame.
"""

from collections.abc import Sequence

import cv2
import numpy as np

LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601
GREY = 128  # What shows where a frame was moved away.

_LEVELS = np.arange(256)


def autocontrast(clip: np.ndarray) -> np.ndarray:
  """Stretches every channel of every frame to the full range."""
  return _per_frame(clip, _stretched)


def equalize(clip: np.ndarray) -> np.ndarray:
  """Makes every level as frequent as the next, by channel and frame."""
  return _per_frame(clip, _equalized)


def invert(clip: np.ndarray) -> np.ndarray:
  """White becomes black."""
  return cv2.bitwise_not(_rows(clip)).reshape(clip.shape)


def posterize(clip: np.ndarray, bits: int) -> np.ndarray:
  """Keeps the highest `bits` of eight."""
  return _look_up(clip, _LEVELS & ~((1 << (8 - bits)) - 1))


def solarize(clip: np.ndarray, threshold: int) -> np.ndarray:
  """Inverts what is `threshold` or brighter."""
  return _look_up(clip, np.where(threshold > _LEVELS, _LEVELS, 255 - _LEVELS))


def solarize_add(clip: np.ndarray, amount: int) -> np.ndarray:
  """Makes the darker half of the levels brighter by `amount`."""
  return _look_up(clip, np.where(_LEVELS < 128, _LEVELS + amount, _LEVELS))


def brightness(clip: np.ndarray, factor: float) -> np.ndarray:
  """0 is black, 1 the clip as it is, and more is brighter."""
  return _look_up(clip, _LEVELS * factor)


def contrast(clip: np.ndarray, factor: float) -> np.ndarray:
  """0 is every frame's mean grey, 1 the clip as it is."""

  def table(frame):
    # OpenCV's mean takes a hundredth of the time of numpy's.
    grey = int(cv2.mean(frame)[:3] @ LUMA + 0.5)
    return np.tile(grey + factor * (_LEVELS - grey), (3, 1))

  return _per_frame(clip, table)


def color(clip: np.ndarray, factor: float) -> np.ndarray:
  """0 is a black-and-white film, 1 the clip as it is."""
  matrix = factor * np.eye(3) + (1 - factor) * np.tile(LUMA, (3, 1))
  return cv2.transform(clip.reshape(1, -1, 3), matrix).reshape(clip.shape)


def sharpness(clip: np.ndarray, factor: float) -> np.ndarray:
  """0 is smoothed, 1 the clip as it is; a frame's outermost pixels stay."""
  smooth = np.ones((3, 3))
  smooth[1, 1] = 5
  kernel = (1 - factor) * smooth / smooth.sum()
  kernel[1, 1] += factor
  # All frames below each other: the rows that mix two of them are put back.
  rows = clip.reshape(-1, *clip.shape[2:])
  out = cv2.filter2D(rows, -1, kernel).reshape(clip.shape)
  for edge in (0, -1):
    out[:, edge] = clip[:, edge]
    out[:, :, edge] = clip[:, :, edge]
  return out


def rotate(clip: np.ndarray, degrees: float) -> np.ndarray:
  """Counterclockwise about the centre."""
  height, width = clip.shape[1:3]
  angle = np.deg2rad(degrees)
  turn = np.array(
    [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
  )
  centre = np.array([width / 2, height / 2])
  return _warp(clip, turn, centre - turn @ centre)


def shear_x(clip: np.ndarray, factor: float) -> np.ndarray:
  """Moves each row to the left by `factor` times its height from the top."""
  return _warp(clip, np.array([[1, factor], [0, 1]]))


def shear_y(clip: np.ndarray, factor: float) -> np.ndarray:
  """Moves each column up by `factor` times its distance from the left."""
  return _warp(clip, np.array([[1, 0], [factor, 1]]))


def translate_x(clip: np.ndarray, share: float) -> np.ndarray:
  """To the left by a share of the width."""
  return _warp(clip, np.eye(2), np.array([share * clip.shape[2], 0]))


def translate_y(clip: np.ndarray, share: float) -> np.ndarray:
  """Up by a share of the height."""
  return _warp(clip, np.eye(2), np.array([0, share * clip.shape[1]]))


def _stretched(frame: np.ndarray) -> np.ndarray:
  """Levels that run from 0 to 255 in every channel. [H W 3] -> [3 256]."""
  tables = []
  for channel in cv2.split(frame):
    low, high, _, _ = cv2.minMaxLoc(channel)
    scale = 255 / (high - low) if high > low else 1
    tables.append((_LEVELS - low) * scale if high > low else _LEVELS)
  return np.stack(tables)


def _equalized(frame: np.ndarray) -> np.ndarray:
  """Levels by their rank. [H W 3] -> [3 256]."""
  tables = []
  for channel in range(3):
    counts = cv2.calcHist([frame], [channel], None, [256], [0, 256])
    counts = counts.ravel().astype(np.int64)
    present = counts[counts > 0]
    step = (present.sum() - present[-1]) // 255
    below = np.cumsum(counts) - counts
    tables.append((below + step // 2) // step if step else _LEVELS)
  return np.stack(tables)


def _per_frame(clip: np.ndarray, table) -> np.ndarray:
  """Replaces levels by tables [3 256] that each frame gives for itself."""
  out = np.empty_like(clip)
  for frame, target in zip(clip, out, strict=True):
    levels = _as_levels(table(frame)).T.reshape(1, 256, 3)
    cv2.LUT(frame, np.ascontiguousarray(levels), dst=target)
  return out


def _look_up(clip: np.ndarray, table: np.ndarray) -> np.ndarray:
  """Replaces levels by the table's [256]."""
  return cv2.LUT(_rows(clip), _as_levels(table)).reshape(clip.shape)


def _as_levels(table: np.ndarray) -> np.ndarray:
  """Cut off after the point and at 0 and 255, as Pillow does."""
  return np.clip(table, 0, 255).astype(np.uint8)


def _rows(clip: np.ndarray) -> np.ndarray:
  """A view that OpenCV takes for one grey picture. [T H W C] -> [T*H W*C]."""
  return clip.reshape(clip.shape[0] * clip.shape[1], -1)


def _warp(
  clip: np.ndarray, matrix: np.ndarray, offset: Sequence[float] = (0, 0)
) -> np.ndarray:
  """Takes the pixel at (x, y) from matrix @ (x, y) + offset, bilinearly.

  Coordinates are those of pixel centres, which lie at halves.
  """
  offset = matrix @ (0.5, 0.5) + offset - 0.5
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

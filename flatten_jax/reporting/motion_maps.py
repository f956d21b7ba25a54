# SPDX-License-Identifier: Apache-2.0
"""Pictures of what a network of `channels='motion'` sees."""

from collections.abc import Sequence

import numpy as np

TITLE = (
  'The network sees no colors, but gray values and motion in two ways. '
  'Red: brighter, blue: darker, white: no difference.'
)
LABELS = 'gray', "difference from the clip's mean", 'change to the next frame'
_MOST = 3.0  # Deviations that have the full color.
_BRIGHTER, _DARKER = (200, 40, 30), (30, 80, 200)
BAND = 0.07  # Of the height of a picture, above it, for a label.


def of_channels(values: np.ndarray) -> list[np.ndarray]:
  """Draws each channel of `preprocess.motion_channels`.

  Args:
    values: floats [... H W 3].

  Returns:
    Three pictures, uint8 RGB [... H W 3].
  """
  return [
    _gray(values[..., :1]),
    *(_signed(values[..., k : k + 1]) for k in (1, 2)),
  ]


def _gray(values: np.ndarray) -> np.ndarray:
  """Draws gray values of deviation a half [... 1]. -> uint8 [... 3]."""
  levels = np.clip(255 * (0.5 + 0.4 * values), 0, 255).round()
  return levels.astype(np.uint8).repeat(3, -1)


def _signed(values: np.ndarray) -> np.ndarray:
  """Draws signed values [... 1] red and blue on white. -> uint8 [... 3]."""
  strength = np.clip(values / _MOST, -1, 1)
  color = np.where(strength > 0, np.array(_BRIGHTER), np.array(_DARKER))
  return (255 + np.abs(strength) * (color - 255.0)).round().astype(np.uint8)


def stack(pictures: Sequence[np.ndarray]) -> np.ndarray:
  """Puts pictures [B H W 3] below each other, with white bands for labels."""
  band = round(BAND * pictures[0].shape[1] + 1)
  rows = ((0, 0), (band, 0), (0, 0), (0, 0))
  parts = [np.pad(part, rows, constant_values=255) for part in pictures]
  return np.concatenate(parts, axis=1)

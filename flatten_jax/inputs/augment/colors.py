# SPDX-License-Identifier: Apache-2.0
"""Changes colors of clips at random, and erases parts of them."""

import dataclasses

import cv2
import numpy as np

from flatten_jax.inputs.augment import color_ops
from flatten_jax.inputs.augment.boxes import random_box
from flatten_jax.inputs.augment.color_ops import LUMA, saturation_matrix


@dataclasses.dataclass(frozen=True)
class ColorJitter:
  """Changes brightness, contrast and saturation. [T H W 3] -> same.

  Each factor is uniform in [1 - x, 1 + x], never below 0. Contrast turns about
  the clip's mean grey, saturation about each pixel's grey (ITU-R BT.601 luma).
  The hue stays.
  """

  brightness: float = 0.0
  contrast: float = 0.0
  saturation: float = 0.0
  probability: float = 1.0

  def __call__(self, clip: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Returns the clip, or one with changed colours."""
    # A clip that is always changed draws no number for it.
    if self.probability < 1 and rng.random() >= self.probability:
      return clip
    bright, contrast, saturation = (
      rng.uniform(max(0.0, 1 - x), 1 + x)
      for x in (self.brightness, self.contrast, self.saturation)
    )
    # All three are linear in the pixel, so one 3x4 matrix applies them.
    pixels = np.ascontiguousarray(clip).reshape(1, -1, 3)
    # OpenCV's mean takes a hundredth of the time of numpy's.
    grey = bright * float(cv2.mean(pixels)[:3] @ LUMA)
    scale = bright * contrast * saturation_matrix(saturation)
    matrix = np.column_stack([scale, [(1 - contrast) * grey] * 3])
    return cv2.transform(pixels, matrix).reshape(clip.shape)


@dataclasses.dataclass(frozen=True)
class Grayscale:
  """Removes colours with some probability. uint8 [T H W 3] -> same."""

  probability: float

  def __call__(self, clip: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Returns the clip, or its grey (ITU-R BT.601 luma) in all channels."""
    if rng.random() >= self.probability:
      return clip
    return color_ops.color(np.ascontiguousarray(clip), 0.0)


@dataclasses.dataclass(frozen=True)
class RandomErasing:
  """Replaces a random box, the same in all frames, by noise. uint8 [T H W C].

  Zhong et al., 2020, in the variant of UniFormer's training: pixels are normal
  in the statistics by which it normalises Kinetics, whatever the config's, and
  clipped at black and white (3 % of the values). Or, as in timm's default, by
  one colour: `fill`, of levels from 0 to 1, which are rounded to a 255th.
  """

  probability: float = 0.25
  area: tuple[float, float] = (0.02, 1 / 3)
  aspect: tuple[float, float] = (0.3, 1 / 0.3)
  mean: float = 0.45
  std: float = 0.225
  fill: tuple[float, ...] = ()

  def __call__(self, clip: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Returns the clip, or a copy with a box of noise."""
    if rng.random() >= self.probability:
      return clip
    box = random_box(clip.shape[1:3], self.area, self.aspect, rng)
    clip = clip.copy()
    if self.fill:
      clip[:, *box] = np.rint(255 * np.asarray(self.fill))
      return clip
    noise = rng.standard_normal(clip[:, *box].shape, np.float32)
    noise *= 255 * self.std
    noise += 255 * self.mean + 0.5  # Rounds.
    clip[:, *box] = np.clip(noise, 0, 255, out=noise)
    return clip

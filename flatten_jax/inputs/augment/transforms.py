# SPDX-License-Identifier: Apache-2.0
"""Crops, flips, colours and erases clips, for training and for test views.

Each random transform draws its parameters once per clip, so that all frames are
treated alike and motion is preserved.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import math

import cv2
import numpy as np

from flatten_jax.inputs.augment import color_ops
from flatten_jax.inputs.augment.boxes import random_box, scaled_box
from flatten_jax.inputs.augment.color_ops import LUMA, saturation_matrix
from flatten_jax.inputs.augment.randaugment import RandAugment
from flatten_jax.inputs.flow import fields


@dataclasses.dataclass(frozen=True)
class RandomResizedCrop:
  """Crops one random box from all frames. [T H W C] -> [T s s C]."""

  size: int
  area: tuple[float, float] = (0.08, 1.0)
  aspect: tuple[float, float] = (3 / 4, 4 / 3)

  def __call__(self, clip: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Crops a random box and resizes it."""
    box = random_box(clip.shape[1:3], self.area, self.aspect, rng)
    return resize(clip[:, *box], (self.size, self.size))


@dataclasses.dataclass(frozen=True)
class RandomScaledCrop:
  """Scales all frames by one factor and crops a square. -> [T s s C].

  Only the box that remains is scaled. Its height and width are whole pixels of
  the original frame.

  Attributes:
    size: s, in pixels.
    method: the factor is uniform in `scale` ('scale', as in gluonmm), or one
      over it is ('inverse_scale', as in PySlowFast for Something-Something), or
      height and width have a factor each ('scale_each_axis', as in Scenic).
    scale: lowest and highest factor.
  """

  size: int
  method: str
  scale: tuple[float, float]

  def __call__(self, clip: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Crops a random box and resizes it."""
    box = scaled_box(clip.shape[1:3], self.size, self.method, self.scale, rng)
    return resize(clip[:, *box], (self.size, self.size))


@dataclasses.dataclass(frozen=True)
class HorizontalFlip:
  """Mirrors a clip with some probability. [T H W C] -> same."""

  probability: float = 0.5

  def __call__(self, clip: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Returns the clip or its mirror image."""
    return mirror(clip) if rng.random() < self.probability else clip


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


def train_transforms(
  data: Mapping, mean: Sequence[float] = (0.45, 0.45, 0.45)
) -> list:
  """Returns the transforms of a training clip, in order.

  Args:
    data: `config.data`.
    mean: colour of `erasing_fill='mean'`, RGB from 0 to 1.
  """
  transforms = [random_crop(data)]
  if data['randaugment']:
    transforms.insert(0, RandAugment.parse(data['randaugment']))
  if data['flip']:  # Never if left and right are the label.
    transforms.append(HorizontalFlip(0.5))
  if data['color_jitter']:
    strength, share = data['color_jitter'], data['color_jitter_share']
    transforms.append(ColorJitter(strength, strength, strength, share))
  if data['grayscale_share']:
    transforms.append(Grayscale(data['grayscale_share']))
  if data['random_erasing']:
    fill = tuple(mean) if data['erasing_fill'] == 'mean' else ()
    transforms.append(RandomErasing(data['random_erasing'], fill=fill))
  return transforms


def random_crop(data: Mapping) -> RandomResizedCrop | RandomScaledCrop:
  """Returns the crop of `data.crop_method`."""
  size, method = data['crop'], data['crop_method']
  if method == 'area':
    area, aspect = tuple(data['crop_area']), tuple(data['crop_aspect'])
    return RandomResizedCrop(size, area, aspect)
  return RandomScaledCrop(size, method, tuple(data['crop_scale']))


def test_short_side(data: Mapping) -> int:
  """Returns the shorter side of the frames that test views are cut from."""
  return data['test_short_side'] or data['crop']


def test_crops(
  clips: np.ndarray, size: int, num_crops: int
) -> list[np.ndarray]:
  """Crops squares along the longer side. [... H W C] -> n x [... s s C].

  One crop is the centre; more are evenly spaced from edge to edge: left,
  centre, right (of a square as well), or top, middle, bottom. They are in the
  middle of the shorter side. Half a pixel is rounded up.

  Raises:
    ValueError: the frames are smaller than the crops.
  """
  height, width = clips.shape[-3:-1]
  if min(height, width) < size:
    raise ValueError(
      f'Expected frames of {size} x {size} or more, not {height} x {width}.'
    )
  views = []
  for i in range(num_crops):
    part = i / (num_crops - 1) if num_crops > 1 else 0.5
    top = math.ceil((height - size) * (part if height > width else 0.5))
    left = math.ceil((width - size) * (part if height <= width else 0.5))
    views.append(clips[..., top : top + size, left : left + size, :])
  return views


def mirror(clip: np.ndarray) -> np.ndarray:
  """Mirrors left and right, optical flow as well. uint8 [T H W C] -> same."""
  out = np.empty_like(clip)
  for frame, target in zip(clip, out, strict=True):
    cv2.flip(frame, 1, dst=target)  # 25 times faster than numpy's copy.
  fields.mirror(out)
  return out


def resize(clip: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
  """Resizes bilinearly, without aliasing. uint8 [T H W C] -> [T h w C]."""
  height, width = shape
  out = np.empty((len(clip), height, width, clip.shape[-1]), clip.dtype)
  for frame, target in zip(clip, out, strict=True):
    # Bilinear uses 2x2 pixels only; halving averages those it would skip.
    while frame.shape[0] >= 2 * height and frame.shape[1] >= 2 * width:
      half_height, half_width = frame.shape[0] // 2, frame.shape[1] // 2
      # Drops a last odd row or column: whole blocks are ten times faster.
      whole = frame[: 2 * half_height, : 2 * half_width]
      frame = cv2.resize(
        whole, (half_width, half_height), interpolation=cv2.INTER_AREA
      )
    cv2.resize(frame, (width, height), dst=target)
  return out

# SPDX-License-Identifier: Apache-2.0
"""What happens to the pixels of a clip: values that are called with it.

Each transform draws its parameters once per clip, so that all frames are
treated alike: motion stays motion.
"""

import dataclasses
import math

import cv2
import numpy as np

from flatten_jax.inputs.augment.color_ops import LUMA
from flatten_jax.inputs.augment.randaugment import RandAugment


@dataclasses.dataclass(frozen=True)
class RandomResizedCrop:
  """One random box, the same in all frames, resized. [T H W C] -> [T s s C]."""

  size: int
  area: tuple[float, float] = (0.08, 1.0)
  aspect: tuple[float, float] = (3 / 4, 4 / 3)

  def __call__(self, clip: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A box of the clip, drawn anew, at the size asked for."""
    top, left, height, width = random_box(
      clip.shape[1:3], self.area, self.aspect, rng
    )
    box = clip[:, top : top + height, left : left + width]
    return resize(box, (self.size, self.size))


@dataclasses.dataclass(frozen=True)
class HorizontalFlip:
  """Mirrors the clip with some probability. [T H W C] -> same."""

  probability: float = 0.5

  def __call__(self, clip: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The clip or its mirror image."""
    return mirror(clip) if rng.random() < self.probability else clip


@dataclasses.dataclass(frozen=True)
class ColorJitter:
  """One random brightness, contrast and saturation. [T H W 3] -> same.

  Each factor is uniform in [1 - x, 1 + x], never below 0. Contrast turns about
  the clip's mean grey, saturation about each pixel's grey (ITU-R BT.601 luma).
  """

  brightness: float = 0.0
  contrast: float = 0.0
  saturation: float = 0.0

  def __call__(self, clip: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The clip in other colours."""
    bright, contrast, saturation = (
      rng.uniform(max(0.0, 1 - x), 1 + x)
      for x in (self.brightness, self.contrast, self.saturation)
    )
    # All three are linear in the pixel: one 3x4 matrix does them in one pass.
    mix = saturation * np.eye(3) + (1 - saturation) * np.tile(LUMA, (3, 1))
    pixels = np.ascontiguousarray(clip).reshape(1, -1, 3)
    # OpenCV's mean takes a hundredth of the time of numpy's.
    grey = bright * float(cv2.mean(pixels)[:3] @ LUMA)
    matrix = np.concatenate(
      [bright * contrast * mix, np.full((3, 1), (1 - contrast) * grey)], axis=1
    )
    return cv2.transform(pixels, matrix).reshape(clip.shape)


@dataclasses.dataclass(frozen=True)
class RandomErasing:
  """Replaces a random box, the same in all frames, by noise. uint8 [T H W C].

  Zhong et al., 2020, in the form that UniFormer's runs use: every pixel of the
  box is drawn anew, from a normal distribution with the mean and the standard
  deviation that clips of Kinetics are normalised by there, whatever the config
  normalises by. (It is cut off at black and white, 3 % of the values, since
  clips stay uint8 here.)
  """

  probability: float = 0.25
  area: tuple[float, float] = (0.02, 1 / 3)
  aspect: tuple[float, float] = (0.3, 1 / 0.3)
  mean: float = 0.45
  std: float = 0.225

  def __call__(self, clip: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The clip, or a copy with a box of noise."""
    if rng.random() >= self.probability:
      return clip
    top, left, height, width = random_box(
      clip.shape[1:3], self.area, self.aspect, rng
    )
    clip = clip.copy()
    box = clip[:, top : top + height, left : left + width]
    noise = rng.standard_normal(box.shape, np.float32)
    np.multiply(noise, 255 * self.std, out=noise)
    np.add(noise, 255 * self.mean + 0.5, out=noise)  # To round, cut off later.
    box[...] = np.clip(noise, 0, 255, out=noise)
    return clip


def train_transforms(data) -> list:
  """What happens to a training clip, in order; read it like a recipe."""
  transforms = []
  if data['randaugment']:
    transforms.append(RandAugment.parse(data['randaugment']))
  transforms.append(
    RandomResizedCrop(
      data['crop'], tuple(data['crop_area']), tuple(data['crop_aspect'])
    )
  )
  if data['flip']:  # Never where left and right are the label.
    transforms.append(HorizontalFlip(0.5))
  if data['color_jitter']:
    transforms.append(ColorJitter(*[data['color_jitter']] * 3))
  if data['random_erasing']:
    transforms.append(RandomErasing(data['random_erasing']))
  return transforms


def test_crops(
  clips: np.ndarray, size: int, num_crops: int
) -> list[np.ndarray]:
  """Square views along the longer side. [... H W C] -> num_crops x [... s s C].

  The short side of the clips must be `size`. One crop is the centre, three are
  left, centre, right (or top, middle, bottom); any number is spread evenly from
  edge to edge.
  """
  height, width = clips.shape[-3:-1]
  if min(height, width) != size:
    raise ValueError(
      f'Expected frames with a short side of {size}, not {height} x {width}.'
    )
  views = []
  for i in range(num_crops):
    part = i / (num_crops - 1) if num_crops > 1 else 0.5
    top, left = (
      math.ceil((height - size) * part),
      math.ceil((width - size) * part),
    )
    views.append(clips[..., top : top + size, left : left + size, :])
  return views


def random_box(
  shape: tuple[int, int],
  area: tuple[float, float],
  aspect: tuple[float, float],
  rng: np.random.Generator,
) -> tuple[int, int, int, int]:
  """A box of random area and aspect ratio inside [H W] -> top, left, h, w.

  The share of the area is uniform in `area`, the aspect ratio (width / height)
  log-uniform in `aspect` (Szegedy et al., 2015). A draw that does not fit is
  repeated ten times, then the largest allowed centre box is taken.
  """
  height, width = shape
  low, high = np.log(aspect)
  for _ in range(10):
    target = height * width * rng.uniform(*area)
    ratio = math.exp(rng.uniform(low, high))
    w, h = round(math.sqrt(target * ratio)), round(math.sqrt(target / ratio))
    if 0 < w <= width and 0 < h <= height:
      top = int(rng.integers(height - h, endpoint=True))
      left = int(rng.integers(width - w, endpoint=True))
      return top, left, h, w
  ratio = min(max(width / height, aspect[0]), aspect[1])
  w = max(1, min(width, round(height * ratio)))
  h = max(1, min(height, round(width / ratio)))
  return (height - h) // 2, (width - w) // 2, h, w


def mirror(clip: np.ndarray) -> np.ndarray:
  """Left becomes right. [T H W C] -> same."""
  out = np.empty_like(clip)
  for frame, target in zip(clip, out, strict=True):
    cv2.flip(frame, 1, dst=target)  # 25 times faster than numpy's copy.
  return out


def resize(clip: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
  """Bilinear, without aliasing. uint8 [T H W C] -> [T h w C]."""
  height, width = shape
  out = np.empty((len(clip), height, width, clip.shape[-1]), clip.dtype)
  for frame, target in zip(clip, out, strict=True):
    # Bilinear looks at 2x2 pixels only; halving averages what it would skip.
    while frame.shape[0] >= 2 * height and frame.shape[1] >= 2 * width:
      frame = halve(frame)
    cv2.resize(frame, (width, height), dst=target)
  return out


def halve(frame: np.ndarray) -> np.ndarray:
  """Averages blocks of 2x2 pixels. [H W C] -> [H/2 W/2 C]."""
  height, width = frame.shape[0] // 2, frame.shape[1] // 2
  # A last odd row or column is left out: whole blocks are ten times faster.
  whole = frame[: 2 * height, : 2 * width]
  return cv2.resize(whole, (width, height), interpolation=cv2.INTER_AREA)

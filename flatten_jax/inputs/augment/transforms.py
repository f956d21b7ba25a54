# SPDX-License-Identifier: Apache-2.0
"""Crops, flips, colours and erases clips, for training and for test views.

Each random transform draws its parameters once per clip, so that all frames are
treated alike and motion is preserved.
"""

from collections.abc import Mapping, Sequence
import dataclasses

import cv2
import numpy as np

from flatten_jax.inputs.augment import color_ops, flips
from flatten_jax.inputs.augment.boxes import (
  CORNERS_AND_CENTER,
  crop_places,
  multi_scale_box,
  random_box,
  scaled_box,
)
from flatten_jax.inputs.augment.colors import (
  ColorJitter,
  Grayscale,
  RandomErasing,
)
from flatten_jax.inputs.augment.randaugment import RandAugment
from flatten_jax.inputs.sampling import rules
from flatten_jax.inputs.video.interface import FloorSide, Size

TEN_CROPS = 10  # Test views: five places, then their mirror images.


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
class MultiScaleCrop:
  """Crops a box of TSN's short list of sizes and places. -> [T s s C].

  Attributes:
    size: s, in pixels.
    shares: heights and widths of the box, as shares of the shorter side of a
      frame; its height and its width are at most one of them apart.
    num_places: 5, the corners and the centre, or 13.
  """

  size: int
  shares: tuple[float, ...] = (0.66, 0.75, 0.875, 1.0)
  num_places: int = 13

  def __call__(self, clip: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Crops a random box and resizes it."""
    shape, places = clip.shape[1:3], self.num_places
    box = multi_scale_box(shape, self.size, self.shares, places, rng)
    return resize(clip[:, *box], (self.size, self.size))


@dataclasses.dataclass(frozen=True)
class Rotation:
  """Rotates all frames by one angle, about the center. uint8 [T H W 3].

  Attributes:
    degrees: the largest angle, in both directions.
  """

  degrees: float

  def __call__(self, clip: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Returns the rotated clip; corners that come into view are grey."""
    angle = rng.uniform(-self.degrees, self.degrees)
    return color_ops.rotate(np.ascontiguousarray(clip), angle)


def train_transforms(
  data: Mapping,
  mean: Sequence[float] = (0.45, 0.45, 0.45),
  class_names: Sequence[str] | None = None,
) -> list:
  """Returns the transforms of a training clip, in order.

  Args:
    data: `config.data`.
    mean: colour of `erasing_fill='mean'`, RGB from 0 to 1.
    class_names: that `flip_pairs` and `flip_except` name; None: unknown yet.
  """
  transforms = [random_crop(data)]
  if data['randaugment']:
    transforms.insert(0, RandAugment.parse(data['randaugment']))
  if data['rotation']:
    transforms.insert(0, Rotation(data['rotation']))
  if data['flip']:
    transforms.append(flips.of_data(data, class_names))
  if data['color_jitter']:
    strength, share = data['color_jitter'], data['color_jitter_share']
    transforms.append(ColorJitter(strength, strength, strength, share))
  if data['grayscale_share']:
    transforms.append(Grayscale(data['grayscale_share']))
  if data['random_erasing']:
    fill = tuple(mean) if data['erasing_fill'] == 'mean' else ()
    transforms.append(RandomErasing(data['random_erasing'], fill=fill))
  return transforms


def random_crop(
  data: Mapping,
) -> RandomResizedCrop | RandomScaledCrop | MultiScaleCrop:
  """Returns the crop of `data.crop_method`."""
  size, method = data['crop'], data['crop_method']
  if method == 'area':
    area, aspect = tuple(data['crop_area']), tuple(data['crop_aspect'])
    return RandomResizedCrop(size, area, aspect)
  if method == 'multi_scale':
    shares = tuple(data['crop_sizes'])
    return MultiScaleCrop(size, shares, data['crop_positions'])
  return RandomScaledCrop(size, method, tuple(data['crop_scale']))


def test_crop(data: Mapping) -> int:
  """Returns the side of a test view."""
  return data['test_crop'] or data['crop']


def test_short_side(data: Mapping) -> int:
  """Returns the shorter side of the frames that test views are cut from."""
  return data['test_short_side'] or test_crop(data)


def frame_size(data: Mapping, short_side: int) -> Size:
  """Returns the size of frames with a shorter side, or of their own if it is 0.

  `data.resize` makes them of one shape.
  """
  if not data['resize']:
    exact = short_side and rules.of_data(data).floors_sides
    return FloorSide(short_side) if exact else short_side or None
  least = min(data['resize'])
  return tuple(
    round(side * (short_side or least) / least) for side in data['resize']
  )


def test_frame_size(data: Mapping) -> Size:
  """Returns the size of the frames that test views are cut from."""
  return frame_size(data, test_short_side(data))


def test_crops(
  clips: np.ndarray, size: int, num_crops: int, steps: int = 0
) -> list[np.ndarray]:
  """Crops squares for test views. [T H W C] -> n x [T s s C].

  One crop is the centre; more are evenly spaced along the longer side, from
  edge to edge: left, centre, right (of a square as well), or top, middle,
  bottom, in the middle of the shorter side. Ten are the corners (top left, top
  right, bottom left, bottom right) and the centre, then their mirror images.
  For `steps` and rounding, see `boxes.crop_places`.

  Raises:
    ValueError: the frames are smaller than the crops.
  """
  height, width = shape = clips.shape[-3:-1]
  if min(shape) < size:
    raise ValueError(
      f'Expected frames of {size} x {size} or more, not {height} x {width}.'
    )
  parts = (
    [i / (num_crops - 1) for i in range(num_crops)] if num_crops > 1 else [0.5]
  )
  shares = [(part, 0.5) if height > width else (0.5, part) for part in parts]
  if num_crops == TEN_CROPS:
    shares = CORNERS_AND_CENTER
  views = [
    clips[..., top : top + size, left : left + size, :]
    for top, left in crop_places(shape, (size, size), shares, steps)
  ]
  return views + [
    flips.mirror(view) for view in views[: num_crops - len(views)]
  ]


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

# SPDX-License-Identifier: Apache-2.0
"""Draws boxes of frames: random parts to crop or to erase."""

import math

import numpy as np


def random_box(
  shape: tuple[int, int],
  area: tuple[float, float],
  aspect: tuple[float, float],
  rng: np.random.Generator,
) -> tuple[slice, slice]:
  """Draws the rows and columns of a box of random area and aspect in [H W].

  The share of the area is uniform in `area`, the aspect ratio (width / height)
  log-uniform in `aspect` (Szegedy et al., 2015). After ten draws that do not
  fit, the box is the largest allowed one in the centre.
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
      return slice(top, top + h), slice(left, left + w)
  ratio = min(max(width / height, aspect[0]), aspect[1])
  w = max(1, min(width, round(height * ratio)))
  h = max(1, min(height, round(width / ratio)))
  top, left = (height - h) // 2, (width - w) // 2
  return slice(top, top + h), slice(left, left + w)


def scaled_box(
  shape: tuple[int, int],
  size: int,
  method: str,
  scale: tuple[float, float],
  rng: np.random.Generator,
) -> tuple[slice, slice]:
  """Draws the rows and columns of [H W] that become a crop when scaled.

  See `transforms.RandomScaledCrop`. Frames that a factor would make smaller
  than the crop are scaled to its size instead.
  """
  low, high = scale
  if method == 'scale_each_axis':
    factors, most = rng.uniform(low, high, 2), shape
  else:
    inverse = method == 'inverse_scale'
    one = 1 / rng.uniform(1 / high, 1 / low) if inverse else rng.uniform(*scale)
    factors, most = (one, one), (min(shape), min(shape))
  box = []
  for length, factor, limit in zip(shape, factors, most, strict=True):
    side = min(max(round(size / factor), 1), limit)
    start = int(rng.integers(length - side, endpoint=True))
    box.append(slice(start, start + side))
  return tuple(box)

# SPDX-License-Identifier: Apache-2.0
"""Draws boxes of frames to crop or to erase, and places test crops."""

from collections.abc import Sequence
import math

import numpy as np

# Places of a crop in a frame, from the top and from the left, as shares of the
# rest of the frame.
CORNERS_AND_CENTER = ((0, 0), (0, 1), (1, 0), (1, 1), (0.5, 0.5))
ALL_PLACES = (
  *CORNERS_AND_CENTER,
  *((0.5, 0), (0.5, 1), (1, 0.5), (0, 0.5)),
  *((0.25, 0.25), (0.25, 0.75), (0.75, 0.25), (0.75, 0.75)),
)


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


def multi_scale_box(
  shape: tuple[int, int],
  size: int,
  shares: Sequence[float],
  num_places: int,
  rng: np.random.Generator,
) -> tuple[slice, slice]:
  """Draws the rows and columns of a box of TSN's short list in [H W].

  Its size is one of `multi_scale_sizes`, its place one of `num_places`: the
  corners and the centre, or also those in the middle between two of these.
  """
  sizes = multi_scale_sizes(shape, size, shares)
  sides = sizes[rng.integers(len(sizes))]
  places = crop_places(shape, sides, ALL_PLACES[:num_places], steps=4)
  place = places[rng.integers(num_places)]
  return tuple(
    slice(start, start + side) for start, side in zip(place, sides, strict=True)
  )


def multi_scale_sizes(
  shape: tuple[int, int], size: int, shares: Sequence[float]
) -> list[tuple[int, int]]:
  """Returns heights and widths of boxes, at most one step of `shares` apart.

  Shares are of the shorter side, in ascending order. A side that is less than 3
  pixels from the crop's is the crop's, if that fits into the frame.
  """
  least = min(shape)
  sides = [max(int(least * share), 1) for share in shares]
  if size <= least:
    sides = [size if abs(side - size) < 3 else side for side in sides]
  return [
    (height, width)
    for i, height in enumerate(sides)
    for width in sides[max(i - 1, 0) : i + 2]
  ]


def crop_places(
  shape: tuple[int, int],
  sides: tuple[int, int],
  shares: Sequence[tuple[float, float]],
  steps: int = 0,
) -> list[tuple[int, int]]:
  """Returns the top and left pixel of crops at shares of the rest of a frame.

  Half a pixel is rounded up. With `steps`, a rest is divided in as many steps
  of whole pixels, so that the last may come before the edge; a centre alone
  is rounded to even.

  Args:
    shape: height and width of the frame.
    sides: of a crop.
    shares: from 0 to 1.
    steps: 0, or steps in a rest, which shares are multiples of.
  """

  def place(rest: int, share: float) -> int:
    if not steps:
      return math.ceil(rest * share)
    if len(shares) == 1:
      return round(rest * share)
    return round(share * steps) * (rest // steps)

  rests = [length - side for length, side in zip(shape, sides, strict=True)]
  return [tuple(map(place, rests, pair)) for pair in shares]

# SPDX-License-Identifier: Apache-2.0
"""The share of a heat map that lies on moving pixels."""

from collections.abc import Iterable, Iterator
from typing import Any

import cv2
import numpy as np

# Relative to the luminance range; above compression noise, flicker and shake.
_THRESHOLD = 0.1
_CLEAR = 1.5  # Times chance, from which heat on motion is more than noise.
_MOST = 0.5  # Share of pixels; nothing can be twice as much as this.
_REACH = 1 / 32  # Dilation, relative to the short side of a frame.


def moving_pixels(clip: np.ndarray) -> np.ndarray:
  """Marks pixels that change from or to a neighbouring frame, dilated.

  uint8 [T H W 3] -> bool [T H W].
  """
  grey = clip.astype(np.float32).mean(axis=-1) / 255
  change = np.abs(np.diff(grey, axis=0))
  still = np.zeros_like(grey[0])
  before, after = np.stack([[still, *change], [*change, still]])
  moving = np.maximum(before, after) > _THRESHOLD
  reach = max(1, round(_REACH * min(clip.shape[1:3])))
  kernel = np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)
  frames = [cv2.dilate(frame.astype(np.uint8), kernel) for frame in moving]
  return np.stack(frames) > 0


def share_on(moving: np.ndarray, heat: np.ndarray) -> float | None:
  """Returns the share of heat on moving pixels; None if all heat is zero.

  Args:
    moving: bool [T H W]; its mean is the share of uniform heat.
    heat: [T H W], 0 or more.
  """
  total = float(heat.sum())
  return float(heat[moving].sum()) / total if total else None


def mean_shares(rows: Iterable[dict[str, Any]]) -> dict[str, Any]:
  """Averages over the videos in which anything moves.

  Args:
    rows: of explain.json: 'moving', the share of moving pixels, and
      'heat_on_motion', the shares of heat on them by kind, for each stage.

  Returns:
    The number of 'videos', the mean 'moving' as 'chance', and the mean shares
    of heat by 'stages'.
  """
  rows = [row for row in rows if row['moving']]
  if not rows:
    return {'videos': 0}
  stages = zip(*(row['heat_on_motion'] for row in rows), strict=True)
  return {
    'videos': len(rows),
    'chance': _mean(row['moving'] for row in rows),
    'stages': [
      {kind: _mean(shares[kind] for shares in stage) for kind in stage[0]}
      for stage in stages
    ],
  }


def _mean(values: Iterable[float | None]) -> float | None:
  """Averages the known values."""
  values = [value for value in values if value is not None]
  return round(float(np.mean(values)), 4) if values else None


def in_words(found: dict[str, Any]) -> Iterator[str]:
  """Formats the result of `mean_shares`, one line per stage."""
  if not found['videos']:
    yield 'No motion between the frames of these clips'
    return
  chance = found['chance']
  yield (
    f'Moving pixels cover {100 * chance:.1f} % of the area '
    f'({found["videos"]} videos). Their share of the heat:'
  )
  for number, stage in enumerate(found['stages'], start=1):
    parts = (
      f'{kind} {100 * share:4.1f} % ({share / chance:.1f} x chance)'
      for kind, share in stage.items()
      if share is not None
    )
    place = f'stage {number}' if 'Grad-CAM' in stage else 'last block'
    yield f'  {place}  {"   ".join(parts)}'
  yield _meaning(found)


def _meaning(found: dict[str, Any]) -> str:
  """Returns a sentence about the largest share of the heat."""
  shares = [x for stage in found['stages'] for x in stage.values() if x]
  times = max(shares, default=0.0) / found['chance']
  if times >= _CLEAR:
    return (
      f'At its clearest the heat is {times:.1f} times as much on what moves as '
      'chance.'
    )
  if found['chance'] > _MOST:
    return (
      'So much of the picture moves, with the camera perhaps, that this says '
      'little of where the network looks.'
    )
  return (
    'The heat is hardly more on what moves than elsewhere: what stays still '
    'speaks for the answers too, such as a shape or a place. Compare with '
    'random order in the table of the order of frames, '
    '`config.order_report`.'
  )

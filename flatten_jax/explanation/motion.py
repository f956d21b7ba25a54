# SPDX-License-Identifier: Apache-2.0
"""What moves in a clip, and how much of a heat map lies there: a number."""

from collections.abc import Iterable, Iterator
from typing import Any

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


def share_on(moving: np.ndarray, heat: np.ndarray) -> float | None:
  """How much of the heat lies on moving pixels; None where nothing is hot.

  Args:
    moving: bool [T H W]; their mean is the share of heat that is everywhere.
    heat: [T H W], 0 or more.
  """
  total = float(heat.sum())
  return float(heat[moving].sum()) / total if total else None


def mean_shares(rows: Iterable[dict[str, Any]]) -> dict[str, Any]:
  """Means over the videos in which anything moves.

  Args:
    rows: of each video 'moving', the share of its pixels that move, and
      'heat_on_motion', for each stage {kind of heat: `share_on`}.

  Returns:
    How many 'videos', the 'chance', and the 'stages', as they came.
  """
  rows = [row for row in rows if row['moving']]
  if not rows:
    return {'videos': 0}
  stages = zip(*(row['heat_on_motion'] for row in rows), strict=True)
  return {
    'videos': len(rows),
    'chance': _mean(row['moving'] for row in rows),
    'stages': [
      {kind: _mean(seen[kind] for seen in stage) for kind in stage[0]}
      for stage in stages
    ],
  }


def _mean(values: Iterable[float | None]) -> float | None:
  """Of those that are known."""
  values = [value for value in values if value is not None]
  return round(float(np.mean(values)), 4) if values else None


def in_words(found: dict[str, Any]) -> Iterator[str]:
  """What `mean_shares` found, a line for every stage."""
  if not found['videos']:
    yield 'Nothing moves in these videos'
    return
  chance = found['chance']
  yield (
    f'Moving pixels are {100 * chance:.1f} % of the area '
    f'({found["videos"]} videos); of the heat they get'
  )
  for number, stage in enumerate(found['stages'], start=1):
    parts = (
      f'{kind} {100 * share:4.1f} % ({share / chance:.1f} x chance)'
      for kind, share in stage.items()
      if share is not None
    )
    yield f'  stage {number}  {"   ".join(parts)}'

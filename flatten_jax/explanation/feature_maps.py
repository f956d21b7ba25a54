# SPDX-License-Identifier: Apache-2.0
"""Strength of feature maps, and maps over positions as maps over frames."""

import cv2
import jax
import jax.numpy as jnp
import numpy as np

from flatten_jax import flattening


def strength(feature_map: jax.Array) -> jax.Array:
  """Returns the root mean square over channels. [B ... C] -> [B ...], float32.

  A plain mean would cancel: channels of a residual network have both signs.
  """
  return jnp.sqrt(jnp.square(feature_map.astype(jnp.float32)).mean(axis=-1))


def onto_frames(
  values: np.ndarray,
  order: np.ndarray | None,
  grid: tuple[int, int],
  num_frames: int,
  side: int,
) -> np.ndarray:
  """Resamples a map to the pixels of the frames. -> float32 [T side side].

  Bilinear within each frame. Frames that are neighbours in the flattened image
  do not mix, if the number of positions is a multiple of the number of cells.

  Args:
    values: [h w] of a flattened clip, or [t h w] of a clip.
    order: [T], the frame in each cell of the grid; None for a clip.
    grid: (rows, columns) of the flattened clip.
    num_frames: T.
    side: of a frame in pixels.
  """
  values = np.asarray(values, np.float32)
  if order is None:
    frames = over_time(values, num_frames)
  else:
    whole = tuple(
      -(-size // cells) * cells
      for size, cells in zip(values.shape, grid, strict=True)
    )
    image = _resize(values, whole)[..., None]
    cells = flattening.unflatten(image, num_frames, grid=grid)
    frames = np.asarray(cells)[np.argsort(order), ..., 0]
  return np.stack([_resize(frame, (side, side)) for frame in frames])


def over_time(values: np.ndarray, num_frames: int) -> np.ndarray:
  """Interpolates over time, position i at frame 2 i. [t h w] -> [T h w].

  Networks that halve the number of frames centre their positions there, or
  between that frame and the next; those of segments of an odd number of frames
  at the middle one.
  """
  step = frames_each(num_frames, len(values))
  place = (np.arange(num_frames) - middle(step)).clip(min=0) / step
  first = np.minimum(place.astype(int), len(values) - 1)
  second = np.minimum(first + 1, len(values) - 1)
  share = (place - first)[:, None, None].astype(np.float32)
  return (1 - share) * values[first] + share * values[second]


def frames_each(num_frames: int, count: int) -> int:
  """Returns the frames from one of `count` positions in time to the next.

  A frame after the last whole pair may have been left out, or filled up.
  """
  return max(1, round(num_frames / count))


def middle(step: int) -> int:
  """Returns the frame at which the first position of `step` frames is."""
  return step // 2 if step % 2 else 0


def _resize(image: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
  """Resizes bilinearly, float32 [h w] -> [H W]."""
  if image.shape == shape:
    return image
  return cv2.resize(image, shape[::-1], interpolation=cv2.INTER_LINEAR)

# SPDX-License-Identifier: Apache-2.0
"""Maps over positions: how strongly they respond, and where they lie in a clip.

By depth they are Figure 6 of the paper.
"""

import cv2
import jax
import jax.numpy as jnp
import numpy as np

from flatten_jax import flattening


def strength(feature_map: jax.Array) -> jax.Array:
  """Root mean square over channels. [B ... C] -> [B ...], float32.

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
  """A map over positions, put back onto the frames, pixel by pixel.

  Args:
    values: [h w] of a flattened clip, or [t h w] of a clip.
    order: [T], which frame sits in each cell of the grid; None for a clip.
    grid: (rows, columns) of the flattened clip.
    num_frames: T.
    side: of a frame in pixels.

  Returns:
    float32 [T side side]. Between positions it is interpolated, though not from
    a frame to one that is only its neighbour in the big image, as long as
    positions divide among frames.
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
  """[t h w] -> [T h w], position i being centred at frame 2 i.

  So it is where a network halves time, see `uniformer3d.in_threes`.
  """
  place = np.arange(num_frames) / -(-num_frames // len(values))
  first = np.minimum(place.astype(int), len(values) - 1)
  second = np.minimum(first + 1, len(values) - 1)
  share = (place - first)[:, None, None].astype(np.float32)
  return (1 - share) * values[first] + share * values[second]


def _resize(image: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
  """Bilinear, float32 [h w] -> [H W]."""
  if image.shape == shape:
    return image
  return cv2.resize(image, shape[::-1], interpolation=cv2.INTER_LINEAR)

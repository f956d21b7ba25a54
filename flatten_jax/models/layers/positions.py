# SPDX-License-Identifier: Apache-2.0
"""Tables of learned positions, and their size for other clips."""

import math

import jax
import jax.numpy as jnp
import numpy as np


def resize(
  table: jax.Array, size: tuple[int, ...], old: tuple[int, ...]
) -> jax.Array:
  """Interpolates a table linearly over its grid; its corners stay.

  Scenic's rule (scipy's `zoom` of order 1). A table without time axis serves
  all times.

  Args:
    table: [prod(old) C].
    size: the new grid: (time, height, width), or some of them.
    old: the grid of the table.

  Returns:
    [prod(size) C].
  """
  x = table.reshape(*old, table.shape[-1])
  for axis, count in enumerate(size):
    if x.shape[axis] != count:
      x = _resize_axis(x, axis, count)
  return x.reshape(math.prod(size), -1)


def _resize_axis(x, axis, count):
  last = x.shape[axis] - 1
  place = np.linspace(0, last, count) if count > 1 else np.zeros(1)
  low = np.minimum(place.astype(int), max(last - 1, 0))
  ones = (1,) * (x.ndim - axis - 1)
  share = (place - low).reshape((1,) * axis + (-1, *ones)).astype(x.dtype)
  low, high = (jnp.take(x, i, axis) for i in (low, np.minimum(low + 1, last)))
  return low * (1 - share) + high * share


def resize_rest(
  table: jax.Array, size: tuple[int, ...], old: tuple[int, ...]
) -> jax.Array:
  """Interpolates all but the first entry, a class token's. [1+N C]."""
  if size == old:
    return table
  return jnp.concatenate([table[:1], resize(table[1:], size, old)])


def resample_rest(table: jax.Array, size: tuple[int, int]) -> jax.Array:
  """Resamples all but the first entry, of a square, to a grid. [1+N C].

  As timm's `resample_abs_pos_embed`: bicubic, with antialiasing.
  """
  side = math.isqrt(len(table) - 1)
  if size == (side, side):
    return table
  grid = table[1:].reshape(side, side, -1)
  grid = jax.image.resize(grid, (*size, grid.shape[-1]), 'cubic')
  return jnp.concatenate([table[:1], grid.reshape(math.prod(size), -1)])


def nearest(length: int, size: int) -> np.ndarray:
  """Returns the nearest entry of a table for each of `size` positions.

  In float32, as PyTorch's `interpolate`.
  """
  step = np.float32(length) / np.float32(size)
  places = np.floor(np.arange(size, dtype=np.float32) * step)
  return np.minimum(places.astype(int), length - 1)


def nearest_on_grid(places: jax.Array, height: int, width: int) -> jax.Array:
  """Takes the nearest of a square of places. [1 N C] -> [1 height*width C]."""
  side = math.isqrt(places.shape[1])
  rows, columns = nearest(side, height), nearest(side, width)
  index = (rows[:, None] * side + columns[None]).ravel()
  return places[:, index]

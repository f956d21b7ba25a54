# SPDX-License-Identifier: Apache-2.0
"""Pooling of images and clips, with PyTorch's gradients."""

from collections.abc import Sequence
import functools

import jax
import jax.numpy as jnp

from flatten_jax.models.layers import positions
from flatten_jax.models.layers.convolution import Pads


def max_pool(
  x: jax.Array,
  sizes: Sequence[int],
  strides: Sequence[int],
  pads: Pads | None = None,
) -> jax.Array:
  """Takes the largest value of every window. [B ... C] -> [B ... C].

  Across, then down, then over time, each time the first of equals, which gets
  the gradient as in PyTorch. (The gradient of XLA's own takes ten times as long
  on CPU.) Without `pads`, a remainder is dropped.
  """
  pads = pads or ((0, 0),) * len(sizes)
  x = jnp.pad(x, ((0, 0), *pads, (0, 0)), constant_values=-jnp.inf)
  for axis in range(len(sizes), 0, -1):
    size, stride = sizes[axis - 1], strides[axis - 1]
    if size > 1 or stride > 1:
      windows = _windows(x, axis, size, stride)
      x = functools.reduce(_first_max, windows)
  return x


def mean_pool(x: jax.Array, sizes: Sequence[int], pad: int = 0) -> jax.Array:
  """Averages windows at stride 1; zeros around count. [B ... C] -> same.

  A window is not larger than the map.
  """
  around = ((pad, pad),) * len(sizes)
  x = jnp.pad(x, ((0, 0), *around, (0, 0)))
  for axis, size in enumerate(sizes, start=1):
    if size == x.shape[axis] > 1:
      x = x.mean(axis=axis, keepdims=True)
    elif size > 1:
      x = sum(_windows(x, axis, size, 1)) / size
  return x


def halve_by_max(x: jax.Array) -> jax.Array:
  """Takes the largest of 3 x 3 with stride 2; the count is rounded up.

  As PyTorch with `ceil_mode`. [B H W C] -> [B h w C].
  """
  pads = tuple((0, 1 - n % 2) for n in x.shape[1:3])
  return max_pool(x, (3, 3), (2, 2), pads)


def halve(x: jax.Array) -> jax.Array:
  """Averages 2 x 2 positions; drops a remainder. [B T H W C]."""
  batch, frames, height, width, dim = x.shape
  height, width = height // 2, width // 2
  x = x[:, :, : 2 * height, : 2 * width]
  return x.reshape(batch, frames, height, 2, width, 2, dim).mean(axis=(3, 5))


def upsample(x: jax.Array, height: int, width: int) -> jax.Array:
  """Repeats the nearest positions. [B T H W C] -> [B T height width C]."""
  for axis, size in ((2, height), (3, width)):
    length = x.shape[axis]
    if size % length == 0:
      x = jnp.repeat(x, size // length, axis=axis)
    else:
      x = jnp.take(x, positions.nearest(length, size), axis=axis)
  return x


def _windows(
  x: jax.Array, axis: int, size: int, stride: int
) -> list[jax.Array]:
  """Returns the first values of all windows along an axis, the second, ..."""
  last = (x.shape[axis] - size) // stride * stride + 1
  index = (slice(None),) * axis
  return [x[*index, i : i + last : stride] for i in range(size)]


def _first_max(a: jax.Array, b: jax.Array) -> jax.Array:
  """Returns the larger, `a` if equal; `jnp.maximum` halves the gradient."""
  return jnp.where((a >= b) | jnp.isnan(a), a, b)

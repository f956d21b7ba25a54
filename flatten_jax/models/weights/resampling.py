# SPDX-License-Identifier: Apache-2.0
"""Resamples position tables and first kernels to other sizes.

As the authors of models do.
"""

from collections.abc import Mapping
import math

import jax.numpy as jnp
import numpy as np

from flatten_jax.models.layers import positions


def for_clips(
  theirs: Mapping[str, np.ndarray],
  shapes: Mapping[str, tuple[int, ...]],
  grid: tuple[int, int, int],
  old: tuple[int, int, int] | None = None,
) -> dict[str, np.ndarray]:
  """Returns the tables of a ViViT for clips of another size, interpolated.

  Tables are [1 1+N C], the class token first.

  Args:
    theirs: the tensors of a file, by our names.
    shapes: of the model.
    grid: its positions: times, rows and columns.
    old: those of the file. If they are not known, a table of space and time has
      as many times as ours, or is as large in space.
  """
  result, encoders = {}, [slice(None)]
  if 'pos_embeds.1' in shapes:
    encoders = [slice(1, None), slice(1)]
  for i, axes in enumerate(encoders):
    name = f'pos_embeds.{i}'
    if name not in theirs or (not old and theirs[name].shape == shapes[name]):
      continue
    if not _is_table(theirs[name].shape, shapes[name]):
      continue
    cls, table = np.split(theirs[name], [1], axis=1)
    if sizes := old[axes] if old else _grid_of(table.shape[1], grid[axes]):
      table = np.asarray(positions.resize(table[0], grid[axes], sizes))[None]
      result[name] = np.concatenate([cls, table], axis=1)
  return result


def is_of_square(shape: tuple[int, ...], ours: tuple[int, ...]) -> bool:
  """Returns whether a table [1 1+N C] is a class token's and a square's.

  Some files of ViTs have no position of the class token, or one more.
  """
  return (
    _is_table(shape, ours) and math.isqrt(shape[1] - 1) ** 2 == shape[1] - 1
  )


def _is_table(shape: tuple[int, ...], ours: tuple[int, ...]) -> bool:
  """Returns whether two tables [1 1+N C] differ in N alone."""
  return len(shape) == 3 and shape[::2] == ours[::2] and shape[1] > 1


def _grid_of(length: int, ours: tuple[int, ...]) -> tuple[int, ...] | None:
  """Guesses the grid of a table from its length; frames are square."""
  if len(ours) == 1:
    return (length,)
  *time, height, width = ours
  if time and length % (height * width) == 0:
    return (length // (height * width), height, width)
  times = math.prod(time)
  side = math.isqrt(length // times)
  return (*time, side, side) if times * side**2 == length else None


def for_images(
  theirs: Mapping[str, np.ndarray], shapes: Mapping[str, tuple[int, ...]]
) -> dict[str, np.ndarray]:
  """Returns the table of a ViT for images of another size, as timm does.

  Args:
    theirs: the tensors of a file, by our names.
    shapes: of the model; tables are of squares.
  """
  name = 'pos_embed'
  if name not in theirs or theirs[name].shape == shapes[name]:
    return {}
  if not is_of_square(theirs[name].shape, shapes[name]):
    return {}
  side = math.isqrt(shapes[name][1] - 1)
  table = positions.resample_rest(jnp.asarray(theirs[name][0]), (side, side))
  return {name: np.asarray(table)[None]}


def for_channels(
  theirs: Mapping[str, np.ndarray],
  shapes: Mapping[str, tuple[int, ...]],
  channels: int,
) -> dict[str, np.ndarray]:
  """Returns kernels of RGB for an input of flow: their mean over RGB, repeated.

  It is not divided by the number of channels (TSN, Wang et al., 2016). Of an
  odd number, the first three channels are RGB, and keep their kernel.

  Args:
    theirs: the tensors of a file, by our names; kernels [... I O].
    shapes: of the model.
    channels: of its input.
  """
  result = {}
  for name, value in theirs.items():
    inputs, *rest = shapes.get(name, ())[-2:] or (0,)
    if (
      value.ndim < 4
      or channels == 3
      or 3 * inputs != channels * value.shape[-2]
    ):
      continue
    # TDN's takes several frames, each of these channels.
    rgb = value.reshape(*value.shape[:-2], -1, 3, *rest)
    mean = np.repeat(rgb.mean(axis=-2, keepdims=True), channels, axis=-2)
    if channels % 2:
      mean[..., :3, :] = rgb
    result[name] = mean.reshape(*value.shape[:-2], inputs, *rest)
  return result


def bicubic(x: np.ndarray, size: tuple[int, int]) -> np.ndarray:
  """Resizes the last two axes as PyTorch does: corners are not aligned.

  Without antialiasing; the kernel is Keys' with a = -0.75 (OpenCV's, not the
  -0.5 of `jax.image`). [... H W] -> [... h w], in float32, to the last bit:
  PyTorch's roundings move a table by 4e-6, and weights were trained with them.
  """
  for axis, length in ((-1, size[1]), (-2, size[0])):
    first, weights = _cubic_weights(x.shape[axis], length)
    x = np.moveaxis(x, axis, -1)
    near = [
      x[..., np.clip(first + i, 0, x.shape[-1] - 1)].astype(np.float32)
      for i in range(4)
    ]
    y = near[1] * weights[1]
    for i in (0, 2, 3):
      y = _multiply_add(near[i], weights[i], y)
    x = np.moveaxis(y, -1, axis)
  return x


def _cubic_weights(length: int, size: int) -> tuple[np.ndarray, list]:
  """Returns the first of the four entries of each place, and their weights."""
  one, a = np.float32(1), np.float32(-0.75)
  scale = np.float32(length) / np.float32(size)
  place = np.arange(size, dtype=np.float32) + np.float32(0.5)
  place = _multiply_add(scale, place, np.float32(-0.5))
  first = np.floor(place)

  def near(t):  # Up to one entry away.
    return ((a + 2) * t - (a + 3)) * t * t + one

  def far(t):
    return _multiply_add(a * t - 5 * a, t, 8 * a) * t - 4 * a

  t = place - first
  weights = [far(t + one), near(t), near(one - t), far((one - t) + one)]
  return first.astype(int) - 1, weights


def _multiply_add(a, b, c):
  """Returns a * b + c, rounded once to float32, as processors compute it."""
  product = np.asarray(a, np.float64) * np.asarray(b, np.float64)
  return (product + c).astype(np.float32)

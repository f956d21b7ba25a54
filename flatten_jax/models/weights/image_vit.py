# SPDX-License-Identifier: Apache-2.0
"""Position tables and kernels of video transformers, from images' or others'.

The official rules of ViViT and VidTr. Tables are [1 1+N C], the class token
first.
"""

from collections.abc import Mapping
import math
import re

import numpy as np

from flatten_jax.models.layers import positions

Arrays = Mapping[str, np.ndarray]
Shapes = Mapping[str, tuple[int, ...]]


def central_frame(kernel: np.ndarray, frames: int) -> np.ndarray:
  """Places an image's kernel at the middle of zeros. [... I O] -> [t ... I O].

  ("Central frame initialisation" of the ViViT paper.)
  """
  result = np.zeros((frames, *kernel.shape), kernel.dtype)
  result[frames // 2] = kernel
  return result


def is_head(name: str) -> bool:
  """Returns whether a tensor is of an image model's head."""
  return bool(re.match(r'(head|fc|pre_logits|output_projection)\.', name))


def tables(
  theirs: Arrays, shapes: Shapes, grid: tuple[int, int, int]
) -> dict[str, np.ndarray]:
  """Returns an image's position table for clips: equal at all times.

  Args:
    theirs: the tensors of an image model in our names.
    shapes: of the video model.
    grid: positions of the video model: times, rows and columns.
  """
  name, space = 'pos_embeds.0', grid[1:]
  if name not in theirs or theirs[name].shape == shapes[name]:
    return {}
  cls, table = np.split(theirs[name], [1], axis=1)
  side = math.isqrt(table.shape[1])
  if table.shape[1] != math.prod(space) and side**2 == table.shape[1]:
    table = np.asarray(positions.resize(table[0], space, (side, side)))[None]
  length, frame = shapes[name][1], np.concatenate([cls, table], axis=1)
  if length == (1 + grid[0]) * frame.shape[1]:  # VidTr: a row has its token.
    return {name: np.concatenate([frame] * (1 + grid[0]), axis=1)}
  times = (length - 1) // table.shape[1]
  return {name: np.concatenate([cls, *[table] * times], axis=1)}


def resized(
  theirs: Arrays, shapes: Shapes, grid: tuple[int, int, int]
) -> dict[str, np.ndarray]:
  """Returns the tables of clips of another size, interpolated.

  A table of space and time has as many times as ours, or is as large in space.
  """
  result, encoders = {}, [grid]
  if 'pos_embeds.1' in shapes:
    encoders = [grid[1:], grid[:1]]
  for i, ours in enumerate(encoders):
    name = f'pos_embeds.{i}'
    if name not in theirs or theirs[name].shape == shapes[name]:
      continue
    cls, table = np.split(theirs[name], [1], axis=1)
    if old := _grid_of(table.shape[1], ours):
      table = np.asarray(positions.resize(table[0], ours, old))[None]
      result[name] = np.concatenate([cls, table], axis=1)
  return result


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

# SPDX-License-Identifier: Apache-2.0
"""Attention between frames, for models that have `frame_attention`.

The network gets no information about frames other than the flattened image, so
their positions are found here.
"""

import functools

from flax import nnx
import jax
import numpy as np

from flatten_jax.explanation.clip_explanation import ClipExplanation
from flatten_jax.runtime import preprocess


def frame_attention(explained: ClipExplanation) -> dict[str, np.ndarray]:
  """Returns the attention of each frame to each frame, in every block.

  Returns:
    Block -> [F F], the mean over heads and over the positions of a frame: rows
    attend to columns, and sum to 1. A class token has the first row and column.
    Empty for a model without attention between frames.
  """
  model = explained.model.module
  apart = 'frames' in explained.inputs or len(explained.clip) == 1
  if apart or not getattr(model, 'frame_attention', None):
    return {}
  graphdef, state = nnx.split(model)
  found = _frame_attention(graphdef, state, explained.inputs, explained.grid)
  found = jax.device_get(found)
  if explained.order is None:
    return found
  return {
    name: in_order(matrix, explained.order) for name, matrix in found.items()
  }


def in_order(matrix: np.ndarray, order: np.ndarray) -> np.ndarray:
  """Sorts rows and columns of cells by their frames; a token's stay first."""
  tokens = len(matrix) - len(order)
  rows = [*range(tokens), *(tokens + np.argsort(order))]
  return matrix[np.ix_(rows, rows)]


@functools.partial(jax.jit, static_argnames=('graphdef', 'grid'))
def _frame_attention(graphdef, state, inputs, grid):
  model = nnx.merge(graphdef, state)
  shares = functools.partial(frame_shares, grid=grid)
  return preprocess.call(model, inputs, 'frame_attention', shares=shares)


def frame_shares(shape: tuple[int, ...], grid: tuple[int, int]) -> np.ndarray:
  """Returns the share of each of N positions in each frame. -> [N T].

  Args:
    shape: (h, w) of the feature map, whose positions may cross cells, each of
      which is a frame; or (t, h, w) of a model of clips, where each time is.
    grid: (rows, columns) of the flattened image.
  """
  if len(shape) == 3:
    return np.repeat(np.eye(shape[0]), shape[1] * shape[2], axis=0)
  rows, columns = map(_overlaps, shape, grid)
  cells = np.einsum('hr,wc->hwrc', rows, columns)
  return cells.reshape(shape[0] * shape[1], -1)


def _overlaps(size: int, cells: int) -> np.ndarray:
  """Returns the share of each of `size` equal parts of a line in each cell."""
  low = np.arange(size)[:, None] / size
  start = np.arange(cells) / cells
  ends = np.minimum(low + 1 / size, start + 1 / cells)
  return np.clip(ends - np.maximum(low, start), 0, None) * size

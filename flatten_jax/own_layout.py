# SPDX-License-Identifier: Apache-2.0
"""Layouts that are not the paper's: a function that says where frames go."""

from collections.abc import Callable, Sequence
import importlib

import numpy as np

from flatten_jax.grids import Grid

# (number of frames, (rows, columns)) -> which frame sits in each cell, row by
# row; or where to import such a function from, 'package.module:function'.
OwnLayout = str | Callable[[int, Grid], Sequence[int]]


def is_own(mode: object) -> bool:
  """Whether a layout is a function, or names one."""
  return callable(mode) or (isinstance(mode, str) and ':' in mode)


def own_order(layout: OwnLayout, num_frames: int, grid: Grid) -> np.ndarray:
  """What the function answers. -> [T].

  Raises:
    ValueError: there is no such function, or it does not give every frame one
      cell.
  """
  function = _imported(layout) if isinstance(layout, str) else layout
  order = np.asarray(function(num_frames, grid)).ravel()
  if not np.array_equal(np.sort(order), np.arange(num_frames)):
    name = getattr(function, '__name__', layout)
    raise ValueError(
      f'The layout {name} should give each of the frames 0 to '
      f'{num_frames - 1} one cell, but gave {order.tolist()}.'
    )
  return order.astype(int)


def _imported(name: str) -> Callable[[int, Grid], Sequence[int]]:
  """What 'package.module:function' names."""
  module, _, attribute = name.partition(':')
  try:
    return getattr(importlib.import_module(module), attribute)
  except (ModuleNotFoundError, AttributeError) as error:
    raise ValueError(
      f'The layout {name!r} should be package.module:function, but {error}.'
    ) from error

# SPDX-License-Identifier: Apache-2.0
"""How many rows and columns a number of frames fills."""

import math

Grid = tuple[int, int]


def grid_shape(num_frames: int, grid: Grid | None = None) -> Grid:
  """The (rows, columns) that `num_frames` frames fill.

  Raises:
    ValueError: `num_frames` is no square number and no `grid` was given, or
      the grid has another number of cells. The error names grids that would do.
  """
  if grid is not None:
    rows, columns = grid
    if rows < 1 or columns < 1 or rows * columns != num_frames:
      raise ValueError(
        f'grid={tuple(grid)} has {rows * columns} cells for {num_frames} '
        f'frames. Grids that would do: {choices(num_frames)}.'
      )
    return int(rows), int(columns)
  side = math.isqrt(max(num_frames, 0))
  if num_frames < 1 or side * side != num_frames:
    raise ValueError(
      f'Flatten needs a square number of frames (1, 4, 9, 16, 25, ...), not '
      f'{num_frames}, or a grid=(rows, columns). Grids that would do: '
      f'{choices(num_frames)}.'
    )
  return side, side


def nesting(num_frames: int) -> tuple[int, int]:
  """(a, b): a x a groups of b x b frames each (N = a*a, q = b*b, N*q = T).

  Among the splits of T that would do, the one whose groups are as many as
  their frames, or else the more numerous: 16 is 4 groups of 4, 81 is 9 of 9,
  64 is 16 groups of 4.
  """
  side = math.isqrt(max(num_frames, 0))
  if side * side == num_frames:
    for block in range(math.isqrt(side), 1, -1):
      if side % block == 0:
        return side // block, block
  raise ValueError(
    f"'nested' needs square groups of square groups of frames (16, 36, 64, "
    f"81, 256, ...), not {num_frames}. 'row_major' takes {num_frames} "
    f'with the grids {choices(num_frames)}.'
  )


def choices(num_frames: int) -> str:
  """All grids, for messages."""
  divisors = [d for d in range(1, num_frames + 1) if num_frames % d == 0]
  return ', '.join(f'({d}, {num_frames // d})' for d in divisors) or 'none'

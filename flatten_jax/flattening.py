# SPDX-License-Identifier: Apache-2.0
"""Flatten: lays the frames of a clip out as one large image, and back.

This is the whole of the paper's method. An image network then reads a video
the way a person reads a comic strip.
"""

from collections.abc import Callable, Sequence
import dataclasses
import functools
import math
from typing import Any, Literal, get_args

import einops
import jax
import jax.numpy as jnp
import numpy as np

Mode = Literal['row_major', 'nested', 'random']
Grid = tuple[int, int]


def flatten(
  clips: jax.typing.ArrayLike,
  mode: Mode = 'row_major',
  *,
  grid: Grid | None = None,
  rng: jax.Array | None = None,
) -> jax.Array:
  """Lays the frames of every clip out as one image, read like a comic strip.

  [... T H W C] -> [... r*H c*W C] with r = c = sqrt(T), or `grid` = (r, c).
  No parameters and no resampling: pixels move, values and dtype stay. Jitted,
  and correct inside `jax.jit` with a batch that is sharded over devices.

  Args:
    clips: frames in the order of time, of any dtype, from numpy or jax. Any
      number of leading batch axes, also none.
    mode: 'row_major' (Eq. 2-4 of the paper), 'nested' (Eq. 5-10) or 'random'
      (Eq. 11-13).
    grid: (rows, columns) where T is no square number, e.g. (2, 4) for 8.
    rng: a JAX key, for 'random' only. Every clip gets an order of its own;
      the same key gives the same orders.

  Returns:
    One image per clip.

  Raises:
    ValueError: T frames do not fill the grid, or the mode is unknown.
    TypeError: 'random' came without a key.

  Paper note: Eq. 2-4 taken literally fill columns first. The text, Figure 2(a)
  and the authors' code fill rows first, and so does this.
  """
  shape = np.shape(clips)
  if len(shape) < 4:
    raise ValueError(
      f'Flatten takes clips of shape [... T H W C], not {list(shape)}.'
    )
  num_frames, grid = shape[-4], grid and tuple(grid)
  if mode == 'random':
    order = frame_order(mode, num_frames, batch=shape[:-4], grid=grid, rng=rng)
    return _lay_out(_reorder(clips, order), 'row_major', num_frames, grid)
  _check(mode, num_frames, grid)
  return _lay_out(clips, mode, num_frames, grid)


def unflatten(
  images: jax.typing.ArrayLike,
  num_frames: int,
  mode: Mode = 'row_major',
  *,
  grid: Grid | None = None,
) -> jax.Array:
  """Cuts images back into frames: the exact inverse of `flatten`.

  [... r*H c*W C] -> [... T H W C]. Heat maps and feature maps of a flattened
  clip go back onto their frames the same way.

  Args:
    images: flattened clips.
    num_frames: T.
    mode: 'row_major' or 'nested'; 'random' keeps no record of its orders.
    grid: (rows, columns), as it was given to `flatten`.

  Raises:
    ValueError: the mode has no inverse, or the image no such grid.
  """
  if mode == 'random':
    raise ValueError(
      "unflatten knows no 'random' order. Use 'row_major' and index the "
      'result with the argsort of frame_order(...).'
    )
  rows, columns = _check(mode, num_frames, grid)
  shape = np.shape(images)
  if len(shape) < 3 or shape[-3] % rows or shape[-2] % columns:
    raise ValueError(
      f'An image of shape {list(shape)} does not divide into {rows} x '
      f'{columns} cells; expected [... r*H c*W C].'
    )
  return _cut(images, mode, num_frames, (rows, columns))


def frame_order(
  mode: Mode,
  num_frames: int,
  *,
  batch: Sequence[int] = (),
  grid: Grid | None = None,
  rng: jax.Array | None = None,
) -> np.ndarray | jax.Array:
  """Which frame sits in each cell, read row by row.

  Args:
    mode: 'row_major', 'nested' or 'random'.
    num_frames: T.
    batch: leading axes, for 'random': one order for each clip.
    grid: (rows, columns) where T is no square number.
    rng: a JAX key, for 'random' only.

  Returns:
    [T] integers, or [*batch T] for 'random'. For 'nested' and 16 frames:
    0 1 4 5, 2 3 6 7, 8 9 12 13, 10 11 14 15.
  """
  _check(mode, num_frames, grid)
  if mode != 'random':
    frames = np.arange(num_frames).reshape(num_frames, 1, 1, 1)
    sequence, image, lengths = _pattern(mode, num_frames, grid)
    return einops.rearrange(frames, f'{sequence} -> {image}', **lengths).ravel()
  if rng is None:
    raise TypeError("flatten(..., 'random') needs rng=jax.random.key(...).")
  keys = jax.random.split(rng, math.prod(batch))
  orders = jax.vmap(lambda key: jax.random.permutation(key, num_frames))(keys)
  return orders.reshape(*batch, num_frames)


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
        f'frames. Grids that would do: {_choices(num_frames)}.'
      )
    return int(rows), int(columns)
  side = math.isqrt(max(num_frames, 0))
  if num_frames < 1 or side * side != num_frames:
    raise ValueError(
      f'Flatten needs a square number of frames (1, 4, 9, 16, 25, ...), not '
      f'{num_frames}, or a grid=(rows, columns). Grids that would do: '
      f'{_choices(num_frames)}.'
    )
  return side, side


def _check(mode: str, num_frames: int, grid: Grid | None) -> Grid:
  """The grid, or the reason why there is none."""
  if mode not in get_args(Mode):
    raise ValueError(f'mode is one of {get_args(Mode)}, not {mode!r}.')
  if mode != 'nested':
    return grid_shape(num_frames, grid)
  side, block = _nesting(num_frames)
  if grid is not None and tuple(grid) != (side * block, side * block):
    raise ValueError(
      f"'nested' lays {num_frames} frames out on ({side * block}, "
      f'{side * block}), not on grid={tuple(grid)}.'
    )
  return side * block, side * block


def _nesting(num_frames: int) -> tuple[int, int]:
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
    f'with the grids {_choices(num_frames)}.'
  )


def _choices(num_frames: int) -> str:
  divisors = [d for d in range(1, num_frames + 1) if num_frames % d == 0]
  return ', '.join(f'({d}, {num_frames // d})' for d in divisors) or 'none'


def _pattern(
  mode: str, num_frames: int, grid: Grid | None
) -> tuple[str, str, dict[str, int]]:
  """Both sides of the einops pattern of a fixed order, and its lengths.

  Nested, 0-based, with n, i = divmod(k, q): frame k goes to row
  (n // a) * b + i // b and to column (n % a) * b + i % b.
  """
  if mode == 'nested':
    side, block = _nesting(num_frames)
    return (
      '... (group_row group_column row column) h w c',
      '... (group_row row h) (group_column column w) c',
      dict(group_row=side, group_column=side, row=block, column=block),
    )
  rows, columns = grid_shape(num_frames, grid)
  return (
    '... (row column) h w c',
    '... (row h) (column w) c',
    dict(row=rows, column=columns),
  )


# One transpose each: XLA moves every pixel once, or fuses the move away.
@functools.partial(jax.jit, static_argnames=('mode', 'num_frames', 'grid'))
def _lay_out(clips, mode, num_frames, grid):
  sequence, image, lengths = _pattern(mode, num_frames, grid)
  return einops.rearrange(clips, f'{sequence} -> {image}', **lengths)


@functools.partial(jax.jit, static_argnames=('mode', 'num_frames', 'grid'))
def _cut(images, mode, num_frames, grid):
  sequence, image, lengths = _pattern(mode, num_frames, grid)
  return einops.rearrange(images, f'{image} -> {sequence}', **lengths)


@jax.jit
def _reorder(clips, order):
  """[... T H W C] and [... T] -> the frames of every clip in its order."""
  return jnp.take_along_axis(clips, order[..., None, None, None], axis=-4)


@dataclasses.dataclass(frozen=True)
class Flattened:
  """Any image classifier as a video classifier.

    classify = Flattened(model)
    logits = classify(clips)  # [B T H W C] -> whatever the model gives

  Attributes:
    model: any callable that takes images [B H W C] first.
    mode: layout, see `flatten`.
    grid: (rows, columns) where T is no square number.
  """

  model: Callable[..., Any]
  mode: Mode = 'row_major'
  grid: Grid | None = None

  def __call__(
    self,
    clips: jax.typing.ArrayLike,
    *args,
    order_rng: jax.Array | None = None,
    **kwargs,
  ) -> Any:
    """Flattens the clips; everything else goes to the model as it came.

    Args:
      clips: [B T H W C].
      *args: for the model.
      order_rng: a JAX key, for the layout 'random' only.
      **kwargs: for the model.
    """
    images = flatten(clips, self.mode, grid=self.grid, rng=order_rng)
    return self.model(images, *args, **kwargs)

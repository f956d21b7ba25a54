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

from flatten_jax.grids import Grid, grid_shape, nesting
from flatten_jax.own_layout import OwnLayout, is_own, own_order

Mode = Literal['row_major', 'nested', 'random']
Layout = Mode | OwnLayout


def flatten(
  clips: jax.typing.ArrayLike,
  mode: Layout = 'row_major',
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
    mode: 'row_major' (Eq. 2-4 of the paper), 'nested' (Eq. 5-10), 'random'
      (Eq. 11-13), or a layout of your own: a function of (T, (rows, columns))
      to the frames in the order of their cells, or 'package.module:function'.
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
  if is_own(mode):
    order = frame_order(mode, num_frames, grid=grid)
    return _lay_out(_reorder(clips, order), 'row_major', num_frames, grid)
  return _lay_out(clips, mode, num_frames, grid)


def unflatten(
  images: jax.typing.ArrayLike,
  num_frames: int,
  mode: Layout = 'row_major',
  *,
  grid: Grid | None = None,
) -> jax.Array:
  """Cuts images back into frames: the exact inverse of `flatten`.

  [... r*H c*W C] -> [... T H W C]. Heat maps and feature maps of a flattened
  clip go back onto their frames the same way.

  Args:
    images: flattened clips.
    num_frames: T.
    mode: as it was given to `flatten`; 'random' keeps no record of its orders.
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
  if is_own(mode):
    frames = _cut(images, 'row_major', num_frames, (rows, columns))
    order = frame_order(mode, num_frames, grid=grid)
    return _reorder(frames, np.argsort(order))
  return _cut(images, mode, num_frames, (rows, columns))


def frame_order(
  mode: Layout,
  num_frames: int,
  *,
  batch: Sequence[int] = (),
  grid: Grid | None = None,
  rng: jax.Array | None = None,
) -> np.ndarray | jax.Array:
  """Which frame sits in each cell, read row by row.

  Args:
    mode: 'row_major', 'nested', 'random' or your own.
    num_frames: T.
    batch: leading axes, for 'random': one order for each clip.
    grid: (rows, columns) where T is no square number.
    rng: a JAX key, for 'random' only.

  Returns:
    [T] integers, or [*batch T] for 'random'. For 'nested' and 16 frames:
    0 1 4 5, 2 3 6 7, 8 9 12 13, 10 11 14 15.
  """
  shape = _check(mode, num_frames, grid)
  if is_own(mode):
    return own_order(mode, num_frames, shape)
  if mode != 'random':
    frames = np.arange(num_frames).reshape(num_frames, 1, 1, 1)
    sequence, image, lengths = _pattern(mode, num_frames, grid)
    return einops.rearrange(frames, f'{sequence} -> {image}', **lengths).ravel()
  if rng is None:
    raise TypeError("flatten(..., 'random') needs rng=jax.random.key(...).")
  keys = jax.random.split(rng, math.prod(batch))
  orders = jax.vmap(lambda key: jax.random.permutation(key, num_frames))(keys)
  return orders.reshape(*batch, num_frames)


def _check(mode: Layout, num_frames: int, grid: Grid | None) -> Grid:
  """The grid, or the reason why there is none."""
  if mode not in get_args(Mode) and not is_own(mode):
    raise ValueError(
      f'mode is one of {get_args(Mode)}, or a layout of your own as '
      f"'package.module:function', not {mode!r}."
    )
  if mode != 'nested':
    return grid_shape(num_frames, grid)
  side, block = nesting(num_frames)
  if grid is not None and tuple(grid) != (side * block, side * block):
    raise ValueError(
      f"'nested' lays {num_frames} frames out on ({side * block}, "
      f'{side * block}), not on grid={tuple(grid)}.'
    )
  return side * block, side * block


def _pattern(
  mode: str, num_frames: int, grid: Grid | None
) -> tuple[str, str, dict[str, int]]:
  """Both sides of the einops pattern of a fixed order, and its lengths.

  Nested, 0-based, with n, i = divmod(k, q): frame k goes to row
  (n // a) * b + i // b and to column (n % a) * b + i % b.
  """
  if mode == 'nested':
    side, block = nesting(num_frames)
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
  """The frames of every clip in its order, or in the one order of all.

  [... T H W C] and [... T] or [T] -> [... T H W C].
  """
  if order.ndim == 1:
    return jnp.take(clips, order, axis=-4)
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
  mode: Layout = 'row_major'
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

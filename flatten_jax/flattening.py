# SPDX-License-Identifier: Apache-2.0
"""Flatten, the method of the paper: the frames of a clip as one large image.

An image network then reads a video the way a person reads a comic strip.
"""

from collections.abc import Callable, Sequence
import dataclasses
import functools
import math
import numbers
from typing import Any, Literal, get_args

import einops
import jax
import jax.numpy as jnp
import numpy as np

from flatten_jax import importing
from flatten_jax.text import did_you_mean

Grid = tuple[int, int]  # (rows, columns)
Mode = Literal['row_major', 'nested', 'random']
# A function of (T, (rows, columns)) that returns the frame of every cell, row
# by row; or its path, 'package.module:function'.
CustomLayout = str | Callable[[int, Grid], Sequence[int]]
Layout = Mode | CustomLayout


def flatten(
  clips: jax.typing.ArrayLike,
  mode: Layout = 'row_major',
  *,
  grid: Grid | None = None,
  rng: jax.Array | None = None,
) -> jax.Array:
  """Arranges the frames of every clip in one image, read like a comic strip.

  [... T H W C] -> [... r*H c*W C] with r = c = sqrt(T), or `grid` = (r, c).
  No parameters and no resampling: pixels move, values and dtype stay. Jitted,
  and correct inside `jax.jit` with a batch that is sharded over devices.

  Args:
    clips: frames in the order of time, of any dtype, from numpy or jax. Any
      number of leading batch axes, also none. Of numpy's 64 bits JAX keeps 32,
      unless `jax_enable_x64` is set.
    mode: 'row_major' (Eq. 2-4 of the paper), 'nested' (Eq. 5-10), 'random'
      (Eq. 11-13), or a custom layout: a function of (T, (rows, columns)) that
      returns the frame of every cell, or 'package.module:function'.
    grid: (rows, columns) if T is not a square number, e.g. (2, 4) for 8.
    rng: a JAX key, for 'random' only. Every clip gets its own order; the same
      key gives the same orders.

  Returns:
    One image per clip.

  Raises:
    ValueError: T frames do not fill the grid, the mode is unknown, or integers
      do not fit into 32 bits.
    TypeError: 'random' without a key.

  Paper note: Eq. 2-4 taken literally fill columns first. The text, Figure 2(a)
  and the authors' code fill rows first, and so does this.
  """
  shape = np.shape(clips)
  _check_axes(shape, grid)
  _check_integers(clips)
  num_frames = shape[-4]
  _check(mode, num_frames, grid)
  grid = grid and tuple(grid)
  if mode == 'random' or is_custom(mode):
    order = frame_order(mode, num_frames, batch=shape[:-4], grid=grid, rng=rng)
    clips, mode = _reorder(clips, order), 'row_major'
  return _join(clips, mode, num_frames, grid)


def unflatten(
  images: jax.typing.ArrayLike,
  num_frames: int,
  mode: Layout = 'row_major',
  *,
  grid: Grid | None = None,
) -> jax.Array:
  """Splits images into frames: the exact inverse of `flatten`.

  [... r*H c*W C] -> [... T H W C]. Also returns the heat maps and feature maps
  of a flattened clip to its frames.

  Args:
    images: flattened clips.
    num_frames: T.
    mode: as given to `flatten`; 'random' has no inverse without its orders.
    grid: (rows, columns), as given to `flatten`.

  Raises:
    ValueError: the mode has no inverse, the image does not have this grid, or
      integers do not fit into 32 bits.
  """
  if mode == 'random':
    raise ValueError(
      "unflatten cannot invert 'random'. Use 'row_major' and index the result "
      'with the argsort of frame_order(...).'
    )
  rows, columns = _check(mode, num_frames, grid)
  shape = np.shape(images)
  _check_integers(images)
  if len(shape) < 3 or shape[-3] % rows or shape[-2] % columns:
    raise ValueError(
      f'An image of shape {list(shape)} does not divide into {rows} x '
      f'{columns} cells; expected [... r*H c*W C].'
    )
  if is_custom(mode):
    frames = _split(images, 'row_major', num_frames, (rows, columns))
    return _reorder(
      frames, np.argsort(frame_order(mode, num_frames, grid=grid))
    )
  return _split(images, mode, num_frames, (rows, columns))


def frame_order(
  mode: Layout,
  num_frames: int,
  *,
  batch: Sequence[int] = (),
  grid: Grid | None = None,
  rng: jax.Array | None = None,
) -> np.ndarray | jax.Array:
  """Returns the frame in each cell, row by row.

  Args:
    mode: 'row_major', 'nested', 'random' or a custom layout.
    num_frames: T.
    batch: leading axes, for 'random': one order for each clip.
    grid: (rows, columns) if T is not a square number.
    rng: a JAX key, for 'random' only.

  Returns:
    [T] integers, or [*batch T] for 'random'. For 'nested' and 16 frames:
    0 1 4 5, 2 3 6 7, 8 9 12 13, 10 11 14 15.

  Raises:
    ValueError: T frames do not fill the grid, or the mode is unknown.
    TypeError: 'random' without a key.
  """
  shape = _check(mode, num_frames, grid)
  if is_custom(mode):
    return _custom_order(mode, num_frames, shape)
  if mode != 'random':
    frames = np.arange(num_frames).reshape(num_frames, 1, 1, 1)
    sequence, image, lengths = _pattern(mode, num_frames, shape)
    return einops.rearrange(frames, f'{sequence} -> {image}', **lengths).ravel()
  if rng is None:
    raise TypeError("flatten(..., 'random') needs rng=jax.random.key(...).")
  keys = jax.random.split(rng, math.prod(batch))
  orders = jax.vmap(lambda key: jax.random.permutation(key, num_frames))(keys)
  return orders.reshape(*batch, num_frames)


def grid_shape(num_frames: int, grid: Grid | None = None) -> Grid:
  """Returns the (rows, columns) that `num_frames` frames fill.

  Raises:
    ValueError: `num_frames` is not a square number and there is no `grid`, or
      the grid has another number of cells. The error lists grids that fit.
  """
  _check_numbers(num_frames, grid)
  if grid is not None:
    rows, columns = grid
    if rows < 1 or columns < 1 or rows * columns != num_frames:
      raise ValueError(
        f'grid={tuple(grid)} has {rows * columns} cells for {num_frames} '
        f'frames. Grids that fit: {_list_grids(num_frames)}.'
      )
    return int(rows), int(columns)
  side = math.isqrt(max(num_frames, 0))
  if num_frames < 1 or side * side != num_frames:
    raise ValueError(
      f'Flatten needs a square number of frames (1, 4, 9, 16, 25, ...), not '
      f'{num_frames}, or a grid=(rows, columns). Grids that fit: '
      f'{_list_grids(num_frames)}.'
    )
  return side, side


def _check_layout(mode: object) -> None:
  """Refuses a layout that does not exist."""
  if mode not in get_args(Mode) and not is_custom(mode):
    raise ValueError(
      f'The layout must be {" or ".join(map(repr, get_args(Mode)))}, or a '
      f"function or its 'package.module:function'; got {mode!r}."
      f'{did_you_mean(mode, get_args(Mode))}'
    )


def _check_numbers(num_frames: object, grid: object) -> None:
  """Refuses a number of frames or a grid that are not whole numbers."""
  if not isinstance(num_frames, numbers.Integral):
    raise ValueError(f'num_frames must be a whole number; got {num_frames!r}.')
  if grid is not None and not (
    isinstance(grid, Sequence)
    and len(grid) == 2
    and all(isinstance(side, numbers.Integral) for side in grid)
  ):
    raise ValueError(f'grid must be (rows, columns), as (2, 4); got {grid!r}.')


def _check_axes(shape: tuple[int, ...], grid: Grid | None) -> None:
  """Refuses clips that are not [... T H W C], and PyTorch's orders of axes."""
  wrong = f'Flatten takes clips of shape [... T H W C]; got {list(shape)}.'
  if len(shape) < 4:
    raise ValueError(wrong)
  # Nobody has frames of 3 rows, or clips of 3 frames, with 16 channels or more;
  # a grid tells feature maps of 3 frames.
  orders = {-3: '[... T C H W]', -4: '[... C T H W]'}
  if isinstance(grid, Sequence) and tuple(grid) in ((1, 3), (3, 1)):
    del orders[-4]
  for axis, order in orders.items():
    if shape[axis] == 3 and min(shape[-2:]) >= 16:
      raise ValueError(
        f'{wrong} It looks like {order}, as PyTorch has it: move the channels '
        f'to the end, np.moveaxis(clips, {axis}, -1).'
      )


def _check_integers(x: jax.typing.ArrayLike) -> None:
  """Refuses numpy's integers that JAX would change, as it keeps 32 bits."""
  if not isinstance(x, np.ndarray) or x.dtype.kind not in 'iu' or not x.size:
    return
  kept = np.iinfo(jax.dtypes.canonicalize_dtype(x.dtype))
  if kept.bits < 8 * x.itemsize and (x.min() < kept.min or x.max() > kept.max):
    raise ValueError(
      f'Integers up to {x.max()} do not fit into the {kept.bits} bits that JAX '
      f'keeps of {x.dtype}: set jax_enable_x64, or pass smaller numbers.'
    )


def is_custom(mode: object) -> bool:
  """Returns whether a layout is a function, or the path of one."""
  return callable(mode) or importing.is_path(mode)


def _custom_order(
  layout: CustomLayout, num_frames: int, grid: Grid
) -> np.ndarray:
  """Calls a custom layout and checks what it returns. -> [T]."""
  function = layout
  if isinstance(layout, str):
    function = importing.import_function(layout, 'layout')
  order = np.asarray(function(num_frames, grid)).ravel()
  if not np.array_equal(np.sort(order), np.arange(num_frames)):
    name = getattr(function, '__name__', layout)
    raise ValueError(
      f'The layout {name} should give each of the frames 0 to '
      f'{num_frames - 1} one cell, but returned {order.tolist()}.'
    )
  return order.astype(int)


def _list_grids(num_frames: int) -> str:
  """Lists all grids of a number of frames, for messages."""
  divisors = [d for d in range(1, num_frames + 1) if num_frames % d == 0]
  return ', '.join(f'({d}, {num_frames // d})' for d in divisors) or 'none'


def _nesting(num_frames: int) -> tuple[int, int]:
  """Returns (a, b): a x a groups of b x b frames (N = a*a, q = b*b, N*q = T).

  If there are several, the groups are as many as their frames, or else more:
  16 is 4 groups of 4, 81 is 9 of 9, 64 is 16 groups of 4.
  """
  side = math.isqrt(max(num_frames, 0))
  if side * side == num_frames:
    for block in range(math.isqrt(side), 1, -1):
      if side % block == 0:
        return side // block, block
  raise ValueError(
    f"'nested' needs square groups of square groups of frames (16, 36, 64, "
    f"81, 256, ...), not {num_frames}. 'row_major' takes {num_frames} "
    f'with the grids {_list_grids(num_frames)}.'
  )


def _check(mode: Layout, num_frames: int, grid: Grid | None) -> Grid:
  """Returns the grid, or raises if the frames do not fit the layout."""
  _check_layout(mode)
  _check_numbers(num_frames, grid)
  if mode != 'nested':
    return grid_shape(num_frames, grid)
  side = math.prod(_nesting(num_frames))
  if grid is not None and tuple(grid) != (side, side):
    raise ValueError(
      f"'nested' arranges {num_frames} frames on ({side}, {side}), not on "
      f'grid={tuple(grid)}.'
    )
  return side, side


def _pattern(
  mode: str, num_frames: int, grid: Grid | None
) -> tuple[str, str, dict[str, int]]:
  """Returns both sides of the einops pattern of a fixed order, and its lengths.

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
def _join(clips, mode, num_frames, grid):
  sequence, image, lengths = _pattern(mode, num_frames, grid)
  return einops.rearrange(clips, f'{sequence} -> {image}', **lengths)


@functools.partial(jax.jit, static_argnames=('mode', 'num_frames', 'grid'))
def _split(images, mode, num_frames, grid):
  sequence, image, lengths = _pattern(mode, num_frames, grid)
  return einops.rearrange(images, f'{image} -> {sequence}', **lengths)


@jax.jit
def _reorder(clips, order):
  """Reorders the frames of [... T H W C] by [T], or by [... T] per clip."""
  if order.ndim == 1:
    return jnp.take(clips, order, axis=-4)
  return jnp.take_along_axis(clips, order[..., None, None, None], axis=-4)


@dataclasses.dataclass(frozen=True)
class Flattened:
  """Any image classifier as a video classifier.

    classify = Flattened(model)
    logits = classify(clips)  # [B T H W C] -> the output of the model

  Attributes:
    model: any callable that takes images [B H W C] first.
    mode: layout, see `flatten`.
    grid: (rows, columns) if T is not a square number.
  """

  model: Callable[..., Any]
  mode: Layout = 'row_major'
  grid: Grid | None = None

  def __post_init__(self):
    """Refuses what is not a model of images, and unknown layouts."""
    if not callable(self.model):
      raise TypeError(
        f'Flattened takes a callable model, as from create_model(name); got '
        f'{self.model!r}.'
      )
    if getattr(self.model, 'takes_clips', False):
      raise TypeError(
        f'Flattened takes a model of images; {type(self.model).__name__} takes '
        'clips as they are: model(clips).'
      )
    _check_layout(self.mode)

  def __call__(
    self,
    clips: jax.typing.ArrayLike,
    *args: Any,
    order_rng: jax.Array | None = None,
    **kwargs: Any,
  ) -> Any:
    """Flattens the clips and calls the model.

    Args:
      clips: [B T H W C].
      *args: for the model.
      order_rng: a JAX key, for the layout 'random' only.
      **kwargs: for the model.
    """
    images = flatten(clips, self.mode, grid=self.grid, rng=order_rng)
    return self.model(images, *args, **kwargs)

# SPDX-License-Identifier: Apache-2.0
"""Convolutions, written so that XLA on CPU is fast.

On other platforms XLA's own forms are used. (Which is right there has not been
measured.) All figures are from two cores of an AMD EPYC (Zen 4), jax 0.10.2.
"""

from collections.abc import Iterator
import contextlib
import contextvars
import functools
import itertools

import jax
from jax import lax
import jax.numpy as jnp

_PORTABLE = contextvars.ContextVar('portable', default=False)


@contextlib.contextmanager
def portable() -> Iterator[None]:
  """Programs traced within run anywhere: no form of one platform alone.

  What jax.jit has traced before for the same shapes it takes as it is, so trace
  with a symbolic batch size.
  """
  token = _PORTABLE.set(True)
  try:
    yield
  finally:
    _PORTABLE.reset(token)


def is_portable() -> bool:
  """Whether programs traced now must run anywhere."""
  return _PORTABLE.get()


def on_cpu() -> bool:
  """Whether programs traced now are for a CPU, or must do for one as well."""
  return is_portable() or jax.default_backend() == 'cpu'


def wide(dtype: jnp.dtype | str) -> jnp.dtype:
  """At least float32: what long sums and exponentials are computed in."""
  return jnp.promote_types(dtype, jnp.float32)


@functools.partial(jax.jit, static_argnames='strides')
def clip_conv(
  x: jax.Array, kernel: jax.Array, strides: tuple[int, int, int]
) -> jax.Array:
  """Convolves clips over time and space, one zero all around.

  [B T H W I] and [3 3 3 I O] -> [B t h w O]; sizes are divided by the strides
  and rounded up.
  """
  whole = functools.partial(whole_conv, strides=strides)
  by_frame = functools.partial(frame_conv, strides=strides)
  if is_portable():  # Chosen where the program is compiled.
    return lax.platform_dependent(x, kernel, cpu=by_frame, default=whole)
  return by_frame(x, kernel) if on_cpu() else whole(x, kernel)


def whole_conv(
  x: jax.Array, kernel: jax.Array, strides: tuple[int, ...]
) -> jax.Array:
  """A convolution of 3 in every direction, one zero all around, as XLA has it.

  [B ... I] -> [B ... O].
  """
  space = 'THW'[-len(strides) :]
  return lax.conv_general_dilated(
    x,
    kernel,
    window_strides=strides,
    padding=[(1, 1)] * len(strides),
    dimension_numbers=(f'N{space}C', f'{space}IO', f'N{space}C'),
  )


def frame_conv(
  x: jax.Array, kernel: jax.Array, strides: tuple[int, int, int]
) -> jax.Array:
  """`clip_conv` as one of images, whose channels are those of three frames.

  On CPU the gradient of XLA's own over time and space takes 16 to 24 times as
  long (both convolutions that open UniFormer-XXS in 3D, 16 x 160 px).
  """
  step, *space = strides
  batch, frames, height, width, _ = x.shape
  count = -(-frames // step)
  x = jnp.pad(x, ((0, 0), (1, 1), *((0, 0),) * 3))
  last = step * (count - 1) + 1
  near = [x[:, t : t + last : step] for t in range(3)]  # Before, now and after.
  x = jnp.concatenate(near, axis=-1).reshape(batch * count, height, width, -1)
  kernel = kernel.transpose(1, 2, 0, 3, 4).reshape(3, 3, -1, kernel.shape[-1])
  y = whole_conv(x, kernel, tuple(space))
  return y.reshape(batch, count, *y.shape[1:])


@jax.jit
def depthwise_conv(x: jax.Array, kernel: jax.Array) -> jax.Array:
  """Convolves every channel with a filter of its own, zeros all around.

  [B H W C] and [k k 1 C] -> [B H W C], or [B T H W C] and [k k k 1 C]; k is
  odd.
  """
  if is_portable():  # Chosen where the program is compiled.
    return lax.platform_dependent(
      x, kernel, cpu=shifted_conv, default=grouped_conv
    )
  return shifted_conv(x, kernel) if on_cpu() else grouped_conv(x, kernel)


def grouped_conv(x: jax.Array, kernel: jax.Array) -> jax.Array:
  """A depthwise convolution as XLA knows it."""
  space = 'THW'[-(x.ndim - 2) :]
  return lax.conv_general_dilated(
    x,
    kernel,
    window_strides=(1,) * len(space),
    padding='SAME',  # As much on both sides, k being odd and the stride 1.
    dimension_numbers=(f'N{space}C', f'{space}IO', f'N{space}C'),
    feature_group_count=x.shape[-1],
  )


@jax.custom_vjp
def shifted_conv(x: jax.Array, kernel: jax.Array) -> jax.Array:
  """A depthwise convolution as shifted multiply-adds, one for every tap.

  On CPU, XLA's grouped convolution takes 40 times as long; these fuse into one
  loop over the output. The 125 taps of a 5x5x5 are too many for that: at
  [2 4 56 56 64] one loop takes 60 to 120 ms, a loop over the five moments with
  25 taps each 16 ms (PyTorch 20), XLA's own convolution 2.9 s.
  """
  size, axes = kernel.shape[0], kernel.ndim - 2
  if size**axes > 27:
    return _sum_over_time(x, kernel)
  space = x.shape[1:-1]
  padded = _pad_space(x, size // 2)
  taps = kernel[..., 0, :]  # [k ... C]
  total = 0
  for offset in itertools.product(range(size), repeat=axes):
    shifted = tuple(slice(o, o + n) for o, n in zip(offset, space, strict=True))
    tap = taps[offset].reshape((1,) * (axes + 1) + (-1,))
    total += padded[:, *shifted] * tap
  return total


def _sum_over_time(x: jax.Array, kernel: jax.Array) -> jax.Array:
  """`shifted_conv` in space, summed over the moments of the kernel."""

  def add(moment, total):
    return total + shifted_conv(_frames_at(x, moment, size), kernel[moment])

  size, frames = kernel.shape[0], x.reshape(-1, *x.shape[2:])
  total = lax.fori_loop(0, size, add, jnp.zeros_like(frames))
  return total.reshape(x.shape)


def _frames_at(x: jax.Array, moment: jax.Array, size: int) -> jax.Array:
  """What a kernel's tap sees of all frames. [B T H W C] -> [B*T H W C].

  `moment` counts the kernel's taps in time, 0 to `size` - 1.
  """
  frames = x.shape[1]
  x = jnp.pad(x, ((0, 0), (size // 2,) * 2, *((0, 0),) * 3))
  x = lax.dynamic_slice_in_dim(x, moment, frames, axis=1)
  return x.reshape(-1, *x.shape[2:])


def _shifted_conv_forward(x, kernel):
  return shifted_conv(x, kernel), (x, kernel)


def _shifted_conv_backward(saved, grad):
  x, kernel = saved
  size, axes = kernel.shape[0], kernel.ndim - 2
  grad_x = shifted_conv(grad, jnp.flip(kernel, range(axes)))
  if axes == 2:
    grad_kernel = _kernel_gradient(x, grad, size)
  else:
    frames = grad.reshape(-1, *grad.shape[2:])
    grad_kernel = lax.map(
      lambda moment: _kernel_gradient(
        _frames_at(x, moment, size), frames, size
      ),
      jnp.arange(size),
    )
  return grad_x, grad_kernel.astype(kernel.dtype)


shifted_conv.defvjp(_shifted_conv_forward, _shifted_conv_backward)

# Rows and columns that one step of the kernel's gradient sums. At [2 80 80 56],
# 5x5, one core: 5 ms, against 11 for a loop over the taps and 24 for what
# autodiff makes of the shifts (PyTorch: 7). With 4 x 4 it is 57 ms: the
# compiler then gives up on vector instructions.
_TILE = (2, 4)


def _kernel_gradient(x: jax.Array, grad: jax.Array, size: int) -> jax.Array:
  """sum_bhw x[b, h+i, w+j, c] * grad[b, h, w, c], [k k 1 C].

  In two steps: one loop over tiles of positions that sums within the tile for
  all k*k taps while its inputs are in the nearest cache, then a plain column
  sum. The barriers keep XLA from fusing the two, which would cost a factor of
  ten: its fused reductions do not vectorise over channels.
  """
  x, grad = x.astype(wide(x.dtype)), grad.astype(wide(grad.dtype))
  batch, height, width, channels = x.shape
  tile_h, tile_w = _TILE
  rows, columns = -(-height // tile_h), -(-width // tile_w)
  over = ((0, 0), (0, rows * tile_h - height), (0, columns * tile_w - width))
  grad = jnp.pad(grad, (*over, (0, 0)))
  x = lax.optimization_barrier(_pad_space(x, size // 2, over[1][1], over[2][1]))
  x = _windows(_windows(x, axis=2, size=size), axis=1, size=size)
  x = x[:, :, : rows * tile_h, :, : columns * tile_w]
  x = x.reshape(batch, size, rows, tile_h, size, columns, tile_w, channels)
  grad = grad.reshape(batch, rows, tile_h, columns, tile_w, channels)
  partial = sum(
    x[:, :, :, a, :, :, b].transpose(0, 2, 4, 1, 3, 5)  # [B rows columns k k C]
    * grad[:, :, a, :, b][:, :, :, None, None]
    for a in range(tile_h)
    for b in range(tile_w)
  )
  partial = partial.reshape(batch * rows * columns, -1)
  partial = lax.optimization_barrier(partial)
  return partial.sum(axis=0).reshape(size, size, 1, channels)


def _pad_space(x: jax.Array, pad: int, more_h: int = 0, more_w: int = 0):
  """Zeros around [B ... H W C], and more at the bottom and on the right."""
  space = [(pad, pad)] * (x.ndim - 4)
  space += [(pad, pad + more_h), (pad, pad + more_w)]
  return jnp.pad(x, ((0, 0), *space, (0, 0)))


def _windows(x: jax.Array, axis: int, size: int) -> jax.Array:
  """Sliding windows without a gather: [... L ...] -> [... size L+1 ...].

  Row j holds x[j], x[j+1], ...: the axis repeated and read in rows of L+1 is
  the axis shifted by one more in every row. (Beyond the end it wraps around.)
  """
  length = x.shape[axis]
  before, after = x.shape[:axis], x.shape[axis + 1 :]
  x = jnp.broadcast_to(
    jnp.expand_dims(x, axis), (*before, size + 1, length, *after)
  )
  x = x.reshape(*before, (size + 1) * length, *after)
  x = lax.slice_in_dim(x, 0, size * (length + 1), axis=axis)
  return x.reshape(*before, size, length + 1, *after)

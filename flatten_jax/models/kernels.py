# SPDX-License-Identifier: Apache-2.0
"""Depthwise convolution, written so that XLA on CPU is fast.

On other platforms XLA's own forms are used. (Which is right there has not been
measured.) All figures are from two cores of an AMD EPYC (Zen 4), jax 0.10.2.
"""

import jax
from jax import lax
import jax.numpy as jnp


def on_cpu() -> bool:
  """Whether programs traced now are for a CPU."""
  return jax.default_backend() == 'cpu'


def wide(dtype: jnp.dtype | str) -> jnp.dtype:
  """At least float32: what long sums and exponentials are computed in."""
  return jnp.promote_types(dtype, jnp.float32)


@jax.jit
def depthwise_conv(x: jax.Array, kernel: jax.Array) -> jax.Array:
  """[B H W C] and [k k 1 C] -> [B H W C]; k is odd, zeros all around."""
  if on_cpu():
    return shifted_conv(x, kernel)
  return lax.conv_general_dilated(
    x,
    kernel,
    window_strides=(1, 1),
    padding='SAME',  # As much on both sides, k being odd and the stride 1.
    dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
    feature_group_count=x.shape[-1],
  )


@jax.custom_vjp
def shifted_conv(x: jax.Array, kernel: jax.Array) -> jax.Array:
  """A depthwise convolution as k*k shifted multiply-adds.

  On CPU, XLA's grouped convolution takes 40 times as long; these fuse into one
  loop over the output.
  """
  size = kernel.shape[0]
  height, width = x.shape[1:3]
  x = _pad_space(x, size // 2)
  return sum(
    x[:, i : i + height, j : j + width] * kernel[i, j][None, None]
    for i in range(size)
    for j in range(size)
  )


def _shifted_conv_forward(x, kernel):
  return shifted_conv(x, kernel), (x, kernel)


def _shifted_conv_backward(saved, grad):
  x, kernel = saved
  grad_x = shifted_conv(grad, kernel[::-1, ::-1])
  grad_kernel = _kernel_gradient(x, grad, kernel.shape[0])
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
  """Zeros around [B H W C], and some more at the bottom and on the right."""
  return jnp.pad(x, ((0, 0), (pad, pad + more_h), (pad, pad + more_w), (0, 0)))


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

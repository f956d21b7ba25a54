# SPDX-License-Identifier: Apache-2.0
"""Depthwise convolutions of images and clips: one filter for every channel.

On CPU they are sums of shifted products, with their own gradient. Times are
from two cores of an AMD EPYC (Zen 4), jax 0.10.2.
"""

import functools
import itertools

from flax import nnx
import jax
from jax import lax
import jax.numpy as jnp

from flatten_jax.models.layers import convolution, dense, devices, initializers


class DepthwiseConv(nnx.Module):
  """A k x k filter, with bias or without, for every channel, zero padded.

  [B H W C] -> same; with `axes` 3, k x k x k of [B T H W C]. With a stride,
  sizes are divided by it and rounded up, and padded as TensorFlow does: as
  needed, the smaller half in front. With an initializer for the kernel, the
  bias starts at zero.
  """

  def __init__(
    self,
    dim: int,
    size: int,
    axes: int = 2,
    *,
    stride: int = 1,
    init: initializers.Initializer | None = None,
    use_bias: bool = True,
    dtype: jnp.dtype = jnp.float32,
    rngs: nnx.Rngs,
  ):
    uniform = initializers.torch_uniform(size**axes)
    bias_init = initializers.constant(0) if init else uniform
    init = init or uniform
    self.kernel = nnx.Param(init(rngs.params(), (size,) * axes + (1, dim)))
    if use_bias:
      self.bias = nnx.Param(bias_init(rngs.params(), (dim,)))
    self.stride = stride
    self.use_bias = use_bias
    self.dtype = dtype

  def __call__(self, x: jax.Array) -> jax.Array:
    """[B H W C] -> same."""
    convolve = functools.partial(depthwise_conv, stride=self.stride)
    x = x.astype(self.dtype)
    y = devices.with_parameter(convolve, x, self.kernel[...])
    if not self.use_bias:
      return y
    return devices.with_parameter(dense.add_bias, y, self.bias[...])


@devices.jit_by_target('stride')
def depthwise_conv(
  x: jax.Array, kernel: jax.Array, stride: int = 1, *, target: devices.Target
) -> jax.Array:
  """Convolves every channel with its own filter, zeros on all sides.

  [B H W C] and [k k 1 C] -> [B H W C], or [B T H W C] and [k k k 1 C]; k is
  odd. With a stride, [B h w C], padded as `DepthwiseConv` says.
  """
  native = functools.partial(native_depthwise_conv, stride=stride)
  by_shifts = functools.partial(_strided_by_shifts, stride=stride)
  if target.platform == 'any':  # Chosen when the program is compiled.
    return lax.platform_dependent(x, kernel, cpu=by_shifts, default=native)
  return by_shifts(x, kernel) if target.is_cpu else native(x, kernel)


@jax.jit
def depthwise_over_time(x: jax.Array, kernel: jax.Array) -> jax.Array:
  """Convolves every channel over three frames, zeros at both ends.

  [B T H W C] and [3 1 C] -> [B T H W C].
  """
  frames = x.shape[1]
  x = jnp.pad(x, ((0, 0), (1, 1), *((0, 0),) * 3))
  taps = kernel.reshape(3, 1, 1, 1, 1, -1)
  return sum(x[:, i : i + frames] * taps[i] for i in range(3))


def native_depthwise_conv(
  x: jax.Array, kernel: jax.Array, stride: int = 1
) -> jax.Array:
  """A depthwise convolution as XLA's grouped one."""
  strides, sizes = (stride,) * (x.ndim - 2), kernel.shape[:-2]
  pads = tuple(lax.padtype_to_pads(x.shape[1:-1], sizes, strides, 'SAME'))
  return convolution.native_conv(x, kernel, strides, pads, x.shape[-1])


def _strided_by_shifts(
  x: jax.Array, kernel: jax.Array, *, stride: int
) -> jax.Array:
  """Takes every `stride`-th position of a convolution by shifts."""
  y = depthwise_conv_by_shifts(x, kernel)
  if stride == 1:
    return y
  sizes, strides = kernel.shape[:-2], (stride,) * (x.ndim - 2)
  pads = lax.padtype_to_pads(x.shape[1:-1], sizes, strides, 'SAME')
  first = [k // 2 - before for k, (before, _) in zip(sizes, pads, strict=True)]
  return y[:, *(slice(start, None, stride) for start in first)]


@jax.custom_vjp
def depthwise_conv_by_shifts(x: jax.Array, kernel: jax.Array) -> jax.Array:
  """A depthwise convolution as shifted multiply-adds, one for every tap.

  On CPU, XLA's grouped convolution takes 40 times as long; these fuse into one
  loop over the output. The 125 taps of a 5x5x5 are too many for that: at
  [2 4 56 56 64] one loop takes 60 to 120 ms, a loop over the five moments with
  25 taps each 16 ms (PyTorch 20), XLA's own convolution 2.9 s.
  """
  size, axes = kernel.shape[0], kernel.ndim - 2
  if axes == 3 and size**axes > 27:
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
  """Sums convolutions in space over the kernel's taps in time."""

  def add(moment, total):
    frames = _frames_at(x, moment, size)
    return total + depthwise_conv_by_shifts(frames, kernel[moment])

  size, frames = kernel.shape[0], x.reshape(-1, *x.shape[2:])
  total = lax.fori_loop(0, size, add, jnp.zeros_like(frames))
  return total.reshape(x.shape)


def _frames_at(x: jax.Array, moment: jax.Array, size: int) -> jax.Array:
  """Shifts clips to the kernel's tap `moment` in time, 0 to `size` - 1.

  [B T H W C] -> [B*T H W C].
  """
  frames = x.shape[1]
  x = jnp.pad(x, ((0, 0), (size // 2,) * 2, *((0, 0),) * 3))
  x = lax.dynamic_slice_in_dim(x, moment, frames, axis=1)
  return x.reshape(-1, *x.shape[2:])


def _forward(x, kernel):
  return depthwise_conv_by_shifts(x, kernel), (x, kernel)


def _backward(saved, grad):
  x, kernel = saved
  size, axes = kernel.shape[0], kernel.ndim - 2
  grad_x = depthwise_conv_by_shifts(grad, jnp.flip(kernel, range(axes)))
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


depthwise_conv_by_shifts.defvjp(_forward, _backward)

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
  x, grad = devices.widen(x), devices.widen(grad)
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

# SPDX-License-Identifier: Apache-2.0
"""Convolutions of images and clips.

On CPU they take other forms than XLA's, which are slow there; other platforms
use XLA's, unmeasured. Times are from two cores of an AMD EPYC (Zen 4), jax
0.10.2.
"""

import functools

from flax import nnx
import jax
from jax import lax
import jax.numpy as jnp

from flatten_jax.models.layers import devices, initializers


class Conv(nnx.Module):
  """A convolution with k // 2 zeros on every side, for any stride.

  [B ... I] -> [B ... O] over rows and columns, or over time before them; sizes
  are divided by the strides and rounded up. (XLA's 'SAME' pads only the end if
  the stride is 2.)

  Args:
    dim_in: I.
    dim_out: O.
    size: k, odd.
    strides: one for every axis of time and space.
    init: for the kernel; by default PyTorch's.
    use_bias: False leaves it out.
    dtype: to compute in; parameters stay float32.
    rngs: stream `params`.
  """

  def __init__(
    self,
    dim_in: int,
    dim_out: int,
    size: int,
    strides: tuple[int, ...] = (1, 1),
    *,
    init: initializers.Initializer | None = None,
    use_bias: bool = True,
    dtype: jnp.dtype = jnp.float32,
    rngs: nnx.Rngs,
  ):
    axes = len(strides)
    torch_init = initializers.torch_uniform(size**axes * dim_in)
    shape = (size,) * axes + (dim_in, dim_out)
    self.kernel = nnx.Param((init or torch_init)(rngs.params(), shape))
    if use_bias:
      self.bias = nnx.Param(torch_init(rngs.params(), (dim_out,)))
    self.use_bias = use_bias
    self.strides = strides
    self.dtype = dtype

  def __call__(self, x: jax.Array) -> jax.Array:
    """[B ... I] -> [B ... O]."""
    y = self._convolve(x.astype(self.dtype), self.kernel.astype(self.dtype))
    if self.use_bias:
      bias = self.bias.astype(self.dtype)
      y = y + bias.reshape((1,) * (x.ndim - 1) + (-1,))
    return y

  def _convolve(self, x: jax.Array, kernel: jax.Array) -> jax.Array:
    if len(self.strides) == 3:
      return clip_conv(x, kernel, self.strides)
    if kernel.shape[0] > 1:
      return native_conv(x, kernel, self.strides)
    # As a matrix product: the kernel gradient of a convolution takes two to
    # four times as long on CPU.
    x = x[:, :: self.strides[0], :: self.strides[1]]
    y = x.reshape(-1, x.shape[-1]) @ kernel[0, 0]
    return y.reshape(*x.shape[:3], -1)


def native_conv(
  x: jax.Array, kernel: jax.Array, strides: tuple[int, ...], groups: int = 1
) -> jax.Array:
  """XLA's convolution with k // 2 zeros on every side, k odd.

  [B ... I] and [k ... I/groups O] -> [B ... O].
  """
  space = 'THW'[-len(strides) :]
  return lax.conv_general_dilated(
    x,
    kernel,
    window_strides=strides,
    padding=[(size // 2, size // 2) for size in kernel.shape[:-2]],
    dimension_numbers=(f'N{space}C', f'{space}IO', f'N{space}C'),
    feature_group_count=groups,
  )


@functools.partial(jax.jit, static_argnames='strides')
def clip_conv(
  x: jax.Array, kernel: jax.Array, strides: tuple[int, int, int]
) -> jax.Array:
  """`native_conv` of clips. [B T H W I] and [3 3 3 I O] -> [B t h w O]."""
  native = functools.partial(native_conv, strides=strides)
  by_frame = functools.partial(frame_conv, strides=strides)
  if devices.is_cross_platform():  # Chosen when the program is compiled.
    return lax.platform_dependent(x, kernel, cpu=by_frame, default=native)
  return by_frame(x, kernel) if devices.on_cpu() else native(x, kernel)


def frame_conv(
  x: jax.Array, kernel: jax.Array, strides: tuple[int, int, int]
) -> jax.Array:
  """`clip_conv` as a convolution of images with the channels of three frames.

  On CPU the gradient of XLA's convolution over time and space takes 16 to 24
  times as long (the first two of UniFormer-XXS in 3D, 16 x 160 px).
  """
  step, *space = strides
  batch, frames, height, width, _ = x.shape
  count = -(-frames // step)
  x = jnp.pad(x, ((0, 0), (1, 1), *((0, 0),) * 3))
  last = step * (count - 1) + 1
  near = [x[:, t : t + last : step] for t in range(3)]  # Before, now and after.
  x = jnp.concatenate(near, axis=-1).reshape(batch * count, height, width, -1)
  kernel = kernel.transpose(1, 2, 0, 3, 4).reshape(3, 3, -1, kernel.shape[-1])
  y = native_conv(x, kernel, tuple(space))
  return y.reshape(batch, count, *y.shape[1:])

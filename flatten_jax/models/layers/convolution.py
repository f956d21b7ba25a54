# SPDX-License-Identifier: Apache-2.0
"""Convolutions of images and clips.

On CPU they take other forms than XLA's, which are slow there; other platforms
use XLA's, unmeasured. Times are from two cores of an AMD EPYC (Zen 4), jax
0.10.2.
"""

from collections.abc import Sequence
import functools
import math

from flax import nnx
import jax
from jax import lax
import jax.numpy as jnp

from flatten_jax.models.layers import dense, devices, initializers

_FEW = 8  # Output channels, of the fast stem of SlowFast.
Pads = tuple[tuple[int, int], ...]  # Zeros before and after, for every axis.


class Conv(nnx.Module):
  """A convolution with k // 2 zeros on every side, for any stride.

  [B ... I] -> [B ... O] over rows and columns, or over time before them; sizes
  are divided by the strides and rounded up. (XLA's 'SAME' pads only the end if
  the stride is 2.) Further axes in front are those of a batch, as the frames of
  clips for a convolution of images.

  Args:
    dim_in: I.
    dim_out: O.
    size: k, odd; or one for every axis.
    strides: one for every axis of time and space.
    padding: zeros on every side instead of k // 2; or 'SAME', as TensorFlow
      pads: as needed, the smaller half in front.
    init: for the kernel; by default PyTorch's.
    use_bias: False leaves it out.
    dtype: to compute in; parameters stay float32.
    rngs: stream `params`.
  """

  def __init__(
    self,
    dim_in: int,
    dim_out: int,
    size: int | tuple[int, ...],
    strides: tuple[int, ...] = (1, 1),
    *,
    padding: int | str | None = None,
    init: initializers.Initializer | None = None,
    use_bias: bool = True,
    dtype: jnp.dtype = jnp.float32,
    rngs: nnx.Rngs,
  ):
    sizes = (size,) * len(strides) if isinstance(size, int) else size
    torch_init = initializers.torch_uniform(math.prod(sizes) * dim_in)
    shape = (*sizes, dim_in, dim_out)
    self.kernel = nnx.Param((init or torch_init)(rngs.params(), shape))
    if use_bias:
      bias_init = initializers.constant(0) if init else torch_init
      self.bias = nnx.Param(bias_init(rngs.params(), (dim_out,)))
    self.use_bias = use_bias
    self.strides = strides
    self.padding = padding
    self.dtype = dtype

  def __call__(self, x: jax.Array) -> jax.Array:
    """[B ... I] -> [B ... O]."""
    axes = len(self.strides)
    batch, x = x.shape[: -axes - 1], x.astype(self.dtype)
    x = x.reshape(-1, *x.shape[-axes - 1 :])
    y = devices.with_parameter(self._convolve, x, self.kernel[...])
    if self.use_bias:
      y = devices.with_parameter(dense.add_bias, y, self.bias[...])
    return y.reshape(*batch, *y.shape[1:])

  def _convolve(self, x: jax.Array, kernel: jax.Array) -> jax.Array:
    pads = self._pads(x.shape[1:-1], kernel.shape[:-2])
    if len(self.strides) == 3:
      return clip_conv(x, kernel, self.strides, pads)
    return image_conv(x, kernel, self.strides, pads)

  def _pads(self, shape: tuple[int, ...], sizes: tuple[int, ...]) -> Pads:
    if self.padding == 'SAME':
      return tuple(lax.padtype_to_pads(shape, sizes, self.strides, 'SAME'))
    if self.padding is not None:
      return ((self.padding,) * 2,) * len(sizes)
    return centered(sizes)


def centered(sizes: Sequence[int]) -> Pads:
  """Returns k // 2 zeros on both sides of every axis."""
  return tuple((size // 2, size // 2) for size in sizes)


def native_conv(
  x: jax.Array,
  kernel: jax.Array,
  strides: tuple[int, ...],
  pads: Pads | None = None,
  groups: int = 1,
) -> jax.Array:
  """XLA's convolution, by default with k // 2 zeros on every side, k odd.

  [B ... I] and [k ... I/groups O] -> [B ... O].
  """
  space = 'THW'[-len(strides) :]
  return lax.conv_general_dilated(
    x,
    kernel,
    window_strides=strides,
    padding=pads or centered(kernel.shape[:-2]),
    dimension_numbers=(f'N{space}C', f'{space}IO', f'N{space}C'),
    feature_group_count=groups,
  )


def image_conv(
  x: jax.Array, kernel: jax.Array, strides: tuple[int, int], pads: Pads
) -> jax.Array:
  """Convolves images; a 1x1 kernel as a matrix. [B H W I] -> [B h w O].

  The kernel gradient of a 1x1 convolution takes two to four times as long on
  CPU as that of a matrix product.
  """
  if kernel.shape[:2] != (1, 1):
    return native_conv(x, kernel, strides, pads)
  x = x[:, :: strides[0], :: strides[1]]
  y = x.reshape(-1, x.shape[-1]) @ kernel[0, 0]
  return y.reshape(*x.shape[:3], -1)


@devices.jit_by_target('strides', 'pads')
def clip_conv(
  x: jax.Array,
  kernel: jax.Array,
  strides: tuple[int, int, int],
  pads: Pads | None = None,
  *,
  target: devices.Target,
) -> jax.Array:
  """`native_conv` of clips. [B T H W I] and [k k k I O] -> [B t h w O].

  On CPU convolutions of images take its place: for SlowFast-R50 and I3D-R50 at
  112 px as fast to six times as fast, their gradients 2 to 30 times
  (benchmarks/results/convolutions.md).
  """
  native = functools.partial(native_conv, strides=strides, pads=pads)
  by_frame = functools.partial(frame_conv, strides=strides, pads=pads)
  size, dim_in, dim_out = kernel.shape[0], *kernel.shape[-2:]
  if size == 1:  # Frame by frame.
    return by_frame(x, kernel)
  fewer = dim_out != dim_in and dim_out <= max(dim_in, _FEW)
  if strides[0] == 1 and fewer:
    by_frame = functools.partial(summed_conv, strides=strides, pads=pads)
  if target.platform == 'any':  # Chosen when the program is compiled.
    return lax.platform_dependent(x, kernel, cpu=by_frame, default=native)
  return by_frame(x, kernel) if target.is_cpu else native(x, kernel)


def summed_conv(
  x: jax.Array,
  kernel: jax.Array,
  strides: tuple[int, int, int],
  pads: Pads | None = None,
) -> jax.Array:
  """`clip_conv` as a sum of k convolutions of images, computed as one.

  Instead of the inputs of k frames their outputs are concatenated, which
  copies less if there are fewer of them. The stride over time is 1.
  """
  size, *space, dim_in, dim = kernel.shape
  pads = pads or centered(kernel.shape[:-2])
  batch, frames, height, width, _ = x.shape
  taps = jnp.moveaxis(kernel, 0, -2).reshape(*space, dim_in, size * dim)
  x = x.reshape(batch * frames, height, width, dim_in)
  y = image_conv(x, taps, strides[1:], pads[1:])
  y = y.reshape(batch, frames, *y.shape[1:])
  y = jnp.pad(y, ((0, 0), pads[0], *((0, 0),) * 3))
  count = y.shape[1] - size + 1
  return sum(
    y[:, t : t + count, ..., t * dim : (t + 1) * dim] for t in range(size)
  )


def frame_conv(
  x: jax.Array,
  kernel: jax.Array,
  strides: tuple[int, int, int],
  pads: Pads | None = None,
) -> jax.Array:
  """`clip_conv` as a convolution of images with the channels of k frames.

  On CPU the gradient of XLA's convolution over time and space takes 16 to 24
  times as long (the first two of UniFormer-XXS in 3D, 16 x 160 px).
  """
  size, *space = kernel.shape[:-2]
  pads = pads or centered(kernel.shape[:-2])
  step = strides[0]
  x = jnp.pad(x, ((0, 0), pads[0], *((0, 0),) * 3))
  batch, frames, height, width, _ = x.shape
  count = (frames - size) // step + 1
  last = step * (count - 1) + 1
  near = [x[:, t : t + last : step] for t in range(size)]  # From before on.
  x = jnp.concatenate(near, axis=-1) if size > 1 else near[0]
  x = x.reshape(batch * count, height, width, -1)
  kernel = kernel.transpose(1, 2, 0, 3, 4)
  kernel = kernel.reshape(*space, -1, kernel.shape[-1])
  y = image_conv(x, kernel, strides[1:], pads[1:])
  return y.reshape(batch, count, *y.shape[1:])

# SPDX-License-Identifier: Apache-2.0
"""Bottlenecks of ResNets for images and for clips (He et al., 2016)."""

from collections.abc import Callable
import math
from typing import Any

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np

from flatten_jax.models.layers import initializers, norms
from flatten_jax.models.layers.blocks import DropPath
from flatten_jax.models.layers.convolution import Conv

EXPANSION = 4  # A bottleneck's outputs to its inner channels.


def plain_conv(
  dim_in: int,
  dim_out: int,
  sizes: tuple[int, ...],
  strides: tuple[int, ...],
  *,
  use_bias: bool = False,
  **options,
) -> Conv:
  """Creates a convolution with He's initial values."""
  init = initializers.he_normal(math.prod(sizes) * dim_out)
  return Conv(
    dim_in, dim_out, sizes, strides, init=init, use_bias=use_bias, **options
  )


class Bottleneck(nnx.Module):
  """1x1 to fewer channels, 3x3, 1x1 to more. [B ... I] -> [B ... 4*dim].

  The 3x3 convolution has the stride, as in torchvision's v1.5.

  Args:
    dim_in: I.
    dim: inner channels.
    stride: over rows and columns.
    drop_path: rate.
    time: for clips, the size in time of the first convolution; None for images.
    use_bias: adds biases to the convolutions.
    zero_init: the last norm begins with a scale of 0 (Goyal et al., 2017).
    dtype: to compute in.
    rngs: stream `params`.
  """

  def __init__(
    self,
    dim_in: int,
    dim: int,
    stride: int,
    drop_path: float,
    *,
    time: int | None = None,
    use_bias: bool = False,
    zero_init: bool = False,
    dtype: jnp.dtype,
    rngs: nnx.Rngs,
  ):
    dim_out = EXPANSION * dim
    options = {'use_bias': use_bias, 'dtype': dtype, 'rngs': rngs}
    moment, first = ((), ()) if time is None else ((1,), (time,))
    one, strides = (*moment, 1, 1), (*moment, stride, stride)
    self.conv1 = plain_conv(dim_in, dim, (*first, 1, 1), one, **options)
    self.norm1 = norms.BatchNorm(dim)
    self.conv2 = plain_conv(dim, dim, (*moment, 3, 3), strides, **options)
    self.norm2 = norms.BatchNorm(dim)
    self.conv3 = plain_conv(dim, dim_out, one, one, **options)
    self.norm3 = norms.BatchNorm(dim_out, scale=0.0 if zero_init else 1.0)
    self.reshapes = stride > 1 or dim_in != dim_out
    if self.reshapes:
      self.shortcut = plain_conv(dim_in, dim_out, one, strides, **options)
      self.shortcut_norm = norms.BatchNorm(dim_out)
    self.drop_path = DropPath(drop_path)

  def prepare(self, x: jax.Array) -> jax.Array:
    """Returns the input of the first convolution; subclasses change it."""
    return x

  def between(self, x: jax.Array, *, train: bool = False) -> jax.Array:
    """Returns the input of the 3x3 convolution; subclasses change it."""
    del train
    return x

  def __call__(
    self,
    x: jax.Array,
    *,
    train: bool = False,
    rngs: nnx.Rngs | None = None,
  ) -> jax.Array:
    """[B ... I] -> [B ... 4*dim]."""
    y = nnx.relu(self.norm1(self.conv1(self.prepare(x)), train=train))
    y = self.between(y, train=train)
    y = nnx.relu(self.norm2(self.conv2(y), train=train))
    y = self.norm3(self.conv3(y), train=train)
    if self.reshapes:
      x = self.shortcut_norm(self.shortcut(x), train=train)
    return nnx.relu(x + self.drop_path(y, train=train, rngs=rngs))


def resnet_stages(
  config: Any, make: Callable[..., nnx.Module]
) -> tuple[nnx.List, int]:
  """Returns the stages of a ResNet, and the channels of the last.

  Args:
    config: width of the stem and of the first bottlenecks, which doubles every
      stage; depth, the blocks of each; drop_path_rate.
    make: creates a block from its stage and its number in it, both from 0, and
      its dim_in, dim, stride and drop_path.
  """
  rates = iter(np.linspace(0, config.drop_path_rate, sum(config.depth)))
  dim_in, stages = config.width, nnx.List()
  for i, depth in enumerate(config.depth):
    dim, stage = config.width * 2**i, nnx.List()
    for j in range(depth):
      stride = 2 if i > 0 and j == 0 else 1
      stage.append(make(i, j, dim_in, dim, stride, float(next(rates))))
      dim_in = EXPANSION * dim
    stages.append(stage)
  return stages, dim_in

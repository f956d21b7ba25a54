# SPDX-License-Identifier: Apache-2.0
"""Parts of Inception networks: a unit with its norm, and stages of blocks."""

from collections.abc import Callable, Sequence
from typing import Any

from flax import nnx
import jax

from flatten_jax.models.layers import norms
from flatten_jax.models.layers.convolution import Conv


class ConvUnit(nnx.Module):
  """relu(norm(conv(x))). [B ... I] -> [B ... O].

  Args:
    dim_in: I.
    dim_out: O.
    size: of the kernel, on every axis.
    strides: one for every axis of time and space.
    epsilon: of the norm.
    momentum: of the norm.
    **options: of the convolution.
  """

  def __init__(
    self,
    dim_in: int,
    dim_out: int,
    size: int,
    strides: tuple[int, ...] = (1, 1),
    *,
    epsilon: float = 1e-5,
    momentum: float = 0.9,
    **options,
  ):
    self.conv = Conv(dim_in, dim_out, size, strides, **options)
    self.norm = norms.BatchNorm(dim_out, epsilon=epsilon, momentum=momentum)

  def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
    """[B ... I] -> [B ... O]."""
    return nnx.relu(self.norm(self.conv(x), train=train))


def inception_stages(
  dim_in: int,
  widths: Sequence[Sequence[Any]],
  make: Callable[[int, Any], nnx.Module],
) -> tuple[nnx.List, int]:
  """Returns stages of blocks, and the channels of the last.

  Args:
    dim_in: channels of the stem.
    widths: of the blocks of each stage.
    make: creates a block, which has `dim`, from its input channels and widths.
  """
  stages = nnx.List()
  for blocks in widths:
    stage = nnx.List()
    for each in blocks:
      stage.append(make(dim_in, each))
      dim_in = stage[-1].dim
    stages.append(stage)
  return stages, dim_in

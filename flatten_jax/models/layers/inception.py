# SPDX-License-Identifier: Apache-2.0
"""The unit of Inception networks: convolution, batch norm, ReLU."""

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

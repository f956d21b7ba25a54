# SPDX-License-Identifier: Apache-2.0
"""Patch embedding: one vector for every patch of an image or a clip."""

from collections.abc import Iterable, Sequence
import math

from flax import nnx
import jax
import jax.numpy as jnp

from flatten_jax.models.layers import (
  dense,
  devices,
  initializers,
  norms,
  windows,
)


class PatchConv(nnx.Module):
  """A convolution whose kernel is its stride: one vector for every patch.

  [B H W I] -> [B H/p W/p O]; `patch` p is a number, or one for every axis of
  time and space, as (2, 4, 4) for [B T H W I]. Positions after the last whole
  patch are left out, as by a convolution without padding. With an initializer
  for the kernel, the bias starts at zero.
  """

  def __init__(
    self,
    dim_in: int,
    dim_out: int,
    patch: int | tuple[int, ...],
    *,
    init: initializers.Initializer | None = None,
    dtype: jnp.dtype = jnp.float32,
    rngs: nnx.Rngs,
  ):
    patch = (patch, patch) if isinstance(patch, int) else patch
    uniform = initializers.torch_uniform(math.prod(patch) * dim_in)
    bias_init = initializers.constant(0) if init else uniform
    init = init or uniform
    self.kernel = nnx.Param(init(rngs.params(), (*patch, dim_in, dim_out)))
    self.bias = nnx.Param(bias_init(rngs.params(), (dim_out,)))
    self.dtype = dtype

  def __call__(self, x: jax.Array) -> jax.Array:
    """[B H W I] -> [B H/p W/p O]."""
    *patch, dim_in, dim_out = self.kernel.shape
    batch, *space, _ = x.shape
    counts = [n // p for n, p in zip(space, patch, strict=True)]
    if min(counts) == 0:
      raise ValueError(
        f'An image of {_times(space)} has no whole patch of {_times(patch)}; '
        'give the model a larger one.'
      )
    whole = (slice(n * p) for n, p in zip(counts, patch, strict=True))
    x = x[:, *whole].astype(self.dtype)
    # As a matrix product: twice as fast on CPU as the strided convolution.
    x = to_patches(x, patch).reshape(-1, math.prod(patch) * dim_in)
    kernel = self.kernel.reshape(-1, dim_out)
    y = devices.with_parameter(jnp.matmul, x, kernel)
    y = devices.with_parameter(dense.add_bias, y, self.bias[...])
    return y.reshape(batch, *counts, dim_out)


def to_patches(x: jax.Array, patch: Sequence[int]) -> jax.Array:
  """Splits an image or a clip into patches. [B (T) H W I] -> [B n p*p*I]."""
  if devices.target().platform == 'tpu' and x.shape[-1] < 8:
    # Columns first: a TPU pads few channels, here to eight times their size.
    *rows, side = patch
    x = jnp.concatenate([x[..., i::side, :] for i in range(side)], axis=-1)
    patch = (*rows, 1)
  x = windows.to_windows(x, tuple(patch))
  return x.reshape(*x.shape[:2], -1)


def _times(sizes: Iterable[int]) -> str:
  return ' x '.join(map(str, sizes))


class PatchEmbed(nnx.Module):
  """A patch convolution and a layer norm. [B H W I] -> [B H/p W/p O]."""

  def __init__(
    self,
    dim_in: int,
    dim_out: int,
    patch: int | tuple[int, ...],
    *,
    dtype: jnp.dtype = jnp.float32,
    rngs: nnx.Rngs,
  ):
    self.proj = PatchConv(dim_in, dim_out, patch, dtype=dtype, rngs=rngs)
    self.norm = norms.LayerNorm(dim_out, epsilon=1e-5)

  def __call__(self, x: jax.Array) -> jax.Array:
    """[B H W I] -> [B H/p W/p O]."""
    return self.norm(self.proj(x))

# SPDX-License-Identifier: Apache-2.0
"""The layers that all models share, with their numerics fixed once.

PyTorch and Flax differ silently in their defaults (GELU, epsilons, padding,
initial values); published weights assume PyTorch's.
"""

from collections.abc import Iterable
import itertools
import math

from flax import nnx
import jax
from jax import lax
import jax.numpy as jnp

from flatten_jax.models.layers import convolution, initializers, norms


def gelu(x: jax.Array) -> jax.Array:
  """The exact GELU, x * Phi(x); the tanh form moves UniFormer's logits 1e-3.

  By erf: `jax.nn.gelu` uses erfc, which takes twice as long on CPU.
  """
  return 0.5 * x * (1 + lax.erf(x * math.sqrt(0.5)))


class Dense(nnx.Module):
  """A matrix over the last axis; what a 1x1 convolution is. [... I] -> [... O].

  Args:
    dim_in: I.
    dim_out: O.
    init: for the kernel; by default, kernel and bias start as PyTorch's
      convolutions do. With a kernel initializer given, the bias starts at zero.
    use_bias: False leaves it out.
    dtype: to compute in; parameters stay float32.
    rngs: stream `params`.
  """

  def __init__(
    self,
    dim_in: int,
    dim_out: int,
    *,
    init: initializers.Initializer | None = None,
    use_bias: bool = True,
    dtype: jnp.dtype = jnp.float32,
    rngs: nnx.Rngs,
  ):
    bias_init = (
      initializers.constant(0) if init else initializers.torch_uniform(dim_in)
    )
    init = init or initializers.torch_uniform(dim_in)
    self.kernel = nnx.Param(init(rngs.params(), (dim_in, dim_out)))
    if use_bias:
      self.bias = nnx.Param(bias_init(rngs.params(), (dim_out,)))
    self.use_bias = use_bias
    self.dtype = dtype

  def __call__(self, x: jax.Array) -> jax.Array:
    """[... I] -> [... O]."""
    *batch, dim_in = x.shape
    # On two axes: XLA on CPU takes four times as long for the kernel's gradient
    # of a matrix product over [B H W I].
    x = x.reshape(-1, dim_in).astype(self.dtype)  # [N I]
    y = x @ self.kernel.astype(self.dtype)
    if self.use_bias:
      y = y + self.bias.astype(self.dtype)[None]
    return y.reshape(*batch, -1)


class PatchEmbed(nnx.Module):
  """A convolution whose kernel is its stride: one vector for every patch.

  [B H W I] -> [B H/p W/p O]; `patch` p is a number, or one for every axis of
  space or time, as (2, 4, 4) for [B T H W I]. What is beyond the last whole
  patch is left out, as a convolution without padding does.
  """

  def __init__(
    self,
    dim_in: int,
    dim_out: int,
    patch: int | tuple[int, ...],
    *,
    dtype: jnp.dtype = jnp.float32,
    rngs: nnx.Rngs,
  ):
    patch = (patch, patch) if isinstance(patch, int) else patch
    init = initializers.torch_uniform(math.prod(patch) * dim_in)
    self.kernel = nnx.Param(init(rngs.params(), (*patch, dim_in, dim_out)))
    self.bias = nnx.Param(init(rngs.params(), (dim_out,)))
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
    split = itertools.chain(*zip(counts, patch, strict=True))
    x = x.reshape(batch, *split, dim_in)  # [B h p w p I]
    last = 2 * len(patch) + 1
    x = x.transpose(0, *range(1, last, 2), *range(2, last, 2), last)
    x = x.reshape(-1, math.prod(patch) * dim_in)  # [B*h*w p*p*I]
    y = x @ self.kernel.reshape(-1, dim_out).astype(self.dtype)
    y = y + self.bias.astype(self.dtype)[None]
    return y.reshape(batch, *counts, dim_out)


def _times(sizes: Iterable[int]) -> str:
  return ' x '.join(map(str, sizes))


class DepthwiseConv(nnx.Module):
  """One k x k filter per channel, zero padded: [B H W C] -> same.

  With `axes` 3 it is k x k x k, of [B T H W C].
  """

  def __init__(
    self,
    dim: int,
    size: int,
    axes: int = 2,
    *,
    dtype: jnp.dtype = jnp.float32,
    rngs: nnx.Rngs,
  ):
    init = initializers.torch_uniform(size**axes)
    self.kernel = nnx.Param(init(rngs.params(), (size,) * axes + (1, dim)))
    self.bias = nnx.Param(init(rngs.params(), (dim,)))
    self.dtype = dtype

  def __call__(self, x: jax.Array) -> jax.Array:
    """[B H W C] -> same."""
    kernel = self.kernel.astype(self.dtype)
    y = convolution.depthwise_conv(x.astype(self.dtype), kernel)
    return y + self.bias.astype(self.dtype).reshape((1,) * (x.ndim - 1) + (-1,))


class Embed(nnx.Module):
  """Opens a stage: one normalised vector per patch. [B H W I] -> [B h w O]."""

  def __init__(
    self,
    dim_in: int,
    dim_out: int,
    patch: int | tuple[int, ...],
    dtype: str,
    *,
    rngs: nnx.Rngs,
  ):
    self.proj = PatchEmbed(
      dim_in, dim_out, patch, dtype=jnp.dtype(dtype), rngs=rngs
    )
    self.norm = norms.LayerNorm(dim_out, epsilon=1e-5)

  def __call__(self, x: jax.Array) -> jax.Array:
    """[B H W I] -> [B h w O]."""
    return self.norm(self.proj(x))


def run_block(
  block: nnx.Module,
  x: jax.Array,
  *,
  remat: bool,
  train: bool,
  rngs: nnx.Rngs | None,
) -> jax.Array:
  """One block of a stage. [B ... C] -> [B ... C'].

  With `remat`, what the block computes within is not kept for the gradient but
  computed again (Chen et al., 2016): up to a third more time, and only the
  blocks' inputs remain in memory.
  """

  def run(block, x, rngs):
    return block(x, train=train, rngs=rngs)

  return (nnx.remat(run) if remat and train else run)(block, x, rngs)


class DropPath(nnx.Module):
  """Stochastic depth: drops a residual branch for whole examples.

  Huang et al., 2016. Kept branches are scaled up, so the mean stays. Needs an
  `nnx.Rngs` with a `dropout` stream when training with a rate above zero.
  """

  def __init__(self, rate: float):
    if not 0 <= rate < 1:
      raise ValueError(f'Drop path needs a rate in [0, 1), not {rate}.')
    self.rate = float(rate)

  def __call__(
    self, x: jax.Array, *, train: bool = False, rngs: nnx.Rngs | None = None
  ) -> jax.Array:
    """[B ...] -> same."""
    if not train or self.rate == 0:
      return x
    if rngs is None:
      raise ValueError(
        f'Drop path of rate {self.rate} draws random numbers: call the model '
        'with rngs=nnx.Rngs(dropout=key), or set drop_path_rate to 0.'
      )
    shape = (x.shape[0],) + (1,) * (x.ndim - 1)
    kept = jax.random.bernoulli(rngs.dropout(), 1 - self.rate, shape)
    return x * (kept / (1 - self.rate)).astype(x.dtype)

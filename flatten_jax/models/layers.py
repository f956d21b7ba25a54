# SPDX-License-Identifier: Apache-2.0
"""The layers that all models share, with their numerics fixed once.

PyTorch and Flax differ silently in their defaults (GELU, epsilons, padding,
the running variance, initial values); published weights assume PyTorch's.
"""

from collections.abc import Iterable
import functools
import itertools
import math

from flax import nnx
import jax
from jax import lax
import jax.numpy as jnp
import numpy as np

from flatten_jax.models import initializers, kernels


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
    y = kernels.depthwise_conv(x.astype(self.dtype), kernel)
    return y + self.bias.astype(self.dtype).reshape((1,) * (x.ndim - 1) + (-1,))


class LayerNorm(nnx.Module):
  """Mean 0 and variance 1 over the last axis, then scale and bias.

  `epsilon` has no default: UniFormer uses two.
  """

  def __init__(self, dim: int, *, epsilon: float):
    self.scale = nnx.Param(jnp.asarray(np.ones(dim, np.float32)))
    self.bias = nnx.Param(jnp.asarray(np.zeros(dim, np.float32)))
    self.epsilon = epsilon

  def __call__(self, x: jax.Array) -> jax.Array:
    """[... C] -> same."""
    return layer_norm(x, self.scale[...], self.bias[...], self.epsilon)


@functools.partial(jax.jit, static_argnames='epsilon')
def layer_norm(
  x: jax.Array, scale: jax.Array, bias: jax.Array, epsilon: float
) -> jax.Array:
  """Normalises [... C] over C, in float32 or wider."""
  ones = (1,) * (x.ndim - 1)
  y = x.astype(kernels.wide(x.dtype))
  y = y - y.mean(axis=-1, keepdims=True)
  variance = jnp.square(y).mean(axis=-1, keepdims=True)
  y = y * lax.rsqrt(variance + epsilon)
  y = y * scale.reshape(*ones, -1) + bias.reshape(*ones, -1)
  return y.astype(x.dtype)


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
    self.norm = LayerNorm(dim_out, epsilon=1e-5)

  def __call__(self, x: jax.Array) -> jax.Array:
    """[B H W I] -> [B h w O]."""
    return self.norm(self.proj(x))


class BatchNorm(nnx.Module):
  """Batch normalisation over all axes but the last, as PyTorch has it.

  The running variance is the unbiased one (Flax keeps the biased one); in
  training the batch is normalised by the biased one, as everywhere. Statistics
  are float32 or wider, over the whole batch of all devices under jit; or, with
  `groups` set to more than 1, over so many parts of the batch, each by itself.
  Running statistics then follow the mean of theirs.
  """

  def __init__(self, dim: int, *, epsilon: float = 1e-5, momentum: float = 0.9):
    self.scale = nnx.Param(jnp.asarray(np.ones(dim, np.float32)))
    self.bias = nnx.Param(jnp.asarray(np.zeros(dim, np.float32)))
    self.mean = nnx.BatchStat(jnp.asarray(np.zeros(dim, np.float32)))
    self.var = nnx.BatchStat(jnp.asarray(np.ones(dim, np.float32)))
    self.epsilon = epsilon
    self.momentum = momentum
    self.groups = 1

  def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
    """[B ... C] -> same; in training, updates the running statistics."""
    mean, var = self.mean[...], self.var[...]
    if train and self.groups > 1:
      return self._by_group(x)
    if train:
      y = x.reshape(-1, x.shape[-1]).astype(kernels.wide(x.dtype))  # [N C]
      mean, var = y.mean(axis=0), y.var(axis=0)
      self._update(mean, var, count=len(y))
    scale = self.scale * lax.rsqrt(var + self.epsilon)
    return scale_and_shift(x, scale, self.bias - mean * scale)

  def _by_group(self, x: jax.Array) -> jax.Array:
    """Each group of [B ... C] by itself; a device that has all of one sees it
    alone.
    """
    y = x.reshape(self.groups, -1, x.shape[-1])  # [G N C]
    wide = y.astype(kernels.wide(x.dtype))
    mean, var = wide.mean(axis=1), wide.var(axis=1)  # [G C]
    self._update(mean.mean(axis=0), var.mean(axis=0), count=y.shape[1])
    scale = self.scale[None] * lax.rsqrt(var + self.epsilon)
    shift = self.bias[None] - mean * scale
    y = wide * scale[:, None] + shift[:, None]
    return y.astype(x.dtype).reshape(x.shape)

  def _update(self, mean: jax.Array, var: jax.Array, count: int) -> None:
    """Moves the running statistics towards those of a batch of `count`."""
    mean, var = lax.stop_gradient((mean, var))
    var = var * (count / max(count - 1, 1))
    keep = self.momentum
    self.mean.set_value(keep * self.mean + (1 - keep) * mean)
    self.var.set_value(keep * self.var + (1 - keep) * var)


@jax.jit
def scale_and_shift(
  x: jax.Array, scale: jax.Array, shift: jax.Array
) -> jax.Array:
  """x * scale + shift by channel: what a batch norm comes to. [... C]."""
  ones = (1,) * (x.ndim - 1)
  y = x * scale.reshape(*ones, -1) + shift.reshape(*ones, -1)
  return y.astype(x.dtype)


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

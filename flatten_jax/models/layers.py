# SPDX-License-Identifier: Apache-2.0
"""The layers that all models share, with their numerics fixed once.

PyTorch and Flax differ silently in their defaults (GELU, epsilons, padding,
the running variance, initial values); published weights assume PyTorch's.
"""

from collections.abc import Callable
import math

from flax import nnx
import jax
from jax import lax
import jax.numpy as jnp

Initializer = Callable[[jax.Array, tuple[int, ...]], jax.Array]


def torch_uniform(fan_in: int) -> Initializer:
  """PyTorch's default for convolutions and their biases: U(±1 / sqrt(fan_in)).

  (Kaiming uniform with a = sqrt(5) comes to just this.)
  """
  bound = 1 / math.sqrt(fan_in)

  def init(key, shape):
    return jax.random.uniform(key, shape, minval=-bound, maxval=bound)

  return init


def normal(std: float) -> Initializer:
  """Normal with the given standard deviation.

  The papers say "truncated normal, .02"; their code truncates at ±2, a hundred
  standard deviations away.
  """
  return lambda key, shape: std * jax.random.normal(key, shape)


def zeros(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
  """All zeros; the key is unused."""
  del key
  return jnp.zeros(shape)


def gelu(x: jax.Array) -> jax.Array:
  """The exact GELU, x * Phi(x); the tanh form moves UniFormer's logits 1e-3."""
  return jax.nn.gelu(x, approximate=False)


class Dense(nnx.Module):
  """A matrix over the last axis; what a 1x1 convolution is. [... I] -> [... O].

  Args:
    dim_in: I.
    dim_out: O.
    init: for the kernel; by default, kernel and bias start as PyTorch's
      convolutions do. With a kernel initializer given, the bias starts at zero.
    dtype: to compute in; parameters stay float32.
    rngs: stream `params`.
  """

  def __init__(
    self,
    dim_in: int,
    dim_out: int,
    *,
    init: Initializer | None = None,
    dtype: jnp.dtype = jnp.float32,
    rngs: nnx.Rngs,
  ):
    bias_init = zeros if init else torch_uniform(dim_in)
    init = init or torch_uniform(dim_in)
    self.kernel = nnx.Param(init(rngs.params(), (dim_in, dim_out)))
    self.bias = nnx.Param(bias_init(rngs.params(), (dim_out,)))
    self.dtype = dtype

  def __call__(self, x: jax.Array) -> jax.Array:
    """[... I] -> [... O]."""
    *batch, dim_in = x.shape
    # On two axes: XLA on CPU takes four times as long for the kernel's gradient
    # of a matrix product over [B H W I].
    x = x.reshape(-1, dim_in).astype(self.dtype)  # [N I]
    y = x @ self.kernel.astype(self.dtype)
    y = y + self.bias.astype(self.dtype)[None]
    return y.reshape(*batch, -1)


class PatchEmbed(nnx.Module):
  """A convolution whose kernel is its stride: one vector for every patch.

  [B H W I] -> [B H/p W/p O]. Rows and columns beyond the last whole patch are
  left out, as a convolution without padding does.
  """

  def __init__(
    self,
    dim_in: int,
    dim_out: int,
    patch: int,
    *,
    dtype: jnp.dtype = jnp.float32,
    rngs: nnx.Rngs,
  ):
    init = torch_uniform(patch * patch * dim_in)
    self.kernel = nnx.Param(
      init(rngs.params(), (patch, patch, dim_in, dim_out))
    )
    self.bias = nnx.Param(init(rngs.params(), (dim_out,)))
    self.dtype = dtype

  def __call__(self, x: jax.Array) -> jax.Array:
    """[B H W I] -> [B H/p W/p O]."""
    p, _, dim_in, dim_out = self.kernel.shape
    batch, height, width, _ = x.shape
    if min(height, width) < p:
      raise ValueError(
        f'An image of {height} x {width} has no whole patch of {p} x {p}; '
        'give the model a larger one.'
      )
    rows, columns = height // p, width // p
    x = x[:, : rows * p, : columns * p].astype(self.dtype)
    # As a matrix product: twice as fast on CPU as the strided convolution.
    x = x.reshape(batch, rows, p, columns, p, dim_in).swapaxes(2, 3)
    x = x.reshape(-1, p * p * dim_in)  # [B*h*w p*p*I]
    y = x @ self.kernel.reshape(-1, dim_out).astype(self.dtype)
    y = y + self.bias.astype(self.dtype)[None]
    return y.reshape(batch, rows, columns, dim_out)


class DepthwiseConv(nnx.Module):
  """One k x k filter per channel, zero padded: [B H W C] -> same."""

  def __init__(
    self,
    dim: int,
    size: int,
    *,
    dtype: jnp.dtype = jnp.float32,
    rngs: nnx.Rngs,
  ):
    init = torch_uniform(size * size)
    self.kernel = nnx.Param(init(rngs.params(), (size, size, 1, dim)))
    self.bias = nnx.Param(init(rngs.params(), (dim,)))
    self.dtype = dtype

  def __call__(self, x: jax.Array) -> jax.Array:
    """[B H W C] -> same."""
    kernel = self.kernel.astype(self.dtype)
    y = depthwise_conv(x.astype(self.dtype), kernel)
    return y + self.bias.astype(self.dtype)[None, None, None]


def depthwise_conv(x: jax.Array, kernel: jax.Array) -> jax.Array:
  """[B H W C] and [k k 1 C] -> [B H W C]; k is odd, zeros all around."""
  size = kernel.shape[0]
  height, width = x.shape[1:3]
  pad = size // 2
  x = jnp.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
  return sum(
    x[:, i : i + height, j : j + width] * kernel[i, j][None, None]
    for i in range(size)
    for j in range(size)
  )


class LayerNorm(nnx.Module):
  """Mean 0 and variance 1 over the last axis, then scale and bias.

  `epsilon` has no default: UniFormer uses two.
  """

  def __init__(self, dim: int, *, epsilon: float):
    self.scale = nnx.Param(jnp.ones(dim))
    self.bias = nnx.Param(jnp.zeros(dim))
    self.epsilon = epsilon

  def __call__(self, x: jax.Array) -> jax.Array:
    """[... C] -> same."""
    ones = (1,) * (x.ndim - 1)
    y = x.astype(jnp.float32)
    y = y - y.mean(axis=-1, keepdims=True)
    variance = jnp.square(y).mean(axis=-1, keepdims=True)
    y = y * lax.rsqrt(variance + self.epsilon)
    y = y * self.scale.reshape(*ones, -1) + self.bias.reshape(*ones, -1)
    return y.astype(x.dtype)


class BatchNorm(nnx.Module):
  """Batch normalisation over all axes but the last, as PyTorch has it.

  The running variance is the unbiased one (Flax keeps the biased one); in
  training the batch is normalised by the biased one, as everywhere. Statistics
  are float32, over the whole batch of all devices under jit.
  """

  def __init__(self, dim: int, *, epsilon: float = 1e-5, momentum: float = 0.9):
    self.scale = nnx.Param(jnp.ones(dim))
    self.bias = nnx.Param(jnp.zeros(dim))
    self.mean = nnx.BatchStat(jnp.zeros(dim))
    self.var = nnx.BatchStat(jnp.ones(dim))
    self.epsilon = epsilon
    self.momentum = momentum

  def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
    """[... C] -> same; in training, updates the running statistics."""
    mean, var = self.mean[...], self.var[...]
    if train:
      y = x.reshape(-1, x.shape[-1]).astype(jnp.float32)  # [N C]
      mean, var = y.mean(axis=0), y.var(axis=0)
      self._update(mean, var, count=len(y))
    scale = self.scale * lax.rsqrt(var + self.epsilon)
    shift = self.bias - mean * scale
    ones = (1,) * (x.ndim - 1)
    y = x * scale.reshape(*ones, -1) + shift.reshape(*ones, -1)
    return y.astype(x.dtype)

  def _update(self, mean: jax.Array, var: jax.Array, count: int) -> None:
    """Moves the running statistics towards those of a batch of `count`."""
    mean, var = lax.stop_gradient((mean, var))
    var = var * (count / max(count - 1, 1))
    keep = self.momentum
    self.mean.set_value(keep * self.mean + (1 - keep) * mean)
    self.var.set_value(keep * self.var + (1 - keep) * var)


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


def attention(q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
  """Scaled dot-product attention over all positions. Each [B N heads D]."""
  scores = jnp.einsum('bqhd,bkhd->bhqk', q * q.shape[-1] ** -0.5, k)
  weights = jax.nn.softmax(scores.astype(jnp.float32)).astype(v.dtype)
  return jnp.einsum('bhqk,bkhd->bqhd', weights, v)

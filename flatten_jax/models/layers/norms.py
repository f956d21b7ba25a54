# SPDX-License-Identifier: Apache-2.0
"""Layer and batch normalization, with PyTorch's numerics.

Statistics are float32 or wider, independent of the dtype of other layers.
"""

import functools

from flax import nnx
import jax
from jax import lax
import jax.numpy as jnp
import numpy as np

from flatten_jax.models.layers import devices


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
  """Normalizes [... C] over C, in float32 or wider."""
  ones = (1,) * (x.ndim - 1)
  y = devices.widen(x)
  y = y - y.mean(axis=-1, keepdims=True)
  variance = jnp.square(y).mean(axis=-1, keepdims=True)
  y = y * lax.rsqrt(variance + epsilon)
  y = y * scale.reshape(*ones, -1) + bias.reshape(*ones, -1)
  return y.astype(x.dtype)


class BatchNorm(nnx.Module):
  """Batch normalization over all axes but the last, as in PyTorch.

  The running variance is the unbiased one (Flax keeps the biased one); in
  training the batch is normalized by the biased one. Statistics are over the
  whole batch of all devices under jit. With `groups` above 1, the batch is
  split into that number of parts, each normalized by its own statistics, whose
  means update the running ones. If `frozen`, the running statistics are used in
  training too, and stay. `scale` is the initial one.
  """

  def __init__(
    self,
    dim: int,
    *,
    epsilon: float = 1e-5,
    momentum: float = 0.9,
    scale: float = 1.0,
  ):
    self.scale = nnx.Param(jnp.asarray(np.full(dim, scale, np.float32)))
    self.bias = nnx.Param(jnp.asarray(np.zeros(dim, np.float32)))
    self.mean = nnx.BatchStat(jnp.asarray(np.zeros(dim, np.float32)))
    self.var = nnx.BatchStat(jnp.asarray(np.ones(dim, np.float32)))
    self.epsilon = epsilon
    self.momentum = momentum
    self.groups = 1
    self.frozen = False

  def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
    """[B ... C] -> same; in training, updates the running statistics."""
    mean, var = self.mean[...], self.var[...]
    train = train and not self.frozen
    if train and self.groups > 1:
      return self._by_group(x)
    if train:
      y = devices.widen(x.reshape(-1, x.shape[-1]))  # [N C]
      mean, var = _statistics(y, devices.parts('data'), mean)
      self._update(mean, var, count=len(y))
    scale = self.scale * lax.rsqrt(var + self.epsilon)
    return scale_and_shift(x, scale, self.bias - mean * scale)

  def _by_group(self, x: jax.Array) -> jax.Array:
    """Normalizes each group of [B ... C] by its own statistics."""
    y = x.reshape(self.groups, -1, x.shape[-1])  # [G N C]
    y = devices.widen(y)
    mean, var = y.mean(axis=1), y.var(axis=1)  # [G C]
    self._update(mean.mean(axis=0), var.mean(axis=0), count=y.shape[1])
    scale = self.scale[None] * lax.rsqrt(var + self.epsilon)
    shift = self.bias[None] - mean * scale
    y = y * scale[:, None] + shift[:, None]
    return y.astype(x.dtype).reshape(x.shape)

  def _update(self, mean: jax.Array, var: jax.Array, count: int) -> None:
    """Moves the running statistics towards a batch's, over `count` values."""
    mean, var = lax.stop_gradient((mean, var))
    var = var * (count / max(count - 1, 1))
    keep = self.momentum
    self.mean.set_value(keep * self.mean + (1 - keep) * mean)
    self.var.set_value(keep * self.var + (1 - keep) * var)


def _statistics(
  x: jax.Array, parts: int, near: jax.Array
) -> tuple[jax.Array, jax.Array]:
  """Returns mean and biased variance of every channel. [N C] -> [C], [C].

  Devices that hold parts of the batch send each other one message, of their
  means and mean squares about `near`, rather than means and then variances.

  Args:
    x: whose first axis is divided over devices.
    parts: number of these devices.
    near: [C] about the mean, for precision; without a gradient.
  """
  if parts == 1 or len(x) % parts:
    return x.mean(axis=0), x.var(axis=0)
  x = x.reshape(parts, -1, x.shape[-1])
  distance = x.mean(axis=1) - near[None]
  both = jnp.stack([distance, x.var(axis=1) + jnp.square(distance)], axis=1)
  distance, square = both.mean(axis=0)
  return near + distance, jnp.maximum(square - jnp.square(distance), 0)


@jax.jit
def scale_and_shift(
  x: jax.Array, scale: jax.Array, shift: jax.Array
) -> jax.Array:
  """Applies a batch norm: x * scale + shift by channel. [... C] -> same."""
  ones = (1,) * (x.ndim - 1)
  y = x * scale.reshape(*ones, -1) + shift.reshape(*ones, -1)
  return y.astype(x.dtype)

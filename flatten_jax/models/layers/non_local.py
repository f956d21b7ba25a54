# SPDX-License-Identifier: Apache-2.0
"""Non-local blocks: every position of a clip attends to all others.

Wang et al., "Non-local Neural Networks", 2018, as PySlowFast computes them.
"""

import math

from flax import nnx
import jax
import jax.numpy as jnp

from flatten_jax.models.layers import devices, initializers, norms, pooling
from flatten_jax.models.layers.dense import Dense


class NonLocal(nnx.Module):
  """x + norm(attention(x)), without a ReLU. [B T H W C] -> same.

  Args:
    dim: C.
    pool: window in which the maximum of keys and values is taken, without
      overlap; a remainder is dropped.
    softmax: over the keys, of scaled products; else products are divided by
      their number.
    groups: of consecutive frames, each attended by itself.
    dtype: to compute in.
    rngs: stream `params`.
  """

  def __init__(
    self,
    dim: int,
    pool: tuple[int, int, int],
    *,
    softmax: bool,
    groups: int = 1,
    dtype: jnp.dtype,
    rngs: nnx.Rngs,
  ):
    inner, options = dim // 2, {'dtype': dtype, 'rngs': rngs}
    into = initializers.he_normal(inner)
    self.theta = Dense(dim, inner, init=into, **options)
    self.phi = Dense(dim, inner, init=into, **options)
    self.g = Dense(dim, inner, init=into, **options)
    self.out = Dense(inner, dim, init=initializers.he_normal(dim), **options)
    self.norm = norms.BatchNorm(dim, scale=0.0)
    self.pool = tuple(pool)
    self.softmax = softmax
    self.groups = groups

  def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
    """[B T H W C] -> same."""
    batch, frames, *rest = x.shape
    if frames % self.groups:
      raise ValueError(
        f'{frames} frames at this depth do not divide into '
        f'temporal_groups={self.groups}.'
      )
    runs = x.reshape(batch * self.groups, frames // self.groups, *rest)
    y = self.norm(self.out(self.attend(runs)), train=train)
    return x + y.reshape(x.shape)

  def attend(self, x: jax.Array) -> jax.Array:
    """Returns the values of all positions. [B T H W C] -> [B T H W C/2]."""
    if any(n < p for n, p in zip(x.shape[1:4], self.pool, strict=True)):
      raise ValueError(
        f'A map of {" x ".join(map(str, x.shape[1:4]))} is smaller than '
        f'key_pool={self.pool}: use longer or larger clips.'
      )
    pooled = pooling.max_pool(x, self.pool, self.pool)
    q, k, v = (
      y.reshape(x.shape[0], -1, y.shape[-1])
      for y in (self.theta(x), self.phi(pooled), self.g(pooled))
    )
    weights = devices.widen(jnp.einsum('bqc,bkc->bqk', q, k))
    if self.softmax:
      weights = jax.nn.softmax(weights / math.sqrt(q.shape[-1]))
    else:
      weights = weights / k.shape[1]
    y = jnp.einsum('bqk,bkc->bqc', weights.astype(v.dtype), v)
    return y.reshape(*x.shape[:-1], -1)

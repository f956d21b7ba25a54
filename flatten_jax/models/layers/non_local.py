# SPDX-License-Identifier: Apache-2.0
"""Non-local blocks: every position of a clip attends to all others.

Wang et al., "Non-local Neural Networks", 2018, as PySlowFast computes them.
"""

import functools
import math

from flax import nnx
import jax
from jax import lax
import jax.numpy as jnp

from flatten_jax.models.layers import devices, initializers, norms, pooling
from flatten_jax.models.layers.dense import Dense

# Weights of a clip, queries by keys, that are in memory at a time; above, they
# are computed again for the gradient. 128 frames of 256 px have 67 million.
_BLOCK_SIZE = 4 * 1024 * 1024


class NonLocal(nnx.Module):
  """x + norm(attention(x)), without a ReLU. [B T H W C] -> same.

  Args:
    dim: C.
    pool: window in which the maximum of keys and values is taken, without
      overlap; a remainder is dropped.
    softmax: over the keys, of scaled products; else products are divided by
      their number.
    groups: of consecutive frames, each attended by itself.
    std: of the initial kernels, normally distributed; None is He's.
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
    std: float | None = None,
    dtype: jnp.dtype,
    rngs: nnx.Rngs,
  ):
    inner, options = dim // 2, {'dtype': dtype, 'rngs': rngs}
    into, back = (
      initializers.normal(std) if std else initializers.he_normal(fan)
      for fan in (inner, dim)
    )
    self.theta = Dense(dim, inner, init=into, **options)
    self.phi = Dense(dim, inner, init=into, **options)
    self.g = Dense(dim, inner, init=into, **options)
    self.out = Dense(inner, dim, init=back, **options)
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
    pooled = pooling.max_pool(x, self.pool, self.pool)
    q, k, v = (
      y.reshape(x.shape[0], -1, y.shape[-1])
      for y in (self.theta(x), self.phi(pooled), self.g(pooled))
    )
    y = attend(q, k, v, softmax=self.softmax)
    return y.reshape(*x.shape[:-1], -1)


@functools.partial(jax.jit, static_argnames='softmax')
def attend(
  q: jax.Array, k: jax.Array, v: jax.Array, *, softmax: bool
) -> jax.Array:
  """Sums values by the products of queries and keys.

  [B Q C], [B K C] and [B K C] -> [B Q C].
  """

  def rows(q):
    weights = devices.widen(jnp.einsum('bqc,bkc->bqk', q, k))
    if softmax:
      weights = jax.nn.softmax(weights / math.sqrt(q.shape[-1]))
    else:
      weights = weights / k.shape[1]
    return jnp.einsum('bqk,bkc->bqc', weights.astype(v.dtype), v)

  batch, length, dim = q.shape
  count = -(-length * k.shape[1] // _BLOCK_SIZE)
  if count <= 1:
    return rows(q)
  size = -(-length // count)
  q = jnp.pad(q, ((0, 0), (0, count * size - length), (0, 0)))
  blocks = q.reshape(batch, count, size, dim).swapaxes(0, 1)
  y = lax.map(jax.checkpoint(rows), blocks)
  return y.swapaxes(0, 1).reshape(batch, -1, dim)[:, :length]

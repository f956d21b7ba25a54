# SPDX-License-Identifier: Apache-2.0
"""The block of a Vision Transformer, and the tokens in front of its input.

Dosovitskiy et al., "An Image is Worth 16x16 Words", 2021.
"""

import functools

from flax import nnx
import jax
import jax.numpy as jnp

from flatten_jax.models.layers import (
  attention,
  attention_weights,
  devices,
  initializers,
  norms,
)
from flatten_jax.models.layers.blocks import DropPath
from flatten_jax.models.layers.dense import Dense, gelu


class Attention(nnx.Module):
  """Attention of N positions to each other. [B ... N C] -> same.

  Args:
    dim: C.
    head_dim: D, of each of the C/D heads.
    init: for the kernels, normal with .02 by default; biases start at zero.
    dtype: to compute in; parameters stay float32.
    rngs: stream `params`.
  """

  def __init__(
    self,
    dim: int,
    head_dim: int,
    *,
    init: initializers.Initializer | None = None,
    dtype: jnp.dtype = jnp.float32,
    rngs: nnx.Rngs,
  ):
    if head_dim < 1 or dim % head_dim:
      raise ValueError(
        f'head_dim={head_dim} must be 1 or more and divide the width of {dim}: '
        'choose another dim or head_dim.'
      )
    init = init or initializers.normal(0.02)
    options = {'init': init, 'dtype': dtype, 'rngs': rngs}
    self.qkv = Dense(dim, 3 * dim, **options)
    self.proj = Dense(dim, dim, **options)
    self.head_dim = head_dim

  def attend(self, x: jax.Array, sequences: int = 1) -> jax.Array:
    """[B ... N C] -> same; `sequences` as for `attention.attention`.

    Tensor parallelism divides the heads over the mesh's axis 'model'; if there
    are, say, 5 for 4 devices, each of these takes a share of the clips instead.
    """
    parts, whole = devices.parts('model'), (None,) * (x.ndim - 1)
    by_clips = x.shape[-1] // self.head_dim % parts > 0
    by_clips = by_clips and not len(x) % (parts * devices.parts('data'))
    if by_clips:
      x = devices.divide(x, 'data', *whole)  # For its gradient.
      x = devices.divide(x, ('data', 'model'), *whole)
    y = attention.attention(self.qkv_heads(x), sequences=sequences)
    y = self.proj(y.reshape(x.shape))
    return devices.divide(y, 'data', *whole) if by_clips else y

  def qkv_heads(self, x: jax.Array) -> jax.Array:
    """Returns queries, keys and values. [B ... N C] -> [B* N 3 heads D]."""
    length, dim = x.shape[-2:]
    heads = 3, dim // self.head_dim, self.head_dim
    parts = devices.parts('model')
    if parts > 1 and heads[1] % parts == 0:
      return self._divided(x, heads)
    return self.qkv(x).reshape(-1, length, *heads)

  def _divided(self, x: jax.Array, heads: tuple[int, int, int]) -> jax.Array:
    """`qkv_heads` with the heads divided over 'model'.

    The kernel's last axis, 3 x heads x D, is divided into parts that cut across
    heads; its columns are exchanged, which are fewer than the activations.
    """
    place = (None, 'model', None)
    dtype, kernel = self.qkv.dtype, self.qkv.kernel[...]
    kernel = devices.divide(kernel.reshape(-1, *heads), None, *place)
    y = jnp.einsum('...nc,cthd->...nthd', x.astype(dtype), kernel.astype(dtype))
    if self.qkv.use_bias:
      bias = devices.divide(self.qkv.bias.reshape(heads), *place)
      y = y + bias.astype(dtype).reshape((1,) * (x.ndim - 1) + heads)
    return y.reshape(-1, *y.shape[-4:])


class Block(Attention):
  """Attention and an MLP, each behind its norm and with a residual.

  [B ... N C] -> same; the N positions attend to each other.

  Args:
    dim: C.
    head_dim: D, of each of the C/D heads.
    mlp_ratio: units of the MLP, in multiples of C.
    epsilon: of both norms.
    drop_path: rate of stochastic depth; one draw for each of the B examples.
    init: for the kernels, normal with .02 by default; biases start at zero.
    dtype: to compute in; parameters stay float32.
    rngs: stream `params`.
  """

  activation = staticmethod(gelu)

  def __init__(
    self,
    dim: int,
    head_dim: int,
    *,
    mlp_ratio: int = 4,
    epsilon: float = 1e-6,
    drop_path: float = 0.0,
    init: initializers.Initializer | None = None,
    dtype: jnp.dtype = jnp.float32,
    rngs: nnx.Rngs,
  ):
    options = {
      'init': init or initializers.normal(0.02),
      'dtype': dtype,
      'rngs': rngs,
    }
    super().__init__(dim, head_dim, **options)
    self.norm1 = norms.LayerNorm(dim, epsilon=epsilon)
    self.norm2 = norms.LayerNorm(dim, epsilon=epsilon)
    self.fc1 = Dense(dim, mlp_ratio * dim, **options)
    self.fc2 = Dense(mlp_ratio * dim, dim, **options)
    self.drop_path = DropPath(drop_path)

  def weights_of_first(self, x: jax.Array) -> jax.Array:
    """Returns the first position's attention to the others. [B* N-1]."""
    return attention_weights.of_first(self.qkv_heads(self.norm1(x)))

  def weights_between(self, x: jax.Array, shares: jax.Array) -> jax.Array:
    """Returns the attention between groups, see `between_groups`. [G G]."""
    qkv = self.qkv_heads(self.norm1(x))
    return attention_weights.between_groups(qkv, shares)

  def mlp(self, x: jax.Array) -> jax.Array:
    """[... C] -> same."""
    return self.fc2(self.activation(self.fc1(x)))

  def __call__(self, x, *, train=False, rngs=None):
    """[B ... N C] -> same."""
    drop = functools.partial(self.drop_path, train=train, rngs=rngs)
    x = x + drop(self.attend(self.norm1(x)))
    return x + drop(self.mlp(self.norm2(x)))


def prepend(token: jax.Array, x: jax.Array) -> jax.Array:
  """Puts a token before the first position. [C], [... N C] -> [... 1+N C]."""
  token = jnp.broadcast_to(
    token.reshape(-1).astype(x.dtype), (*x.shape[:-2], 1, x.shape[-1])
  )
  return jnp.concatenate([token, x], axis=-2)

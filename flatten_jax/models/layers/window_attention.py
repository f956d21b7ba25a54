# SPDX-License-Identifier: Apache-2.0
"""Attention within the windows of an image, of SwinV2.

Liu et al., "Swin Transformer V2: Scaling Up Capacity and Resolution", 2022.
No parameter depends on the window: the same weights run with any.
"""

import math

from flax import nnx
import jax
from jax import lax
import jax.numpy as jnp
import numpy as np

from flatten_jax.models.layers import (
  attention,
  devices,
  initializers,
  windows,
)
from flatten_jax.models.layers.dense import Linear

_POSITION_HIDDEN = 512  # Width of the MLP of the position bias.
_MAX_SCALE = 100.0  # Of cosines: logits stay within ±100.


class WindowAttention(windows.WindowAttention):
  """Cosine attention within windows, with a learned position bias. [B H W C].

  Args:
    dim: C.
    heads: into which C is divided.
    window: side of the windows; an axis with fewer positions is one window.
    shifted: moves windows by half their side.
    pretrained_window: the window with corners at ±1 in the coordinates of the
      position bias; by default, the one in use.
    dtype: to compute in; parameters stay float32.
    rngs: stream `params`.
  """

  def __init__(
    self,
    dim: int,
    heads: int,
    window: int,
    *,
    shifted: bool,
    pretrained_window: int | None = None,
    dtype: jnp.dtype = jnp.float32,
    rngs: nnx.Rngs,
  ):
    attention.head_dim(dim, heads)  # Refuses heads that do not fit.
    accum_dtype = devices.accum_dtype(dtype)
    self.qkv = Linear(dim, 3 * dim, use_bias=False, dtype=dtype, rngs=rngs)
    # Keys have no bias.
    self.q_bias = nnx.Param(initializers.constant(0)(rngs.params(), (dim,)))
    self.v_bias = nnx.Param(initializers.constant(0)(rngs.params(), (dim,)))
    init = initializers.constant(math.log(10))
    self.logit_scale = nnx.Param(init(rngs.params(), (heads, 1, 1)))
    self.position_in = Linear(2, _POSITION_HIDDEN, dtype=accum_dtype, rngs=rngs)
    self.position_out = Linear(
      _POSITION_HIDDEN, heads, use_bias=False, dtype=accum_dtype, rngs=rngs
    )
    self.proj = Linear(dim, dim, dtype=dtype, rngs=rngs)
    self.heads = heads
    self.window = (window, window)
    self.shifted = shifted
    self.pretrained_window = pretrained_window

  def attend(self, x: jax.Array, bias: jax.Array) -> jax.Array:
    """[B n N C] -> same; the bias is [1 or n, heads N N]."""
    qkv_bias = jnp.concatenate(
      [self.q_bias, jnp.zeros_like(self.v_bias), self.v_bias]
    )
    qkv = self.qkv(x)
    qkv = qkv + qkv_bias.astype(qkv.dtype)[None, None, None]
    q, k, v = windows.split_heads(qkv, self.heads)
    scale = jnp.exp(jnp.minimum(self.logit_scale, math.log(_MAX_SCALE)))
    q = (unit(q) * scale[None, None]).astype(v.dtype)
    return self.proj(windows.attend(q, unit(k).astype(v.dtype), v, bias))

  def position_bias(self, window: tuple[int, int]) -> jax.Array:
    """Added to the logits by offset, 0 to 16. [heads N N], N = h*w."""
    table = relative_coordinates(window, self.pretrained_window)
    table = self.position_out(nnx.relu(self.position_in(jnp.asarray(table))))
    table = 16 * nnx.sigmoid(table)  # [2h-1 2w-1 heads]
    # Query - key on both axes: two small gathers of rows, not one of numbers.
    dy, dx = (
      np.arange(side)[:, None] - np.arange(side)[None] + side - 1
      for side in window
    )
    bias = table[dy][:, :, dx]  # [h h w w heads]
    bias = bias.transpose(4, 0, 2, 1, 3)
    return bias.reshape(self.heads, math.prod(window), math.prod(window))


def unit(x: jax.Array) -> jax.Array:
  """Scales vectors to length 1, in float32 or wider; zeros stay. [... D]."""
  x = devices.widen(x)
  square = jnp.square(x).sum(axis=-1, keepdims=True)
  return x * lax.rsqrt(jnp.maximum(square, 1e-24))


def relative_coordinates(
  window: tuple[int, int], pretrained_window: int | None = None
) -> np.ndarray:
  """Returns every offset (y, x) within a window. [2h-1 2w-1 2].

  Logarithmic, so that larger windows extrapolate little: sign(d) * log2(1 +
  8|d|) / log2(8), with d = 1 from end to end of the (pretraining) window. Every
  step is in float32, as in the code that trained the published weights.
  """
  axes = [
    np.arange(1 - side, side, dtype=np.float32)
    / max((pretrained_window or side) - 1, 1)
    for side in window
  ]
  offsets = 8 * np.stack(np.meshgrid(*axes, indexing='ij'), axis=-1)
  return np.sign(offsets) * np.log2(1 + np.abs(offsets)) / 3

# SPDX-License-Identifier: Apache-2.0
"""Windows of images and clips, for attention within them: of Swin and SwinV2.

Positions, windows and the positions of a window are numbered row by row, the
first axis slowest.
"""

import itertools
import math

from flax import nnx
import jax
from jax import lax
import jax.numpy as jnp
import numpy as np

_MASKED = -100.0  # Added to logits of positions that only a shift joins.


def merge(x: jax.Array) -> jax.Array:
  """Joins 2 x 2 positions. [... H W C] -> [... H/2 W/2 4C]."""
  *batch, height, width, dim = x.shape
  x = x.reshape(*batch, height // 2, 2, width // 2, 2, dim)
  # Column by column: 00, 10, 01, 11.
  x = jnp.moveaxis(x, (-2, -4), (-3, -2))
  return x.reshape(*batch, height // 2, width // 2, 4 * dim)


class WindowAttention(nnx.Module):
  """Attention within windows, which may be shifted. [B (T) H W C] -> same.

  An axis with fewer positions than the window is one window. Zeros fill the
  last window of an axis. With `shifted`, windows move by half their side,
  around the borders, on axes of several windows. A model adds the attributes
  `window`, a side for each axis, and `shifted`, and the methods
  `attend(x, bias)`, of windows [B n N C], and `position_bias(window)`.
  """

  def __call__(self, x: jax.Array) -> jax.Array:
    """[B (T) H W C] -> same."""
    size, axes = x.shape[1:-1], range(1, x.ndim - 1)
    window = tuple(map(min, self.window, size))
    shift = tuple(
      side // 2 if self.shifted and side < length else 0
      for side, length in zip(self.window, size, strict=True)
    )
    x = fill_up(x, window)
    filled = x.shape[1:-1]
    bias = self.position_bias(window)[None]  # [1 heads N N]
    if any(shift):
      mask = shift_mask(filled, window, shift)[:, None]
      bias = bias + mask.astype(bias.dtype)  # [n heads N N]
    x = jnp.roll(x, [-by for by in shift], axes)
    x = self.attend(to_windows(x, window), bias)
    x = jnp.roll(from_windows(x, window, filled), shift, axes)
    return x[:, *map(slice, size)]


def fill_up(x: jax.Array, multiples: tuple[int, ...]) -> jax.Array:
  """Appends zeros up to a multiple along each axis. [B (T) H W C] -> same."""
  added = zip(x.shape[1:-1], multiples, strict=True)
  return jnp.pad(x, ((0, 0), *((0, -n % by) for n, by in added), (0, 0)))


def to_windows(x: jax.Array, window: tuple[int, ...]) -> jax.Array:
  """Splits an image or a clip into windows. [B (T) H W C] -> [B n N C]."""
  batch, *size, dim = x.shape
  counts = (length // side for length, side in zip(size, window, strict=True))
  split = itertools.chain(*zip(counts, window, strict=True))
  x = x.reshape(batch, *split, dim)  # [B H/h h W/w w C]
  last = 2 * len(size) + 1
  x = x.transpose(0, *range(1, last, 2), *range(2, last, 2), last)
  return x.reshape(batch, -1, math.prod(window), dim)


def from_windows(
  x: jax.Array, window: tuple[int, ...], size: tuple[int, ...]
) -> jax.Array:
  """Inverts `to_windows`. [B n N C] -> [B (T) H W C]."""
  batch, dim, axes = x.shape[0], x.shape[-1], len(size)
  counts = (length // side for length, side in zip(size, window, strict=True))
  x = x.reshape(batch, *counts, *window, dim)  # [B H/h W/w h w C]
  pairs = ((1 + axis, 1 + axes + axis) for axis in range(axes))
  x = x.transpose(0, *itertools.chain(*pairs), 2 * axes + 1)
  return x.reshape(batch, *size, dim)


def attend(
  q: jax.Array, k: jax.Array, v: jax.Array, bias: jax.Array
) -> jax.Array:
  """Attention within windows, of scaled queries. [B n heads N D] -> [B n N C].

  The bias [1 or n, heads, N N] is added to the logits, in its dtype. C is heads
  x D.
  """
  x = _attend(q, k, v, bias).swapaxes(2, 3)
  return x.reshape(*x.shape[:3], -1)


@jax.custom_vjp
def _attend(q, k, v, bias):
  """Computes `attend` for each head, keeping one array of weights N x N."""
  return _attend_forward(q, k, v, bias)[0]


def _attend_forward(q, k, v, bias):
  logits = jnp.einsum('bnhqd,bnhkd->bnhqk', q, k).astype(bias.dtype)
  logits = logits + bias[None]
  weights = jnp.exp(logits - logits.max(axis=-1, keepdims=True))
  scale = 1 / weights.sum(axis=-1, keepdims=True)
  weights, scale = weights.astype(v.dtype), scale.astype(v.dtype)
  out = jnp.einsum('bnhqk,bnhkd->bnhqd', weights, v) * scale
  return out, (q, k, v, bias, weights, scale, out)


def _attend_backward(saved, grad):
  q, k, v, bias, weights, scale, out = saved
  grad = grad * scale  # Of the sum before scaling.
  inner = (grad * out).sum(axis=-1, keepdims=True)
  scores = weights * (jnp.einsum('bnhqd,bnhkd->bnhqk', grad, v) - inner)
  grad_bias = scores.astype(bias.dtype).sum(axis=0)
  if len(bias) == 1:
    grad_bias = grad_bias.sum(axis=0, keepdims=True)
  return (
    jnp.einsum('bnhqk,bnhkd->bnhqd', scores, k),
    jnp.einsum('bnhqk,bnhqd->bnhkd', scores, q),
    jnp.einsum('bnhqk,bnhqd->bnhkd', weights, grad),
    grad_bias,
  )


_attend.defvjp(_attend_forward, _attend_backward)


def split_heads(qkv: jax.Array, heads: int) -> tuple[jax.Array, ...]:
  """Splits into queries, keys and values. [B n N 3C] -> [B n heads N D] each.

  Split, not indexed: the gradient of an index is an array full of zeros.
  """
  return tuple(
    part.reshape(*part.shape[:3], heads, -1).swapaxes(2, 3)
    for part in jnp.split(qkv, 3, axis=-1)
  )


def shift_mask(
  size: tuple[int, ...], window: tuple[int, ...], shift: tuple[int, ...]
) -> jax.Array:
  """Separates positions that only a roll joins. [n N N], 0 or -100."""
  regions = window_regions(size, window, shift)
  # Without a barrier the compiler stores the masks: 85 MB for windows of 24 at
  # 768 pixels.
  regions = lax.optimization_barrier(jnp.asarray(regions, jnp.int32))
  return jnp.where(regions[:, :, None] == regions[:, None], 0.0, _MASKED)


def window_regions(
  size: tuple[int, ...], window: tuple[int, ...], shift: tuple[int, ...]
) -> np.ndarray:
  """Numbers the regions that were connected before a roll by `shift`.

  Returns [n N], a number for each position of each window: three regions along
  each axis, cut where a roll joins opposite borders.
  """
  regions = np.zeros(size, int)
  for axis, (length, side, by) in enumerate(
    zip(size, window, shift, strict=True)
  ):
    place = np.arange(length)
    part = (place >= length - side).astype(int) + (place >= length - by)
    others = [a for a in range(len(size)) if a != axis]
    regions = 3 * regions + np.expand_dims(part, others)
  return to_windows(regions[None, ..., None], window)[0, :, :, 0]

# SPDX-License-Identifier: Apache-2.0
"""Windows of images and clips, for attention within them: of Swin and SwinV2.

Positions, windows and the positions of a window are numbered row by row, the
first axis slowest.
"""

import itertools
import math

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
  """As `attend`, to [B n heads N D], keeping one array of weights N x N."""
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

# SPDX-License-Identifier: Apache-2.0
"""Attention over all positions, in forms for different devices and sizes.

All forms compute the same. Times are from two cores of an AMD EPYC (Zen 4),
jax 0.10.2.
"""

import functools

import jax
from jax import lax
import jax.numpy as jnp

from flatten_jax.models.layers import devices

# Weights N x N of one head of a clip up to which they are kept for the
# gradient, 4 MB: 1024 positions. UniFormer-S has 3136 at 896 pixels: 39 MB.
# Above that, the weights of one head of a clip that are in memory at a time.
_BLOCK_SIZE = 1024 * 1024


def head_dim(dim: int, heads: int) -> int:
  """Returns the width of each of the heads that divide `dim`.

  Raises:
    ValueError: they do not.
  """
  if heads < 1 or dim % heads:
    raise ValueError(
      f'heads={heads} must be 1 or more and divide the width of {dim}: choose '
      'another dim or number of heads.'
    )
  return dim // heads


@devices.jit_by_target('sequences')
def attention(
  qkv: jax.Array, sequences: int = 1, *, target: devices.Target
) -> jax.Array:
  """Scaled dot-product attention over all positions, for every head.

  [B N 3 heads D] -> [B N heads D], the 3 being queries, keys and values.
  `sequences` of the B belong to a clip, and share its memory.
  """
  if _has_fused_kernel(target, qkv.dtype):
    return fused_attention(qkv)
  if target.is_cpu and sequences * qkv.shape[1] ** 2 <= _BLOCK_SIZE:
    return plain_attention(qkv)
  return lean_attention(qkv, sequences)


def _has_fused_kernel(target: devices.Target, dtype: jnp.dtype) -> bool:
  """Returns whether cuDNN can run it: half precision, Ampere and later."""
  return dtype in (jnp.bfloat16, jnp.float16) and target.compute_capability >= 8


def fused_attention(qkv: jax.Array) -> jax.Array:
  """Attention by cuDNN, without N x N weights. [B N 3 h D] -> [B N h D]."""
  dim = qkv.shape[-1]
  qkv = _pad_heads(qkv, 8)  # cuDNN needs a multiple of 8.
  q, k, v = jnp.moveaxis(qkv, 2, 0)
  out = jax.nn.dot_product_attention(
    q, k, v, scale=dim**-0.5, implementation='cudnn'
  )
  return out[..., :dim]


def _pad_heads(x: jax.Array, multiple: int) -> jax.Array:
  """Pads D with zeros, which change no product. [... D] -> [... D']."""
  return jnp.pad(x, ((0, 0),) * (x.ndim - 1) + ((0, -x.shape[-1] % multiple),))


def _per_head(qkv: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
  """Splits [B N 3 h D] into scaled queries, keys and values [B h N D]."""
  scale = qkv.shape[-1] ** -0.5
  # On CPU a product whose last axis is 28 takes 1.6 times as long as with 32.
  q, k, v = _pad_heads(qkv, 16).transpose(2, 0, 3, 1, 4)
  return q * scale, k, v


def _gradient_of_qkv(grads: tuple[jax.Array, ...], dim: int) -> jax.Array:
  """Joins gradients of scaled queries, keys, values to [B N 3 h D]."""
  q, k, v = (x[..., :dim] for x in grads)
  return jnp.stack([q * dim**-0.5, k, v]).transpose(1, 3, 0, 2, 4)


@jax.custom_vjp
def plain_attention(qkv: jax.Array) -> jax.Array:
  """Attention with its own gradient. [B N 3 heads D] -> [B N heads D].

  Autodiff makes four more passes over the N x N weights, and on CPU each takes
  as long as a product.
  """
  return _plain_forward(qkv)[0]


def _plain_forward(qkv):
  dim = qkv.shape[-1]
  q, k, v = _per_head(qkv)
  scores = devices.widen(jnp.einsum('bhqd,bhkd->bhqk', q, k))
  weights = jnp.exp(scores - scores.max(axis=-1, keepdims=True))
  scale = 1 / weights.sum(axis=-1, keepdims=True)  # [B h N 1]
  weights, scale = weights.astype(v.dtype), scale.astype(v.dtype)
  # Normalized after the product, over D columns rather than N.
  out = jnp.einsum('bhqk,bhkd->bhqd', weights, v) * scale
  return out[..., :dim].swapaxes(1, 2), (q, k, v, weights, scale, out)


def _plain_backward(saved, grad):
  q, k, v, weights, scale, out = saved
  dim = grad.shape[-1]
  grad = _pad_heads(grad, 16)
  grad = grad.swapaxes(1, 2) * scale  # [B h N D], of the sum before scaling.
  inner = (grad * out).sum(axis=-1, keepdims=True)
  grad_scores = weights * (jnp.einsum('bhqd,bhkd->bhqk', grad, v) - inner)
  grad_q = jnp.einsum('bhqk,bhkd->bhqd', grad_scores, k)
  # As [D N], transposed behind a barrier: a quarter faster on CPU.
  grad_k = jnp.einsum('bhqk,bhqd->bhdk', grad_scores, q)
  grad_v = jnp.einsum('bhqk,bhqd->bhdk', weights, grad)
  grad_k, grad_v = lax.optimization_barrier((grad_k, grad_v))
  grads = grad_q, grad_k.swapaxes(2, 3), grad_v.swapaxes(2, 3)
  return (_gradient_of_qkv(grads, dim),)


plain_attention.defvjp(_plain_forward, _plain_backward)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def lean_attention(qkv: jax.Array, sequences: int = 1) -> jax.Array:
  """Attention in the memory of its inputs. [B N 3 heads D] -> [B N heads D].

  A block of queries at a time; the gradient recomputes their weights from the
  logarithms of their sums (Dao et al., "FlashAttention", 2022). That is one
  product more than the six of a forward and a backward pass; for 3136
  positions, on CPU, a fifth more time.
  """
  return _lean_forward(qkv, sequences)[0]


def _split(x: jax.Array, sequences: int) -> jax.Array:
  """Splits N into blocks, zeros at the end. [B h N D] -> [n B h N/n D]."""
  batch, heads, length, dim = x.shape
  count = min(-(-sequences * length**2 // _BLOCK_SIZE), length)
  size = -(-length // count)
  x = jnp.pad(x, ((0, 0), (0, 0), (0, count * size - length), (0, 0)))
  x = x.reshape(batch, heads, count, size, dim)
  return jnp.moveaxis(x, 2, 0)


def _join(blocks: jax.Array, length: int) -> jax.Array:
  """Inverts `_split`. [n B h N/n D] -> [B h N D]."""
  x = jnp.moveaxis(blocks, 0, 2)
  x = x.reshape(*x.shape[:2], -1, x.shape[-1])
  return x[:, :, :length]


def _lean_forward(qkv, sequences):
  length, dim = qkv.shape[1], qkv.shape[-1]
  q, k, v = _per_head(qkv)

  def attend(q):  # [B h n D]
    scores = devices.widen(jnp.einsum('bhqd,bhkd->bhqk', q, k))
    largest = scores.max(axis=-1, keepdims=True)
    weights = jnp.exp(scores - largest)
    total = weights.sum(axis=-1, keepdims=True)
    out = jnp.einsum('bhqk,bhkd->bhqd', weights.astype(v.dtype), v)
    return (out / total).astype(v.dtype), largest + jnp.log(total)

  out, log_total = lax.map(attend, _split(q, sequences))
  result = _join(out, length)[..., :dim].swapaxes(1, 2)
  return result, (q, k, v, out, log_total)


def _lean_backward(sequences, saved, grad):
  q, k, v, out, log_total = saved
  length, dim = grad.shape[1], grad.shape[-1]
  grad = _pad_heads(grad, 16).swapaxes(1, 2)  # [B h N D]

  def attend(sums, block):
    q, grad, out, log_total = block
    scores = jnp.einsum('bhqd,bhkd->bhqk', q, k).astype(log_total.dtype)
    weights = jnp.exp(scores - log_total).astype(v.dtype)
    inner = (grad * out).sum(axis=-1, keepdims=True)
    grad_scores = weights * (jnp.einsum('bhqd,bhkd->bhqk', grad, v) - inner)
    grad_q = jnp.einsum('bhqk,bhkd->bhqd', grad_scores, k)
    grad_k = jnp.einsum('bhqk,bhqd->bhkd', grad_scores, q)
    grad_v = jnp.einsum('bhqk,bhqd->bhkd', weights, grad)
    return (sums[0] + grad_k, sums[1] + grad_v), grad_q

  zeros = jnp.zeros(k.shape, devices.accum_dtype(k.dtype))
  blocks = (_split(q, sequences), _split(grad, sequences), out, log_total)
  (grad_k, grad_v), grad_q = lax.scan(attend, (zeros, zeros), blocks)
  grads = (_join(grad_q, length), grad_k, grad_v)
  return (_gradient_of_qkv(tuple(g.astype(q.dtype) for g in grads), dim),)


lean_attention.defvjp(_lean_forward, _lean_backward)

# SPDX-License-Identifier: Apache-2.0
"""Attention weights to look at.

Computed again, since `attention.attention` does not return its weights.
"""

import jax
from jax import lax
import jax.numpy as jnp
import numpy as np

from flatten_jax.models.layers import devices


def of_first(qkv: jax.Array) -> jax.Array:
  """Returns the first position's attention to the others, mean over heads.

  [B 1+N 3 heads D] -> [B N].
  """
  return of_first_by_head(qkv).mean(axis=1)


def of_first_by_head(qkv: jax.Array) -> jax.Array:
  """Returns `of_first` for every head. [B 1+N 3 heads D] -> [B heads N]."""
  query, keys = qkv[:, 0, 0], qkv[:, :, 1]
  logits = jnp.einsum('bhd,bnhd->bhn', query, keys) * qkv.shape[-1] ** -0.5
  return jax.nn.softmax(devices.widen(logits))[:, :, 1:]


def between_groups(qkv: jax.Array, shares: jax.Array) -> jax.Array:
  """Returns the attention of groups of positions to each other.

  Args:
    qkv: [B N 3 heads D].
    shares: [N G], the share of each position in each group.

  Returns:
    [G G], the mean over B, heads and the positions of a group: rows attend to
    columns, and sum to 1 if each position's shares do.
  """
  queries, keys = (devices.widen(qkv[:, :, i]).swapaxes(0, 2) for i in (0, 1))

  def of_head(queries_and_keys):  # One at a time: N x N weights may be large.
    queries, keys = queries_and_keys  # [N B D]
    logits = jnp.einsum('qbd,kbd->bqk', queries, keys)
    weights = jax.nn.softmax(logits * qkv.shape[-1] ** -0.5)
    return (weights @ shares).mean(axis=0)  # [N G]

  given = lax.map(of_head, (queries, keys)).mean(axis=0)
  return shares.T @ given / shares.sum(axis=0)[:, None]


def with_token(shares: np.ndarray) -> np.ndarray:
  """Puts a class token, a group of its own, first. [N G] -> [1+N 1+G]."""
  shares = np.pad(shares, ((1, 0), (1, 0)))
  shares[0, 0] = 1
  return shares

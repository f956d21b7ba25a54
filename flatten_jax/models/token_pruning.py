# SPDX-License-Identifier: Apache-2.0
"""Token pruning: attention for the half of the positions with high scores.

A class token scores all others by its attention to them. Every block takes the
better half, and one token for the rest: Xu et al., "Evo-ViT: Slow-Fast Token
Evolution for Dynamic Vision Transformer", 2022, as in UniFormer's light
variant. All positions keep their places, and later blocks may choose others.
Their number depends on shapes alone, so that the program compiles.
"""

import functools

import jax
import jax.numpy as jnp

from flatten_jax.models import uniformer
from flatten_jax.models.layers import attention, attention_weights


@jax.custom_vjp
def permute(x: jax.Array, order: jax.Array, inverse: jax.Array) -> jax.Array:
  """Permutes axis 1. [B N ...] -> same.

  Args:
    x: to permute.
    order: [B N], the old position of every new one.
    inverse: [B N], the inverse, which makes the gradient a gather as well;
      JAX's own gradient adds up one row after the other.
  """
  del inverse
  index = order.reshape(order.shape + (1,) * (x.ndim - 2))
  return jnp.take_along_axis(x, index, axis=1)


permute.defvjp(
  lambda x, order, inverse: (permute(x, order, inverse), (order, inverse)),
  lambda saved, grad: (permute(grad, *saved[::-1]), None, None),
)


class PruningBlock(uniformer.AttentionBlock):
  """Attention for the positions with the highest scores. [B H W C]."""

  def __call__(self, state, *, train=False, rngs=None):
    """Runs one block.

    Args:
      state: positions [B H W C] or [B T H W C]; the class token [B 1 C]; and
        the scores of the N positions from the blocks before, [B N]. The scores
        are None for the first block, which attends to all positions.
      train: drops paths.
      rngs: stream `dropout`.

    Returns:
      The same three after this block.
    """
    x, token, scores = state
    drop = functools.partial(self.drop_path, train=train, rngs=rngs)
    x = x + self.pos(x)
    tokens = x.reshape(x.shape[0], -1, x.shape[-1])  # [B N C]
    if scores is None:
      both = jnp.concatenate([token, tokens], axis=1)
      moves, scores = self.moves(both, drop)
      token, tokens = token + moves[:, :1], tokens + moves[:, 1:]
    else:
      tokens, token, scores = self.prune(tokens, token, scores, drop)
    return tokens.reshape(x.shape), token, scores

  def moves(self, tokens, drop):
    """Returns the residual of tokens, and the first one's attention.

    [B 1+N C] -> [B 1+N C] and [B N].
    """
    qkv = self.qkv_heads(self.norm1(tokens))
    moves = drop(self.proj(attention.attention(qkv).reshape(tokens.shape)))
    y = self.norm2(tokens + moves)
    moves = moves + drop(self.mlp(y))
    return moves, attention_weights.of_first(qkv)

  def prune(self, tokens, token, scores, drop):
    """Runs the better half; the rest gets the residual of its mean.

    Args:
      tokens: [B N C].
      token: the class token, [B 1 C].
      scores: [B N]; the rest keeps its own.
      drop: drop path.

    Returns:
      tokens, token and scores after the block, in their former order.
    """
    order = jnp.argsort(scores, axis=1, descending=True)
    places = jnp.argsort(order, axis=1)
    tokens, scores = (permute(a, order, places) for a in (tokens, scores))
    count = tokens.shape[1] // 2
    better, rest = jnp.split(tokens, [count], axis=1)
    better_scores, rest_scores = jnp.split(scores, [count], axis=1)

    weights = rest_scores / rest_scores.sum(axis=1, keepdims=True)
    mean = (weights[..., None].astype(rest.dtype) * rest).sum(1, keepdims=True)
    moves, attended = self.moves(
      jnp.concatenate([token, better, mean], axis=1), drop
    )

    better_scores = (better_scores + attended[:, :-1]) / 2
    rest = rest + moves[:, -1:]
    tokens = jnp.concatenate([better + moves[:, 1:-1], rest], axis=1)
    scores = jnp.concatenate([better_scores, rest_scores], axis=1)
    tokens, scores = (permute(a, places, order) for a in (tokens, scores))
    return tokens, token + moves[:, :1], scores


def pool(scores: jax.Array, grid: tuple[int, ...]) -> jax.Array:
  """Sums the scores of 2 x 2 positions. [B T*H*W] -> [B T*H*W/4].

  (The same as their mean, rescaled to keep the sum of all.)
  """
  batch, (*time, height, width) = scores.shape[0], grid
  scores = scores.reshape(batch, *time, height // 2, 2, width // 2, 2)
  return scores.sum(axis=(-3, -1)).reshape(batch, -1)

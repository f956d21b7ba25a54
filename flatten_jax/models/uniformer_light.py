# SPDX-License-Identifier: Apache-2.0
"""UniFormer's light variant: attention for the tokens that matter, XXS.

Li et al., "UniFormer: Unified Transformer for Efficient Spatiotemporal
Representation Learning", with the token pruning of Xu et al., "Evo-ViT:
Slow-Fast Token Evolution for Dynamic Vision Transformer", 2022: a class token
scores all others by its attention, and every block gives its attention to the
upper half only. The rest move as one.
"""

import dataclasses
import functools
import math
from typing import ClassVar

from flax import nnx
import jax
from jax import lax
import jax.numpy as jnp

from flatten_jax.models import kernels, layers, uniformer, uniformer3d


@dataclasses.dataclass(frozen=True)
class LightConfig(uniformer.UniFormerConfig):
  """For images. Two convolutions make the first positions, of 4 x 4 pixels."""

  stem_strides: ClassVar = ((2, 2), (2, 2))


@dataclasses.dataclass(frozen=True)
class Light3DConfig(uniformer3d.UniFormer3DConfig):
  """For clips. Time is halved once, by the second convolution."""

  stem_strides: ClassVar = ((1, 2, 2), (2, 2, 2))


XXS = LightConfig(**dataclasses.asdict(uniformer.XXS))
XXS_3D = Light3DConfig(**dataclasses.asdict(uniformer.XXS))
# Ours, for tests. Two blocks in each stage that prunes: the first of the third
# does not yet.
TEST_3D = Light3DConfig(
  depth=(1, 1, 2, 1), dim=(8, 8, 16, 16), head_dim=8, mlp_ratio=2
)
TEST = LightConfig(**dataclasses.asdict(TEST_3D))

_linear = functools.partial(layers.Dense, init=layers.normal(0.02))


class Conv(nnx.Module):
  """A convolution of 3 in every direction with bias, one zero all around.

  [B ... I] -> [B ... O]; sizes are divided by the strides and rounded up.
  """

  def __init__(
    self,
    dim_in: int,
    dim_out: int,
    strides: tuple[int, ...],
    *,
    dtype: jnp.dtype,
    rngs: nnx.Rngs,
  ):
    axes = len(strides)
    init = layers.torch_uniform(3**axes * dim_in)
    self.kernel = nnx.Param(
      init(rngs.params(), (3,) * axes + (dim_in, dim_out))
    )
    self.bias = nnx.Param(init(rngs.params(), (dim_out,)))
    self.strides = strides
    self.dtype = dtype

  def __call__(self, x: jax.Array) -> jax.Array:
    """[B ... I] -> [B ... O]."""
    axes = 'THW'[-len(self.strides) :]
    y = lax.conv_general_dilated(
      x.astype(self.dtype),
      self.kernel.astype(self.dtype),
      window_strides=self.strides,
      padding=[(1, 1)] * len(axes),
      dimension_numbers=(f'N{axes}C', f'{axes}IO', f'N{axes}C'),
    )
    return y + self.bias.astype(self.dtype).reshape((1,) * (x.ndim - 1) + (-1,))


class ConvStem(nnx.Module):
  """Opens the first stage with two convolutions. [B H W 3] -> [B H/4 W/4 C]."""

  def __init__(self, config: LightConfig | Light3DConfig, *, rngs: nnx.Rngs):
    options = {'dtype': jnp.dtype(config.dtype), 'rngs': rngs}
    dim = config.dim[0]
    first, second = config.stem_strides
    self.conv1 = Conv(3, dim // 2, first, **options)
    self.norm1 = layers.BatchNorm(dim // 2)
    self.conv2 = Conv(dim // 2, dim, second, **options)
    self.norm2 = layers.BatchNorm(dim)

  def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
    """[B H W 3] -> [B H/4 W/4 C]."""
    x = layers.gelu(self.norm1(self.conv1(x), train=train))
    return self.norm2(self.conv2(x), train=train)


@jax.custom_vjp
def permute(x: jax.Array, order: jax.Array, inverse: jax.Array) -> jax.Array:
  """Brings what axis 1 holds into another order. [B N ...] -> same.

  Args:
    x: what to bring into order.
    order: [B N], which of the old ones comes where.
    inverse: [B N], the way back. With it the gradient is a gather as well; JAX,
      knowing of no inverse, would add up one row after the other.
  """
  del inverse
  index = order.reshape(order.shape + (1,) * (x.ndim - 2))
  return jnp.take_along_axis(x, index, axis=1)


permute.defvjp(
  lambda x, order, inverse: (permute(x, order, inverse), (order, inverse)),
  lambda saved, grad: (permute(grad, *saved[::-1]), None, None),
)


def class_attention(qkv: jax.Array) -> jax.Array:
  """What the first token attends to, of the others; the mean over heads.

  [B 1+N 3 heads D] -> [B N]. One row of the weights that attention itself never
  shows: they are not kept in memory.
  """
  query, keys = qkv[:, 0, 0], qkv[:, :, 1]
  logits = jnp.einsum('bhd,bnhd->bhn', query, keys) / math.sqrt(qkv.shape[-1])
  return jax.nn.softmax(logits.astype(jnp.float32)).mean(axis=1)[:, 1:]


class PruningBlock(uniformer.AttentionBlock):
  """Global relations of the positions with the highest scores. [B H W C]."""

  def __call__(self, x, token, scores, *, train=False, rngs=None):
    """One block.

    Args:
      x: [B H W C] or [B T H W C].
      token: the class token, [B 1 C].
      scores: of the N positions, [B N], from the blocks before; None in the
        first, which attends to all of them.
      train: drop paths.
      rngs: stream `dropout`.

    Returns:
      x, token and scores after this block.
    """
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
    """What the block adds to tokens, and what the first of them attends to.

    [B 1+N C] -> [B 1+N C] and [B N].
    """
    qkv = self.by_head(self.norm1(tokens))
    moves = drop(self.proj(kernels.attention(qkv).reshape(tokens.shape)))
    y = self.norm2(tokens + moves)
    moves = moves + drop(self.fc2(layers.gelu(self.fc1(y))))
    return moves, class_attention(qkv)

  def prune(self, tokens, token, scores, drop):
    """Attention for the better half; the rest moves as their mean does.

    Args:
      tokens: [B N C].
      token: the class token, [B 1 C].
      scores: [B N]; the rest keeps its own.
      drop: drop path.

    Returns:
      tokens, token and scores after the block, in the order they came in.
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
  """Scores of 2 x 2 positions as one, their sum. [B T*H*W] -> [B T*H*W/4].

  (The mean, rescaled to keep the sum of all, comes to the same.)
  """
  batch, (*time, height, width) = scores.shape[0], grid
  scores = scores.reshape(batch, *time, height // 2, 2, width // 2, 2)
  return scores.sum(axis=(-3, -1)).reshape(batch, -1)


class UniFormerLight(uniformer.UniFormer):
  """Images [B H W 3] -> logits [B K]; in training, those of two heads.

  Height and width are multiples of 32.
  """

  takes_clips = False
  blocks = (
    uniformer.ConvBlock,
    uniformer.ConvBlock,
    PruningBlock,
    PruningBlock,
  )

  def __init__(
    self,
    config: LightConfig | Light3DConfig,
    num_classes: int,
    *,
    rngs: nnx.Rngs,
  ):
    super().__init__(config, num_classes, rngs=rngs)
    self.embeds[0] = ConvStem(config, rngs=rngs)
    dim, last_dim = config.dim[2:]
    self.cls_token = nnx.Param(layers.normal(0.02)(rngs.params(), (1, 1, dim)))
    self.cls_upsample = _linear(
      dim, last_dim, dtype=jnp.dtype(config.dtype), rngs=rngs
    )
    self.norm_cls = layers.LayerNorm(last_dim, epsilon=1e-5)
    self.head_cls = _linear(last_dim, num_classes, rngs=rngs)

  def encode(
    self,
    images: jax.Array,
    train: bool = False,
    rngs: nnx.Rngs | None = None,
  ) -> tuple[jax.Array, jax.Array]:
    """All four stages. [B H W 3] -> [B H/32 W/32 C], and class token [B C]."""
    uniformer3d.check_sizes(images, clips=self.takes_clips)
    options = {'train': train, 'rngs': rngs}
    x = self.embeds[0](images, train=train)
    for block in self.stages[0]:
      x = block(x, **options)
    x = self.embeds[1](x)
    for block in self.stages[1]:
      x = block(x, **options)

    x = self.embeds[2](x)
    token = self.cls_token.astype(x.dtype)
    token, scores = jnp.broadcast_to(token, (len(x), *token.shape[1:])), None
    for block in self.stages[2]:
      x, token, scores = block(x, token, scores, **options)

    scores, token = pool(scores, x.shape[1:-1]), self.cls_upsample(token)
    x = self.embeds[3](x)
    for block in self.stages[3]:
      x, token, scores = block(x, token, scores, **options)
    return x, token[:, 0]

  def features(
    self,
    images: jax.Array,
    train: bool = False,
    rngs: nnx.Rngs | None = None,
  ) -> jax.Array:
    """The last feature map. [B H W 3] -> [B H/32 W/32 C]."""
    x, _ = self.encode(images, train=train, rngs=rngs)
    return self.norm(x, train=train)

  def classify_token(self, token: jax.Array) -> jax.Array:
    """The second head's logits, of the class token. [B C] -> [B K]."""
    return self.head_cls(self.norm_cls(token.astype(self.head_cls.dtype)))

  def __call__(
    self,
    images: jax.Array,
    train: bool = False,
    rngs: nnx.Rngs | None = None,
  ) -> jax.Array | tuple[jax.Array, jax.Array]:
    """Logits of normalised images. [B H W 3] -> [B K].

    Args:
      images: floats, normalised as the weights expect.
      train: normalise by the batch, update the running statistics, drop paths;
        and return the logits of both heads, for a loss that is the mean of the
        two. The second is only there to teach the class token.
      rngs: stream `dropout`; needed in training with a drop path rate.

    Returns:
      Logits in float32; a pair of them in training.
    """
    x, token = self.encode(images, train=train, rngs=rngs)
    logits = self.classify(self.norm(x, train=train))
    return (logits, self.classify_token(token)) if train else logits


class UniFormerLight3D(UniFormerLight):
  """Clips [B T H W 3] -> logits [B K]; frames come as they are.

  Any number of frames; height and width are multiples of 32.
  """

  takes_clips = True

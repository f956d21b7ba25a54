# SPDX-License-Identifier: Apache-2.0
"""VTN: an image ViT for each frame, then Longformer layers over the frames.

Neimark et al., "Video Transformer Network", 2021 (ViT-B-VTN); numerics of the
authors' code, timm 0.4.5 and Hugging Face's Longformer (Beltagy et al., 2020).
"""

import dataclasses
import functools
import math

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np

from flatten_jax.models import classifier
from flatten_jax.models.layers import (
  attention,
  devices,
  initializers,
  norms,
  positions,
  transformer,
)
from flatten_jax.models.layers.blocks import Dropout, run_blocks
from flatten_jax.models.layers.dense import Dense, Linear, gelu
from flatten_jax.models.layers.patch_embed import PatchConv

# Rows of the table of frame numbers: 0 to 285, the class token, padding.
_NUMBERS = 286
_REACH = 9  # Frames that a frame attends to on each side.
_EPSILON = 1e-12  # Longformer's.
_MLP_RATIO = 4


@dataclasses.dataclass(frozen=True)
class VTNConfig(classifier.ClassifierConfig):
  """Sizes of both encoders."""

  dim: int = 768
  depth: int = 12  # Of the image ViT.
  heads: int = 12
  temporal_depth: int = 3
  patch: int = 16  # Side, in pixels.
  size: tuple[int, int] = (224, 224)  # Of the frames of the position table.
  dropout: float = 0.1  # In the temporal encoder.
  head_dropout: float = 0.5

  @property
  def min_side(self) -> int:
    """Returns the side of a patch."""
    return self.patch


BASE = VTNConfig()
# Ours, of about the size of `uniformer.NANO`, which has no dropout either.
NANO = VTNConfig(
  dim=96,
  depth=4,
  heads=3,
  temporal_depth=1,
  patch=8,
  size=(32, 32),
  dropout=0.0,
  head_dropout=0.0,
)
TEST = VTNConfig(dim=16, depth=1, heads=2, temporal_depth=2, size=(32, 48))


class LongformerLayer(nnx.Module):
  """Attention of frames near each other, and of a class token. [B 1+T C].

  Each norm follows the sum of a branch and its input.
  """

  def __init__(self, config: VTNConfig, *, rngs: nnx.Rngs):
    dim, options = config.dim, {'dtype': jnp.dtype(config.dtype), 'rngs': rngs}
    self.qkv = Linear(dim, 3 * dim, **options)
    self.qkv_global = Linear(dim, 3 * dim, **options)  # The class token's.
    self.proj = Linear(dim, dim, **options)
    self.norm1 = norms.LayerNorm(dim, epsilon=_EPSILON)
    self.fc1 = Linear(dim, _MLP_RATIO * dim, **options)
    self.fc2 = Linear(_MLP_RATIO * dim, dim, **options)
    self.norm2 = norms.LayerNorm(dim, epsilon=_EPSILON)
    self.dropout = Dropout(config.dropout)
    self.head_dim = attention.head_dim(dim, config.heads)

  def __call__(self, x, *, train=False, rngs=None):
    """[B 1+T C] -> same."""
    drop = functools.partial(self.dropout, train=train, rngs=rngs)
    parts = []
    for weights, values in self._weights_and_values(x):
      weights = drop(weights).astype(values.dtype)
      y = jnp.einsum('bhqk,bkhd->bqhd', weights, values)
      parts.append(y.reshape(*y.shape[:2], -1))
    y = drop(self.proj(jnp.concatenate(parts, axis=1)))
    x = self.norm1(y + x)
    return self.norm2(drop(self.fc2(gelu(self.fc1(x)))) + x)

  def _weights_and_values(self, x):
    """Returns weights [B h n 1+T], values: of the class token, of the frames.

    At 250 frames the weights of all heads take 3 MB, so they may exist.
    """
    number = np.arange(x.shape[1])
    near = np.abs(number[:, None] - number) <= _REACH
    near[:, 0] = True
    everything = np.ones((1, len(number)), bool)
    return (
      self._weights(self.qkv_global(x), everything, slice(1)),
      self._weights(self.qkv(x), near[1:], slice(1, None)),
    )

  def _weights(self, qkv, allowed, queries):
    """Returns weights of some tokens, and all values, from [B N 3C]."""
    qkv = qkv.reshape(*qkv.shape[:2], 3, -1, self.head_dim)
    q, k, v = jnp.moveaxis(qkv, 2, 0)
    scores = jnp.einsum(
      'bqhd,bkhd->bhqk', q[:, queries] * self.head_dim**-0.5, k
    )
    scores = jnp.where(allowed[None, None], devices.widen(scores), -jnp.inf)
    return jax.nn.softmax(scores), v

  def weights_over_time(self, x):
    """Returns the mean attention of heads. [B 1+T C] -> [B 1+T 1+T]."""
    parts = [weights.mean(axis=1) for weights, _ in self._weights_and_values(x)]
    return jnp.concatenate(parts, axis=1)


class VTN(classifier.Classifier):
  """Clips [B T H W 3], and numbers of their frames, -> logits [B K]."""

  takes_clips = True
  takes_positions = True
  has_feature_map = False
  any_table = True  # A file's table of positions may be of another frame size.

  def __init__(self, config: VTNConfig, num_classes: int, *, rngs: nnx.Rngs):
    dim, patch = config.dim, config.patch
    options = {'dtype': jnp.dtype(config.dtype), 'rngs': rngs}
    self.patch = patch
    self.grid = classifier.grid_of((1, *config.size), (1, patch, patch))
    draw = initializers.normal(0.02)
    length = 1 + math.prod(self.grid)
    self.in_channels = config.in_channels
    self.embeds = nnx.List(
      [PatchConv(config.in_channels, dim, patch, **options)]
    )
    self.pos_embeds = nnx.List(
      [nnx.Param(draw(rngs.params(), (1, length, dim)))]
    )
    self.cls_tokens = nnx.List(
      [
        nnx.Param(draw(rngs.params(), (1, 1, dim))),
        nnx.Param(initializers.normal(1)(rngs.params(), (1, 1, dim))),
      ]
    )
    rates = np.linspace(0, config.drop_path_rate, config.depth)
    head_dim = attention.head_dim(dim, config.heads)
    block = functools.partial(transformer.Block, dim, head_dim)
    layer = functools.partial(LongformerLayer, config, rngs=rngs)
    self.stages = nnx.List(
      [
        nnx.List(block(drop_path=float(rate), **options) for rate in rates),
        nnx.List(layer() for _ in range(config.temporal_depth)),
      ]
    )
    self.frame_embed = nnx.Param(draw(rngs.params(), (_NUMBERS + 2, dim)))
    self.type_embed = nnx.Param(draw(rngs.params(), (2, dim)))
    self.embed_norm = norms.LayerNorm(dim, epsilon=_EPSILON)
    self.norms = nnx.List([norms.LayerNorm(dim, epsilon=1e-6)])
    self.dropout = Dropout(config.dropout)
    self.neck_norm = norms.LayerNorm(dim, epsilon=1e-5)
    self.neck = Dense(dim, dim, **options)
    self.head_dropout = Dropout(config.head_dropout)
    self.remat = config.remat
    dtype = devices.accum_dtype(config.dtype)
    self.head = Dense(dim, num_classes, dtype=dtype, rngs=rngs)

  def __call__(
    self,
    images: jax.Array,
    train: bool = False,
    rngs: nnx.Rngs | None = None,
    positions: jax.Array | None = None,
  ) -> jax.Array:
    """Returns the logits of normalized clips. [B T H W 3] -> [B K].

    Args:
      images: clips; floats.
      train: drops values and paths.
      rngs: stream `dropout`; needed in training.
      positions: [B T], the number of each frame in its video; 0, 1, 2, ... by
        default.
    """
    features = self.features(images, train, rngs, positions=positions)
    return self.classify(features)

  def features(
    self,
    images: jax.Array,
    train: bool = False,
    rngs: nnx.Rngs | None = None,
    after_stage: classifier.AfterStage = classifier.unchanged,
    positions: jax.Array | None = None,
    look: classifier.Look | None = None,
  ) -> jax.Array:
    """Returns the input of the last linear layer. [B T H W 3] -> [B C]."""
    run = functools.partial(
      run_blocks, remat=self.remat, train=train, rngs=rngs, look=look
    )
    x = run(self.stages[0], self.patches(images))
    x = self.norms[0](after_stage(0, x))[:, :, 0]  # A token for each frame.
    x = self.dropout(self.frames(x, positions), train=train, rngs=rngs)
    x = after_stage(1, run(self.stages[1], x))[:, 0]
    x = gelu(self.neck(self.neck_norm(x)))
    return self.head_dropout(x, train=train, rngs=rngs)

  def frame_attention(
    self,
    images: jax.Array,
    shares: classifier.Shares,
    positions: jax.Array | None = None,
  ) -> dict[str, jax.Array]:
    """Returns attention of the token and the frames by layer. [1+T 1+T]."""
    del shares  # No position belongs to two frames.
    seen = self.inputs_of_blocks(images, positions=positions)
    seen = seen[-len(self.stages[1]) :]
    return {
      str(i): layer.weights_over_time(x).mean(axis=0)
      for i, (layer, x) in enumerate(seen, start=1)
    }

  def token_attention(
    self, clips: jax.Array, positions: jax.Array | None = None
  ) -> jax.Array:
    """Returns the class tokens' attention in the last layers. [B T h w].

    To a frame, times that frame's to a place.
    """
    seen = self.inputs_of_blocks(clips, positions=positions)
    block, x = seen[len(self.stages[0]) - 1]
    heat = block.weights_of_first(x)  # [B*T h*w]
    layer, x = seen[-1]
    frames = layer.weights_over_time(x)[:, 0, 1:]
    height, width = (side // self.patch for side in clips.shape[2:4])
    heat = heat.reshape(*frames.shape, height, width)
    return frames[..., None, None] * heat

  def patches(self, images: jax.Array) -> jax.Array:
    """Returns the tokens of every frame. [B T H W 3] -> [B T 1+N C]."""
    classifier.check_shape(images, clips=True, channels=self.in_channels)
    x = self.embeds[0](images.reshape(-1, *images.shape[2:]))
    grid, table = x.shape[1:3], self.pos_embeds[0][0]
    length = len(table) - 1
    if length != math.prod(grid):
      side = math.isqrt(length)
      old = self.grid[1:] if math.prod(self.grid) == length else (side, side)
      if math.prod(old) != length:
        raise ValueError(
          f'The table of positions has {length} patches, neither of a square '
          f'nor of these frames, {grid[0]} x {grid[1]} patches.'
        )
      table = positions.resize_rest(table, grid, old)
    x = x.reshape(*images.shape[:2], -1, x.shape[-1])
    x = transformer.prepend(self.cls_tokens[0][...], x)
    return x + table.astype(x.dtype)[None, None]

  def frames(self, x: jax.Array, numbers: jax.Array | None) -> jax.Array:
    """Embeds the tokens of frames by their numbers. [B T C] -> [B 1+T C]."""
    batch, length, _ = x.shape
    if numbers is None:
      numbers = np.arange(length)[None]
    numbers = jnp.broadcast_to(jnp.asarray(numbers) % _NUMBERS, (batch, length))
    table = jnp.asarray(self.frame_embed[...], x.dtype)
    kinds = self.type_embed[...].astype(x.dtype)
    x = x + table[numbers] + kinds[0][None, None]
    token = self.cls_tokens[1][0, 0].astype(x.dtype)
    x = transformer.prepend(token + table[_NUMBERS] + kinds[1], x)
    return self.embed_norm(x)

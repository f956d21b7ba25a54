# SPDX-License-Identifier: Apache-2.0
"""ViViT: Vision Transformers of tubelets, joint or first in space, then time.

Arnab et al., "ViViT: A Video Vision Transformer", 2021; numerics of Scenic, in
which the authors published it. Model 1 attends over all tubelets of a clip;
Model 2, the factorised encoder (FE), over those of a moment, and then over the
class tokens of all moments.
"""

import dataclasses
import math

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np

from flatten_jax.models import classifier
from flatten_jax.models.layers import (
  attention,
  attention_weights,
  devices,
  initializers,
  norms,
  positions,
  transformer,
)
from flatten_jax.models.layers.blocks import DropPath, run_blocks
from flatten_jax.models.layers.dense import Dense
from flatten_jax.models.layers.patch_embed import PatchConv


@dataclasses.dataclass(frozen=True)
class ViViTConfig(classifier.ClassifierConfig):
  """Sizes of the encoder, and of a second one for time."""

  dim: int
  depth: int
  heads: int
  temporal_depth: int = 0  # Blocks of the second encoder; 0 attends jointly.
  # Frames and pixels that become a token.
  tubelet: tuple[int, int, int] = (2, 16, 16)
  # (frames, height, width) that the position table is made for; for other clips
  # it is interpolated.
  clip_shape: tuple[int, int, int] = (32, 224, 224)

  @property
  def min_side(self) -> int:
    """Returns the side of a tubelet."""
    return max(self.tubelet[1:])


BASE = ViViTConfig(dim=768, depth=12, heads=12)
BASE_FE = dataclasses.replace(BASE, temporal_depth=4)
LARGE = ViViTConfig(dim=1024, depth=24, heads=16)
LARGE_FE = dataclasses.replace(LARGE, temporal_depth=4)
# Ours, of about the size of `uniformer.NANO`.
NANO = ViViTConfig(
  dim=96, depth=6, heads=3, tubelet=(2, 8, 8), clip_shape=(10, 32, 32)
)
# Ours, for tests.
TEST = ViViTConfig(dim=16, depth=2, heads=2, clip_shape=(4, 32, 48))
TEST_FE = dataclasses.replace(TEST, temporal_depth=2)


class Block(transformer.Block):
  """Scenic's: the tanh form of the GELU; drop path does not rescale."""

  def __init__(self, config: ViViTConfig, drop_path: float, *, rngs: nnx.Rngs):
    super().__init__(
      config.dim,
      attention.head_dim(config.dim, config.heads),
      init=initializers.xavier_uniform(),
      dtype=jnp.dtype(config.dtype),
      rngs=rngs,
    )
    self.drop_path = DropPath(drop_path, rescale=False)

  @staticmethod
  def activation(x: jax.Array) -> jax.Array:
    """The tanh form of the GELU."""
    return jax.nn.gelu(x, approximate=True)


class ViViT(classifier.Classifier):
  """Clips [B T H W 3] -> logits [B K].

  Frames and pixels after the last whole tubelet are left out.
  """

  takes_clips = True
  has_feature_map = False

  def __init__(self, config: ViViTConfig, num_classes: int, *, rngs: nnx.Rngs):
    dim, dtype = config.dim, jnp.dtype(config.dtype)
    self.tubelet = config.tubelet
    self.grid = classifier.grid_of(config.clip_shape, config.tubelet)
    # By encoder: number of blocks, and of positions without the class token.
    encoders = [(config.depth, math.prod(self.grid))]
    if config.temporal_depth:
      frames, *space = self.grid
      encoders = [
        (config.depth, math.prod(space)),
        (config.temporal_depth, frames),
      ]
    self.in_channels = config.in_channels
    patch = PatchConv(
      config.in_channels, dim, config.tubelet, dtype=dtype, rngs=rngs
    )
    self.embeds = nnx.List([patch])
    self.cls_tokens, self.pos_embeds = nnx.List(), nnx.List()
    self.stages, self.norms = nnx.List(), nnx.List()
    for depth, length in encoders:
      self.cls_tokens.append(nnx.Param(jnp.zeros((1, 1, dim))))
      table = initializers.normal(0.02)(rngs.params(), (1, 1 + length, dim))
      self.pos_embeds.append(nnx.Param(table))
      rates = np.linspace(0, config.drop_path_rate, depth)
      self.stages.append(
        nnx.List(Block(config, float(rate), rngs=rngs) for rate in rates)
      )
      self.norms.append(norms.LayerNorm(dim, epsilon=1e-6))
    self.remat = config.remat
    dtype = devices.accum_dtype(config.dtype)
    zeros = initializers.constant(0)
    self.head = Dense(dim, num_classes, init=zeros, dtype=dtype, rngs=rngs)

  def features(
    self,
    images: jax.Array,
    train: bool = False,
    rngs: nnx.Rngs | None = None,
    after_stage: classifier.AfterStage = classifier.unchanged,
    look: classifier.Look | None = None,
  ) -> jax.Array:
    """Returns the class token after the last norm. [B T H W 3] -> [B C]."""
    classifier.check_shape(images, clips=True, channels=self.in_channels)
    x = self.embeds[0](images)  # [B t h w C]
    grid = x.shape[1:-1]
    joint = len(self.stages) == 1
    x = x.reshape(x.shape[0], 1 if joint else grid[0], -1, x.shape[-1])
    grids = [(grid, self.grid)]
    if not joint:
      grids = [(grid[1:], self.grid[1:]), (grid[:1], self.grid[:1])]
    for i, sizes in enumerate(grids):
      x = self.with_positions(i, x, *sizes)
      x = run_blocks(
        self.stages[i], x, remat=self.remat, train=train, rngs=rngs, look=look
      )
      x = after_stage(i, x)
      x = self.norms[i](x)[:, None, :, 0]  # Class tokens, [B 1 t C].
    return x[:, 0, 0]

  def frame_attention(
    self, images: jax.Array, shares: classifier.Shares
  ) -> dict[str, jax.Array]:
    """Returns the attention between moments and the token. [1+t 1+t] each.

    Of the blocks for time of a factorised encoder, of all blocks otherwise.
    """
    grid = classifier.grid_of(images.shape[1:4], self.tubelet)
    joint = len(self.stages) == 1
    moments = shares(grid if joint else (grid[0], 1, 1))
    moments = attention_weights.with_token(moments)
    seen = self.inputs_of_blocks(images)[-len(self.stages[-1]) :]
    return {
      str(j): block.weights_between(x, moments)
      for j, (block, x) in enumerate(seen, start=1)
    }

  def token_attention(self, clips: jax.Array) -> jax.Array:
    """Returns the class token's attention in the last block. [B t h w].

    Of a factorised encoder, the last blocks' of both: to a moment, times that
    moment's to a place.
    """
    grid = classifier.grid_of(clips.shape[1:4], self.tubelet)
    seen = self.inputs_of_blocks(clips)
    block, x = seen[len(self.stages[0]) - 1]
    heat = block.weights_of_first(x).reshape(-1, *grid)
    if len(self.stages) == 1:
      return heat
    block, x = seen[-1]
    return block.weights_of_first(x)[:, :, None, None] * heat

  def with_positions(
    self, i: int, x: jax.Array, grid: tuple[int, ...], old: tuple[int, ...]
  ) -> jax.Array:
    """Adds the class token and positions of encoder i. [B t N C] -> 1+N."""
    table = positions.resize_rest(self.pos_embeds[i][0], grid, old)
    x = transformer.prepend(self.cls_tokens[i][...], x)
    return x + table.astype(x.dtype)[None, None]

# SPDX-License-Identifier: Apache-2.0
"""VidTr: attention over time, then over space, with one set of queries.

Zhang et al., "VidTr: Video Transformer Without Convolutions", 2021; numerics of
the authors' code in gluonmm. Frames are patches of 16 x 16 pixels. Class tokens
of each frame and of each place make them a grid of 1+T rows of 1+h*w tokens;
the token in its corner is classified.
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
  attention_weights,
  devices,
  initializers,
  norms,
  positions,
  transformer,
)
from flatten_jax.models.layers.blocks import Dropout, run_blocks
from flatten_jax.models.layers.dense import Dense
from flatten_jax.models.layers.patch_embed import PatchConv

_EPSILON = 1e-5


@dataclasses.dataclass(frozen=True)
class VidTrConfig(classifier.ClassifierConfig):
  """Sizes of the encoder, and the clips that its tables are made for."""

  dim: int = 768
  depth: int = 12
  heads: int = 12
  patch: int = 16  # Side, in pixels.
  # (frames, height, width); for other clips tables are interpolated.
  clip_shape: tuple[int, int, int] = (32, 224, 224)
  dropout: float = 0.1  # Of attention weights, and of both branches.
  head_dropout: float = 0.5

  @property
  def min_side(self) -> int:
    """Returns the side of a patch."""
    return self.patch

  @property
  def every_position(self) -> bool:
    """Positions in every block, not only the first: if a clip has 16 frames.

    A rule of the published code, which leaves VidTr-M alone with it.
    """
    return self.clip_shape[0] == 16


LARGE = VidTrConfig()
MEDIUM = VidTrConfig(clip_shape=(16, 224, 224))
SMALL = VidTrConfig(clip_shape=(8, 224, 224))
# Ours, of about the size of `uniformer.NANO`, which has no dropout either.
NANO = VidTrConfig(
  dim=96,
  depth=5,
  heads=3,
  patch=8,
  clip_shape=(9, 32, 32),
  dropout=0.0,
  head_dropout=0.0,
)
TEST = VidTrConfig(dim=16, depth=2, heads=2, clip_shape=(4, 32, 48))


class Block(transformer.Block):
  """Attention over time and space, and an MLP with ReLU. [B R N C]."""

  def __init__(self, config: VidTrConfig, drop_path: float, *, rngs: nnx.Rngs):
    super().__init__(
      config.dim,
      attention.head_dim(config.dim, config.heads),
      epsilon=_EPSILON,
      drop_path=drop_path,
      init=initializers.xavier_uniform(),
      dtype=jnp.dtype(config.dtype),
      rngs=rngs,
    )
    self.dropout = Dropout(config.dropout)

  def __call__(self, state, *, train=False, rngs=None):
    """Runs one block on tokens and positions, both [B R N C], or None."""
    x, table = state
    drop = functools.partial(self.dropout, train=train, rngs=rngs)
    path = functools.partial(self.drop_path, train=train, rngs=rngs)
    y = self.with_positions(x, table)
    attend = attention.attention
    if train and self.dropout.rate:
      attend = functools.partial(_attention_with_dropout, drop=drop)
    x = x + path(drop(self.proj(self._over_time_and_space(y, attend))))
    y = drop(jax.nn.relu(self.fc1(self.norm2(x))))
    return x + path(drop(self.fc2(y))), table

  def with_positions(self, x, table):
    """Returns the input of the attention. [B R N C] -> same."""
    y = self.norm1(x)
    if table is not None:  # They reach the values too, but not the residual.
      y = y + table.astype(y.dtype)
    return y

  def grid_heads(self, y):
    """Returns queries, keys and values. [B R N C] -> [B R N 3 heads D]."""
    heads = y.shape[-1] // self.head_dim
    return self.qkv(y).reshape(*y.shape[:-1], 3, heads, self.head_dim)

  def weights_over_time(self, state):
    """Returns the mean attention between the rows of a column. [R R]."""
    qkv = by_column(self.grid_heads(self.with_positions(*state)))
    return attention_weights.between_groups(qkv, np.eye(qkv.shape[1]))

  def weights_of_corner(self, state):
    """Returns the corner's attention to all but class tokens. [B R-1 N-1].

    To a column, times that column's in its first row to a row.
    """
    qkv = self.grid_heads(self.with_positions(*state))
    batch, _, columns = qkv.shape[:3]
    in_space = attention_weights.of_first_by_head(qkv[:, 0])
    in_time = attention_weights.of_first_by_head(by_column(qkv))
    in_time = in_time.reshape(batch, columns, *in_time.shape[1:])[:, 1:]
    both = jnp.einsum('bhc,bchr->brc', in_space, in_time)
    return both / in_space.shape[1]

  def _over_time_and_space(self, y, attend):
    """Attends over rows in each column, then the result within each row."""
    batch, rows, columns, dim = y.shape
    heads = dim // self.head_dim
    qkv = self.grid_heads(y)
    values = attend(by_column(qkv)).reshape(batch, columns, rows, heads, -1)
    qkv = jnp.concatenate(
      [qkv[..., :2, :, :], values.swapaxes(1, 2)[:, :, :, None]], axis=3
    )
    return attend(qkv.reshape(-1, *qkv.shape[2:])).reshape(y.shape)


def by_column(qkv):
  """Makes a sequence of every column. [B R N ...] -> [B*N R ...]."""
  return qkv.swapaxes(1, 2).reshape(-1, qkv.shape[1], *qkv.shape[3:])


def _attention_with_dropout(qkv, drop):
  """Attention whose weights are dropped. [B N 3 h D] -> [B N h D].

  They exist for all N: factorised, a clip of 32 x 224 has N of 33 and 197.
  """
  q, k, v = jnp.moveaxis(qkv, 2, 0)
  scores = jnp.einsum('bqhd,bkhd->bhqk', q * q.shape[-1] ** -0.5, k)
  weights = drop(jax.nn.softmax(devices.widen(scores))).astype(v.dtype)
  return jnp.einsum('bhqk,bkhd->bqhd', weights, v)


class VidTr(classifier.Classifier):
  """Clips [B T H W 3] -> logits [B K]."""

  takes_clips = True
  # [1+T 1+T]: the row of class tokens comes first.
  frame_attention = classifier.attention_over_time
  has_feature_map = False

  def __init__(self, config: VidTrConfig, num_classes: int, *, rngs: nnx.Rngs):
    dim, dtype = config.dim, jnp.dtype(config.dtype)
    self.patch = (1, config.patch, config.patch)
    self.grid = classifier.grid_of(config.clip_shape, self.patch)
    frames, places = self.grid[0], math.prod(self.grid[1:])
    self.in_channels = config.in_channels
    patch = PatchConv(
      config.in_channels, dim, self.patch, dtype=dtype, rngs=rngs
    )
    self.embeds = nnx.List([patch])
    self.cls_s = nnx.Param(jnp.zeros((frames, 1, dim)))
    self.cls_t = nnx.Param(jnp.zeros((1, 1 + places, dim)))
    table = initializers.normal(0.02)(
      rngs.params(), (1, (1 + frames) * (1 + places), dim)
    )
    self.pos_embeds = nnx.List([nnx.Param(table)])
    rates = np.linspace(0, config.drop_path_rate, config.depth)
    blocks = nnx.List(Block(config, float(rate), rngs=rngs) for rate in rates)
    self.stages = nnx.List([blocks])
    self.norms = nnx.List([norms.LayerNorm(dim, epsilon=_EPSILON)])
    self.dropout = Dropout(config.head_dropout)
    self.every_position = config.every_position
    self.remat = config.remat
    dtype = devices.accum_dtype(config.dtype)
    self.head = Dense(dim, num_classes, dtype=dtype, rngs=rngs)

  def features(
    self,
    images: jax.Array,
    train: bool = False,
    rngs: nnx.Rngs | None = None,
    after_stage: classifier.AfterStage = classifier.unchanged,
    look: classifier.Look | None = None,
  ) -> jax.Array:
    """Returns the token in the corner. [B T H W 3] -> [B C]."""
    classifier.check_shape(images, clips=True, channels=self.in_channels)
    x, table = self.tokens(images)
    run = functools.partial(
      run_blocks, remat=self.remat, train=train, rngs=rngs, look=look
    )
    if self.every_position:
      x, _ = run(self.stages[0], (x, table))
    else:
      x, _ = run(self.stages[0][:1], (x, table))
      x, _ = run(self.stages[0][1:], (x, None))
    x = self.norms[0](after_stage(0, x))[:, 0, 0]
    return self.dropout(x, train=train, rngs=rngs)

  def token_attention(self, clips: jax.Array) -> jax.Array:
    """Returns the corner's attention in the last block. [B T h w]."""
    block, x = self.inputs_of_blocks(clips)[-1]
    grid = classifier.grid_of(clips.shape[1:4], self.patch)
    return block.weights_of_corner(x).reshape(-1, *grid)

  def tokens(self, images: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns the grid of tokens, [B 1+T 1+N C], and their positions."""
    x = self.embeds[0](images)
    batch, *grid, dim = x.shape
    cls_s, cls_t, table = self._tables(tuple(grid))
    x = x.reshape(batch, grid[0], -1, dim)
    cls_s, cls_t = (
      jnp.broadcast_to(t.astype(x.dtype)[None], (batch, *t.shape))
      for t in (cls_s, cls_t)
    )
    x = jnp.concatenate([cls_s, x], axis=2)
    return jnp.concatenate([cls_t, x], axis=1), table[None]

  def _tables(self, grid: tuple[int, ...]) -> tuple[jax.Array, ...]:
    """Returns class tokens [T 1 C] and [1 1+N C], and positions, for a grid."""
    frames, places = self.grid[0], math.prod(self.grid[1:])
    cls_s, cls_t = self.cls_s[...], self.cls_t[...]
    table = self.pos_embeds[0][...].reshape(1 + frames, 1 + places, -1)
    if grid != self.grid:
      time, space = (grid[:1], self.grid[:1]), (grid[1:], self.grid[1:])
      cls_s = positions.resize(cls_s[:, 0], *time)[:, None]
      cls_t = positions.resize_rest(cls_t[0], *space)[None]
      table = positions.resize_rest(table.reshape(1 + frames, -1), *time)
      table = table.reshape(1 + grid[0], 1 + places, -1).swapaxes(0, 1)
      table = positions.resize_rest(table.reshape(1 + places, -1), *space)
      table = table.reshape(len(table), 1 + grid[0], -1).swapaxes(0, 1)
    return cls_s, cls_t, table

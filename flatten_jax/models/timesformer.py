# SPDX-License-Identifier: Apache-2.0
"""TimeSformer: attention over time, then over space, in every block.

Bertasius et al., "Is Space-Time Attention All You Need for Video
Understanding?", 2021; divided space-time attention, as in the official code
(github.com/facebookresearch/TimeSformer). All sizes are ViT-B/16; they differ
in frames and resolution.
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
from flatten_jax.models.layers.blocks import run_blocks
from flatten_jax.models.layers.dense import Linear
from flatten_jax.models.layers.patch_embed import PatchConv


@dataclasses.dataclass(frozen=True)
class TimeSformerConfig(classifier.ClassifierConfig):
  """Sizes of the network, and the clips that its tables are made for.

  Clips of other sizes take the nearest entries.
  """

  dim: int = 768
  depth: int = 12
  heads: int = 12
  patch: int = 16  # Side, in pixels.
  frames: int = 8
  size: int = 224  # Height and width in pixels.
  # Loads the table of an image model of another size: 'flat' repeats entries in
  # row-major order, which mixes places, the official way, with which the
  # published weights of 448 px were trained; 'grid' keeps places.
  import_positions: str = 'flat'

  @property
  def min_side(self) -> int:
    """Returns the side of a patch."""
    return self.patch


BASE = TimeSformerConfig()
HR = TimeSformerConfig(frames=16, size=448)
LONG = TimeSformerConfig(frames=96)
# Ours, of about the size of `uniformer.NANO`. A ViT's cost is its parameters
# times its tokens: with patches of 16 it would be as low, of 2 x 2 a frame.
NANO = TimeSformerConfig(dim=96, depth=4, heads=3, patch=8, frames=9, size=32)
# Ours: every kind of layer, for tests.
TEST = TimeSformerConfig(dim=8, depth=2, heads=2, frames=4, size=48)


class Block(transformer.Block):
  """Attention over time, over space, and an MLP, each after its norm.

  Of patches [B T H W C] and a class token [B 1 C]. The token takes part in the
  attention of every frame, and moves by the mean of what these return.
  """

  def __init__(self, config: TimeSformerConfig, drop_path, *, rngs):
    dim = config.dim
    head_dim = attention.head_dim(dim, config.heads)
    options = {'dtype': jnp.dtype(config.dtype), 'rngs': rngs}
    super().__init__(dim, head_dim, drop_path=drop_path, **options)
    self.temporal_norm1 = norms.LayerNorm(dim, epsilon=1e-6)
    self.temporal_attn = transformer.Attention(dim, head_dim, **options)
    # The attention over time starts as nothing: the block is an image's.
    zeros = initializers.constant(0)
    self.temporal_fc = Linear(dim, dim, init=zeros, **options)

  def __call__(self, x, *, train=False, rngs=None):
    """Returns new patches and class token; drops places, frames, examples."""
    drop = functools.partial(self.drop_path, train=train, rngs=rngs)
    patches, token = x
    patches = patches + self.over_time(patches, drop)
    in_space, token_moves = self.over_space(patches, token, drop)
    token = token + token_moves
    patches = patches + in_space
    batch, *space, dim = patches.shape
    joined = jnp.concatenate([token, patches.reshape(batch, -1, dim)], axis=1)
    joined = joined + drop(self.mlp(self.norm2(joined)))
    return joined[:, 1:].reshape(batch, *space, dim), joined[:, :1]

  def over_time(self, patches, drop):
    """Relates the patches of a place. [B T H W C] -> same."""
    batch, frames, height, width, dim = patches.shape
    x = self.temporal_attn.attend(
      self.by_place(patches), sequences=height * width
    )
    x = self.temporal_fc(drop(x))
    x = x.reshape(batch, height, width, frames, dim)
    return x.transpose(0, 3, 1, 2, 4)

  def by_place(self, patches):
    """Returns what attends over time. [B T H W C] -> [B*H*W T C]."""
    frames, dim = patches.shape[1], patches.shape[-1]
    x = self.temporal_norm1(patches).transpose(0, 2, 3, 1, 4)
    return x.reshape(-1, frames, dim)

  def over_space(self, patches, token, drop):
    """Relates the patches of a frame and the token -> changes of both."""
    batch, frames, *_, dim = patches.shape
    x = self.by_frame(patches, token)
    x = drop(self.attend(x, sequences=frames))
    x = x.reshape(batch, frames, -1, dim)
    return x[:, :, 1:].reshape(patches.shape), x[:, :, 0].mean(1, keepdims=True)

  def by_frame(self, patches, token):
    """Returns what attends in space, the token first. -> [B*T 1+H*W C]."""
    batch, frames, *_, dim = patches.shape
    tokens = jnp.broadcast_to(token[:, None], (batch, frames, 1, dim))
    x = patches.reshape(batch, frames, -1, dim)
    x = jnp.concatenate([tokens, x], axis=2)
    return self.norm1(x.reshape(batch * frames, -1, dim))

  def weights_over_time(self, x):
    """Returns the mean attention between the frames of a place. [T T]."""
    qkv = self.temporal_attn.qkv_heads(self.by_place(x[0]))
    return attention_weights.between_groups(qkv, np.eye(qkv.shape[1]))

  def weights_of_token(self, x):
    """Returns the token's attention to the patches of a frame. [B T H W]."""
    patches, token = x
    patches = patches + self.over_time(patches, lambda x: x)
    qkv = self.qkv_heads(self.by_frame(patches, token))
    return attention_weights.of_first(qkv).reshape(patches.shape[:-1])


class TimeSformer(classifier.Classifier):
  """Clips [B T H W 3] -> logits [B K].

  Any number of frames; of height and width, pixels after the last whole patch
  are left out.
  """

  takes_clips = True
  frame_attention = classifier.attention_over_time  # [T T].
  has_feature_map = False

  def __init__(
    self, config: TimeSformerConfig, num_classes: int, *, rngs: nnx.Rngs
  ):
    dim, normal = config.dim, initializers.normal(0.02)
    options = {'dtype': jnp.dtype(config.dtype), 'rngs': rngs}
    side = config.size // config.patch
    if config.import_positions not in ('flat', 'grid'):
      raise ValueError(
        "import_positions is 'flat' or 'grid', not "
        f'{config.import_positions!r}.'
      )
    self.in_channels = config.in_channels
    self.embeds = nnx.List(
      [PatchConv(config.in_channels, dim, config.patch, **options)]
    )
    self.cls_token = nnx.Param(normal(rngs.params(), (1, 1, dim)))
    self.pos_embed = nnx.Param(normal(rngs.params(), (1, 1 + side**2, dim)))
    zeros = initializers.constant(0)
    self.time_embed = nnx.Param(zeros(rngs.params(), (1, config.frames, dim)))
    rates = np.linspace(0, config.drop_path_rate, config.depth)
    self.stages = nnx.List(
      [nnx.List(Block(config, float(rate), rngs=rngs) for rate in rates)]
    )
    self.norm = norms.LayerNorm(dim, epsilon=1e-6)
    self.remat = config.remat
    self.import_positions = config.import_positions
    dtype = devices.accum_dtype(config.dtype)
    self.head = Linear(dim, num_classes, dtype=dtype, rngs=rngs)

  def embed(self, clips: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns patches [B T h w C] and the class token [B 1 C]."""
    classifier.check_shape(clips, clips=True, channels=self.in_channels)
    batch, frames = clips.shape[:2]
    x = self.embeds[0](clips.reshape(-1, *clips.shape[2:]))
    x = x.reshape(batch, frames, *x.shape[1:])
    places = self.pos_embed[:, 1:]
    if places.shape[1] != math.prod(x.shape[2:4]):
      places = positions.nearest_on_grid(places, *x.shape[2:4])
    times = self.time_embed[...]
    times = times[:, positions.nearest(times.shape[1], frames)]
    x = x + places.reshape(1, 1, *x.shape[2:]).astype(x.dtype)
    x = x + times[:, :, None, None].astype(x.dtype)
    token = (self.cls_token + self.pos_embed[:, :1]).astype(x.dtype)
    return x, jnp.broadcast_to(token, (batch, *token.shape[1:]))

  def features(
    self,
    images: jax.Array,
    train: bool = False,
    rngs: nnx.Rngs | None = None,
    after_stage: classifier.AfterStage = classifier.unchanged,
    look: classifier.Look | None = None,
  ) -> jax.Array:
    """Returns the class token after the last norm. [B T H W 3] -> [B C]."""
    x = self.embed(images)
    _, token = run_blocks(
      self.stages[0], x, remat=self.remat, train=train, rngs=rngs, look=look
    )
    return self.norm(token)[:, 0]

  def token_attention(self, clips: jax.Array) -> jax.Array:
    """Returns the token's attention in space, in the last block. [B T h w]."""
    block, x = self.inputs_of_blocks(clips)[-1]
    return block.weights_of_token(x)

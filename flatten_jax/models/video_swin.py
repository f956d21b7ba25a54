# SPDX-License-Identifier: Apache-2.0
"""Video Swin Transformer: attention within windows over time and space.

Liu et al., "Video Swin Transformer", 2022. As the official code (github.com/
SwinTransformer/Video-Swin-Transformer) computes it: zeros that fill windows are
attended to, and windows that are cut by the edge of a small map take the first
rows of the whole window's position bias.
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
  windows,
)
from flatten_jax.models.layers.blocks import (
  Dropout,
  DropPath,
  run_blocks,
  swin_stages,
)
from flatten_jax.models.layers.dense import Linear, gelu

_PATCH = (2, 4, 4)
_MLP_RATIO = 4


@dataclasses.dataclass(frozen=True)
class VideoSwinConfig(classifier.ClassifierConfig):
  """Sizes of the four stages, and the window that all of them use."""

  dim: int  # Of the first stage; doubles with every stage.
  depth: tuple[int, int, int, int]
  heads: tuple[int, int, int, int]
  window: tuple[int, int, int] = (8, 7, 7)  # Positions in time, rows, columns.
  dropout: float = 0.5  # Before the head.


TINY = VideoSwinConfig(dim=96, depth=(2, 2, 6, 2), heads=(3, 6, 12, 24))
SMALL = VideoSwinConfig(dim=96, depth=(2, 2, 18, 2), heads=(3, 6, 12, 24))
BASE = VideoSwinConfig(dim=128, depth=(2, 2, 18, 2), heads=(4, 8, 16, 32))
# Ours, of about the size of `uniformer.NANO`.
NANO = VideoSwinConfig(
  dim=24, depth=(2, 2, 2, 1), heads=(1, 2, 4, 8), window=(5, 4, 4), dropout=0.0
)
# Ours: every kind of layer, for tests.
TEST = VideoSwinConfig(
  dim=4, depth=(1, 2, 2, 1), heads=(1, 2, 2, 4), window=(2, 3, 3)
)


class WindowAttention(windows.WindowAttention):
  """Attention within windows, with a learned position bias. [B T H W C]."""

  def __init__(self, dim, heads, window, *, shifted, dtype, rngs):
    attention.head_dim(dim, heads)  # Refuses heads that do not fit.
    self.qkv = Linear(dim, 3 * dim, dtype=dtype, rngs=rngs)
    self.proj = Linear(dim, dim, dtype=dtype, rngs=rngs)
    offsets = math.prod(2 * side - 1 for side in window)
    init = initializers.normal(0.02)
    self.bias_table = nnx.Param(init(rngs.params(), (heads, offsets)))
    self.heads = heads
    self.window = window
    self.shifted = shifted

  def attend(self, x: jax.Array, bias: jax.Array) -> jax.Array:
    """[B n N C] -> same; the bias is [1 or n, heads, N N]."""
    q, k, v = windows.split_heads(self.qkv(x), self.heads)
    scale = (x.shape[-1] // self.heads) ** -0.5
    return self.proj(windows.attend(q * scale, k, v, bias))

  def position_bias(self, window: tuple[int, int, int]) -> jax.Array:
    """Added to the logits by offset, for the first positions. [heads N N].

    The first N of a whole window, also where a small map cuts its rows or
    columns, and they are other places: the published code does so.
    """
    length = math.prod(window)
    _, height, width = self.window
    # Query - key on each axis: three small gathers, not one of numbers. Of
    # time, only the needed positions.
    needed = (-(-length // (height * width)), height, width)
    dt, dy, dx = (
      np.arange(count)[:, None] - np.arange(count)[None] + side - 1
      for count, side in zip(needed, self.window, strict=True)
    )
    table = self.bias_table.astype(devices.accum_dtype(self.qkv.dtype))
    table = table.reshape(self.heads, *(2 * side - 1 for side in self.window))
    bias = table[:, dt][:, :, :, dy][..., dx]  # [heads t t h h w w]
    bias = bias.transpose(0, 1, 3, 5, 2, 4, 6)
    bias = bias.reshape(self.heads, math.prod(needed), math.prod(needed))
    return bias[:, :length, :length]


class Block(nnx.Module):
  """Attention and an MLP, each after its norm. [B T H W C]."""

  def __init__(self, dim, heads, config, shifted, drop_path, *, rngs):
    options = {'dtype': jnp.dtype(config.dtype), 'rngs': rngs}
    self.norm1 = norms.LayerNorm(dim, epsilon=1e-5)
    self.attn = WindowAttention(
      dim, heads, tuple(config.window), shifted=shifted, **options
    )
    self.norm2 = norms.LayerNorm(dim, epsilon=1e-5)
    self.fc1 = Linear(dim, _MLP_RATIO * dim, **options)
    self.fc2 = Linear(_MLP_RATIO * dim, dim, **options)
    self.drop_path = DropPath(drop_path)

  def __call__(self, x, *, train=False, rngs=None):
    """[B T H W C] -> same."""
    drop = functools.partial(self.drop_path, train=train, rngs=rngs)
    x = x + drop(self.attn(self.norm1(x)))
    return x + drop(self.fc2(gelu(self.fc1(self.norm2(x)))))


class Merge(nnx.Module):
  """Merges 2 x 2 positions before a stage. [B T H W C] -> [B T H/2 W/2 2C].

  Zeros make an odd height or width even.
  """

  def __init__(self, dim, *, dtype, rngs):
    self.norm = norms.LayerNorm(4 * dim, epsilon=1e-5)
    self.reduction = Linear(
      4 * dim, 2 * dim, use_bias=False, dtype=dtype, rngs=rngs
    )

  def __call__(self, x):
    """[B T H W C] -> [B T H/2 W/2 2C]."""
    return self.reduction(
      self.norm(windows.merge(windows.fill_up(x, (1, 2, 2))))
    )


class VideoSwin(classifier.Classifier):
  """Clips [B T H W 3] -> logits [B K], of any number of frames and any size."""

  takes_clips = True

  def __init__(
    self, config: VideoSwinConfig, num_classes: int, *, rngs: nnx.Rngs
  ):
    if len(config.window) != 3 or min(config.window) < 1:
      raise ValueError(
        'A window has three sides of 1 or more, (8, 7, 7) for 8 positions in '
        f'time; got {config.window!r}.'
      )
    self.in_channels = config.in_channels
    self.embeds, self.stages = swin_stages(
      config, _PATCH, Merge, Block, rngs=rngs
    )
    dim = config.dim * 2 ** (len(config.depth) - 1)
    self.norm = norms.LayerNorm(dim, epsilon=1e-5)
    self.dropout = Dropout(config.dropout)
    self.remat = config.remat
    dtype = devices.accum_dtype(config.dtype)
    init = initializers.normal(0.01)
    self.head = Linear(dim, num_classes, init=init, dtype=dtype, rngs=rngs)

  def prepare_input(self, clips: jax.Array) -> jax.Array:
    """Checks the clips and fills them up to whole patches, with zeros."""
    classifier.check_shape(clips, clips=True, channels=self.in_channels)
    return windows.fill_up(clips, _PATCH)

  def features(
    self,
    images: jax.Array,
    train: bool = False,
    rngs: nnx.Rngs | None = None,
    after_stage: classifier.AfterStage = classifier.unchanged,
  ) -> jax.Array:
    """Returns the last feature map. [B T H W 3] -> [B T/2 H/32 W/32 C]."""
    x = self.prepare_input(images)
    for i, stage in enumerate(self.stages):
      x = self.embeds[i](x)
      x = run_blocks(stage, x, remat=self.remat, train=train, rngs=rngs)
      x = after_stage(i, x)
    return self.norm(x)

  def __call__(
    self,
    images: jax.Array,
    train: bool = False,
    rngs: nnx.Rngs | None = None,
  ) -> jax.Array:
    """Returns the logits of normalized clips. [B T H W 3] -> [B K]."""
    x = self.features(images, train=train, rngs=rngs)
    x = x.astype(self.head.dtype).mean(axis=(1, 2, 3))
    return self.classify(self.dropout(x, train=train, rngs=rngs))

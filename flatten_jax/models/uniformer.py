# SPDX-License-Identifier: Apache-2.0
"""UniFormer for images: convolution near the pixels, attention above it.

Li et al., "UniFormer: Unifying Convolution and Self-attention for Visual
Recognition", 2022. It sees one image; that the image may be the flattened
frames of a clip is none of its business.
"""

import dataclasses
import functools
from typing import ClassVar

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np

from flatten_jax.models import classifier
from flatten_jax.models.layers import (
  attention,
  convolution,
  dense,
  initializers,
  norms,
)


@dataclasses.dataclass(frozen=True)
class UniFormerConfig:
  """Sizes of the four stages; the first two convolve, the last two attend."""

  # What each stage makes one position of: pixels, then positions before it.
  patches: ClassVar = ((4, 4), (2, 2), (2, 2), (2, 2))

  depth: tuple[int, int, int, int]
  dim: tuple[int, int, int, int]
  head_dim: int
  mlp_ratio: int
  drop_path_rate: float = 0.0  # Of the last block; linear from 0 at the first.
  dtype: str = 'float32'  # To compute in; 'bfloat16' halves the memory.
  remat: bool = False  # Training in less memory, by computing blocks twice.

  @property
  def axes(self) -> int:
    """How many axes positions have: rows and columns, or time before them."""
    return len(self.patches[0])


SMALL = UniFormerConfig(
  depth=(3, 4, 8, 3), dim=(64, 128, 320, 512), head_dim=64, mlp_ratio=4
)
# With a patchify stem and without token pruning, unlike the published light
# model of this name: this is the one whose cost the Flatten paper reports.
XXS = UniFormerConfig(
  depth=(2, 5, 8, 2), dim=(56, 112, 224, 448), head_dim=28, mlp_ratio=3
)
# Ours: for a laptop's CPU and mosaics of 96 to 192 pixels. 0.87 M parameters;
# 0.035 GFLOPs for nine frames of 32 pixels: a training step on 32 clips takes
# 0.09 s on two cores.
NANO = UniFormerConfig(
  depth=(1, 1, 3, 1), dim=(32, 64, 128, 128), head_dim=32, mlp_ratio=3
)
# Ours: every kind of layer once, for tests.
TEST = UniFormerConfig(
  depth=(1, 1, 1, 1), dim=(8, 8, 16, 16), head_dim=8, mlp_ratio=2
)

_linear = functools.partial(dense.Dense, init=initializers.normal(0.02))


class ConvBlock(nnx.Module):
  """Local relations: a depthwise 5x5 where attention would be. [B H W C]."""

  def __init__(
    self, dim: int, config: UniFormerConfig, drop_path: float, *, rngs: nnx.Rngs
  ):
    hidden = dim * config.mlp_ratio
    options = {'dtype': jnp.dtype(config.dtype), 'rngs': rngs}
    self.pos = dense.DepthwiseConv(dim, 3, config.axes, **options)
    self.norm1 = norms.BatchNorm(dim)
    self.conv_in = dense.Dense(dim, dim, **options)
    self.mix = dense.DepthwiseConv(dim, 5, config.axes, **options)
    self.conv_out = dense.Dense(dim, dim, **options)
    self.norm2 = norms.BatchNorm(dim)
    self.fc1 = dense.Dense(dim, hidden, **options)
    self.fc2 = dense.Dense(hidden, dim, **options)
    self.drop_path = dense.DropPath(drop_path)

  def __call__(self, x, *, train=False, rngs=None):
    """[B H W C] -> same."""
    drop = functools.partial(self.drop_path, train=train, rngs=rngs)
    x = x + self.pos(x)
    y = self.norm1(x, train=train)
    x = x + drop(self.conv_out(self.mix(self.conv_in(y))))
    y = self.norm2(x, train=train)
    return x + drop(self.fc2(dense.gelu(self.fc1(y))))


class AttentionBlock(nnx.Module):
  """Global relations: every position attends to every other. [B H W C]."""

  def __init__(
    self, dim: int, config: UniFormerConfig, drop_path: float, *, rngs: nnx.Rngs
  ):
    hidden = dim * config.mlp_ratio
    options = {'dtype': jnp.dtype(config.dtype), 'rngs': rngs}
    self.pos = dense.DepthwiseConv(dim, 3, config.axes, **options)
    self.norm1 = norms.LayerNorm(dim, epsilon=1e-6)
    self.qkv = _linear(dim, 3 * dim, **options)
    self.proj = _linear(dim, dim, **options)
    self.norm2 = norms.LayerNorm(dim, epsilon=1e-6)
    self.fc1 = _linear(dim, hidden, **options)
    self.fc2 = _linear(hidden, dim, **options)
    self.drop_path = dense.DropPath(drop_path)
    self.head_dim = config.head_dim

  def attend(self, x: jax.Array) -> jax.Array:
    """Multi-head self-attention over all positions. [B H W C] -> same."""
    return self.proj(attention.attention(self.by_head(x)).reshape(x.shape))

  def by_head(self, x: jax.Array) -> jax.Array:
    """Queries, keys and values. [B H W C] -> [B H*W 3 heads D]."""
    batch, dim = x.shape[0], x.shape[-1]
    heads = dim // self.head_dim
    return self.qkv(x).reshape(batch, -1, 3, heads, self.head_dim)

  def __call__(self, x, *, train=False, rngs=None):
    """[B H W C] -> same."""
    drop = functools.partial(self.drop_path, train=train, rngs=rngs)
    x = x + self.pos(x)
    x = x + drop(self.attend(self.norm1(x)))
    return x + drop(self.fc2(dense.gelu(self.fc1(self.norm2(x)))))


STRIDE = 32  # Pixels in each direction that make one position of the features.


def check_sizes(x: jax.Array, clips: bool) -> None:
  """Raises unless `x` has whole positions everywhere.

  Args:
    x: clips [B T H W 3] or images [B H W 3].
    clips: which of the two the model takes.
  """
  shape, expected = list(x.shape), 'clips [B T H W 3]'
  if not clips:
    expected = 'images [B H W 3]'
  if len(shape) != 4 + clips or shape[-1] != 3:
    raise ValueError(f'This model takes {expected}, not {shape}.')
  sides = shape[-3:-1]
  if any(side % STRIDE or not side for side in sides):
    nearest = (max(1, round(side / STRIDE)) * STRIDE for side in sides)
    raise ValueError(
      f'Height and width have to be multiples of {STRIDE}, and are '
      f'{sides[0]} x {sides[1]}; resize or crop to '
      f'{" x ".join(map(str, nearest))}, say.'
    )


class UniFormer(classifier.Classifier):
  """Images [B H W 3] -> logits [B K]; height and width are multiples of 32."""

  takes_clips = False
  blocks = (ConvBlock, ConvBlock, AttentionBlock, AttentionBlock)  # By stage.

  def __init__(
    self, config: UniFormerConfig, num_classes: int, *, rngs: nnx.Rngs
  ):
    dims = (3, *config.dim)
    rates = iter(np.linspace(0, config.drop_path_rate, sum(config.depth)))
    self.embeds, self.stages = nnx.List(), nnx.List()
    for i, block in enumerate(self.blocks):
      dim, patch = config.dim[i], config.patches[i]
      self.embeds.append(
        dense.Embed(dims[i], dim, patch, config.dtype, rngs=rngs)
      )
      self.stages.append(
        nnx.List(
          block(dim, config, float(next(rates)), rngs=rngs)
          for _ in range(config.depth[i])
        )
      )
    self.norm = norms.BatchNorm(dims[-1])
    self.remat = config.remat
    wide = convolution.wide(config.dtype)
    self.head = _linear(dims[-1], num_classes, dtype=wide, rngs=rngs)

  def arrange(self, images: jax.Array) -> jax.Array:
    """What the first stage sees of them. [B H W 3] -> same."""
    check_sizes(images, clips=False)
    return images

  def features(
    self,
    images: jax.Array,
    train: bool = False,
    rngs: nnx.Rngs | None = None,
    after_stage: classifier.AfterStage = classifier.unchanged,
  ) -> jax.Array:
    """The last feature map. [B H W 3] -> [B H/32 W/32 C].

    Raises:
      ValueError: sizes that are no multiples of 32.
    """
    x = self.arrange(images)
    for i, stage in enumerate(self.stages):
      x = self.embeds[i](x)
      for block in stage:
        x = dense.run_block(block, x, remat=self.remat, train=train, rngs=rngs)
      x = after_stage(i, x)
    return self.norm(x, train=train)

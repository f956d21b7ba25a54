# SPDX-License-Identifier: Apache-2.0
"""UniFormer for images: convolutions in early stages, attention in later ones.

Li et al., "UniFormer: Unifying Convolution and Self-attention for Visual
Recognition", 2022.
"""

import dataclasses
import functools
from typing import ClassVar

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np

from flatten_jax.models import classifier
from flatten_jax.models.layers import devices, norms, transformer
from flatten_jax.models.layers.blocks import DropPath, run_blocks
from flatten_jax.models.layers.dense import Dense, Linear, gelu
from flatten_jax.models.layers.depthwise import DepthwiseConv
from flatten_jax.models.layers.patch_embed import PatchEmbed


@dataclasses.dataclass(frozen=True)
class UniFormerConfig(classifier.ClassifierConfig):
  """Sizes of the four stages; the first two convolve, the last two attend."""

  # Pixels, then positions of the stage before, that become one position.
  patches: ClassVar = ((4, 4), (2, 2), (2, 2), (2, 2))

  depth: tuple[int, int, int, int]
  dim: tuple[int, int, int, int]
  head_dim: int
  mlp_ratio: int

  @property
  def axes(self) -> int:
    """Returns the number of axes of positions: 2 for images, 3 for clips."""
    return len(self.patches[0])


SMALL = UniFormerConfig(
  depth=(3, 4, 8, 3), dim=(64, 128, 320, 512), head_dim=64, mlp_ratio=4
)
# With a patchify stem and without token pruning, unlike the published light
# model of this name: its cost is the one in the Flatten paper.
XXS = UniFormerConfig(
  depth=(2, 5, 8, 2), dim=(56, 112, 224, 448), head_dim=28, mlp_ratio=3
)
# Ours: for a laptop's CPU and flattened images of 96 to 192 pixels. 0.87 M
# parameters; 0.035 GFLOPs for nine frames of 32 pixels: a training step on 32
# clips takes 0.09 s on two cores.
NANO = UniFormerConfig(
  depth=(1, 1, 3, 1), dim=(32, 64, 128, 128), head_dim=32, mlp_ratio=3
)
# Ours: every kind of layer once, for tests.
TEST = UniFormerConfig(
  depth=(1, 1, 1, 1), dim=(8, 8, 16, 16), head_dim=8, mlp_ratio=2
)


class ConvBlock(nnx.Module):
  """Local relations: a depthwise 5x5 in place of attention. [B H W C]."""

  def __init__(
    self, dim: int, config: UniFormerConfig, drop_path: float, *, rngs: nnx.Rngs
  ):
    hidden = dim * config.mlp_ratio
    options = {'dtype': jnp.dtype(config.dtype), 'rngs': rngs}
    self.pos = DepthwiseConv(dim, 3, config.axes, **options)
    self.norm1 = norms.BatchNorm(dim)
    self.conv_in = Dense(dim, dim, **options)
    self.mix = DepthwiseConv(dim, 5, config.axes, **options)
    self.conv_out = Dense(dim, dim, **options)
    self.norm2 = norms.BatchNorm(dim)
    self.fc1 = Dense(dim, hidden, **options)
    self.fc2 = Dense(hidden, dim, **options)
    self.drop_path = DropPath(drop_path)

  def __call__(self, x, *, train=False, rngs=None):
    """[B H W C] -> same."""
    drop = functools.partial(self.drop_path, train=train, rngs=rngs)
    x = x + self.pos(x)
    y = self.norm1(x, train=train)
    x = x + drop(self.conv_out(self.mix(self.conv_in(y))))
    y = self.norm2(x, train=train)
    return x + drop(self.fc2(gelu(self.fc1(y))))


class AttentionBlock(transformer.Block):
  """Global relations: every position attends to every other. [B H W C]."""

  def __init__(
    self, dim: int, config: UniFormerConfig, drop_path: float, *, rngs: nnx.Rngs
  ):
    options = {'dtype': jnp.dtype(config.dtype), 'rngs': rngs}
    self.pos = DepthwiseConv(dim, 3, config.axes, **options)
    super().__init__(
      dim,
      config.head_dim,
      mlp_ratio=config.mlp_ratio,
      drop_path=drop_path,
      **options,
    )

  def qkv_heads(self, x: jax.Array) -> jax.Array:
    """Returns queries, keys and values. [B H W C] -> [B H*W 3 heads D]."""
    return super().qkv_heads(x.reshape(x.shape[0], -1, x.shape[-1]))

  def __call__(self, x, *, train=False, rngs=None):
    """[B H W C] -> same."""
    return super().__call__(x + self.pos(x), train=train, rngs=rngs)

  def weights_between(self, x, shares):
    """Returns the attention between groups, see `between_groups`. [G G]."""
    return super().weights_between(x + self.pos(x), shares)


STRIDE = 32  # Pixels of the input per position of the last feature map.


def check_sizes(x: jax.Array, clips: bool, channels: int) -> None:
  """Checks that `x` is [B T H W C] if `clips`, else [B H W C], H and W fitting.

  Raises:
    ValueError: another shape, or height or width not a multiple of 32.
  """
  classifier.check_shape(x, clips, channels)
  sides = x.shape[-3:-1]
  if any(side % STRIDE or not side for side in sides):
    raise ValueError(
      f'Height and width must be multiples of {STRIDE}; got {sides[0]} x '
      f'{sides[1]}. Frames of {STRIDE}, {2 * STRIDE}, ... px fit in any layout.'
    )


class UniFormer(classifier.Classifier):
  """Images [B H W 3] -> logits [B K]; height and width are multiples of 32."""

  takes_clips = False
  blocks = (ConvBlock, ConvBlock, AttentionBlock, AttentionBlock)  # By stage.

  def __init__(
    self, config: UniFormerConfig, num_classes: int, *, rngs: nnx.Rngs
  ):
    self.in_channels = config.in_channels
    dims = (config.in_channels, *config.dim)
    options = {'dtype': jnp.dtype(config.dtype), 'rngs': rngs}
    rates = iter(np.linspace(0, config.drop_path_rate, sum(config.depth)))
    self.embeds, self.stages = nnx.List(), nnx.List()
    for i, block in enumerate(self.blocks):
      dim, patch = config.dim[i], config.patches[i]
      self.embeds.append(PatchEmbed(dims[i], dim, patch, **options))
      self.stages.append(
        nnx.List(
          block(dim, config, float(next(rates)), rngs=rngs)
          for _ in range(config.depth[i])
        )
      )
    self.norm = norms.BatchNorm(dims[-1])
    self.remat = config.remat
    dtype = devices.accum_dtype(config.dtype)
    self.head = Linear(dims[-1], num_classes, dtype=dtype, rngs=rngs)

  @classmethod
  def takes_size(cls, config: UniFormerConfig, height: int, width: int) -> bool:
    """Returns whether height and width are multiples of 32."""
    del config
    return min(height, width) > 0 and not (height % STRIDE or width % STRIDE)

  def prepare_input(self, images: jax.Array) -> jax.Array:
    """Checks the images and returns the input of the first stage."""
    check_sizes(images, clips=False, channels=self.in_channels)
    return images

  def features(
    self,
    images: jax.Array,
    train: bool = False,
    rngs: nnx.Rngs | None = None,
    after_stage: classifier.AfterStage = classifier.unchanged,
    look: classifier.Look | None = None,
  ) -> jax.Array:
    """Returns the last feature map. [B H W 3] -> [B H/32 W/32 C].

    Raises:
      ValueError: height or width is not a multiple of 32.
    """
    x = self.prepare_input(images)
    for i, stage in enumerate(self.stages):
      x = self.embeds[i](x)
      x = run_blocks(
        stage, x, remat=self.remat, train=train, rngs=rngs, look=look
      )
      x = after_stage(i, x)
    return self.norm(x, train=train)

  def frame_attention(
    self, images: jax.Array, shares: classifier.Shares
  ) -> dict[str, jax.Array]:
    """Returns the attention between frames of every block that attends.

    [F F] by name: the first block of the third stage is called '3.1'.
    """
    names = [
      f'{i}.{j}'
      for i, stage in enumerate(self.stages, start=1)
      for j in range(1, len(stage) + 1)
    ]
    return {
      name: block.weights_between(x, shares(x.shape[1:-1]))
      for name, (block, x) in zip(
        names, self.inputs_of_blocks(images), strict=True
      )
      if isinstance(block, AttentionBlock)
    }

# SPDX-License-Identifier: Apache-2.0
"""UniFormer's light variant, XXS: attention for half of the positions.

Li et al., "UniFormer: Unified Transformer for Efficient Spatiotemporal
Representation Learning", 2022, as its authors published it for images and for
clips. It has a stem of convolutions, and prunes tokens in attention.
"""

import dataclasses
import functools
from typing import ClassVar

from flax import nnx
import jax
import jax.numpy as jnp

from flatten_jax.models import classifier, token_pruning, uniformer, uniformer3d
from flatten_jax.models.layers import initializers, norms
from flatten_jax.models.layers.blocks import run_blocks
from flatten_jax.models.layers.convolution import Conv
from flatten_jax.models.layers.dense import Linear, gelu


@dataclasses.dataclass(frozen=True)
class LightConfig(uniformer.UniFormerConfig):
  """Sizes for images. Two convolutions embed patches of 4 x 4 pixels."""

  stem_strides: ClassVar = ((2, 2), (2, 2))


@dataclasses.dataclass(frozen=True)
class Light3DConfig(uniformer3d.UniFormer3DConfig):
  """Sizes for clips. The second convolution halves time."""

  stem_strides: ClassVar = ((1, 2, 2), (2, 2, 2))


XXS = LightConfig(**dataclasses.asdict(uniformer.XXS))
XXS_3D = Light3DConfig(**dataclasses.asdict(uniformer.XXS))
# Ours, for tests. The third stage has two blocks, since only its second prunes.
TEST_3D = Light3DConfig(
  depth=(1, 1, 2, 1), dim=(8, 8, 16, 16), head_dim=8, mlp_ratio=2
)
TEST = LightConfig(**dataclasses.asdict(TEST_3D))


class ConvStem(nnx.Module):
  """Two convolutions instead of patches. [B H W 3] -> [B H/4 W/4 C]."""

  def __init__(self, config: LightConfig | Light3DConfig, *, rngs: nnx.Rngs):
    options = {'dtype': jnp.dtype(config.dtype), 'rngs': rngs}
    dim = config.dim[0]
    first, second = config.stem_strides
    self.conv1 = Conv(config.in_channels, dim // 2, 3, first, **options)
    self.norm1 = norms.BatchNorm(dim // 2)
    self.conv2 = Conv(dim // 2, dim, 3, second, **options)
    self.norm2 = norms.BatchNorm(dim)

  def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
    """[B H W 3] -> [B H/4 W/4 C]."""
    x = gelu(self.norm1(self.conv1(x), train=train))
    return self.norm2(self.conv2(x), train=train)


class UniFormerLight(uniformer.UniFormer):
  """Images [B H W 3] -> logits [B K]; in training, of two heads.

  Height and width are multiples of 32.
  """

  blocks = (
    uniformer.ConvBlock,
    uniformer.ConvBlock,
    token_pruning.PruningBlock,
    token_pruning.PruningBlock,
  )

  frame_attention = None  # Half of the positions attend, chosen by content.

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
    self.cls_token = nnx.Param(
      initializers.normal(0.02)(rngs.params(), (1, 1, dim))
    )
    self.cls_upsample = Linear(
      dim, last_dim, dtype=jnp.dtype(config.dtype), rngs=rngs
    )
    self.norm_cls = norms.LayerNorm(last_dim, epsilon=1e-5)
    self.head_cls = Linear(
      last_dim, num_classes, dtype=self.head.dtype, rngs=rngs
    )

  def encode(
    self,
    images: jax.Array,
    train: bool = False,
    rngs: nnx.Rngs | None = None,
    after_stage: classifier.AfterStage = classifier.unchanged,
  ) -> tuple[jax.Array, jax.Array]:
    """Runs all stages. -> feature map [B H/32 W/32 C], class token [B C]."""
    uniformer.check_sizes(images, self.takes_clips, self.in_channels)

    run = functools.partial(
      run_blocks, remat=self.remat, train=train, rngs=rngs
    )
    x = run(self.stages[0], self.embeds[0](images, train=train))
    x = run(self.stages[1], self.embeds[1](after_stage(0, x)))
    x = self.embeds[2](after_stage(1, x))
    token = self.cls_token.astype(x.dtype)
    token = jnp.broadcast_to(token, (x.shape[0], *token.shape[1:]))
    x, token, scores = run(self.stages[2], (x, token, None))
    scores = token_pruning.pool(scores, x.shape[1:-1])
    x, token = self.embeds[3](after_stage(2, x)), self.cls_upsample(token)
    x, token, _ = run(self.stages[3], (x, token, scores))
    return after_stage(3, x), token[:, 0]

  def features(
    self,
    images: jax.Array,
    train: bool = False,
    rngs: nnx.Rngs | None = None,
    after_stage: classifier.AfterStage = classifier.unchanged,
  ) -> jax.Array:
    """Returns the last feature map. [B H W 3] -> [B H/32 W/32 C]."""
    x, _ = self.encode(images, train, rngs, after_stage)
    return self.norm(x, train=train)

  def classify_token(self, token: jax.Array) -> jax.Array:
    """Returns the logits of the second head. [B C] -> [B K]."""
    return self.head_cls(self.norm_cls(token.astype(self.head_cls.dtype)))

  def __call__(
    self,
    images: jax.Array,
    train: bool = False,
    rngs: nnx.Rngs | None = None,
  ) -> jax.Array | tuple[jax.Array, jax.Array]:
    """Returns the logits of normalized images. [B H W 3] -> [B K].

    In training it returns the logits of both heads, for a loss that is their
    mean; the second head trains the class token. See `Classifier.__call__`.
    """
    x, token = self.encode(images, train=train, rngs=rngs)
    logits = self.classify(self.norm(x, train=train))
    return (logits, self.classify_token(token)) if train else logits


class UniFormerLight3D(UniFormerLight):
  """Clips [B T H W 3] -> logits [B K]; frames are not flattened.

  Any number of frames; height and width are multiples of 32.
  """

  takes_clips = True

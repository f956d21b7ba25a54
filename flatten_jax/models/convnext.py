# SPDX-License-Identifier: Apache-2.0
"""ConvNeXt: a ResNet with the proportions of a Swin Transformer.

Liu et al., "A ConvNet for the 2020s", 2022, as in timm and the official code
(github.com/facebookresearch/ConvNeXt).
"""

import dataclasses

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np

from flatten_jax.models import classifier
from flatten_jax.models.layers import devices, initializers, norms
from flatten_jax.models.layers.blocks import DropPath, run_blocks
from flatten_jax.models.layers.dense import Linear, gelu
from flatten_jax.models.layers.depthwise import DepthwiseConv
from flatten_jax.models.layers.patch_embed import PatchConv

_MLP_RATIO = 4


@dataclasses.dataclass(frozen=True)
class ConvNeXtConfig(classifier.ClassifierConfig):
  """Blocks in each of the four stages, and their width."""

  depth: tuple[int, int, int, int]
  dim: int = 96  # Of the first stage; doubles with every stage.
  layer_scale: float = 1e-6  # Initial factor of the residual branches.

  @property
  def min_side(self) -> int:
    """Returns the side of an image whose last feature map is one position."""
    return 4 * 2 ** (len(self.depth) - 1)


TINY = ConvNeXtConfig(depth=(3, 3, 9, 3))
SMALL = ConvNeXtConfig(depth=(3, 3, 27, 3))
# Ours: every kind of layer, for tests.
TEST = ConvNeXtConfig(depth=(1, 2, 1, 1), dim=4, layer_scale=0.5)


def scale_channels(x: jax.Array, scale: jax.Array) -> jax.Array:
  """Multiplies every channel by a factor. [B H W C] and [C] -> [B H W C]."""
  return x * scale.reshape(1, 1, 1, -1)


class Block(nnx.Module):
  """A depthwise 7x7 and an MLP, one residual branch. [B H W C] -> same."""

  def __init__(
    self, dim: int, config: ConvNeXtConfig, drop_path: float, *, rngs: nnx.Rngs
  ):
    options = {'dtype': jnp.dtype(config.dtype), 'rngs': rngs}
    normal = initializers.normal(0.02)
    self.depthwise = DepthwiseConv(dim, 7, init=normal, **options)
    self.norm = norms.LayerNorm(dim, epsilon=1e-6)
    self.fc1 = Linear(dim, _MLP_RATIO * dim, **options)
    self.fc2 = Linear(_MLP_RATIO * dim, dim, **options)
    scale = initializers.constant(config.layer_scale)
    self.layer_scale = nnx.Param(scale(rngs.params(), (dim,)))
    self.drop_path = DropPath(drop_path)

  def __call__(
    self,
    x: jax.Array,
    *,
    train: bool = False,
    rngs: nnx.Rngs | None = None,
  ) -> jax.Array:
    """[B H W C] -> same."""
    y = self.norm(self.depthwise(x))
    y = self.fc2(gelu(self.fc1(y)))
    y = devices.with_parameter(scale_channels, y, self.layer_scale[...])
    return x + self.drop_path(y, train=train, rngs=rngs)


class Embed(nnx.Module):
  """The layers that open a stage: a patch convolution, a norm before or after.

  [B H W I] -> [B H/p W/p O]. The stem's norm comes after the convolution.
  """

  def __init__(
    self,
    dim_in: int,
    dim: int,
    patch: int,
    *,
    is_stem: bool,
    dtype: jnp.dtype,
    rngs: nnx.Rngs,
  ):
    normal = initializers.normal(0.02)
    self.proj = PatchConv(
      dim_in, dim, patch, init=normal, dtype=dtype, rngs=rngs
    )
    self.norm = norms.LayerNorm(dim if is_stem else dim_in, epsilon=1e-6)
    self.is_stem = is_stem

  def __call__(self, x: jax.Array) -> jax.Array:
    """[B H W I] -> [B H/p W/p O]."""
    return self.norm(self.proj(x)) if self.is_stem else self.proj(self.norm(x))


class ConvNeXt(classifier.Classifier):
  """Images [B H W 3] -> logits [B K].

  Any height and width from 32 on; the stride of 4 of the stem, and that of 2 of
  each other stage, round down.
  """

  def __init__(
    self, config: ConvNeXtConfig, num_classes: int, *, rngs: nnx.Rngs
  ):
    options = {'dtype': jnp.dtype(config.dtype), 'rngs': rngs}
    self.in_channels = dim_in = config.in_channels
    rates = iter(np.linspace(0, config.drop_path_rate, sum(config.depth)))
    self.embeds, self.stages = nnx.List(), nnx.List()
    for i, depth in enumerate(config.depth):
      dim, patch = config.dim * 2**i, 2 if i else 4
      self.embeds.append(Embed(dim_in, dim, patch, is_stem=i == 0, **options))
      self.stages.append(
        nnx.List(
          Block(dim, config, float(next(rates)), rngs=rngs)
          for _ in range(depth)
        )
      )
      dim_in = dim
    self.norm = norms.LayerNorm(dim_in, epsilon=1e-6)
    self.remat = config.remat
    dtype = devices.accum_dtype(config.dtype)
    self.head = Linear(dim_in, num_classes, dtype=dtype, rngs=rngs)

  def features(
    self,
    images: jax.Array,
    train: bool = False,
    rngs: nnx.Rngs | None = None,
    after_stage: classifier.AfterStage = classifier.unchanged,
  ) -> jax.Array:
    """Returns the last feature map. [B H W 3] -> [B H/32 W/32 C]."""
    classifier.check_shape(images, channels=self.in_channels)
    x = images
    for i, stage in enumerate(self.stages):
      x = self.embeds[i](x)
      x = run_blocks(stage, x, remat=self.remat, train=train, rngs=rngs)
      x = after_stage(i, x)
    return x

  def classify(self, features: jax.Array) -> jax.Array:
    """Averages over positions, normalizes, applies the head. -> [B K]."""
    x = features.astype(self.head.dtype).mean(axis=(1, 2))
    return self.head(self.norm(x))

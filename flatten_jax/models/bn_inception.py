# SPDX-License-Identifier: Apache-2.0
"""BN-Inception: parallel convolutions of several sizes, with batch norm.

Ioffe & Szegedy, "Batch Normalization", 2015, as TSN uses it: convolutions have
biases, max pools round sizes up, and zeros around the average pool count.
"""

import dataclasses
import functools
from typing import NamedTuple

from flax import nnx
import jax
import jax.numpy as jnp

from flatten_jax.models import classifier
from flatten_jax.models.layers import devices, initializers, pooling
from flatten_jax.models.layers.blocks import Dropout, run_blocks
from flatten_jax.models.layers.dense import Dense
from flatten_jax.models.layers.inception import ConvUnit, inception_stages

_MULTIPLE = 32  # Of pixels: else halves of a block differ in size.


class Widths(NamedTuple):
  """Output channels of a block's convolutions; 0: absent, with stride 2."""

  one: int
  three: tuple[int, int]  # Reduce, 3x3.
  double: tuple[int, int]  # Reduce, both 3x3.
  proj: int
  pool: str = 'mean'


_STAGES = (
  (
    Widths(64, (64, 64), (64, 96), 32),
    Widths(64, (64, 96), (64, 96), 64),
    Widths(0, (128, 160), (64, 96), 0),
  ),
  (
    Widths(224, (64, 96), (96, 128), 128),
    Widths(192, (96, 128), (96, 128), 128),
    Widths(160, (128, 160), (128, 160), 128),
    Widths(96, (128, 192), (160, 192), 128),
    Widths(0, (128, 192), (192, 256), 0),
  ),
  (
    Widths(352, (192, 320), (160, 224), 128),
    Widths(352, (192, 320), (192, 224), 128, 'max'),
  ),
)


@dataclasses.dataclass(frozen=True)
class BNInceptionConfig(classifier.ClassifierConfig):
  """Widths of the blocks."""

  stem: tuple[int, int] = (64, 192)
  stages: tuple[tuple[Widths, ...], ...] = _STAGES
  dropout: float = 0.8  # Before the head.


BN_INCEPTION = BNInceptionConfig()
# Ours: every kind of layer, for tests.
TEST = BNInceptionConfig(
  stem=(4, 6),
  stages=(
    (Widths(4, (2, 4), (2, 4), 2), Widths(0, (2, 4), (2, 4), 0)),
    (Widths(0, (2, 4), (2, 4), 0),),
    (Widths(4, (2, 4), (2, 4), 2, 'max'),),
  ),
)


class Stem(nnx.Module):
  """Three convolutions and two max pools. [B H W I] -> [B H/8 W/8 C]."""

  def __init__(self, dim_in: int, dims: tuple[int, int], **options):
    first, last = dims
    self.conv1 = ConvUnit(dim_in, first, 7, (2, 2), **options)
    self.reduce = ConvUnit(first, first, 1, **options)
    self.conv2 = ConvUnit(first, last, 3, **options)

  def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
    """[B H W I] -> [B H/8 W/8 C]."""
    x = pooling.halve_by_max(self.conv1(x, train=train))
    x = self.conv2(self.reduce(x, train=train), train=train)
    return pooling.halve_by_max(x)


class Block(nnx.Module):
  """Concatenates 1x1, 3x3, two 3x3 and a pool. [B H W I] -> [B H W O].

  The last of a stage has neither the 1x1 nor a projection, and stride 2.
  """

  def __init__(self, dim_in: int, widths: Widths, **options):
    one, three, double, proj, pool = widths
    strides = (1, 1) if one else (2, 2)
    if one:
      self.one = ConvUnit(dim_in, one, 1, **options)
    self.reduce = ConvUnit(dim_in, three[0], 1, **options)
    self.three = ConvUnit(three[0], three[1], 3, strides, **options)
    self.double_reduce = ConvUnit(dim_in, double[0], 1, **options)
    self.double1 = ConvUnit(double[0], double[1], 3, **options)
    self.double2 = ConvUnit(double[1], double[1], 3, strides, **options)
    if proj:
      self.proj = ConvUnit(dim_in, proj, 1, **options)
    self.halves = not one
    self.takes_max = pool == 'max'
    self.dim = one + three[1] + double[1] + (proj or dim_in)

  def pool(self, x: jax.Array) -> jax.Array:
    """[B H W I] -> same."""
    if self.takes_max:
      return pooling.max_pool(x, (3, 3), (1, 1), ((1, 1), (1, 1)))
    return pooling.mean_pool(x, (3, 3), pad=1)

  def __call__(
    self,
    x: jax.Array,
    *,
    train: bool = False,
    rngs: nnx.Rngs | None = None,
  ) -> jax.Array:
    """[B H W I] -> [B H W O]."""
    del rngs
    three = self.three(self.reduce(x, train=train), train=train)
    double = self.double1(self.double_reduce(x, train=train), train=train)
    double = self.double2(double, train=train)
    if self.halves:
      return jnp.concatenate([three, double, pooling.halve_by_max(x)], axis=-1)
    one = self.one(x, train=train)
    proj = self.proj(self.pool(x), train=train)
    return jnp.concatenate([one, three, double, proj], axis=-1)


class BNInception(classifier.Classifier):
  """Images [B H W I] -> logits [B K]; sides are multiples of 32 px."""

  def __init__(
    self, config: BNInceptionConfig, num_classes: int, *, rngs: nnx.Rngs
  ):
    options = {'dtype': jnp.dtype(config.dtype), 'rngs': rngs}
    self.in_channels = config.in_channels
    self.embeds = nnx.List([Stem(config.in_channels, config.stem, **options)])
    self.stages, dim = inception_stages(
      config.stem[1], config.stages, functools.partial(Block, **options)
    )
    self.remat = config.remat
    self.dropout = Dropout(config.dropout)
    init, dtype = initializers.normal(0.001), devices.accum_dtype(config.dtype)
    self.head = Dense(dim, num_classes, init=init, dtype=dtype, rngs=rngs)

  @classmethod
  def takes_size(
    cls, config: BNInceptionConfig, height: int, width: int
  ) -> bool:
    """Returns whether both sides are multiples of 32 px."""
    return super().takes_size(config, height, width) and not (
      height % _MULTIPLE or width % _MULTIPLE
    )

  def features(
    self,
    images: jax.Array,
    train: bool = False,
    rngs: nnx.Rngs | None = None,
    after_stage: classifier.AfterStage = classifier.unchanged,
  ) -> jax.Array:
    """Returns the last feature map. [B H W I] -> [B H/32 W/32 C]."""
    classifier.check_shape(images, channels=self.in_channels)
    height, width = images.shape[1:3]
    if height % _MULTIPLE or width % _MULTIPLE:
      raise ValueError(
        f'BN-Inception takes sides that are multiples of {_MULTIPLE} px; got '
        f'{height} x {width}.'
      )
    x = self.embeds[0](images, train=train)
    for i, stage in enumerate(self.stages):
      x = run_blocks(stage, x, remat=self.remat, train=train, rngs=rngs)
      x = after_stage(i, x)
    return x

  def __call__(
    self,
    images: jax.Array,
    train: bool = False,
    rngs: nnx.Rngs | None = None,
  ) -> jax.Array:
    """Returns the logits of normalized images. [B H W I] -> [B K]."""
    x = self.features(images, train=train, rngs=rngs)
    x = x.astype(self.head.dtype).mean(axis=(1, 2))
    return self.head(self.dropout(x, train=train, rngs=rngs))

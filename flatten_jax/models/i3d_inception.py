# SPDX-License-Identifier: Apache-2.0
"""I3D: Inception inflated over time.

Carreira & Zisserman, "Quo Vadis, Action Recognition? A New Model and the
Kinetics Dataset", 2017, as DeepMind's code computes it (github.com/deepmind/
kinetics-i3d): zeros are added as TensorFlow adds them.
"""

import dataclasses
import functools

from flax import nnx
import jax
from jax import lax
import jax.numpy as jnp

from flatten_jax.models import classifier
from flatten_jax.models.layers import devices, initializers, pooling
from flatten_jax.models.layers.blocks import Dropout, run_blocks
from flatten_jax.models.layers.dense import Dense
from flatten_jax.models.layers.inception import ConvUnit, inception_stages

# Outputs of a block: 1x1x1; 1x1x1, 3x3x3; 1x1x1, 3x3x3; 1x1x1 of a pool.
Widths = tuple[int, int, int, int, int, int]
Triple = tuple[int, int, int]

_STAGES: tuple[tuple[Widths, ...], ...] = (
  ((64, 96, 128, 16, 32, 32), (128, 128, 192, 32, 96, 64)),
  (
    (192, 96, 208, 16, 48, 64),
    (160, 112, 224, 24, 64, 64),
    (128, 128, 256, 24, 64, 64),
    (112, 144, 288, 32, 64, 64),
    (256, 160, 320, 32, 128, 128),
  ),
  ((256, 160, 320, 32, 128, 128), (384, 192, 384, 48, 128, 128)),
)
# Max pools before the stages: their size, which the stride follows.
_POOLS: tuple[Triple, ...] = ((1, 3, 3), (3, 3, 3), (2, 2, 2))
_NORM = {'epsilon': 1e-3, 'momentum': 0.99}


@dataclasses.dataclass(frozen=True)
class InceptionConfig(classifier.ClassifierConfig):
  """Widths of the blocks, and the window that the head averages."""

  stem: tuple[int, int] = (64, 192)
  stages: tuple[tuple[Widths, ...], ...] = _STAGES
  window: Triple = (2, 7, 7)
  dropout: float = 0.5  # Before the head.


INCEPTION = InceptionConfig()
# Ours: every kind of layer, for tests.
TEST = InceptionConfig(
  stem=(4, 6),
  stages=(
    ((2, 2, 4, 2, 4, 2), (4, 2, 4, 2, 4, 4)),
    ((4, 2, 4, 2, 4, 4),),
    ((4, 2, 4, 2, 4, 4),),
  ),
  window=(1, 2, 2),
)


def same_max_pool(x: jax.Array, sizes: Triple, strides: Triple) -> jax.Array:
  """Max pooling of non-negative maps with TensorFlow's 'SAME' padding."""
  pads = lax.padtype_to_pads(x.shape[1:4], sizes, strides, 'SAME')
  return pooling.max_pool(x, sizes, strides, tuple(pads))


def _unit(dim_in: int, dim: int, size: int, stride: int = 1, **options):
  """Creates a convolution with its norm, padded as TensorFlow does."""
  strides = (stride,) * 3
  return ConvUnit(
    dim_in,
    dim,
    size,
    strides,
    padding='SAME',
    use_bias=False,
    init=initializers.truncated_normal(size**3 * dim_in),
    **_NORM,
    **options,
  )


class Stem(nnx.Module):
  """Three convolutions. [B T H W 3] -> [B T/2 H/4 W/4 C]."""

  def __init__(self, in_channels: int, dims: tuple[int, int], **options):
    first, last = dims
    self.conv1 = _unit(in_channels, first, 7, 2, **options)
    self.conv2 = _unit(first, first, 1, **options)
    self.conv3 = _unit(first, last, 3, **options)

  def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
    """[B T H W 3] -> [B T/2 H/4 W/4 C]."""
    x = self.conv1(x, train=train)
    x = same_max_pool(x, (1, 3, 3), (1, 2, 2))
    return self.conv3(self.conv2(x, train=train), train=train)


class Block(nnx.Module):
  """Concatenates four branches. [B T H W I] -> [B T H W O]."""

  def __init__(self, dim_in: int, widths: Widths, **options):
    one, reduce1, three1, reduce2, three2, proj = widths
    self.one = _unit(dim_in, one, 1, **options)
    self.reduce1 = _unit(dim_in, reduce1, 1, **options)
    self.three1 = _unit(reduce1, three1, 3, **options)
    self.reduce2 = _unit(dim_in, reduce2, 1, **options)
    self.three2 = _unit(reduce2, three2, 3, **options)
    self.proj = _unit(dim_in, proj, 1, **options)
    self.dim = one + three1 + three2 + proj

  def __call__(
    self,
    x: jax.Array,
    *,
    train: bool = False,
    rngs: nnx.Rngs | None = None,
  ) -> jax.Array:
    """[B T H W I] -> [B T H W O]."""
    del rngs
    pooled = same_max_pool(x, (3, 3, 3), (1, 1, 1))
    branches = (
      self.one(x, train=train),
      self.three1(self.reduce1(x, train=train), train=train),
      self.three2(self.reduce2(x, train=train), train=train),
      self.proj(pooled, train=train),
    )
    return jnp.concatenate(branches, axis=-1)


class I3DInception(classifier.WindowClassifier):
  """Clips [B T H W 3] -> logits [B K]: the mean over time and positions.

  Any number of frames. The head averages 2 x 7 x 7 positions, those of 224 px.
  """

  def __init__(
    self, config: InceptionConfig, num_classes: int, *, rngs: nnx.Rngs
  ):
    options = {'dtype': jnp.dtype(config.dtype), 'rngs': rngs}
    self.in_channels = config.in_channels
    self.embeds = nnx.List([Stem(config.in_channels, config.stem, **options)])
    self.stages, dim = inception_stages(
      config.stem[1], config.stages, functools.partial(Block, **options)
    )
    self.remat = config.remat
    self.window = config.window
    self.dropout = Dropout(config.dropout)
    init = initializers.truncated_normal(dim)
    dtype = devices.accum_dtype(config.dtype)
    self.head = Dense(dim, num_classes, init=init, dtype=dtype, rngs=rngs)

  def features(
    self,
    images: jax.Array,
    train: bool = False,
    rngs: nnx.Rngs | None = None,
    after_stage: classifier.AfterStage = classifier.unchanged,
  ) -> jax.Array:
    """Returns the last map. [B T H W 3] -> [B T/8 H/32 W/32 C]."""
    classifier.check_shape(images, clips=True, channels=self.in_channels)
    x = self.embeds[0](images, train=train)
    for i, (pool, stage) in enumerate(zip(_POOLS, self.stages, strict=True)):
      x = same_max_pool(x, pool, (min(pool[0], 2), 2, 2))
      x = run_blocks(stage, x, remat=self.remat, train=train, rngs=rngs)
      x = after_stage(i, x)
    return x

  def classify(self, features: jax.Array) -> jax.Array:
    """Averages the logits of all windows. [B T H W C] -> [B K]."""
    return self.head(self.windows(features)).mean(axis=(1, 2, 3))

# SPDX-License-Identifier: Apache-2.0
"""TDN: a ResNet on differences of frames, near and far.

Wang et al., "TDN: Temporal Difference Networks for Efficient Action
Recognition", 2021, as the official code computes it (github.com/MCG-NJU/TDN).
"""

import dataclasses

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np

from flatten_jax.models import classifier, resnet
from flatten_jax.models.layers import (
  bottleneck,
  depthwise,
  devices,
  initializers,
  norms,
  pooling,
)
from flatten_jax.models.layers.blocks import Dropout, run_blocks
from flatten_jax.models.layers.dense import Dense

FRAMES = 5  # Of a segment.
_REDUCTION = 16  # Channels of a block to those of its differences.
_LEAST = 33  # px: below, the last differences are smaller than 2 x 2.


@dataclasses.dataclass(frozen=True)
class TDNConfig(classifier.ClassifierConfig):
  """A ResNet's sizes, and the number of segments."""

  depth: tuple[int, int, int, int]
  width: int = 64  # Of the stem and the first bottlenecks; doubles each stage.
  # 8 segments weigh differences more than other numbers do. 0: the clip's.
  segments: int = 0
  dropout: float = 0.5  # Before the head.


R50 = TDNConfig(depth=resnet.RESNET50.depth)
R101 = TDNConfig(depth=resnet.RESNET101.depth)
# Ours, of about the size and the cost of `uniformer.NANO`.
NANO = TDNConfig(depth=(1, 1, 2, 1), width=16, segments=8, dropout=0.0)
# Ours: every kind of layer, for tests.
TEST = TDNConfig(depth=(1, 1, 2, 1), width=16, segments=2)


class ShortTerm(nnx.Module):
  """The stem of the middle frames, and that of differences to neighbors."""

  def __init__(self, config: TDNConfig, **options):
    dim, strides = config.width, (2, 2)
    self.conv = bottleneck.plain_conv(
      config.in_channels, dim, (7, 7), strides, use_bias=True, **options
    )
    self.norm = norms.BatchNorm(dim)
    channels = config.in_channels * (FRAMES - 1)
    self.near_conv = bottleneck.plain_conv(
      channels, dim, (7, 7), strides, **options
    )
    self.near_norm = norms.BatchNorm(dim)
    self.near = nnx.List(
      bottleneck.Bottleneck(
        bottleneck.EXPANSION * dim if i else dim,
        dim,
        1,
        0.0,
        use_bias=True,
        **options,
      )
      for i in range(config.depth[0])
    )

  def differences(self, x: jax.Array, *, train: bool = False) -> jax.Array:
    """[B T 5 H W 3] -> [B T H/4 W/4 C], before the max pool."""
    x = x[:, :, 1:] - x[:, :, :-1]
    batch, segments, near, height, width, channels = x.shape
    x = x.transpose(0, 1, 3, 4, 2, 5)
    x = x.reshape(batch, segments, height, width, near * channels)
    x = pooling.halve(x)
    return nnx.relu(self.near_norm(self.near_conv(x), train=train))

  def __call__(
    self, x: jax.Array, *, train: bool = False
  ) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Returns the map of middle frames, and two of differences, smaller.

    [B T 5 H W 3] -> [B T H/4 W/4 C], [B T H/8 W/8 C] and [B T H/8 W/8 4C].
    """
    near = first = resnet.max_pool(self.differences(x, train=train))
    for block in self.near:
      near = block(near, train=train)
    x = self.conv(x[:, :, FRAMES // 2])
    return resnet.max_pool(nnx.relu(self.norm(x, train=train))), first, near


class LongTerm(nnx.Module):
  """Weighs channels by differences to the segments before and after.

  [B T H W C] -> same. In training its last three norms see the differences to
  the next segments, and then those to the ones before.
  """

  def __init__(self, dim: int, **options):
    inner = dim // _REDUCTION
    one = (1, 1)
    self.reduce = bottleneck.plain_conv(dim, inner, one, one, **options)
    self.reduce_norm = norms.BatchNorm(inner)
    self.mix = depthwise.DepthwiseConv(inner, 3, use_bias=False, **options)
    self.half = bottleneck.plain_conv(inner, inner, (3, 3), one, **options)
    self.half_norm = norms.BatchNorm(inner)
    self.whole = bottleneck.plain_conv(inner, inner, (3, 3), one, **options)
    self.whole_norm = norms.BatchNorm(inner)
    self.expand = bottleneck.plain_conv(inner, dim, one, one, **options)
    self.expand_norm = norms.BatchNorm(dim)

  def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
    """[B T H W C] -> same."""
    z = self.reduce_norm(self.reduce(x), train=train)
    y = self.mix(z.reshape(-1, *z.shape[2:])).reshape(z.shape)
    zeros = jnp.zeros_like(z[:, :1])
    following = jnp.concatenate([y[:, 1:] - z[:, :-1], zeros], axis=1)
    previous = jnp.concatenate([zeros, y[:, :-1] - z[:, 1:]], axis=1)
    weights = self.weights(following, train), self.weights(previous, train)
    return x + x * (sum(weights) / 2)

  def weights(self, x: jax.Array, train: bool) -> jax.Array:
    """Returns -.5 to .5 from differences. [B T H W c] -> [B T H W C]."""
    half = self.half_norm(self.half(pooling.halve(x)), train=train)
    half = pooling.upsample(half, *x.shape[2:4])
    whole = self.whole_norm(self.whole(x), train=train)
    x = self.expand_norm(self.expand((x + half + whole) / 3), train=train)
    return jax.nn.sigmoid(x) - 0.5


class Shift(nnx.Module):
  """A filter over three segments for every channel. [B T H W C] -> same.

  At first, an eighth of the channels takes the next segment, and an eighth the
  one before.
  """

  def __init__(self, dim: int, *, dtype: jnp.dtype):
    kernel = np.zeros((3, 1, dim), np.float32)
    part = dim // 8
    kernel[2, :, :part] = 1
    kernel[0, :, part : 2 * part] = 1
    kernel[1, :, 2 * part :] = 1
    self.kernel = nnx.Param(jnp.asarray(kernel))
    self.dtype = dtype

  def __call__(self, x: jax.Array) -> jax.Array:
    """[B T H W C] -> same."""
    kernel = self.kernel.astype(self.dtype)
    return depthwise.depthwise_over_time(x.astype(self.dtype), kernel)


class Block(bottleneck.Bottleneck):
  """A bottleneck that sees other segments before its 3x3 convolution."""

  def __init__(self, dim_in, dim, stride, drop_path, *, dtype, rngs):
    options = {'dtype': dtype, 'rngs': rngs}
    super().__init__(dim_in, dim, stride, drop_path, use_bias=True, **options)
    self.long_term = LongTerm(dim, **options)
    self.shift = Shift(dim, dtype=dtype)

  def between(self, x: jax.Array, *, train: bool = False) -> jax.Array:
    """[B T H W C] -> same."""
    return self.shift(self.long_term(x, train=train))


class TDN(classifier.SegmentClassifier):
  """Clips of five frames of each segment [B 5*T H W 3] -> logits [B K].

  Height and width are at least 33 px.
  """

  def __init__(self, config: TDNConfig, num_classes: int, *, rngs: nnx.Rngs):
    options = {'dtype': jnp.dtype(config.dtype), 'rngs': rngs}
    self.in_channels = config.in_channels
    self.embeds = nnx.List([ShortTerm(config, **options)])
    self.trained_segments = config.segments

    def make(i, j, *sizes):
      if i:
        return Block(*sizes, **options)
      return bottleneck.Bottleneck(*sizes, use_bias=True, **options)

    self.stages, dim_in = bottleneck.resnet_stages(config, make)
    self.remat = config.remat
    self.dropout = Dropout(config.dropout)
    init, dtype = initializers.normal(0.001), devices.accum_dtype(config.dtype)
    self.head = Dense(dim_in, num_classes, init=init, dtype=dtype, rngs=rngs)

  @classmethod
  def takes_size(cls, config: TDNConfig, height: int, width: int) -> bool:
    """Returns whether both sides are at least 33 px."""
    del config
    return min(height, width) >= _LEAST

  def segments(self, clips: jax.Array) -> jax.Array:
    """Checks and divides clips. [B 5*T H W 3] -> [B T 5 H W 3].

    Raises:
      ValueError: the frames are not a multiple of 5, or too small.
    """
    classifier.check_shape(clips, clips=True, channels=self.in_channels)
    batch, frames, height, width, _ = clips.shape
    if frames % FRAMES or not frames:
      raise ValueError(
        f'TDN takes {FRAMES} neighboring frames of every segment; got '
        f'{frames} frames, which is not a multiple of {FRAMES}.'
      )
    if min(height, width) < _LEAST:
      raise ValueError(
        f'TDN takes frames of {_LEAST} px or more; got {height} x {width}.'
      )
    return clips.reshape(batch, -1, FRAMES, height, width, self.in_channels)

  def features(
    self,
    images: jax.Array,
    train: bool = False,
    rngs: nnx.Rngs | None = None,
    after_stage: classifier.AfterStage = classifier.unchanged,
  ) -> jax.Array:
    """Returns the map of every segment. [B 5*T H W 3] -> [B T H/32 W/32 C]."""
    x, *near = self.embeds[0](self.segments(images), train=train)
    x = self.add(x, near[0])
    for i, stage in enumerate(self.stages):
      x = run_blocks(stage, x, remat=self.remat, train=train, rngs=rngs)
      if i == 0:
        x = self.add(x, near[1])
      x = after_stage(i, x)
    return x

  def add(self, x: jax.Array, near: jax.Array) -> jax.Array:
    """Adds a map of differences, of any size. [B T H W C] -> same."""
    segments = self.trained_segments or x.shape[1]
    share, near_share = (0.5, 0.5) if segments == 8 else (0.75, 0.25)
    return share * x + near_share * pooling.upsample(near, *x.shape[2:4])

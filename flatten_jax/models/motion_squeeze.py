# SPDX-License-Identifier: Apache-2.0
"""MotionSqueeze: a ResNet that learns from the motion of its own features.

Kwon et al., "MotionSqueeze: Neural Motion Feature Learning for Video
Understanding", 2020, as the official code computes it (github.com/arunos728/
MotionSqueeze). Its bottlenecks shift channels over time (Lin et al., "TSM",
2019).
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
)
from flatten_jax.models.layers.blocks import Dropout, run_blocks
from flatten_jax.models.layers.correlation import RADIUS, WINDOW, correlation
from flatten_jax.models.layers.dense import Dense

_REDUCED = 64  # Channels that are correlated.
_WIDTHS = (16, 32, 64)  # Of the first layers on flow.
_SIZES = (7, 3, 3, 3)  # Of the depthwise convolutions.
_SIGMA = 5.0  # Positions, of the Gaussian around the best match.
_TEMPERATURE = 100.0  # Multiplies the matches before the softmax.


@dataclasses.dataclass(frozen=True)
class MotionSqueezeConfig(classifier.ClassifierConfig):
  """A ResNet's sizes. Weights fit any number of frames."""

  depth: tuple[int, int, int, int]
  width: int = 64  # Of the stem and the first bottlenecks; doubles each stage.
  frames: int = 8  # That the weights are trained with; others are taken too.
  dropout: float = 0.5  # Before the head.


R50 = MotionSqueezeConfig(depth=resnet.RESNET50.depth)
# Ours, of about the size and the cost of `uniformer.NANO`.
NANO = MotionSqueezeConfig(depth=(1, 1, 1, 1), width=20, frames=9, dropout=0.0)
# Ours: every kind of layer, for tests.
TEST = MotionSqueezeConfig(depth=(1, 1, 2, 1), width=8)


def shift_frames(x: jax.Array) -> jax.Array:
  """Takes an eighth of the channels from the next frame, one from the last.

  [B T H W C] -> same; zeros at the ends.
  """
  part, frames = x.shape[-1] // 8, x.shape[1]
  padded = jnp.pad(x[..., : 2 * part], ((0, 0), (1, 1), *((0, 0),) * 3))
  following = padded[:, 2:, ..., :part]
  previous = padded[:, :frames, ..., part:]
  return jnp.concatenate([following, previous, x[..., 2 * part :]], axis=-1)


class Block(bottleneck.Bottleneck):
  """A bottleneck whose inner branch sees other frames."""

  def prepare(self, x: jax.Array) -> jax.Array:
    """[B T H W C] -> same."""
    return shift_frames(x)


class FlowLayer(nnx.Module):
  """Depthwise, then 1x1, each with norm and ReLU. [B H W I] -> [B H W O]."""

  def __init__(self, dim_in: int, dim_out: int, size: int, **options):
    self.mix = depthwise.DepthwiseConv(dim_in, size, use_bias=False, **options)
    self.norm1 = norms.BatchNorm(dim_in)
    self.conv = bottleneck.plain_conv(
      dim_in, dim_out, (1, 1), (1, 1), **options
    )
    self.norm2 = norms.BatchNorm(dim_out)

  def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
    """[B H W I] -> [B H W O]."""
    x = nnx.relu(self.norm1(self.mix(x), train=train))
    return nnx.relu(self.norm2(self.conv(x), train=train))


class MotionSqueeze(nnx.Module):
  """Adds features of the motion to the next frame. [B T H W C] -> same."""

  def __init__(self, dim: int, **options):
    self.reduce = bottleneck.plain_conv(
      dim, _REDUCED, (1, 1), (1, 1), **options
    )
    self.norm = norms.BatchNorm(_REDUCED)
    widths = (3, *_WIDTHS, dim)
    self.flow = nnx.List(
      FlowLayer(widths[i], widths[i + 1], size, **options)
      for i, size in enumerate(_SIZES)
    )

  def matches(self, x: jax.Array, *, train: bool = False) -> jax.Array:
    """Correlates frames with their next ones. [B T H W C] -> [B T-1 H W 225].

    Raises:
      ValueError: there is one frame only.
    """
    if x.shape[1] < 2:
      raise ValueError(
        'MotionSqueeze takes clips of two frames or more; got one.'
      )
    x = devices.widen(nnx.relu(self.norm(self.reduce(x), train=train)))
    length = jnp.sqrt(jnp.square(x).sum(axis=-1, keepdims=True) + 1e-6)
    x = x / length
    flat = (-1, *x.shape[2:])
    found = correlation(x[:, :-1].reshape(flat), x[:, 1:].reshape(flat))
    return nnx.relu(found).reshape(x.shape[0], -1, *found.shape[1:])

  def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
    """[B T H W C] -> same."""
    flow = displacement(self.matches(x, train=train))
    flow = jnp.concatenate([flow, flow[:, -1:]], axis=1)  # None after the last.
    flow = flow.reshape(-1, *flow.shape[2:]).astype(x.dtype)
    for layer in self.flow:
      flow = layer(flow, train=train)
    return x + flow.reshape(x.shape)


def displacement(matches: jax.Array) -> jax.Array:
  """Returns x and y of the match, and how well it fits. [... 225] -> [... 3].

  x and y are in [-1, 1], from a softmax around the best match (Lee et al.,
  "SFNet", 2019).
  """
  place = np.arange(WINDOW**2).reshape((1,) * (matches.ndim - 1) + (-1,))
  row, column = place // WINDOW, place % WINDOW
  best = matches.argmax(axis=-1, keepdims=True)
  confidence = jnp.take_along_axis(matches, best, axis=-1)
  distance = jnp.square(row - best // WINDOW)
  distance = distance + jnp.square(column - best % WINDOW)
  near = jnp.exp(-distance.astype(matches.dtype) / (2 * _SIGMA**2))
  share = jax.nn.softmax(_TEMPERATURE * near * matches)
  x, y = (
    (share * jnp.asarray((n - RADIUS) / RADIUS, share.dtype)).sum(
      axis=-1, keepdims=True
    )
    for n in (column, row)
  )
  return jnp.concatenate([x, y, confidence], axis=-1)


class MotionSqueezeNet(classifier.SegmentClassifier):
  """Clips [B T H W 3] -> logits [B K], of any size."""

  def __init__(
    self, config: MotionSqueezeConfig, num_classes: int, *, rngs: nnx.Rngs
  ):
    options = {'dtype': jnp.dtype(config.dtype), 'rngs': rngs}
    self.in_channels = config.in_channels
    self.conv = bottleneck.plain_conv(
      config.in_channels, config.width, (7, 7), (2, 2), **options
    )
    self.norm = norms.BatchNorm(config.width)
    self.stages, dim_in = bottleneck.resnet_stages(
      config, lambda i, j, *sizes: Block(*sizes, **options)
    )
    dim = bottleneck.EXPANSION * config.width * 2
    self.motion = MotionSqueeze(dim, **options)
    self.remat = config.remat
    self.dropout = Dropout(config.dropout)
    dtype = devices.accum_dtype(config.dtype)
    init = initializers.xavier_uniform()
    self.head = Dense(dim_in, num_classes, init=init, dtype=dtype, rngs=rngs)

  def stem(self, clips: jax.Array, train: bool = False) -> jax.Array:
    """[B T H W 3] -> [B T H/4 W/4 C]."""
    x = nnx.relu(self.norm(self.conv(clips), train=train))
    return resnet.max_pool(x)

  def features(
    self,
    images: jax.Array,
    train: bool = False,
    rngs: nnx.Rngs | None = None,
    after_stage: classifier.AfterStage = classifier.unchanged,
  ) -> jax.Array:
    """Returns the map of every frame. [B T H W 3] -> [B T H/32 W/32 C]."""
    classifier.check_shape(images, clips=True, channels=self.in_channels)
    x = self.stem(images, train)
    for i, stage in enumerate(self.stages):
      x = run_blocks(stage, x, remat=self.remat, train=train, rngs=rngs)
      if i == 1:
        x = self.motion(x, train=train)
      x = after_stage(i, x)
    return x

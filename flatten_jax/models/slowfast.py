# SPDX-License-Identifier: Apache-2.0
"""SlowFast: a slow path with many channels and a fast one with many frames.

Feichtenhofer et al., "SlowFast Networks for Video Recognition", 2019, as
PySlowFast computes it.
"""

import dataclasses

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np

from flatten_jax.models import classifier
from flatten_jax.models.layers import (
  bottleneck,
  clip_resnet,
  devices,
  initializers,
  norms,
)
from flatten_jax.models.layers.blocks import Dropout, run_blocks
from flatten_jax.models.layers.dense import Dense
from flatten_jax.models.layers.non_local import NonLocal

Paths = tuple[jax.Array, jax.Array]  # Slow [B t H W C] and fast [B T H W c].

_BETA = 8  # Slow channels to fast ones.
_FUSED = 2  # Fused channels to fast ones.
_SLOW_TIMES = (1, 1, 3, 3)  # Sizes in time of the stages' convolutions.
_FAST_TIMES = (3, 3, 3, 3)
_INFLATED = 6  # Blocks of a stage that see other frames, at most.


@dataclasses.dataclass(frozen=True)
class SlowFastConfig(classifier.ClassifierConfig):
  """Depth of both paths, and what leads from one to the other."""

  depth: tuple[int, int, int, int]
  width: int = 64  # Of the slow stem; doubles each stage.
  alpha: int = 4  # Fast frames to slow ones.
  fusion: int = 5  # Frames that a fusion sees.
  # Blocks, from 0, that are followed by a non-local one, for each stage.
  non_local: tuple[tuple[int, ...], ...] = ((), (), (), ())
  key_pool: tuple[int, int, int] = (2, 2, 2)
  # That the head is made for.
  clip_shape: tuple[int, int, int] = (64, 224, 224)
  dropout: float = 0.5  # Before the head.


# 8x8, 34.57 M parameters and, without batch norms, 65.7 GFLOPs.
R50 = SlowFastConfig(depth=(3, 4, 6, 3), fusion=7, clip_shape=(32, 224, 224))
R101 = SlowFastConfig(depth=(3, 4, 23, 3))
R101_NL = SlowFastConfig(
  depth=(3, 4, 23, 3), non_local=((), (), (6, 13, 20), ())
)
# Ours, of about the size and the cost of `uniformer.NANO`.
NANO = SlowFastConfig(
  depth=(1, 1, 2, 1), width=16, clip_shape=(16, 32, 32), dropout=0.0
)
# Ours: every kind of layer, for tests.
TEST = SlowFastConfig(
  depth=(1, 1, 2, 1),
  width=16,
  alpha=2,
  non_local=((), (), (0,), ()),
  key_pool=(1, 2, 2),
  clip_shape=(4, 64, 64),
)


class Block(nnx.Module):
  """A bottleneck of each path."""

  def __init__(self, slow, fast):
    self.slow, self.fast = slow, fast

  def __call__(self, x: Paths, *, train=False, rngs=None) -> Paths:
    """Returns both paths, with the height and width of the stage."""
    slow, fast = x
    slow = self.slow(slow, train=train, rngs=rngs)
    return slow, self.fast(fast, train=train, rngs=rngs)


class Stems(nnx.Module):
  """The stem of each path."""

  def __init__(self, dim: int, **options):
    self.slow = clip_resnet.Stem(dim, 1, **options)
    self.fast = clip_resnet.Stem(dim // _BETA, 5, **options)

  def __call__(self, x: Paths, *, train: bool = False) -> Paths:
    """Returns both paths, of a quarter of the height and width."""
    return self.slow(x[0], train=train), self.fast(x[1], train=train)


class Fusion(nnx.Module):
  """Appends the fast path to the slow one. [B t H W C] -> [B t H W C+2c]."""

  def __init__(self, dim: int, size: int, alpha: int, **options):
    self.conv = bottleneck.plain_conv(
      dim, _FUSED * dim, (size, 1, 1), (alpha, 1, 1), **options
    )
    self.norm = norms.BatchNorm(_FUSED * dim)

  def __call__(self, x: Paths, *, train: bool = False) -> Paths:
    """Returns the wider slow path, and the fast one as it is."""
    slow, fast = x
    fused = nnx.relu(self.norm(self.conv(fast), train=train))
    return jnp.concatenate([slow, fused], axis=-1), fast


class SlowFast(classifier.WindowClassifier):
  """Clips [B T H W 3] -> logits [B K]; T is that of the fast path.

  T is a multiple of `alpha`; height and width are any that leave non-local
  blocks a window of keys.
  """

  def __init__(
    self, config: SlowFastConfig, num_classes: int, *, rngs: nnx.Rngs
  ):
    options = {'dtype': jnp.dtype(config.dtype), 'rngs': rngs}
    self.in_channels = config.in_channels
    stems = Stems(config.width, in_channels=config.in_channels, **options)
    self.embeds = nnx.List([stems])
    # Channels of the fast path before each stage.
    fast = [config.width // _BETA * n for n in (1, 4, 8, 16)]
    self.fusions = nnx.List(
      Fusion(dim, config.fusion, config.alpha, **options) for dim in fast
    )

    def make(i, j, dim_in, dim, stride, drop_path):
      fused, non_local = 0 if j else _FUSED * fast[i], None
      if j in config.non_local[i]:
        non_local = NonLocal(
          bottleneck.EXPANSION * dim, config.key_pool, softmax=False, **options
        )

      def path(dim_in, dim, times, non_local=None):
        return clip_resnet.ClipBottleneck(
          dim_in,
          dim,
          stride,
          drop_path,
          time=clip_resnet.time_of(j, (times[i],), _INFLATED),
          non_local=non_local,
          **options,
        )

      return Block(
        path(dim_in + fused, dim, _SLOW_TIMES, non_local),
        path(dim_in // _BETA, dim // _BETA, _FAST_TIMES),
      )

    self.stages, dim_in = bottleneck.resnet_stages(config, make)
    self.least = least_shape(config)
    self.alpha = config.alpha
    self.remat = config.remat
    self.window = clip_resnet.head_window(config.clip_shape, config.alpha)
    self.dropout = Dropout(config.dropout)
    init, dtype = initializers.normal(0.01), devices.accum_dtype(config.dtype)
    dim_in += dim_in // _BETA
    self.head = Dense(dim_in, num_classes, init=init, dtype=dtype, rngs=rngs)

  @classmethod
  def takes_size(cls, config: SlowFastConfig, height: int, width: int) -> bool:
    """Returns whether every map has the positions that its layers need."""
    return min(height, width) >= least_shape(config)[1]

  def paths(self, clips: jax.Array) -> Paths:
    """Returns the frames of the slow path, and the clip.

    Raises:
      ValueError: the fast frames are not a multiple of the slow ones, or the
        clip is too small.
    """
    classifier.check_shape(clips, clips=True, channels=self.in_channels)
    frames = clips.shape[1]
    if frames % self.alpha:
      raise ValueError(
        f'This SlowFast takes a multiple of {self.alpha} frames, its alpha; '
        f'got {frames}.'
      )
    clip_resnet.check_clip(clips, self.least, 'SlowFast')
    return clips[:, slow_frames(frames, self.alpha)], clips

  def features(
    self,
    images: jax.Array,
    train: bool = False,
    rngs: nnx.Rngs | None = None,
    after_stage: classifier.AfterStage = classifier.unchanged,
  ) -> jax.Array:
    """Returns the last maps of both paths. [B T H W 3] -> [B t H/32 W/32 C].

    The fast one is averaged over the frames of a slow one, which does not
    change the mean over time. `after_stage` sees the slow path.
    """
    x = self.embeds[0](self.paths(images), train=train)
    for i, stage in enumerate(self.stages):
      x = self.fusions[i](x, train=train)
      x = run_blocks(stage, x, remat=self.remat, train=train, rngs=rngs)
      x = after_stage(i, x[0]), x[1]
    slow, fast = x
    batch, frames, *image = fast.shape
    fast = devices.widen(fast)
    fast = fast.reshape(batch, frames // self.alpha, self.alpha, *image)
    fast = fast.mean(axis=2).astype(slow.dtype)
    return jnp.concatenate([slow, fast], axis=-1)


def slow_frames(frames: int, alpha: int) -> np.ndarray:
  """Returns the frames of the slow path, the first and the last among them.

  Evenly spaced and rounded down: 0, 4, 8, 13, 17, 22, 26, 31 of 32.
  """
  count = frames // alpha
  return np.arange(count) * (frames - 1) // max(count - 1, 1)


def least_shape(config: SlowFastConfig) -> tuple[int, int]:
  """Returns the least frames, and the least height and width, of a clip."""
  frames, side = clip_resnet.least_maps(config.non_local, config.key_pool)
  return config.alpha * frames, 4 * side - 3

# SPDX-License-Identifier: Apache-2.0
"""I3D as a ResNet: an image network inflated over time, and non-local blocks.

Carreira & Zisserman, "Quo Vadis, Action Recognition?", 2017; Wang et al.,
"Non-local Neural Networks", 2018. As PySlowFast computes them, and, the long
ones, the released code of the second (video-nonlocal-net). `i3d_inception.py`
is the network of the first paper.
"""

import dataclasses

from flax import nnx
import jax
import jax.numpy as jnp

from flatten_jax.models import classifier
from flatten_jax.models.layers import (
  bottleneck,
  clip_resnet,
  devices,
  initializers,
  pooling,
)
from flatten_jax.models.layers.blocks import Dropout, run_blocks
from flatten_jax.models.layers.dense import Dense
from flatten_jax.models.layers.non_local import NonLocal

# Sizes in time of the blocks of each stage, repeated.
_TIMES = ((3,), (3, 1), (3, 1), (1, 3))


@dataclasses.dataclass(frozen=True)
class I3DConfig(classifier.ClassifierConfig):
  """Depth, places of non-local blocks, and the stem of a ResNet of clips."""

  depth: tuple[int, int, int, int]
  width: int = 64  # Of the stem and the first bottlenecks; doubles each stage.
  stride: int = 1  # Of the stem in time, for its convolution and its pool.
  stem_pad: int = 1  # Of that pool, in space.
  inflated: int = 99  # Blocks of the third stage that see other frames.
  # Blocks, from 0, that are followed by a non-local one, for each stage.
  non_local: tuple[tuple[int, ...], ...] = ((), (), (), ())
  key_pool: tuple[int, int, int] = (1, 2, 2)
  non_local_std: float | None = None  # Of their first kernels; None is He's.
  temporal_groups: int = 1  # Of the second stage's non-local blocks.
  clip_shape: tuple[int, int, int] = (8, 224, 224)  # That the head is made for.
  dropout: float = 0.5  # Before the head.


_R50, _R101 = (3, 4, 6, 3), (3, 4, 23, 3)
_NL = ((), (1, 3), (1, 3, 5), ())
R50 = I3DConfig(depth=_R50)
R50_NL = I3DConfig(depth=_R50, non_local=_NL)
R101 = I3DConfig(depth=_R101)
R101_NL = I3DConfig(depth=_R101, non_local=_NL)
# The Non-local paper's, of 32 or 128 frames.
R101_NL_LONG = I3DConfig(
  depth=_R101,
  stride=2,
  stem_pad=0,
  non_local=((), (1, 3), (6, 13, 20), ()),
  non_local_std=0.01,
  clip_shape=(128, 224, 224),
)
# As it was costed: 359 GFLOPs.
R101_NL_LONG359 = dataclasses.replace(R101_NL_LONG, stem_pad=1, inflated=6)
# Ours, of about the size and the cost of `uniformer.NANO`.
NANO = I3DConfig(
  depth=(1, 1, 2, 1), width=16, clip_shape=(9, 32, 32), dropout=0.0
)
NANO_NL = dataclasses.replace(NANO, non_local=((), (0,), (0,), ()))
# Ours: every kind of layer, for tests.
TEST = I3DConfig(
  depth=(1, 2, 2, 2),
  width=4,
  non_local=((), (1,), (0,), ()),
  clip_shape=(4, 64, 64),
)


class I3D(classifier.WindowClassifier):
  """Clips [B T H W 3] -> logits [B K].

  Any size that leaves non-local blocks a window of keys. An odd frame is
  dropped after the first stage.
  """

  def __init__(self, config: I3DConfig, num_classes: int, *, rngs: nnx.Rngs):
    options = {'dtype': jnp.dtype(config.dtype), 'rngs': rngs}
    step = config.stride
    self.in_channels = config.in_channels
    stem = clip_resnet.Stem(
      config.width,
      5,
      stride=step,
      pool=step,
      pad=config.stem_pad,
      in_channels=config.in_channels,
      **options,
    )
    self.embeds = nnx.List([stem])

    def make(i, j, dim_in, dim, stride, drop_path):
      non_local = None
      if j in config.non_local[i]:
        non_local = NonLocal(
          bottleneck.EXPANSION * dim,
          config.key_pool,
          softmax=True,
          groups=config.temporal_groups if i == 1 else 1,
          std=config.non_local_std,
          **options,
        )
      inflated = config.inflated if i == 2 else config.depth[i]
      return clip_resnet.ClipBottleneck(
        dim_in,
        dim,
        stride,
        drop_path,
        time=clip_resnet.time_of(j, _TIMES[i], inflated),
        non_local=non_local,
        **options,
      )

    self.stages, dim_in = bottleneck.resnet_stages(config, make)
    self.least = least_shape(config)
    self.remat = config.remat
    self.window = clip_resnet.head_window(config.clip_shape, 2 * step**2)
    self.dropout = Dropout(config.dropout)
    init, dtype = initializers.normal(0.01), devices.accum_dtype(config.dtype)
    self.head = Dense(dim_in, num_classes, init=init, dtype=dtype, rngs=rngs)

  @classmethod
  def takes_size(cls, config: I3DConfig, height: int, width: int) -> bool:
    """Returns whether every map has the positions that its layers need."""
    return min(height, width) >= least_shape(config)[1]

  def features(
    self,
    images: jax.Array,
    train: bool = False,
    rngs: nnx.Rngs | None = None,
    after_stage: classifier.AfterStage = classifier.unchanged,
  ) -> jax.Array:
    """Returns the last feature map. [B T H W 3] -> [B T/2 H/32 W/32 C].

    Of the long forms, T/8.
    """
    classifier.check_shape(images, clips=True, channels=self.in_channels)
    clip_resnet.check_clip(images, self.least, 'I3D')
    x = self.embeds[0](images, train=train)
    for i, stage in enumerate(self.stages):
      x = run_blocks(stage, x, remat=self.remat, train=train, rngs=rngs)
      x = after_stage(i, x)
      if i == 0:
        x = halve_frames(x)
    return x


def halve_frames(x: jax.Array) -> jax.Array:
  """Takes the larger of every two frames. [B T H W C] -> [B T/2 H W C]."""
  return pooling.max_pool(x, (2, 1, 1), (2, 1, 1))


def least_shape(config: I3DConfig) -> tuple[int, int]:
  """Returns the least frames, and the least height and width, of a clip."""
  frames, side = clip_resnet.least_maps(config.non_local, config.key_pool)
  frames *= 2  # Halved after the first stage.
  if config.stride > 1:  # A convolution that rounds up, a pool that does not.
    frames = config.stride * (config.stride * frames - 1) + 1
  return frames, 4 * side - 3 if config.stem_pad else 4 * side + 1

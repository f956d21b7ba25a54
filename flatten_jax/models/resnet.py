# SPDX-License-Identifier: Apache-2.0
"""ResNet: bottlenecks of convolutions with shortcuts.

He et al., "Deep Residual Learning for Image Recognition", 2016, as in
torchvision (v1.5): the 3x3 convolution has the stride of a stage, not the 1x1.
"""

import dataclasses

from flax import nnx
import jax
import jax.numpy as jnp

from flatten_jax.models import classifier
from flatten_jax.models.layers import devices, norms, pooling
from flatten_jax.models.layers.blocks import run_blocks
from flatten_jax.models.layers.bottleneck import (
  Bottleneck,
  plain_conv,
  resnet_stages,
)
from flatten_jax.models.layers.dense import Dense


@dataclasses.dataclass(frozen=True)
class ResNetConfig(classifier.ClassifierConfig):
  """Bottlenecks in each of the four stages, and their width."""

  depth: tuple[int, int, int, int]
  width: int = 64  # Of the stem and the first bottlenecks; doubles each stage.


RESNET50 = ResNetConfig(depth=(3, 4, 6, 3))
RESNET101 = ResNetConfig(depth=(3, 4, 23, 3))
# Ours, of about the size and the cost of `uniformer.NANO`.
NANO = ResNetConfig(depth=(1, 1, 1, 1), width=20)
# Ours: every kind of layer, for tests.
TEST = ResNetConfig(depth=(1, 2, 1, 1), width=4)


def max_pool(x: jax.Array) -> jax.Array:
  """Max pooling of 3 x 3 with stride 2. [B ... H W C] -> [B ... H/2 W/2 C]."""
  once = (1,) * (x.ndim - 4)  # Over the frames of clips.
  pads = (*((0, 0),) * len(once), (1, 1), (1, 1))
  return pooling.max_pool(x, (*once, 3, 3), (*once, 2, 2), pads)


class ResNet(classifier.Classifier):
  """Images [B H W 3] -> logits [B K].

  Any height and width; each of the five strides of 2 rounds up.
  """

  def __init__(self, config: ResNetConfig, num_classes: int, *, rngs: nnx.Rngs):
    options = {'dtype': jnp.dtype(config.dtype), 'rngs': rngs}
    self.in_channels = config.in_channels
    self.conv = plain_conv(
      config.in_channels, config.width, (7, 7), (2, 2), **options
    )
    self.norm = norms.BatchNorm(config.width)
    self.stages, dim_in = resnet_stages(
      config, lambda i, j, *sizes: Bottleneck(*sizes, **options)
    )
    self.remat = config.remat
    dtype = devices.accum_dtype(config.dtype)
    self.head = Dense(dim_in, num_classes, dtype=dtype, rngs=rngs)

  def stem(self, images: jax.Array, train: bool = False) -> jax.Array:
    """Runs the layers before the stages. [B H W 3] -> [B H/4 W/4 C]."""
    x = nnx.relu(self.norm(self.conv(images), train=train))
    return max_pool(x)

  def features(
    self,
    images: jax.Array,
    train: bool = False,
    rngs: nnx.Rngs | None = None,
    after_stage: classifier.AfterStage = classifier.unchanged,
  ) -> jax.Array:
    """Returns the last feature map. [B H W 3] -> [B H/32 W/32 C]."""
    classifier.check_shape(images, channels=self.in_channels)
    x = self.stem(images, train)
    for i, stage in enumerate(self.stages):
      x = run_blocks(stage, x, remat=self.remat, train=train, rngs=rngs)
      x = after_stage(i, x)
    return x

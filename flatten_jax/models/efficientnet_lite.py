# SPDX-License-Identifier: Apache-2.0
"""EfficientNet-Lite: inverted bottlenecks around depthwise convolutions.

Tan and Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural
Networks", 2019, in the variant for mobile processors of TensorFlow's TPU
repository: ReLU6, no squeeze-and-excitation, and a stem and a neck that keep
their widths in every size.
"""

import dataclasses
from typing import ClassVar

from flax import nnx
import jax
from jax import lax
import jax.numpy as jnp
import numpy as np

from flatten_jax.models import classifier
from flatten_jax.models.layers import devices, initializers, norms
from flatten_jax.models.layers.blocks import Dropout, DropPath, run_blocks
from flatten_jax.models.layers.bottleneck import plain_conv
from flatten_jax.models.layers.dense import Dense
from flatten_jax.models.layers.depthwise import DepthwiseConv


@dataclasses.dataclass(frozen=True)
class EfficientNetLiteConfig(classifier.ClassifierConfig):
  """Blocks in each stage, their widths, and those of stem and neck."""

  # Of each stage: size of the kernels, stride of the first, expansion.
  kinds: ClassVar = (
    (3, 1, 1),
    (3, 2, 6),
    (5, 2, 6),
    (3, 2, 6),
    (5, 1, 6),
    (5, 2, 6),
    (3, 1, 6),
  )

  depth: tuple[int, ...]
  dim: tuple[int, ...]
  stem: int = 32
  neck: int = 1280
  dropout: float = 0.2  # Of the mean of the last map.


LITE0 = EfficientNetLiteConfig(
  depth=(1, 2, 2, 3, 3, 4, 1), dim=(16, 24, 40, 80, 112, 192, 320)
)
# The depths of all stages but the first and the last are scaled by 1.1 and 1.2
# and rounded up, which is the same; widths by 1 and 1.1, to multiples of 8.
LITE1 = dataclasses.replace(LITE0, depth=(1, 3, 3, 4, 4, 5, 1))
LITE2 = dataclasses.replace(
  LITE1, dim=(16, 24, 48, 88, 120, 208, 352), dropout=0.3
)
# Ours: every kind of layer, for tests.
TEST = EfficientNetLiteConfig(
  depth=(1, 2, 1, 1, 1, 1), dim=(4, 4, 8, 8, 8, 12), stem=4, neck=16, dropout=0
)


def relu6(x: jax.Array) -> jax.Array:
  """Clips to 0 to 6; its gradient is 0 at both, as PyTorch's.

  (`jax.nn.relu6` has half a gradient there.)
  """
  return lax.clamp(jnp.zeros((), x.dtype), x, jnp.full((), 6, x.dtype))


def _norm(dim: int) -> norms.BatchNorm:
  return norms.BatchNorm(dim, epsilon=1e-3, momentum=0.99)


class Block(nnx.Module):
  """1x1 to more channels, depthwise, 1x1 to fewer. [B H W I] -> [B h w O].

  Without the first convolution if the expansion is 1; with a shortcut if input
  and output have one shape.
  """

  def __init__(
    self,
    dim_in: int,
    dim: int,
    kind: tuple[int, int, int],
    drop_path: float,
    *,
    dtype: jnp.dtype,
    rngs: nnx.Rngs,
  ):
    size, stride, expansion = kind
    hidden, options = dim_in * expansion, {'dtype': dtype, 'rngs': rngs}
    self.expands = expansion > 1
    if self.expands:
      self.conv_in = plain_conv(dim_in, hidden, (1, 1), (1, 1), **options)
      self.norm0 = _norm(hidden)
    self.mix = DepthwiseConv(
      hidden,
      size,
      stride=stride,
      use_bias=False,
      init=initializers.he_normal(size**2),
      **options,
    )
    self.norm1 = _norm(hidden)
    self.conv_out = plain_conv(hidden, dim, (1, 1), (1, 1), **options)
    self.norm2 = _norm(dim)
    self.adds = stride == 1 and dim_in == dim
    self.drop_path = DropPath(drop_path)

  def __call__(
    self,
    x: jax.Array,
    *,
    train: bool = False,
    rngs: nnx.Rngs | None = None,
  ) -> jax.Array:
    """[B H W I] -> [B h w O]."""
    y = x
    if self.expands:
      y = relu6(self.norm0(self.conv_in(y), train=train))
    y = relu6(self.norm1(self.mix(y), train=train))
    y = self.norm2(self.conv_out(y), train=train)
    return x + self.drop_path(y, train=train, rngs=rngs) if self.adds else y


class EfficientNetLite(classifier.Classifier):
  """Images [B H W 3] -> logits [B K].

  Any height and width; each of the five strides of 2 rounds up, and pads as
  TensorFlow does: an even side only at its end.
  """

  def __init__(
    self, config: EfficientNetLiteConfig, num_classes: int, *, rngs: nnx.Rngs
  ):
    options = {'dtype': jnp.dtype(config.dtype), 'rngs': rngs}
    self.in_channels, dim_in = config.in_channels, config.stem
    self.conv = plain_conv(
      config.in_channels, dim_in, (3, 3), (2, 2), padding='SAME', **options
    )
    self.norm = _norm(dim_in)
    rates = iter(np.linspace(0, config.drop_path_rate, sum(config.depth)))
    self.stages = nnx.List()
    # A model may have fewer stages.
    for depth, dim, kind in zip(  # noqa: B905
      config.depth, config.dim, config.kinds
    ):
      stage = nnx.List()
      for _ in range(depth):
        stage.append(Block(dim_in, dim, kind, float(next(rates)), **options))
        dim_in, kind = dim, (kind[0], 1, kind[2])
      self.stages.append(stage)
    self.neck = plain_conv(dim_in, config.neck, (1, 1), (1, 1), **options)
    self.neck_norm = _norm(config.neck)
    self.dropout = Dropout(config.dropout)
    self.remat = config.remat
    dtype = devices.accum_dtype(config.dtype)
    self.head = Dense(config.neck, num_classes, dtype=dtype, rngs=rngs)

  def stem(self, images: jax.Array, train: bool = False) -> jax.Array:
    """Runs the layers before the stages. [B H W 3] -> [B H/2 W/2 C]."""
    return relu6(self.norm(self.conv(images), train=train))

  def features(
    self,
    images: jax.Array,
    train: bool = False,
    rngs: nnx.Rngs | None = None,
    after_stage: classifier.AfterStage = classifier.unchanged,
  ) -> jax.Array:
    """Returns the last feature map. [B H W 3] -> [B H/32 W/32 1280]."""
    classifier.check_shape(images, channels=self.in_channels)
    x = self.stem(images, train)
    for i, stage in enumerate(self.stages):
      x = run_blocks(stage, x, remat=self.remat, train=train, rngs=rngs)
      x = after_stage(i, x)
    return relu6(self.neck_norm(self.neck(x), train=train))

  def classify(
    self,
    features: jax.Array,
    train: bool = False,
    rngs: nnx.Rngs | None = None,
  ) -> jax.Array:
    """Averages over positions and applies the head. [B h w C] -> [B K]."""
    x = features.astype(self.head.dtype).mean(axis=(1, 2))
    return self.head(self.dropout(x, train=train, rngs=rngs))

  def __call__(
    self,
    images: jax.Array,
    train: bool = False,
    rngs: nnx.Rngs | None = None,
  ) -> jax.Array:
    """Returns the logits of normalized images. [B H W 3] -> [B K]."""
    return self.classify(self.features(images, train, rngs), train, rngs)

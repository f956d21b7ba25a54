# SPDX-License-Identifier: Apache-2.0
"""ResNet: bottlenecks of convolutions with shortcuts.

He et al., "Deep Residual Learning for Image Recognition", 2016, as in
torchvision (v1.5): the 3x3 convolution has the stride of a stage, not the 1x1.
"""

import dataclasses
import functools
import math

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np

from flatten_jax.models import classifier
from flatten_jax.models.layers import devices, initializers, norms
from flatten_jax.models.layers.blocks import DropPath, run_blocks
from flatten_jax.models.layers.convolution import Conv
from flatten_jax.models.layers.dense import Dense


@dataclasses.dataclass(frozen=True)
class ResNetConfig(classifier.ClassifierConfig):
  """Bottlenecks in each of the four stages, and their width."""

  depth: tuple[int, int, int, int]
  width: int = 64  # Of the stem and the first bottlenecks; doubles each stage.


RESNET50 = ResNetConfig(depth=(3, 4, 6, 3))
RESNET101 = ResNetConfig(depth=(3, 4, 23, 3))
# Ours: every kind of layer, for tests.
TEST = ResNetConfig(depth=(1, 2, 1, 1), width=4)

_EXPANSION = 4  # A bottleneck's outputs to its inner channels.


def _kaiming(size: int, dim_out: int) -> initializers.Initializer:
  """Keeps the variance of gradients through a convolution and a ReLU."""
  return initializers.normal(math.sqrt(2 / (size * size * dim_out)))


def _conv(dim_in, dim_out, size, stride=1, **options) -> Conv:
  """Creates a convolution without bias."""
  init, strides = _kaiming(size, dim_out), (stride, stride)
  options |= {'init': init, 'use_bias': False}
  return Conv(dim_in, dim_out, size, strides, **options)


def max_pool(x: jax.Array) -> jax.Array:
  """Max pooling of 3 x 3 with stride 2. [B H W C] -> [B H/2 W/2 C].

  Across, then down, each time the first of equals, which gets the gradient as
  in PyTorch. (The gradient of XLA's own takes ten times as long on CPU.)
  """
  height, width = x.shape[1:3]
  x = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=-jnp.inf)
  x = functools.reduce(
    _first_max, (x[:, :, i : i + width : 2] for i in range(3))
  )
  return functools.reduce(
    _first_max, (x[:, i : i + height : 2] for i in range(3))
  )


def _first_max(a: jax.Array, b: jax.Array) -> jax.Array:
  """Returns the larger, `a` if equal; `jnp.maximum` halves the gradient."""
  return jnp.where((a >= b) | jnp.isnan(a), a, b)


class Bottleneck(nnx.Module):
  """1x1 to fewer channels, 3x3, 1x1 to more. [B H W I] -> [B H/s W/s 4*dim]."""

  def __init__(self, dim_in, dim, stride, drop_path, *, dtype, rngs):
    dim_out = _EXPANSION * dim
    options = {'dtype': dtype, 'rngs': rngs}
    self.conv1 = _conv(dim_in, dim, 1, **options)
    self.norm1 = norms.BatchNorm(dim)
    self.conv2 = _conv(dim, dim, 3, stride, **options)
    self.norm2 = norms.BatchNorm(dim)
    self.conv3 = _conv(dim, dim_out, 1, **options)
    self.norm3 = norms.BatchNorm(dim_out)
    self.reshapes = stride > 1 or dim_in != dim_out
    if self.reshapes:
      self.shortcut = _conv(dim_in, dim_out, 1, stride, **options)
      self.shortcut_norm = norms.BatchNorm(dim_out)
    self.drop_path = DropPath(drop_path)

  def __call__(self, x, *, train=False, rngs=None):
    """[B H W I] -> [B H/s W/s 4*dim]."""
    y = nnx.relu(self.norm1(self.conv1(x), train=train))
    y = nnx.relu(self.norm2(self.conv2(y), train=train))
    y = self.norm3(self.conv3(y), train=train)
    if self.reshapes:
      x = self.shortcut_norm(self.shortcut(x), train=train)
    return nnx.relu(x + self.drop_path(y, train=train, rngs=rngs))


class ResNet(classifier.Classifier):
  """Images [B H W 3] -> logits [B K].

  Any height and width; each of the five strides of 2 rounds up.
  """

  def __init__(self, config: ResNetConfig, num_classes: int, *, rngs: nnx.Rngs):
    options = {'dtype': jnp.dtype(config.dtype), 'rngs': rngs}
    rates = iter(np.linspace(0, config.drop_path_rate, sum(config.depth)))
    dim_in = config.width
    self.conv = _conv(3, dim_in, 7, 2, **options)
    self.norm = norms.BatchNorm(dim_in)
    self.stages = nnx.List()
    for i, depth in enumerate(config.depth):
      dim, stage = config.width * 2**i, nnx.List()
      for j in range(depth):
        stride = 2 if i > 0 and j == 0 else 1
        rate = float(next(rates))
        stage.append(Bottleneck(dim_in, dim, stride, rate, **options))
        dim_in = _EXPANSION * dim
      self.stages.append(stage)
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
    classifier.check_shape(images)
    x = self.stem(images, train)
    for i, stage in enumerate(self.stages):
      x = run_blocks(stage, x, remat=self.remat, train=train, rngs=rngs)
      x = after_stage(i, x)
    return x

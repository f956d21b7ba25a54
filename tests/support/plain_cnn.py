# SPDX-License-Identifier: Apache-2.0
"""Image classifiers of other packages, which know nothing of video."""

from flax import linen, nnx
import jax


class PlainCNN(nnx.Module):
  """Flax NNX, with train and eval modes and its own random stream."""

  def __init__(self, num_classes: int, rngs: nnx.Rngs):
    self.conv = nnx.Conv(3, 8, (3, 3), strides=4, rngs=rngs)
    self.norm = nnx.BatchNorm(8, rngs=rngs)
    self.layers = nnx.List([nnx.Dropout(0.5, rngs=rngs)])
    self.head = nnx.Linear(8, num_classes, rngs=rngs)

  def __call__(self, x):
    return self.classify(self.features(x))

  def features(self, x):
    return nnx.relu(self.norm(self.conv(x)))

  def classify(self, x):
    return self.head(self.layers[0](x.mean(axis=(1, 2))))


class LinearOnPixels(nnx.Module):
  """A linear classifier on frames of 4 x 4, nine of them flattened."""

  def __init__(self, num_classes: int, rngs: nnx.Rngs):
    self.parts = nnx.List([nnx.Linear(12 * 12 * 3, num_classes, rngs=rngs)])

  def __call__(self, x):
    x = jax.image.resize(x, (len(x), 12, 12, 3), 'linear')
    return self.parts[0](x.reshape(len(x), -1))


class LinenCNN(linen.Module):
  """Flax Linen, with variables outside and an argument `train`."""

  num_classes: int

  @linen.compact
  def __call__(self, x, train: bool):
    x = linen.Conv(8, (3, 3), strides=4)(x)
    x = linen.BatchNorm(use_running_average=not train)(x)
    x = linen.relu(x).mean(axis=(1, 2))
    x = linen.Dropout(0.5, deterministic=not train)(x)
    return linen.Dense(self.num_classes)(x)


def build_nnx(num_classes, rngs):
  return PlainCNN(num_classes, rngs)


def build_linear(num_classes, rngs):
  return LinearOnPixels(num_classes, rngs)


def build_linen(num_classes, rngs):
  del rngs  # Linen draws its parameters when it sees its first image.
  return LinenCNN(num_classes)


def build_function(num_classes, rngs):
  del rngs
  return lambda images: images.mean(axis=(1, 2)) @ [[0.0] * num_classes] * 3


PI = 3.14

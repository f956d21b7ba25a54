# SPDX-License-Identifier: Apache-2.0
"""Two-Stream: CNN-M-2048 on a frame, and on the optical flow of ten.

Simonyan & Zisserman, "Two-Stream Convolutional Networks for Action Recognition
in Videos", 2014; the network is from Chatfield et al., "Return of the Devil in
the Details", 2014.
"""

import dataclasses

from flax import nnx
import jax
import jax.numpy as jnp

from flatten_jax.models import classifier
from flatten_jax.models.layers import devices, pooling
from flatten_jax.models.layers.blocks import Dropout
from flatten_jax.models.layers.convolution import Conv
from flatten_jax.models.layers.dense import Dense


@dataclasses.dataclass(frozen=True)
class TwoStreamConfig(classifier.ClassifierConfig):
  """Widths of CNN-M; `in_channels` is 20 for the flow of ten frames."""

  dims: tuple[int, int, int] = (96, 256, 512)  # Of conv1, conv2, conv3 to 5.
  hidden: tuple[int, int] = (4096, 2048)
  size: int = 224  # Of images, in px.
  norms: int = 2  # Convolutions that local response normalization follows.
  dropout: float = 0.5  # Of both hidden layers.


SPATIAL = TwoStreamConfig()
TEMPORAL = TwoStreamConfig(in_channels=20, norms=1, dropout=0.9)
# Ours, of about the size of `uniformer.NANO`.
NANO = TwoStreamConfig(
  dims=(32, 96, 160), hidden=(384, 256), size=64, dropout=0.0
)
NANO_TEMPORAL = dataclasses.replace(NANO, in_channels=20, norms=1)
# Ours: every kind of layer, for tests.
TEST = TwoStreamConfig(dims=(4, 6, 8), hidden=(16, 8), size=64)


def local_response_norm(x: jax.Array) -> jax.Array:
  """Divides by the size of five neighboring channels. [... C] -> same.

  x / (2 + 1e-4 * sum of squares) ** 0.75.
  """
  wide = devices.widen(x)
  padded = jnp.pad(jnp.square(wide), (*((0, 0),) * (x.ndim - 1), (2, 2)))
  channels = x.shape[-1]
  total = sum(padded[..., i : i + channels] for i in range(5))
  return (wide / (2 + 1e-4 * total) ** 0.75).astype(x.dtype)


def map_side(side: int) -> int:
  """Returns the side of the last map of an image, 0 if it is too small."""
  # The first two convolutions; later ones keep the size. A pool after each.
  for size, pad, stride in ((7, 0, 2), (5, 1, 2), (3, 1, 1)):
    side = (side + 2 * pad - size) // stride + 1
    if side < 3:
      return 0
    side = -(-(side - 3) // 2) + 1
  return side


class Layer(nnx.Module):
  """A convolution, its ReLU, and perhaps a norm and a pool."""

  def __init__(
    self, dim_in, dim, size, stride, pad, *, norm=False, pool=False, **options
  ):
    strides = (stride, stride)
    self.conv = Conv(dim_in, dim, size, strides, padding=pad, **options)
    self.norm, self.pool = norm, pool

  def normed(self, x: jax.Array) -> jax.Array:
    """Returns the map before the pool. [B H W I] -> [B H W O]."""
    x = nnx.relu(self.conv(x))
    return local_response_norm(x) if self.norm else x

  def __call__(self, x: jax.Array) -> jax.Array:
    """[B H W I] -> [B H W O]."""
    x = self.normed(x)
    return pooling.halve_by_max(x) if self.pool else x


class TwoStream(classifier.Classifier):
  """Images [B H W 3], or flow [B H W 20], -> logits [B K].

  Flow is x, then y, of ten consecutive frames. Sides are 201 to 232 px, which
  all lead to a map of 6 x 6.
  """

  def __init__(
    self, config: TwoStreamConfig, num_classes: int, *, rngs: nnx.Rngs
  ):
    options = {'dtype': jnp.dtype(config.dtype), 'rngs': rngs}
    first, second, rest = config.dims
    dims = config.in_channels
    self.in_channels = dims
    self.side = map_side(config.size)
    self.embeds = nnx.List(
      [Layer(dims, first, 7, 2, 0, norm=True, pool=True, **options)]
    )
    near = {'norm': config.norms > 1, 'pool': True, **options}
    last = {'pool': True, **options}
    self.stages = nnx.List(
      [
        nnx.List([Layer(first, second, 5, 2, 1, **near)]),
        nnx.List(
          [
            Layer(second, rest, 3, 1, 1, **options),
            Layer(rest, rest, 3, 1, 1, **options),
            Layer(rest, rest, 3, 1, 1, **last),
          ]
        ),
      ]
    )
    dtype = devices.accum_dtype(config.dtype)
    options['dtype'] = dtype
    inputs = self.side**2 * rest
    self.fc6 = Dense(inputs, config.hidden[0], **options)
    self.fc7 = Dense(*config.hidden, **options)
    self.dropout = Dropout(config.dropout)
    self.head = Dense(config.hidden[1], num_classes, **options)

  @classmethod
  def takes_size(cls, config: TwoStreamConfig, height: int, width: int) -> bool:
    """Returns whether an image leads to a map of the size of `fc6`."""
    side = map_side(config.size)
    return side == map_side(height) == map_side(width)

  def features(
    self,
    images: jax.Array,
    train: bool = False,
    rngs: nnx.Rngs | None = None,
    after_stage: classifier.AfterStage = classifier.unchanged,
  ) -> jax.Array:
    """Returns the last map. [B H W I] -> [B 6 6 C].

    Raises:
      ValueError: the image leads to a map of another size.
    """
    del train, rngs
    classifier.check_shape(images, channels=self.in_channels)
    height, width = images.shape[1:3]
    if not self.side == map_side(height) == map_side(width):
      fitting = [n for n in range(1, 600) if map_side(n) == self.side]
      raise ValueError(
        f'This network takes sides of {fitting[0]} to {fitting[-1]} px; got '
        f'{height} x {width}.'
      )
    x = self.embeds[0](images)
    for i, stage in enumerate(self.stages):
      for layer in stage:
        x = layer(x)
      x = after_stage(i, x)
    return x

  def hidden(
    self,
    features: jax.Array,
    train: bool = False,
    rngs: nnx.Rngs | None = None,
  ) -> tuple[jax.Array, jax.Array]:
    """Returns both hidden layers, before their ReLU. [B 6 6 C] -> [B D]."""
    # By channel first, as the published weights.
    x = features.transpose(0, 3, 1, 2).reshape(features.shape[0], -1)
    first = self.fc6(x)
    x = self.dropout(nnx.relu(first), train=train, rngs=rngs)
    return first, self.fc7(x)

  def classify(
    self,
    features: jax.Array,
    train: bool = False,
    rngs: nnx.Rngs | None = None,
  ) -> jax.Array:
    """Applies the three linear layers. [B 6 6 C] -> [B K]."""
    x = nnx.relu(self.hidden(features, train, rngs)[1])
    return self.head(self.dropout(x, train=train, rngs=rngs))

  def __call__(
    self,
    images: jax.Array,
    train: bool = False,
    rngs: nnx.Rngs | None = None,
  ) -> jax.Array:
    """Returns the logits of normalized images. [B H W I] -> [B K]."""
    return self.classify(self.features(images, train=train), train, rngs)

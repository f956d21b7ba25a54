# SPDX-License-Identifier: Apache-2.0
"""TSN: an image model on single frames, whose logits are averaged.

Wang et al., "Temporal Segment Networks", 2016. `Averaged` is that for any
model; the classes here have the names of TSN's weights.
"""

from collections.abc import Callable
import dataclasses
from typing import Any

from flax import nnx
import jax
import jax.numpy as jnp

from flatten_jax.models import bn_inception, classifier, resnet
from flatten_jax.models.layers import initializers
from flatten_jax.models.layers.blocks import Dropout


@dataclasses.dataclass(frozen=True)
class TSNResNetConfig(resnet.ResNetConfig):
  """A ResNet with dropout."""

  dropout: float = 0.5  # Before the head.


def _with_dropout(config: resnet.ResNetConfig) -> TSNResNetConfig:
  return TSNResNetConfig(**dataclasses.asdict(config))


RESNET50 = _with_dropout(resnet.RESNET50)
TEST = _with_dropout(resnet.TEST)
BN_INCEPTION = bn_inception.BN_INCEPTION
# Of five pairs, x then y of each.
BN_INCEPTION_FLOW = dataclasses.replace(
  BN_INCEPTION, in_channels=10, dropout=0.7
)


@dataclasses.dataclass(frozen=True)
class Averaged:
  """Any image classifier as a video classifier: the mean of its logits.

    classify = Averaged(model)
    logits = classify(clips)  # [B T H W C] -> [B K]

  Attributes:
    model: any callable that takes images [B H W C] first. Its results may be a
      tree of arrays with B first.
  """

  model: Callable[..., Any]
  takes_clips = True

  def __post_init__(self):
    """Refuses a name in place of a model."""
    if not callable(self.model):
      raise TypeError(
        f'Averaged takes a callable model, as from create_model(name); got '
        f'{self.model!r}.'
      )

  def __call__(
    self, clips: jax.typing.ArrayLike, *args: Any, **kwargs: Any
  ) -> Any:
    """Calls the model on every frame and averages. [B T H W C] -> [B ...].

    Args:
      clips: any number of frames.
      *args: for the model.
      **kwargs: for the model.

    Raises:
      ValueError: these are not clips.
    """
    clips = jnp.asarray(clips)
    if clips.ndim != 5 or not clips.shape[1]:
      raise ValueError(
        f'Averaged takes clips [B T H W C] of one frame or more; got '
        f'{list(clips.shape)}.'
      )
    batch = clips.shape[:2]
    result = self.model(to_frames(clips), *args, **kwargs)
    return jax.tree.map(lambda x: to_clips(x, batch).mean(axis=1), result)


def to_frames(clips: jax.Array) -> jax.Array:
  """Joins the axes of clips and frames. [B T ...] -> [B*T ...]."""
  return clips.reshape(-1, *clips.shape[2:])


def to_clips(frames: jax.Array, batch: tuple[int, int]) -> jax.Array:
  """Divides the first axis into clips and frames. [B*T ...] -> [B T ...]."""
  return frames.reshape(*batch, *frames.shape[1:])


class _OfFrames(classifier.SegmentClassifier):
  """Makes an image model one of clips; comes first among its bases."""

  def features(
    self,
    images: jax.Array,
    train: bool = False,
    rngs: nnx.Rngs | None = None,
    after_stage: classifier.AfterStage = classifier.unchanged,
  ) -> jax.Array:
    """Returns the map of every frame. [B T H W I] -> [B T h w C]."""
    classifier.check_shape(images, clips=True, channels=self.in_channels)
    batch = images.shape[:2]

    def after(stage, x):
      return to_frames(after_stage(stage, to_clips(x, batch)))

    x = super().features(to_frames(images), train, rngs, after)
    return to_clips(x, batch)


class TSNResNet(_OfFrames, resnet.ResNet):
  """Clips [B T H W 3] -> logits [B K]; any number of frames, of any size."""

  def __init__(
    self, config: TSNResNetConfig, num_classes: int, *, rngs: nnx.Rngs
  ):
    super().__init__(config, num_classes, rngs=rngs)
    init = initializers.normal(0.001)
    self.head.kernel.set_value(init(rngs.params(), self.head.kernel.shape))
    self.head.bias.set_value(jnp.zeros_like(self.head.bias))
    self.dropout = Dropout(config.dropout)


class TSNBNInception(_OfFrames, bn_inception.BNInception):
  """Clips [B T H W I] -> logits [B K]; sides are multiples of 32 px."""

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
      tree of arrays with B first. `fj.cost` and, of models with `features` and
      `classify`, `fj.grad_cam` take it averaged as well.
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
    batch, frames = self._frames(clips)
    result = self.model(frames, *args, **kwargs)
    return jax.tree.map(lambda x: to_clips(x, batch).mean(axis=1), result)

  def features(
    self, clips: jax.typing.ArrayLike, *args: Any, **kwargs: Any
  ) -> jax.Array:
    """Returns the feature map of every frame. [B T H W C] -> [B T h w C]."""
    batch, frames = self._frames(clips)
    if after_stage := kwargs.get('after_stage'):
      kwargs['after_stage'] = _of_clips(after_stage, batch)
    return to_clips(self.model.features(frames, *args, **kwargs), batch)

  def classify(self, features: jax.Array) -> jax.Array:
    """Averages the logits of frames. [B T h w C] -> [B K]."""
    logits = self.model.classify(to_frames(features))
    return to_clips(logits, features.shape[:2]).mean(axis=1)

  def token_attention(
    self, clips: jax.typing.ArrayLike, *args: Any, **kwargs: Any
  ) -> jax.Array:
    """Returns the class token's attention in every frame. -> [B T h w]."""
    batch, frames = self._frames(clips)
    x = self.model.token_attention(frames, *args, **kwargs)
    return x.reshape(*batch, *x.shape[-2:])

  @property
  def stages(self) -> Any:
    """The stages of the model."""
    return getattr(self.model, 'stages', ())

  @property
  def has_feature_map(self) -> bool:
    """False if the model classifies by a token."""
    return getattr(self.model, 'has_feature_map', True)

  def _frames(
    self, clips: jax.typing.ArrayLike
  ) -> tuple[tuple[int, int], jax.Array]:
    """Returns (B, T) and the frames. [B T ...] -> [B*T ...]."""
    clips = jnp.asarray(clips)
    if clips.ndim != 5 or not clips.shape[1]:
      raise ValueError(
        f'Averaged takes clips [B T H W C] of one frame or more; got '
        f'{list(clips.shape)}.'
      )
    return clips.shape[:2], to_frames(clips)


def split_averaged(
  model: Callable[..., Any],
) -> tuple[Callable[..., Any], Callable[[Any], Callable[..., Any]]]:
  """Returns a model without `Averaged`, and the function that puts it back."""
  if isinstance(model, Averaged):
    return model.model, Averaged
  return model, _unchanged


def _unchanged(model: Any) -> Any:
  return model


def _of_clips(
  after_stage: classifier.AfterStage, batch: tuple[int, int]
) -> classifier.AfterStage:
  """Returns the function for maps of frames, of one for maps of clips."""
  return lambda i, x: to_frames(after_stage(i, to_clips(x, batch)))


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
    after = _of_clips(after_stage, batch)
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

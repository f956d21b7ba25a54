# SPDX-License-Identifier: Apache-2.0
"""The base of all models: features, then their mean and a linear head."""

from collections.abc import Callable
import dataclasses
from typing import Any

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np

from flatten_jax.models.layers import pooling
from flatten_jax.models.layers.blocks import Dropout

# Called after every stage with its number, from 0, and its feature map
# [B h w C]; the model continues with what it returns.
AfterStage = Callable[[int, jax.Array], jax.Array]
# Called with every block and its input, before it runs.
Look = Callable[[nnx.Module, Any], None]
# (t, h, w) or (h, w) of positions -> the share of each in each frame [N F].
Shares = Callable[[tuple[int, ...]], np.ndarray]


def unchanged(stage: int, x: jax.Array) -> jax.Array:
  """Returns the feature map of a stage as it is."""
  del stage
  return x


def check_shape(x: jax.Array, clips: bool = False, channels: int = 3) -> None:
  """Checks that `x` is [B H W 3], or [B T H W 3] if `clips`, and not integers.

  `channels` are the model's; those of optical flow are other than 3.

  Raises:
    ValueError: it is not; a hint at the order of axes where it is PyTorch's.
  """
  shape, kind = list(x.shape), jnp.asarray(x).dtype
  axes = 'clips [B T H W' if clips else 'images [B H W'
  expected = f'{axes} {channels}]'
  if len(shape) != 4 + clips or shape[-1] != channels:
    last = ', with the channels last' if channels in shape[1:-1] else ''
    raise ValueError(f'This model takes {expected}{last}; got {shape}.')
  if jnp.issubdtype(kind, jnp.integer):
    raise ValueError(
      f'This model takes normalized {expected}, (x / 255 - mean) / std; got '
      f'{kind}.'
    )


def grid_of(
  clip_shape: tuple[int, ...], patch: tuple[int, ...]
) -> tuple[int, ...]:
  """Returns the number of whole patches along every axis of a clip.

  Raises:
    ValueError: there is not one, or axes are missing.
  """
  if len(clip_shape) != len(patch) or any(
    n < p for n, p in zip(clip_shape, patch, strict=True)
  ):
    raise ValueError(
      f'clip_shape must be (frames, height, width), each at least '
      f'{" x ".join(map(str, patch))}; got {tuple(clip_shape)}.'
    )
  return tuple(n // p for n, p in zip(clip_shape, patch, strict=True))


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClassifierConfig:
  """Options of every model."""

  drop_path_rate: float = 0.0  # Of the last block; linear from 0 at the first.
  dtype: str = 'float32'  # To compute in; 'bfloat16' halves the memory.
  remat: bool = False  # Less memory in training: activations are recomputed.
  in_channels: int = 3  # Of the input; other than 3 for optical flow.

  @property
  def min_side(self) -> int:
    """Returns the least height and width of the input, in pixels."""
    return 1


class Classifier(nnx.Module):
  """Images [B H W 3] -> logits [B K].

  A model adds `features` and, in its `__init__`, `head`: a `layers.Dense` in
  float32 or wider, independent of the dtype of other layers. The head is small
  and feeds the loss.
  """

  # False for models that classify by a token: Grad-CAM has nothing to show.
  has_feature_map = True
  in_channels = 3  # Of the input; other than 3 for optical flow.
  # Attention to look at, of models that have it; see `explanation`:
  # `frame_attention(images, shares)` -> block -> [F F], or [1+F 1+F] with a
  # class token before the frames: rows attend to columns, and sum to 1.
  frame_attention: Callable[[jax.Array, Shares], dict[str, jax.Array]] | None
  frame_attention = None
  # `token_attention(clips)` -> the class token's to each position, in the last
  # block, [B t h w].
  token_attention: Callable[[jax.Array], jax.Array] | None = None

  @classmethod
  def takes_size(
    cls, config: ClassifierConfig, height: int, width: int
  ) -> bool:
    """Returns whether the model takes images of this size."""
    return min(height, width) >= config.min_side

  def features(
    self,
    images: jax.Array,
    train: bool = False,
    rngs: nnx.Rngs | None = None,
    after_stage: AfterStage = unchanged,
  ) -> jax.Array:
    """Returns the last feature map. [B H W 3] -> [B h w C]."""
    raise NotImplementedError

  def inputs_of_blocks(
    self, images: jax.Array, **options: Any
  ) -> list[tuple[Any, Any]]:
    """Returns every block with its input, if `features` takes `look`."""
    seen = []
    options['look'] = lambda block, x: seen.append((block, x))
    self.features(images, **options)
    return seen

  def classify(self, features: jax.Array) -> jax.Array:
    """Averages over positions and applies the head. [B h w C] -> [B K]."""
    positions = tuple(range(1, features.ndim - 1))
    return self.head(features.astype(self.head.dtype).mean(axis=positions))

  def __call__(
    self,
    images: jax.Array,
    train: bool = False,
    rngs: nnx.Rngs | None = None,
  ) -> jax.Array:
    """Returns the logits of normalized images. [B H W 3] -> [B K].

    Args:
      images: floats, normalized as the weights expect; clips [B T H W 3] for a
        model that takes clips.
      train: normalizes by the statistics of the batch, updates the running
        statistics, drops paths.
      rngs: stream `dropout`; needed in training with a drop path rate.

    Returns:
      Logits in float32.
    """
    return self.classify(self.features(images, train=train, rngs=rngs))


def attention_over_time(
  model: Classifier, images: jax.Array, shares: Shares
) -> dict[str, jax.Array]:
  """Returns the `frame_attention` of blocks that attend in time by itself.

  The mean over places and heads, from their `weights_over_time`.
  """
  del shares  # No position belongs to two frames.
  return {
    str(i): block.weights_over_time(x)
    for i, (block, x) in enumerate(model.inputs_of_blocks(images), start=1)
  }


class SegmentClassifier(Classifier):
  """Averages the logits of a clip's frames or segments; clips are its input.

  A model sets `dropout`; its features are [B T h w C].
  """

  takes_clips = True
  dropout: Dropout

  def segment_logits(
    self,
    features: jax.Array,
    train: bool = False,
    rngs: nnx.Rngs | None = None,
  ) -> jax.Array:
    """Returns the logits of every segment. [B T h w C] -> [B T K]."""
    x = features.astype(self.head.dtype).mean(axis=(2, 3))
    return self.head(self.dropout(x, train=train, rngs=rngs))

  def __call__(
    self,
    images: jax.Array,
    train: bool = False,
    rngs: nnx.Rngs | None = None,
  ) -> jax.Array:
    """Returns the mean of the segments' logits. [B T H W I] -> [B K]."""
    features = self.features(images, train=train, rngs=rngs)
    return self.segment_logits(features, train, rngs).mean(axis=1)


class WindowClassifier(Classifier):
  """Classifies every window of a feature map; clips are its input.

  As PySlowFast tests: the head sees the mean of a window of the size that the
  map of a training clip has. A larger map has several, whose probabilities are
  averaged; a smaller one is averaged whole. A model sets `window` and
  `dropout`.
  """

  takes_clips = True
  multi_label = False  # Whether a logit is a decision of its own, by a sigmoid.
  window: tuple[int, int, int]
  dropout: Dropout

  def windows(self, features: jax.Array) -> jax.Array:
    """Averages windows at every position. [B T H W C] -> [B t h w C]."""
    x = features.astype(self.head.dtype)
    sizes = zip(self.window, x.shape[1:4], strict=True)
    return pooling.mean_pool(x, [min(pair) for pair in sizes])

  def classify(self, features: jax.Array) -> jax.Array:
    """Returns logits of the mean probability. [B T H W C] -> [B K].

    They are its logarithm, or with `multi_label` its log-odds. With one
    position they are the head's.
    """
    logits = self.head(self.windows(features))
    logits = logits.reshape(logits.shape[0], -1, logits.shape[-1])
    if logits.shape[1] == 1:
      return logits[:, 0]
    if self.multi_label:
      yes = jax.nn.logsumexp(jax.nn.log_sigmoid(logits), axis=1)
      return yes - jax.nn.logsumexp(jax.nn.log_sigmoid(-logits), axis=1)
    scores = jax.nn.log_softmax(logits)
    return jax.nn.logsumexp(scores, axis=1) - jnp.log(
      jnp.asarray(logits.shape[1], scores.dtype)
    )

  def __call__(
    self,
    images: jax.Array,
    train: bool = False,
    rngs: nnx.Rngs | None = None,
  ) -> jax.Array:
    """Returns the logits of normalized clips. [B T H W 3] -> [B K].

    In training with several positions, the mean of their logits.
    """
    features = self.features(images, train=train, rngs=rngs)
    if not train:
      return self.classify(features)
    x = self.dropout(self.windows(features), train=train, rngs=rngs)
    return self.head(x).mean(axis=(1, 2, 3))

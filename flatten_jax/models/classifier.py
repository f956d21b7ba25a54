# SPDX-License-Identifier: Apache-2.0
"""How all models end: the mean over positions, then a linear head."""

from collections.abc import Callable

from flax import nnx
import jax

# Called with the number of a stage, from 0, and the feature map [B h w C] that
# it ends with; what it returns goes on. It looks into a model, or changes it.
AfterStage = Callable[[int, jax.Array], jax.Array]


def unchanged(stage: int, x: jax.Array) -> jax.Array:
  """Lets pass what a stage ends with."""
  del stage
  return x


class Classifier(nnx.Module):
  """Images [B H W 3] -> logits [B K].

  A model adds `features` and, in its `__init__`, `head`: a `layers.Dense` in
  float32 or wider, whatever the rest computes in. It is small and feeds the
  loss.
  """

  def features(
    self,
    images: jax.Array,
    train: bool = False,
    rngs: nnx.Rngs | None = None,
    after_stage: AfterStage = unchanged,
  ) -> jax.Array:
    """The last feature map. [B H W 3] -> [B h w C]."""
    raise NotImplementedError

  def classify(self, features: jax.Array) -> jax.Array:
    """Averages over positions, then the linear head. [B h w C] -> [B K]."""
    positions = tuple(range(1, features.ndim - 1))
    return self.head(features.astype(self.head.dtype).mean(axis=positions))

  def __call__(
    self,
    images: jax.Array,
    train: bool = False,
    rngs: nnx.Rngs | None = None,
  ) -> jax.Array:
    """Logits of normalised images. [B H W 3] -> [B K].

    Args:
      images: floats, normalised as the weights expect; clips [B T H W 3] for a
        model that takes clips.
      train: normalise by the batch, update the running statistics, drop paths.
      rngs: stream `dropout`; needed in training with a drop path rate.

    Returns:
      Logits in float32.
    """
    return self.classify(self.features(images, train=train, rngs=rngs))

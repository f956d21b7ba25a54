# SPDX-License-Identifier: Apache-2.0
"""Vision Transformer: attention over all patches of an image.

Dosovitskiy et al., "An Image is Worth 16x16 Words", 2021, as in timm. Images of
other sizes resample the position table, as with timm's `dynamic_img_size`.
"""

import dataclasses

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np

from flatten_jax.models import classifier
from flatten_jax.models.layers import (
  attention,
  attention_weights,
  devices,
  initializers,
  norms,
  positions,
  transformer,
)
from flatten_jax.models.layers.blocks import run_blocks
from flatten_jax.models.layers.dense import Linear
from flatten_jax.models.layers.patch_embed import PatchConv


@dataclasses.dataclass(frozen=True)
class ViTConfig(classifier.ClassifierConfig):
  """Sizes of the network, and the image that its position table is made for."""

  dim: int
  depth: int
  heads: int
  patch: int = 16  # Side, in pixels.
  size: int = 224  # Height and width in pixels.

  @property
  def min_side(self) -> int:
    """Returns the side of a patch."""
    return self.patch


SMALL = ViTConfig(dim=384, depth=12, heads=6)
BASE = ViTConfig(dim=768, depth=12, heads=12)
# Ours, of about the size of `uniformer.NANO`, for nine frames of 32 px.
NANO = ViTConfig(dim=96, depth=5, heads=3, patch=8, size=96)
# Ours: every kind of layer, for tests.
TEST = ViTConfig(dim=16, depth=2, heads=2, patch=8, size=32)


class ViT(classifier.Classifier):
  """Images [B H W 3] -> logits [B K]; a patch divides height and width."""

  has_feature_map = False

  def __init__(self, config: ViTConfig, num_classes: int, *, rngs: nnx.Rngs):
    dim, normal = config.dim, initializers.normal(0.02)
    options = {'dtype': jnp.dtype(config.dtype), 'rngs': rngs}
    side = config.size // config.patch
    if side < 1:
      raise ValueError(
        f'size={config.size} is less than a patch of {config.patch} px.'
      )
    self.in_channels, self.patch = config.in_channels, config.patch
    self.embeds = nnx.List(
      [PatchConv(config.in_channels, dim, config.patch, **options)]
    )
    self.cls_token = nnx.Param(
      initializers.normal(1e-6)(rngs.params(), (1, 1, dim))
    )
    self.pos_embed = nnx.Param(normal(rngs.params(), (1, 1 + side**2, dim)))
    rates = np.linspace(0, config.drop_path_rate, config.depth)
    head_dim = attention.head_dim(dim, config.heads)
    self.stages = nnx.List(
      [
        nnx.List(
          transformer.Block(dim, head_dim, drop_path=float(rate), **options)
          for rate in rates
        )
      ]
    )
    self.norm = norms.LayerNorm(dim, epsilon=1e-6)
    self.remat = config.remat
    dtype = devices.accum_dtype(config.dtype)
    self.head = Linear(dim, num_classes, dtype=dtype, rngs=rngs)

  @classmethod
  def takes_size(cls, config: ViTConfig, height: int, width: int) -> bool:
    """Returns whether a patch divides height and width."""
    return all(n > 0 and n % config.patch == 0 for n in (height, width))

  def grid(self, images: jax.Array) -> tuple[int, int]:
    """Returns the rows and columns of patches. [B H W 3] -> (h, w)."""
    return images.shape[1] // self.patch, images.shape[2] // self.patch

  def features(
    self,
    images: jax.Array,
    train: bool = False,
    rngs: nnx.Rngs | None = None,
    after_stage: classifier.AfterStage = classifier.unchanged,
    look: classifier.Look | None = None,
  ) -> jax.Array:
    """Returns the class token after the last norm. [B H W 3] -> [B C].

    Raises:
      ValueError: a patch does not divide height or width.
    """
    classifier.check_shape(images, channels=self.in_channels)
    check_size(images.shape[1:3], self.patch)
    x = self.embeds[0](images)  # [B h w C]
    x = x.reshape(x.shape[0], -1, x.shape[-1])
    x = transformer.prepend(self.cls_token[...], x)
    table = positions.resample_rest(self.pos_embed[0], self.grid(images))
    x = x + table.astype(x.dtype)[None]
    x = run_blocks(
      self.stages[0], x, remat=self.remat, train=train, rngs=rngs, look=look
    )
    return self.norm(after_stage(0, x)[:, 0])

  def frame_attention(
    self, images: jax.Array, shares: classifier.Shares
  ) -> dict[str, jax.Array]:
    """Returns the attention between frames and the token. [1+F 1+F] each."""
    frames = attention_weights.with_token(shares(self.grid(images)))
    return {
      str(i): block.weights_between(x, frames)
      for i, (block, x) in enumerate(self.inputs_of_blocks(images), start=1)
    }

  def token_attention(self, images: jax.Array) -> jax.Array:
    """Returns the class token's attention in the last block. [B h w]."""
    block, x = self.inputs_of_blocks(images)[-1]
    return block.weights_of_first(x).reshape(-1, *self.grid(images))


def check_size(size: tuple[int, int], patch: int) -> None:
  """Raises unless a patch divides height and width, with sizes that fit."""
  if not all(side > 0 and side % patch == 0 for side in size):
    raise ValueError(
      f'Height and width must be multiples of the patch of {patch} px; got '
      f'{size[0]} x {size[1]}. Frames of {patch}, {2 * patch}, ... px fit in '
      'any layout.'
    )

# SPDX-License-Identifier: Apache-2.0
"""UniFormer for clips: the 3D networks that flattened images are held against.

Li et al., "UniFormer: Unified Transformer for Efficient Spatiotemporal
Representation Learning", 2022. The image model with time as a third axis: its
depthwise filters are cubes, and attention is joint over time and space.
"""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp

from flatten_jax.models import uniformer


@dataclasses.dataclass(frozen=True)
class UniFormer3DConfig(uniformer.UniFormerConfig):
  """Sizes as of the image model. Time is halved once, before all stages."""

  # (frames, rows, columns); the first sees three frames at every second one.
  patches: ClassVar = ((3, 4, 4), (1, 2, 2), (1, 2, 2), (1, 2, 2))


def _same_sizes(config: uniformer.UniFormerConfig) -> UniFormer3DConfig:
  return UniFormer3DConfig(**dataclasses.asdict(config))


SMALL = _same_sizes(uniformer.SMALL)
# Ours, as their counterparts for images are: for a laptop, and for tests.
NANO = _same_sizes(uniformer.NANO)
TEST = _same_sizes(uniformer.TEST)


def in_threes(clips: jax.Array) -> jax.Array:
  """Every second frame between its neighbours. [B T H W C] -> [B 3t H W C].

  t = T/2, rounded up. Zeros stand before the first frame and after the last. A
  convolution of 3 frames with stride 2 sees just these, each three once.
  """
  batch, frames, *image = clips.shape
  count = -(-frames // 2)
  padded = jnp.pad(clips, ((0, 0), (1, 1), (0, 0), (0, 0), (0, 0)))
  threes = [padded[:, i : i + 2 * count - 1 : 2] for i in range(3)]
  return jnp.stack(threes, axis=2).reshape(batch, 3 * count, *image)


class UniFormer3D(uniformer.UniFormer):
  """Clips [B T H W 3] -> logits [B K]; frames come as they are.

  Any number of frames; height and width are multiples of 32.
  """

  takes_clips = True

  def arrange(self, images: jax.Array) -> jax.Array:
    """Each second frame with its neighbours. [B T H W 3] -> [B 3t H W 3]."""
    uniformer.check_sizes(images, clips=True)
    return in_threes(images)

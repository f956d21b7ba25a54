# SPDX-License-Identifier: Apache-2.0
"""UniFormer for clips: the 3D networks that flattening is compared with.

Li et al., "UniFormer: Unified Transformer for Efficient Spatiotemporal
Representation Learning", 2022. The image model with time as a third axis:
depthwise filters are cubes, and attention is joint over time and space.
"""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp

from flatten_jax.models import uniformer


@dataclasses.dataclass(frozen=True)
class UniFormer3DConfig(uniformer.UniFormerConfig):
  """Sizes of the image model. Time is halved once, before all stages."""

  # (frames, rows, columns); the first covers three frames, at every second.
  patches: ClassVar = ((3, 4, 4), (1, 2, 2), (1, 2, 2), (1, 2, 2))


def _same_sizes(config: uniformer.UniFormerConfig) -> UniFormer3DConfig:
  return UniFormer3DConfig(**dataclasses.asdict(config))


SMALL = _same_sizes(uniformer.SMALL)
# Ours, like the image models of these sizes: for a laptop, and for tests.
NANO = _same_sizes(uniformer.NANO)
TEST = _same_sizes(uniformer.TEST)


def temporal_unfold(clips: jax.Array) -> jax.Array:
  """Unfolds the windows of 3 frames at stride 2. [B T H W C] -> [B 3t H W C].

  t = T/2, rounded up, with zeros before the first frame and after the last. A
  convolution of these with kernel and stride 3 in time is one of the clip with
  kernel 3 and stride 2.
  """
  batch, frames, *image = clips.shape
  count = -(-frames // 2)
  padded = jnp.pad(clips, ((0, 0), (1, 1), (0, 0), (0, 0), (0, 0)))
  windows = [padded[:, i : i + 2 * count - 1 : 2] for i in range(3)]
  return jnp.stack(windows, axis=2).reshape(batch, 3 * count, *image)


class UniFormer3D(uniformer.UniFormer):
  """Clips [B T H W 3] -> logits [B K]; frames are not flattened.

  Any number of frames; height and width are multiples of 32.
  """

  takes_clips = True

  def prepare_input(self, images: jax.Array) -> jax.Array:
    """Checks and unfolds the clips. [B T H W 3] -> [B 3t H W 3]."""
    uniformer.check_sizes(images, clips=True, channels=self.in_channels)
    return temporal_unfold(images)

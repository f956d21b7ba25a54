# SPDX-License-Identifier: Apache-2.0
"""UniFormer for clips: the 3D networks that flattened images are held against.

Li et al., "UniFormer: Unified Transformer for Efficient Spatiotemporal
Representation Learning", 2022. The image model with time as a third axis: its
depthwise filters are cubes, and attention is joint over time and space.
"""

import dataclasses
from typing import ClassVar

from flax import nnx
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

_STRIDE = 32  # Pixels in each direction that make one position of the features.


def check_sizes(x: jax.Array, clips: bool) -> None:
  """Raises unless `x` has whole positions everywhere.

  Args:
    x: clips [B T H W 3] or images [B H W 3].
    clips: which of the two the model takes.
  """
  shape, expected = list(x.shape), 'clips [B T H W 3]'
  if not clips:
    expected = 'images [B H W 3]'
  if len(shape) != 4 + clips or shape[-1] != 3:
    raise ValueError(f'This model takes {expected}, not {shape}.')
  sides = shape[-3:-1]
  if any(side % _STRIDE or not side for side in sides):
    nearest = (max(1, round(side / _STRIDE)) * _STRIDE for side in sides)
    raise ValueError(
      f'Height and width have to be multiples of {_STRIDE}, and are '
      f'{sides[0]} x {sides[1]}; resize or crop to '
      f'{" x ".join(map(str, nearest))}, say.'
    )


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

  def features(
    self,
    clips: jax.Array,
    train: bool = False,
    rngs: nnx.Rngs | None = None,
  ) -> jax.Array:
    """The last feature map. [B T H W 3] -> [B T/2 H/32 W/32 C]."""
    check_sizes(clips, clips=True)
    return super().features(in_threes(clips), train=train, rngs=rngs)

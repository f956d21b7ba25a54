# SPDX-License-Identifier: Apache-2.0
"""Parts of PySlowFast's ResNets for clips, which SlowFast and I3D share."""

from collections.abc import Sequence

from flax import nnx
import jax
import jax.numpy as jnp

from flatten_jax.models.layers import bottleneck, norms, pooling
from flatten_jax.models.layers.convolution import Pads
from flatten_jax.models.layers.non_local import NonLocal


class Stem(nnx.Module):
  """7x7 over `time` frames, and a max pool. [B T H W 3] -> [B t H/4 W/4 C].

  `pool` is its size over time, and its stride; `pad` its zeros in space.
  """

  def __init__(
    self,
    dim: int,
    time: int,
    *,
    stride: int = 1,
    pool: int = 1,
    pad: int = 1,
    in_channels: int = 3,
    dtype: jnp.dtype,
    rngs: nnx.Rngs,
  ):
    self.conv = bottleneck.plain_conv(
      in_channels,
      dim,
      (time, 7, 7),
      (stride, 2, 2),
      dtype=dtype,
      rngs=rngs,
    )
    self.norm = norms.BatchNorm(dim)
    self.pool = pool
    self.pads: Pads = ((0, 0), (pad, pad), (pad, pad))

  def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
    """[B T H W 3] -> [B t H/4 W/4 C]."""
    x = nnx.relu(self.norm(self.conv(x), train=train))
    return pooling.max_pool(x, (self.pool, 3, 3), (self.pool, 2, 2), self.pads)


class ClipBottleneck(bottleneck.Bottleneck):
  """A bottleneck of clips, and perhaps a non-local block after it."""

  def __init__(
    self, *args, non_local: NonLocal | None = None, time: int, **options
  ):
    super().__init__(*args, time=time, zero_init=True, **options)
    self.non_local = non_local

  def __call__(
    self,
    x: jax.Array,
    *,
    train: bool = False,
    rngs: nnx.Rngs | None = None,
  ) -> jax.Array:
    """[B T H W I] -> [B T H/s W/s 4*dim]."""
    x = super().__call__(x, train=train, rngs=rngs)
    if self.non_local is not None:
      x = self.non_local(x, train=train)
    return x


def time_of(block: int, times: Sequence[int], count: int) -> int:
  """Returns the size in time of a block: `times` repeated for `count` blocks.

  It is 1 after them.
  """
  return times[block % len(times)] if block < count else 1


def head_window(
  clip_shape: tuple[int, int, int], step: int
) -> tuple[int, int, int]:
  """Returns the size of a training clip's map, `step` frames to a position.

  Raises:
    ValueError: the clip is smaller than one position.
  """
  if len(clip_shape) != 3 or any(
    n < least for n, least in zip(clip_shape, (step, 32, 32), strict=True)
  ):
    raise ValueError(
      f'clip_shape must be (frames, height, width), at least {step} x 32 x 32; '
      f'got {tuple(clip_shape)}.'
    )
  frames, height, width = clip_shape
  return frames // step, height // 32, width // 32


def least_maps(
  non_local: Sequence[Sequence[int]], key_pool: tuple[int, int, int]
) -> tuple[int, int]:
  """Returns the least frames and the least side of the first stage's map.

  So that all non-local blocks, one tuple of them a stage, have a whole window
  of keys.
  """
  stages = [i for i, blocks in enumerate(non_local) if blocks]
  frames = key_pool[0] if stages else 1
  sides = [(max(key_pool[1:]) - 1) * 2**i + 1 for i in stages]
  return frames, max(sides, default=1)


def check_clip(clips: jax.Array, least: tuple[int, int], name: str) -> None:
  """Checks that a clip is long and large enough for all layers.

  Raises:
    ValueError: it is not.
  """
  frames, side = least
  found = clips.shape[1:4]
  if found[0] < frames or min(found[1:]) < side:
    raise ValueError(
      f'This {name} takes clips of {frames} frames or more, of {side} px or '
      f'more; got {" x ".join(map(str, found))}.'
    )

# SPDX-License-Identifier: Apache-2.0
"""Swin Transformer V2: attention within windows that shift from block to block.

Liu et al., "Swin Transformer V2: Scaling Up Capacity and Resolution", 2022.
Its parameters do not depend on the window: the same weights run with any.
"""

import dataclasses
import functools

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np

from flatten_jax.models import classifier
from flatten_jax.models.layers import (
  convolution,
  dense,
  initializers,
  norms,
  window_attention,
)

_PATCH = 4
_MLP_RATIO = 4


@dataclasses.dataclass(frozen=True)
class SwinV2Config:
  """Sizes of the four stages, and the window that all of them use."""

  dim: int  # Of the first stage; doubles by stage.
  depth: tuple[int, int, int, int]
  heads: tuple[int, int, int, int]
  window: int = 8  # Its side; a stage with fewer positions is one window.
  # The window that the weights were trained with, to keep its coordinates in a
  # larger one; by default a window's own corners are at ±1.
  pretrained_window: int | None = None
  drop_path_rate: float = 0.0  # Of the last block; linear from 0 at the first.
  dtype: str = 'float32'  # To compute in; 'bfloat16' halves the memory.
  remat: bool = False  # Training in less memory, by computing blocks twice.


TINY = SwinV2Config(dim=96, depth=(2, 2, 6, 2), heads=(3, 6, 12, 24))
# Ours: every kind of layer, for tests.
TEST = SwinV2Config(dim=4, depth=(1, 2, 1, 1), heads=(1, 2, 2, 4), window=4)

_linear = functools.partial(dense.Dense, init=initializers.normal(0.02))


class Block(nnx.Module):
  """Attention and an MLP, each normalised after, not before. [B H W C]."""

  def __init__(self, dim, heads, config, shifted, drop_path, *, rngs):
    options = {'dtype': jnp.dtype(config.dtype), 'rngs': rngs}
    self.attn = window_attention.WindowAttention(
      dim,
      heads,
      config.window,
      shifted=shifted,
      pretrained_window=config.pretrained_window,
      **options,
    )
    self.norm1 = norms.LayerNorm(dim, epsilon=1e-5)
    self.fc1 = _linear(dim, _MLP_RATIO * dim, **options)
    self.fc2 = _linear(_MLP_RATIO * dim, dim, **options)
    self.norm2 = norms.LayerNorm(dim, epsilon=1e-5)
    self.drop_path = dense.DropPath(drop_path)
    for norm in (self.norm1, self.norm2):  # A new block changes nothing.
      norm.scale.set_value(jnp.zeros_like(norm.scale))

  def __call__(self, x, *, train=False, rngs=None):
    """[B H W C] -> same."""
    drop = functools.partial(self.drop_path, train=train, rngs=rngs)
    x = x + drop(self.norm1(self.attn(x)))
    return x + drop(self.norm2(self.fc2(dense.gelu(self.fc1(x)))))


class Merge(nnx.Module):
  """Opens a later stage: four positions become one. [B H W C] -> [B h w 2C]."""

  def __init__(self, dim, dtype, *, rngs):
    self.reduction = _linear(
      4 * dim, 2 * dim, use_bias=False, dtype=jnp.dtype(dtype), rngs=rngs
    )
    self.norm = norms.LayerNorm(2 * dim, epsilon=1e-5)

  def __call__(self, x):
    """[B H W C] -> [B H/2 W/2 2C]."""
    batch, height, width, dim = x.shape
    x = x.reshape(batch, height // 2, 2, width // 2, 2, dim)
    x = x.transpose(0, 1, 3, 4, 2, 5)  # Column by column: 00, 10, 01, 11.
    x = x.reshape(batch, height // 2, width // 2, 4 * dim)
    return self.norm(self.reduction(x))


class SwinV2(classifier.Classifier):
  """Images [B H W 3] -> logits [B K].

  At every stage the positions, a quarter to a 32nd of height and width, must be
  one window or fewer, or a whole number of windows.
  """

  def __init__(self, config: SwinV2Config, num_classes: int, *, rngs: nnx.Rngs):
    if config.window < 1:
      raise ValueError(
        f'A window has a side of 1 or more, not {config.window}.'
      )
    rates = iter(np.linspace(0, config.drop_path_rate, sum(config.depth)))
    self.embeds, self.stages = nnx.List(), nnx.List()
    for i, (depth, heads) in enumerate(
      zip(config.depth, config.heads, strict=True)
    ):
      dim = config.dim * 2**i
      embed = (
        Merge(dim // 2, config.dtype, rngs=rngs)
        if i
        else dense.Embed(3, dim, _PATCH, config.dtype, rngs=rngs)
      )
      self.embeds.append(embed)
      self.stages.append(
        nnx.List(
          Block(dim, heads, config, j % 2 == 1, float(next(rates)), rngs=rngs)
          for j in range(depth)
        )
      )
    self.norm = norms.LayerNorm(dim, epsilon=1e-5)
    self.remat = config.remat
    wide = convolution.wide(config.dtype)
    self.head = _linear(dim, num_classes, dtype=wide, rngs=rngs)
    self.window = config.window

  def features(
    self,
    images: jax.Array,
    train: bool = False,
    rngs: nnx.Rngs | None = None,
    after_stage: classifier.AfterStage = classifier.unchanged,
  ) -> jax.Array:
    """The last feature map. [B H W 3] -> [B H/32 W/32 C].

    Raises:
      ValueError: where windows do not divide the image; with sizes that do.
    """
    check_size(images.shape[1:3], self.window)
    x = images
    for i, stage in enumerate(self.stages):
      x = self.embeds[i](x)
      for block in stage:
        x = dense.run_block(block, x, remat=self.remat, train=train, rngs=rngs)
      x = after_stage(i, x)
    return self.norm(x)


def fits(side: int, window: int) -> bool:
  """Whether windows divide an image of this height or width at every stage."""
  stages = [side // (_PATCH * 2**i) for i in range(4)]
  divided = all(n <= window or n % window == 0 for n in stages)
  return side > 0 and side % (_PATCH * 2**3) == 0 and divided


def check_size(size: tuple[int, int], window: int) -> None:
  """Raises where windows do not divide an image, and says what would do."""
  if all(fits(side, window) for side in size):
    return
  step = _PATCH * 2**3
  nearest = []
  for name, side in zip(('heights', 'widths'), size, strict=True):
    # Multiples of 32 windows always fit, so one is within that distance.
    reach = range(step, side + step * window + 1, step)
    fitting = [n for n in reach if fits(n, window)]
    below = [n for n in fitting if n <= side][-1:]
    above = [n for n in fitting if n > side and side not in below][:1]
    nearest.append(f'{name} {" or ".join(map(str, below + above))}')
  windows = [w for w in range(4, 65) if all(fits(side, w) for side in size)]
  advice = f', or windows of {", ".join(map(str, windows))}' if windows else ''
  height, width = size
  raise ValueError(
    f'Windows of {window} do not divide an image of {height} x {width} at '
    f'every stage (a 4th to a 32nd of its sides). The nearest that fit: '
    f'{", ".join(nearest)}{advice}.'
  )

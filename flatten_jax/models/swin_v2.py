# SPDX-License-Identifier: Apache-2.0
"""Swin Transformer V2: attention within windows that shift between blocks.

Liu et al., "Swin Transformer V2: Scaling Up Capacity and Resolution", 2022.
Its parameters do not depend on the window: the same weights run with any.
"""

import dataclasses
import functools

from flax import nnx
import jax
import jax.numpy as jnp

from flatten_jax.models import classifier
from flatten_jax.models.layers import devices, norms, window_attention, windows
from flatten_jax.models.layers.blocks import DropPath, run_blocks, swin_stages
from flatten_jax.models.layers.dense import Linear, gelu

_PATCH = 4
_MLP_RATIO = 4


@dataclasses.dataclass(frozen=True)
class SwinV2Config(classifier.ClassifierConfig):
  """Sizes of the four stages, and the window that all of them use."""

  dim: int  # Of the first stage; doubles with every stage.
  depth: tuple[int, int, int, int]
  heads: tuple[int, int, int, int]
  window: int = 8  # Side; a stage with fewer positions is one window.
  # The window that the weights were trained with, to keep its coordinates in a
  # larger one; by default, the corners of the window in use are at ±1.
  pretrained_window: int | None = None


TINY = SwinV2Config(dim=96, depth=(2, 2, 6, 2), heads=(3, 6, 12, 24))
# Ours, of about the size and the cost of `uniformer.NANO`.
NANO = SwinV2Config(dim=24, depth=(2, 2, 2, 1), heads=(1, 2, 4, 8), window=6)
# Ours: every kind of layer, for tests.
TEST = SwinV2Config(dim=4, depth=(1, 2, 1, 1), heads=(1, 2, 2, 4), window=4)


class Block(nnx.Module):
  """Attention and an MLP, each followed by its norm. [B H W C]."""

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
    self.fc1 = Linear(dim, _MLP_RATIO * dim, **options)
    self.fc2 = Linear(_MLP_RATIO * dim, dim, **options)
    self.norm2 = norms.LayerNorm(dim, epsilon=1e-5)
    self.drop_path = DropPath(drop_path)
    for norm in (self.norm1, self.norm2):  # An identity at first.
      norm.scale.set_value(jnp.zeros_like(norm.scale))

  def __call__(self, x, *, train=False, rngs=None):
    """[B H W C] -> same."""
    drop = functools.partial(self.drop_path, train=train, rngs=rngs)
    x = x + drop(self.norm1(self.attn(x)))
    return x + drop(self.norm2(self.fc2(gelu(self.fc1(x)))))


class Merge(nnx.Module):
  """Merges 2 x 2 positions before a stage. [B H W C] -> [B H/2 W/2 2C]."""

  def __init__(self, dim, *, dtype, rngs):
    options = {'dtype': dtype, 'rngs': rngs}
    self.reduction = Linear(4 * dim, 2 * dim, use_bias=False, **options)
    self.norm = norms.LayerNorm(2 * dim, epsilon=1e-5)

  def __call__(self, x):
    """[B H W C] -> [B H/2 W/2 2C]."""
    return self.norm(self.reduction(windows.merge(x)))


class SwinV2(classifier.Classifier):
  """Images [B H W 3] -> logits [B K].

  At every stage the positions, a 4th to a 32nd of height and width, must be at
  most one window, or a whole number of windows.
  """

  def __init__(self, config: SwinV2Config, num_classes: int, *, rngs: nnx.Rngs):
    if config.window < 1:
      raise ValueError(
        f'A window has a side of 1 or more, not {config.window}.'
      )
    self.in_channels = config.in_channels
    self.embeds, self.stages = swin_stages(
      config, _PATCH, Merge, Block, rngs=rngs
    )
    dim = config.dim * 2 ** (len(config.depth) - 1)
    self.norm = norms.LayerNorm(dim, epsilon=1e-5)
    self.remat = config.remat
    dtype = devices.accum_dtype(config.dtype)
    self.head = Linear(dim, num_classes, dtype=dtype, rngs=rngs)
    self.window = config.window

  @classmethod
  def takes_size(cls, config: SwinV2Config, height: int, width: int) -> bool:
    """Returns whether windows divide the image at every stage."""
    return fits(height, config.window) and fits(width, config.window)

  def features(
    self,
    images: jax.Array,
    train: bool = False,
    rngs: nnx.Rngs | None = None,
    after_stage: classifier.AfterStage = classifier.unchanged,
  ) -> jax.Array:
    """Returns the last feature map. [B H W 3] -> [B H/32 W/32 C].

    Raises:
      ValueError: windows do not divide the image; the error lists sizes that
        fit.
    """
    classifier.check_shape(images, channels=self.in_channels)
    check_size(images.shape[1:3], self.window)
    x = images
    for i, stage in enumerate(self.stages):
      x = self.embeds[i](x)
      x = run_blocks(stage, x, remat=self.remat, train=train, rngs=rngs)
      x = after_stage(i, x)
    return self.norm(x)


def fits(side: int, window: int) -> bool:
  """Returns whether windows divide a height or width at every stage."""
  stages = [side // (_PATCH * 2**i) for i in range(4)]
  divided = all(n <= window or n % window == 0 for n in stages)
  return side > 0 and side % (_PATCH * 2**3) == 0 and divided


def check_size(size: tuple[int, int], window: int) -> None:
  """Raises if windows do not divide an image, with sizes that fit."""
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

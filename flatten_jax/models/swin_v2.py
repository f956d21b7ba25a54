# SPDX-License-Identifier: Apache-2.0
"""Swin Transformer V2: attention within windows that shift from block to block.

Liu et al., "Swin Transformer V2: Scaling Up Capacity and Resolution", 2022.
Its parameters do not depend on the window: the same weights run with any.
"""

import dataclasses
import functools
import math

from flax import nnx
import jax
from jax import lax
import jax.numpy as jnp
import numpy as np

from flatten_jax.models import layers

_PATCH = 4
_MLP_RATIO = 4
_POSITION_HIDDEN = 512  # Of the small network that makes the position bias.
_MAX_SCALE = 100.0  # Of a cosine: the logits stay within ±100.
_MASKED = -100.0  # Added to the logits of what was not adjacent before a shift.


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

_linear = functools.partial(layers.Dense, init=layers.normal(0.02))


def relative_coordinates(
  window: tuple[int, int], pretrained_window: int | None = None
) -> np.ndarray:
  """Every offset between two positions of a window. [2h-1 2w-1 2], (y, x).

  Logarithmic, so that larger windows extrapolate little: sign(d) * log2(1 +
  8|d|) / log2(8), with d = 1 from end to end of the (pretraining) window.
  """
  axes = [
    np.arange(1 - side, side) / max((pretrained_window or side) - 1, 1)
    for side in window
  ]
  offsets = 8 * np.stack(np.meshgrid(*axes, indexing='ij'), axis=-1)
  logarithms = np.sign(offsets) * np.log2(1 + np.abs(offsets)) / 3
  return logarithms.astype(np.float32)


def window_regions(
  size: tuple[int, int], window: tuple[int, int], shift: tuple[int, int]
) -> np.ndarray:
  """Which positions were neighbours before the image was rolled by `shift`.

  [n N], a number for each position of each window: 3 x 3 regions, cut where a
  roll brings opposite borders of the image together.
  """
  rows, columns = (
    (np.arange(length) >= length - side).astype(int)
    + (np.arange(length) >= length - by)
    for length, side, by in zip(size, window, shift, strict=True)
  )
  regions = 3 * rows[:, None] + columns[None]
  return np.asarray(to_windows(regions[None, :, :, None], window))[0, :, :, 0]


def to_windows(x: jax.Array, window: tuple[int, int]) -> jax.Array:
  """[B H W C] -> [B n h*w C], n windows row by row."""
  batch, height, width, dim = x.shape
  h, w = window
  x = x.reshape(batch, height // h, h, width // w, w, dim).swapaxes(2, 3)
  return x.reshape(batch, -1, h * w, dim)


def from_windows(
  x: jax.Array, window: tuple[int, int], size: tuple[int, int]
) -> jax.Array:
  """[B n h*w C] -> [B H W C], the inverse of `to_windows`."""
  (height, width), (h, w) = size, window
  x = x.reshape(x.shape[0], height // h, width // w, h, w, -1).swapaxes(2, 3)
  return x.reshape(x.shape[0], height, width, -1)


class WindowAttention(nnx.Module):
  """Cosine attention within windows, with a learned position bias. [B H W C].

  Args:
    dim: C.
    heads: into which C is divided.
    config: for the window.
    shifted: whether windows are moved by half their side, around the image's
      borders. An axis that is one window is not.
    rngs: stream `params`.
  """

  def __init__(
    self,
    dim: int,
    heads: int,
    config: SwinV2Config,
    shifted: bool,
    *,
    rngs: nnx.Rngs,
  ):
    options = {'dtype': jnp.dtype(config.dtype), 'rngs': rngs}
    self.qkv = _linear(dim, 3 * dim, use_bias=False, **options)
    # Keys have no bias.
    self.q_bias = nnx.Param(layers.constant(0)(rngs.params(), (dim,)))
    self.v_bias = nnx.Param(layers.constant(0)(rngs.params(), (dim,)))
    init = layers.constant(math.log(10))
    self.logit_scale = nnx.Param(init(rngs.params(), (heads, 1, 1)))
    self.position_in = _linear(2, _POSITION_HIDDEN, rngs=rngs)
    self.position_out = _linear(
      _POSITION_HIDDEN, heads, use_bias=False, rngs=rngs
    )
    self.proj = _linear(dim, dim, **options)
    self.heads = heads
    self.window = config.window
    self.pretrained_window = config.pretrained_window
    self.shifted = shifted

  def position_bias(self, window: tuple[int, int]) -> jax.Array:
    """What positions add to the logits, 0 to 16. [heads N N], N = h*w."""
    table = relative_coordinates(window, self.pretrained_window)
    table = self.position_out(nnx.relu(self.position_in(jnp.asarray(table))))
    table = 16 * nnx.sigmoid(table)  # [2h-1 2w-1 heads]
    # Query - key on either axis: two small gathers of rows, not one of numbers.
    dy, dx = (
      np.arange(side)[:, None] - np.arange(side)[None] + side - 1
      for side in window
    )
    bias = table[dy][:, :, dx]  # [h h w w heads]
    bias = bias.transpose(4, 0, 2, 1, 3)
    return bias.reshape(self.heads, math.prod(window), math.prod(window))

  def attend(self, x: jax.Array, bias: jax.Array) -> jax.Array:
    """[B n N C] -> same; the bias is [1 or n, heads N N]."""
    batch, count, length, dim = x.shape
    qkv_bias = jnp.concatenate(
      [self.q_bias, jnp.zeros_like(self.v_bias), self.v_bias]
    )
    qkv = self.qkv(x)
    qkv = qkv + qkv_bias.astype(qkv.dtype)[None, None, None]
    qkv = qkv.reshape(batch, count, length, 3, self.heads, -1)
    q, k, v = qkv.transpose(3, 0, 1, 4, 2, 5)  # [B n heads N D] each
    scale = jnp.exp(jnp.minimum(self.logit_scale, math.log(_MAX_SCALE)))
    q = (unit(q) * scale[None, None]).astype(v.dtype)
    logits = jnp.einsum('bnhqd,bnhkd->bnhqk', q, unit(k).astype(v.dtype))
    weights = nnx.softmax(logits.astype(jnp.float32) + bias[None])
    x = jnp.einsum('bnhqk,bnhkd->bnqhd', weights.astype(v.dtype), v)
    return self.proj(x.reshape(batch, count, length, dim))

  def __call__(self, x: jax.Array) -> jax.Array:
    """[B H W C] -> same."""
    size = x.shape[1:3]
    window = tuple(min(self.window, side) for side in size)
    shift = tuple(
      side // 2 if self.shifted and side < length else 0
      for side, length in zip(window, size, strict=True)
    )
    bias = self.position_bias(window)[None]  # [1 heads N N]
    if any(shift):
      x = jnp.roll(x, (-shift[0], -shift[1]), axis=(1, 2))
      bias = bias + shift_mask(window_regions(size, window, shift))[:, None]
    x = from_windows(self.attend(to_windows(x, window), bias), window, size)
    return jnp.roll(x, shift, axis=(1, 2)) if any(shift) else x


def unit(x: jax.Array) -> jax.Array:
  """Vectors of length 1, in float32; a zero stays zero. [... D]."""
  x = x.astype(jnp.float32)
  square = jnp.square(x).sum(axis=-1, keepdims=True)
  return x * lax.rsqrt(jnp.maximum(square, 1e-24))


def shift_mask(regions: np.ndarray) -> jax.Array:
  """[n N] -> [n N N]: 0 within a region, -100 across."""
  # Behind a barrier, or the compiler would store the masks: 85 MB for windows
  # of 24 at 768 pixels.
  regions = lax.optimization_barrier(jnp.asarray(regions, jnp.int32))
  return jnp.where(regions[:, :, None] == regions[:, None], 0.0, _MASKED)


class Block(nnx.Module):
  """Attention and an MLP, each normalised after, not before. [B H W C]."""

  def __init__(self, dim, heads, config, shifted, drop_path, *, rngs):
    options = {'dtype': jnp.dtype(config.dtype), 'rngs': rngs}
    self.attn = WindowAttention(dim, heads, config, shifted, rngs=rngs)
    self.norm1 = layers.LayerNorm(dim, epsilon=1e-5)
    self.fc1 = _linear(dim, _MLP_RATIO * dim, **options)
    self.fc2 = _linear(_MLP_RATIO * dim, dim, **options)
    self.norm2 = layers.LayerNorm(dim, epsilon=1e-5)
    self.drop_path = layers.DropPath(drop_path)
    for norm in (self.norm1, self.norm2):  # A new block changes nothing.
      norm.scale.set_value(jnp.zeros_like(norm.scale))

  def __call__(self, x, *, train=False, rngs=None):
    """[B H W C] -> same."""
    drop = functools.partial(self.drop_path, train=train, rngs=rngs)
    x = x + drop(self.norm1(self.attn(x)))
    return x + drop(self.norm2(self.fc2(layers.gelu(self.fc1(x)))))


class Merge(nnx.Module):
  """Opens a later stage: four positions become one. [B H W C] -> [B h w 2C]."""

  def __init__(self, dim, dtype, *, rngs):
    self.reduction = _linear(
      4 * dim, 2 * dim, use_bias=False, dtype=jnp.dtype(dtype), rngs=rngs
    )
    self.norm = layers.LayerNorm(2 * dim, epsilon=1e-5)

  def __call__(self, x):
    """[B H W C] -> [B H/2 W/2 2C]."""
    batch, height, width, dim = x.shape
    x = x.reshape(batch, height // 2, 2, width // 2, 2, dim)
    x = x.transpose(0, 1, 3, 4, 2, 5)  # Column by column: 00, 10, 01, 11.
    x = x.reshape(batch, height // 2, width // 2, 4 * dim)
    return self.norm(self.reduction(x))


class SwinV2(nnx.Module):
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
        else layers.Embed(3, dim, _PATCH, config.dtype, rngs=rngs)
      )
      self.embeds.append(embed)
      self.stages.append(
        nnx.List(
          Block(dim, heads, config, j % 2 == 1, float(next(rates)), rngs=rngs)
          for j in range(depth)
        )
      )
    self.norm = layers.LayerNorm(dim, epsilon=1e-5)
    self.remat = config.remat
    # In float32 whatever the rest computes in: it is small and feeds the loss.
    self.head = _linear(dim, num_classes, rngs=rngs)
    self.window = config.window

  def features(
    self,
    images: jax.Array,
    train: bool = False,
    rngs: nnx.Rngs | None = None,
  ) -> jax.Array:
    """The last feature map. [B H W 3] -> [B H/32 W/32 C].

    Raises:
      ValueError: where windows do not divide the image; with sizes that do.
    """
    check_size(images.shape[1:3], self.window)
    x = images
    for embed, stage in zip(self.embeds, self.stages, strict=True):
      x = embed(x)
      for block in stage:
        x = layers.run_block(block, x, remat=self.remat, train=train, rngs=rngs)
    return self.norm(x)

  def classify(self, features: jax.Array) -> jax.Array:
    """Averages over positions, then the linear head. [B h w C] -> [B K]."""
    return self.head(features.astype(jnp.float32).mean(axis=(1, 2)))

  def __call__(
    self,
    images: jax.Array,
    train: bool = False,
    rngs: nnx.Rngs | None = None,
  ) -> jax.Array:
    """Logits of normalised images. [B H W 3] -> [B K].

    Args:
      images: floats, normalised as the weights expect.
      train: drop paths.
      rngs: stream `dropout`; needed in training with a drop path rate.

    Returns:
      Logits in float32.
    """
    return self.classify(self.features(images, train=train, rngs=rngs))


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

# SPDX-License-Identifier: Apache-2.0
"""Stages of residual blocks: stochastic depth, and recomputing activations."""

from collections.abc import Callable, Iterable
from typing import Any

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np

from flatten_jax.models.layers import devices
from flatten_jax.models.layers.patch_embed import PatchEmbed


class DropPath(nnx.Module):
  """Stochastic depth: drops a residual branch for whole examples.

  Huang et al., 2016. The branches that are kept are scaled up, so the mean
  stays; Scenic's are not (`rescale=False`). In training with a rate above zero
  it needs an `nnx.Rngs` with a `dropout` stream.
  """

  def __init__(self, rate: float, *, rescale: bool = True):
    if not 0 <= rate < 1:
      name = type(self).__name__
      raise ValueError(f'{name} needs a rate in [0, 1), not {rate}.')
    self.rate = float(rate)
    self.divisor = 1 - self.rate if rescale else 1.0

  def __call__(
    self, x: jax.Array, *, train: bool = False, rngs: nnx.Rngs | None = None
  ) -> jax.Array:
    """[B ...] -> same."""
    if not train or self.rate == 0:
      return x
    if rngs is None:
      raise ValueError(
        f'{type(self).__name__} of rate {self.rate} draws random numbers: call '
        'the model with rngs=nnx.Rngs(dropout=key), or set its rate '
        '(drop_path_rate, dropout) to 0.'
      )
    shape = self.mask_shape(x)
    kept = jax.random.bernoulli(rngs.dropout(), 1 - self.rate, shape)
    return x * (kept / self.divisor).astype(x.dtype)

  def mask_shape(self, x: jax.Array) -> tuple[int, ...]:
    """Returns the shape in which random numbers are drawn. [B 1 ...]."""
    return (x.shape[0],) + (1,) * (x.ndim - 1)


class Dropout(DropPath):
  """Drops single values, and scales the others up (Srivastava et al., 2014)."""

  def mask_shape(self, x: jax.Array) -> tuple[int, ...]:
    """Returns the shape in which random numbers are drawn, that of `x`."""
    return x.shape


def swin_stages(config, patch, merge, block, *, rngs):
  """Returns what opens each stage of a Swin, and its blocks.

  Args:
    config: dim, of the first stage, doubles with every stage; depth and heads
      of each stage; drop_path_rate, dtype and in_channels.
    patch: positions that the first stage makes one of.
    merge: class of the layers that open the other stages.
    block: class of the blocks.
    rngs: stream `params`.
  """
  options = {'dtype': jnp.dtype(config.dtype), 'rngs': rngs}
  rates = iter(np.linspace(0, config.drop_path_rate, sum(config.depth)))
  embeds, stages, dim = nnx.List(), nnx.List(), config.dim
  for depth, heads in zip(config.depth, config.heads, strict=True):
    if not stages:
      embeds.append(PatchEmbed(config.in_channels, dim, patch, **options))
    else:
      embeds.append(merge(dim, **options))
      dim *= 2
    stages.append(
      nnx.List(
        block(dim, heads, config, j % 2 == 1, float(next(rates)), rngs=rngs)
        for j in range(depth)
      )
    )
  return embeds, stages


def _by_clips(x: Any) -> Any:
  """Divides activations over 'data' alone, under tensor parallelism.

  Otherwise the compiler may carry the division of one block to others, and
  gather whole batches.
  """
  if devices.parts('model') == 1:
    return x
  return jax.tree.map(
    lambda y: (
      devices.divide(y, 'data', *(None,) * (y.ndim - 1))
      if not len(y) % devices.parts('data')
      else y
    ),
    x,
  )


def run_blocks(
  blocks: Iterable[nnx.Module],
  x: Any,
  *,
  remat: bool,
  train: bool,
  rngs: nnx.Rngs | None,
  look: Callable[[nnx.Module, Any], None] | None = None,
) -> Any:
  """Runs the blocks of a stage. [B ... C] -> [B ... C'].

  With `remat`, training recomputes the activations of every block for the
  gradient (Chen et al., 2016): up to a third more time, and only the inputs of
  the blocks stay in memory. `look` is called with every block and its input.
  """

  def run(block, x, rngs):
    return block(_by_clips(x), train=train, rngs=rngs)

  run = nnx.remat(run) if remat and train else run
  before = x
  for block in blocks:
    if look:
      look(block, x)
    # A block's weights are gathered while the one before it runs.
    with devices.gather_after(jax.tree.leaves(before)[0]):
      before, x = x, run(block, x, rngs)
  return x

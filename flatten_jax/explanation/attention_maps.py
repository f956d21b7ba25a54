# SPDX-License-Identifier: Apache-2.0
"""Attention between frames, for networks with global attention.

In UniFormer's last two stages every position attends to all others. The network
gets no information about frames other than the flattened image.
"""

from collections.abc import Iterable
import functools

from flax import nnx
import jax
from jax import lax
import jax.numpy as jnp
import numpy as np

from flatten_jax.explanation.clip_explanation import ClipExplanation
from flatten_jax.models import uniformer


def attends(model: nnx.Module) -> bool:
  """Returns True if in some blocks all positions attend to all others."""
  stages = getattr(model, 'stages', ())
  # A user's model may use the name for anything.
  stages = [stage for stage in stages if isinstance(stage, Iterable)]
  return any(_is_global(block) for stage in stages for block in stage)


def _is_global(block: nnx.Module) -> bool:
  # Not subclasses: those prune tokens, and some of them do not attend.
  return type(block) is uniformer.AttentionBlock


def frame_attention(explained: ClipExplanation) -> dict[str, np.ndarray]:
  """Returns the attention of each frame to each frame, in every block.

  Returns:
    Block -> [F F], the mean over heads and over the positions of a frame: rows
    attend to columns, and sum to 1. The first block of the third stage is
    called '3.1'. Empty for a network without global attention.
  """
  model = explained.model.module
  if not attends(model):
    return {}
  shares = [
    jnp.asarray(frame_shares(x.shape, explained.grid, explained.order))
    for x in explained.maps
  ]
  graphdef, state = nnx.split(model)
  images = explained.images
  return jax.device_get(_frame_attention(graphdef, state, images, shares))


@functools.partial(jax.jit, static_argnames='graphdef')
def _frame_attention(graphdef, state, images, shares):
  model, found = nnx.merge(graphdef, state), {}
  x = model.prepare_input(images)
  for i, stage in enumerate(model.stages):
    x = model.embeds[i](x)
    for j, block in enumerate(stage):
      if _is_global(block):
        found[f'{i + 1}.{j + 1}'] = _between_frames(block, x, shares[i])
      x = block(x)
  return found


def _between_frames(
  block: uniformer.AttentionBlock, x: jax.Array, shares: jax.Array
) -> jax.Array:
  """Returns the attention [F F] of a block, from x [1 ... C], shares [N F]."""
  qkv = block.qkv_heads(block.norm1(x + block.pos(x)))[0].astype(jnp.float32)

  def of_head(qk):  # One at a time: its N x N weights may be large.
    queries, keys = qk
    logits = queries @ keys.T * queries.shape[-1] ** -0.5
    return jax.nn.softmax(logits) @ shares  # [N F]

  queries, keys = qkv[:, 0].swapaxes(0, 1), qkv[:, 1].swapaxes(0, 1)
  given = lax.map(of_head, (queries, keys)).mean(axis=0)
  return shares.T @ given / shares.sum(axis=0)[:, None]


def frame_shares(
  shape: tuple[int, ...],
  grid: tuple[int, int],
  order: np.ndarray | None,
) -> np.ndarray:
  """Returns the share of each of N positions in each frame. -> [N T].

  Args:
    shape: (h, w) of the feature map, whose positions may cross frames; or
      (t, h, w) of a model of clips, where each time counts as a frame.
    grid: (rows, columns) of the flattened image.
    order: [T], the frame in each cell; None for a model of clips.
  """
  if order is None:
    return np.repeat(np.eye(shape[0]), shape[1] * shape[2], axis=0)
  rows, columns = map(_overlaps, shape, grid)
  cells = np.einsum('hr,wc->hwrc', rows, columns)
  return cells.reshape(shape[0] * shape[1], -1)[:, np.argsort(order)]


def _overlaps(size: int, cells: int) -> np.ndarray:
  """Returns the share of each of `size` equal parts of a line in each cell."""
  low = np.arange(size)[:, None] / size
  start = np.arange(cells) / cells
  ends = np.minimum(low + 1 / size, start + 1 / cells)
  return np.clip(ends - np.maximum(low, start), 0, None) * size

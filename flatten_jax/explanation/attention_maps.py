# SPDX-License-Identifier: Apache-2.0
"""Which frames a frame looks at: attention between positions, by frame.

For networks in which every position attends to every other, as UniFormer's last
two stages have it. Nothing told them what a frame is; this shows what they make
of the mosaic.
"""

from collections.abc import Iterable, Sequence
import functools

from flax import nnx
import jax
from jax import lax
import jax.numpy as jnp
import numpy as np

from flatten_jax.models import uniformer


def attends(model: nnx.Module) -> bool:
  """Whether there are blocks in which all positions attend to all others."""
  stages = getattr(model, 'stages', ())
  # What a model of one's own calls a stage may be anything.
  stages = [stage for stage in stages if isinstance(stage, Iterable)]
  return any(_is_global(block) for stage in stages for block in stage)


def _is_global(block: nnx.Module) -> bool:
  # Exactly: blocks that prune tokens are kinds of it, and half of them attend.
  return type(block) is uniformer.AttentionBlock


def frame_attention(
  model: nnx.Module,
  images: jax.typing.ArrayLike,
  shares: Sequence[np.ndarray],
) -> dict[str, np.ndarray]:
  """How much of its attention each frame gives to each frame, in every block.

  Args:
    model: a UniFormer, see `attends`.
    images: one of them, [1 H W 3], or one clip [1 T H W 3].
    shares: for each stage, how much of each of the N positions that it has lies
      in each of F frames, [N F]; see `shares_of_mosaic` and `shares_of_clip`.

  Returns:
    Block -> [F F], the mean over heads and over the positions of a frame: rows
    look at columns, and sum to 1. Blocks are called '3.1' for the first of the
    third stage.
  """
  graphdef, state = nnx.split(model)
  shares = [jnp.asarray(share, jnp.float32) for share in shares]
  images = jnp.asarray(images)
  return jax.device_get(_frame_attention(graphdef, state, images, shares))


@functools.partial(jax.jit, static_argnames='graphdef')
def _frame_attention(graphdef, state, images, shares):
  model, found = nnx.merge(graphdef, state), {}
  x = model.arrange(images)
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
  """One block's attention, [F F], of x [1 ... C] with shares [N F]."""
  qkv = block.by_head(block.norm1(x + block.pos(x)))[0].astype(jnp.float32)

  def of_head(qk):  # One at a time: N x N weights of each may be large.
    queries, keys = qk
    logits = queries @ keys.T * queries.shape[-1] ** -0.5
    return jax.nn.softmax(logits) @ shares  # [N F]

  queries, keys = qkv[:, 0].swapaxes(0, 1), qkv[:, 1].swapaxes(0, 1)
  given = lax.map(of_head, (queries, keys)).mean(axis=0)
  return shares.T @ given / shares.sum(axis=0)[:, None]


def shares_of_mosaic(
  shape: tuple[int, int], grid: tuple[int, int], order: np.ndarray
) -> np.ndarray:
  """How much of each position of a mosaic lies in each frame. -> [N T].

  Args:
    shape: (h, w) of the feature map. Frames may end within a position.
    grid: (rows, columns) of the mosaic.
    order: [T], which frame sits in each cell.
  """
  rows, columns = (
    _overlaps(size, cells) for size, cells in zip(shape, grid, strict=True)
  )
  cells = np.einsum('hr,wc->hwrc', rows, columns)
  return cells.reshape(shape[0] * shape[1], -1)[:, np.argsort(order)]


def shares_of_clip(shape: tuple[int, int, int]) -> np.ndarray:
  """Which time each position of a clip has. (t, h, w) -> [N t]."""
  return np.repeat(np.eye(shape[0]), shape[1] * shape[2], axis=0)


def _overlaps(size: int, cells: int) -> np.ndarray:
  """How much of each of `size` equal parts of a line lies in each cell."""
  low = np.arange(size)[:, None] / size
  start = np.arange(cells) / cells
  ends = np.minimum(low + 1 / size, start + 1 / cells)
  return np.clip(ends - np.maximum(low, start), 0, None) * size

# SPDX-License-Identifier: Apache-2.0
"""Translates names and axis orders of tensors: ours to a publisher's."""

from collections.abc import Callable
import dataclasses
import re

from flax import nnx
import numpy as np

Rules = tuple[tuple[str, str | Callable[[re.Match], str]], ...]

# Leaves of modules, as PyTorch names them.
LEAVES: Rules = (
  (r'(norm\d?)\.(mean|var)$', r'\1.running_\2'),
  (r'\.(scale|kernel)$', '.weight'),
)
# Tables of vectors, whose axes are not those of a linear layer.
_TABLE = re.compile(r'_embeddings\.weight$')
# In files, but not learned, or not of a layer that does anything.
_COMPUTED = re.compile(
  r'(num_batches_tracked|n_averaged|relative_coords_table'
  r'|relative_position_index|attn_mask|position_ids|[/._][Mm]omentum'
  r'|^(.*\.)?(lr|model_iter)|base_model\.(conv1_temp|bn2)\.\w+)$'
)


@dataclasses.dataclass(frozen=True)
class Naming:
  """One publisher's names: rules from ours to theirs, applied in order.

  Attributes:
    rules: (pattern, replacement) as `re.sub` takes them. 'x.{a,b}' is a tensor
      of ours that is x.a and x.b there.
    pointwise: matches their names of 1x1 convolutions that are matrices here.
    over_time: matches their names of convolutions over time only, [O I k].
    absent: (pattern of their names, value): what a file may lack altogether,
      and has that value then.
    flax: their axes are Flax's, with heads as an axis, instead of PyTorch's.
    image: the names of an image model, with which a video model starts.
  """

  rules: Rules
  pointwise: str = r'^$'
  over_time: str = r'^$'
  absent: tuple[tuple[str, float], ...] = ()
  flax: bool = False
  image: bool = False

  def official(self, name: str) -> str:
    """Translates our dotted name of a tensor to theirs."""
    return translate(name, self.rules)

  def parts(self, name: str) -> list[str]:
    """Translates our name to those of all tensors there that it consists of."""
    name = self.official(name)
    if match := re.fullmatch(r'(.*)\{(.*)\}(.*)', name):
      return [f'{match[1]}{part}{match[3]}' for part in match[2].split(',')]
    return [name]

  def to_ours(
    self, name: str, values: list[np.ndarray], num_axes: int
  ) -> np.ndarray:
    """Converts the axes of a tensor's parts to ours, and joins them."""
    official = self.official(name)
    if num_axes == 1:  # Older files have [1 C] for [C].
      values = [
        x.reshape(-1) if (x.size,) == x.shape[-1:] else x for x in values
      ]
    if self.flax:
      values = [_merge_heads(x, num_axes, len(values) > 1) for x in values]
    elif not _TABLE.search(official):
      least = 3 if re.search(self.over_time, official) else 4
      values = [_from_torch(value, num_axes, least) for value in values]
    return np.concatenate(values, axis=-1) if values[1:] else values[0]

  def to_theirs(
    self, name: str, value: np.ndarray, model: nnx.Module
  ) -> dict[str, np.ndarray]:
    """Converts one of our tensors to theirs, name -> array."""
    names = self.parts(name)
    values = np.split(value, len(names), axis=-1) if names[1:] else [value]
    axes = 3 if getattr(type(model), 'takes_clips', False) else 2
    result = {}
    for key, part in zip(names, values, strict=True):
      if self.flax:
        part = _split_heads(key, part, model.stages[0][0].head_dim)
      elif re.search(self.over_time, key):
        part = _to_torch(part, 1, least=3)
      elif not _TABLE.search(key):
        part = _to_torch(part, axes if re.search(self.pointwise, key) else 0)
      result[key] = part
    return result


def translate(name: str, rules: Rules) -> str:
  """Applies all rules to a name, one after the other."""
  for pattern, replacement in rules:
    name = re.sub(pattern, replacement, name)
  return name


def counted(text: str, by: int) -> Callable[[re.Match], str]:
  """Returns a replacement with a number that starts elsewhere, in a '{}'."""
  return lambda match: text.format(int(match[1]) + by)


def is_computed(name: str) -> bool:
  """Returns whether a file's tensor was not learned, or has no effect."""
  return bool(_COMPUTED.search(name))


def _merge_heads(value: np.ndarray, num_axes: int, is_part: bool) -> np.ndarray:
  """Merges Flax's axes of heads: [I h D] of q, k and v, [h D O] of the output.

  Biases of q, k and v are [h D].
  """
  if value.ndim == num_axes + 1:
    if is_part:
      return value.reshape(*value.shape[:-2], -1)
    if num_axes == 2:
      return value.reshape(-1, value.shape[-1])
  return value


def _split_heads(name: str, value: np.ndarray, head_dim: int) -> np.ndarray:
  """Inverts `_merge_heads`, by Flax's name of the tensor."""
  if re.search(r'\.(query|key|value)\.', name):
    return value.reshape(*value.shape[:-1], -1, head_dim)
  if re.search(r'DotProductAttention_\d\.out\.kernel$', name):
    return value.reshape(-1, head_dim, value.shape[-1])
  return value


def _from_torch(value: np.ndarray, num_axes: int, least: int = 4) -> np.ndarray:
  """Converts PyTorch's axis order: [O I] -> [I O], [O I ...] -> [... I O].

  A pointwise convolution becomes a matrix if ours is one (`num_axes` 2). What
  has fewer than `least` axes is not a convolution.
  """
  if value.ndim == 2:
    return value.T
  if value.ndim >= least:
    value = np.moveaxis(value, (0, 1), (-1, -2))
    if num_axes == 2 and set(value.shape[:-2]) == {1}:
      value = value.reshape(value.shape[-2:])
  return value


def _to_torch(
  value: np.ndarray, pointwise_axes: int = 0, least: int = 4
) -> np.ndarray:
  """Converts our axis order to PyTorch's; the inverse of `_from_torch`.

  Args:
    value: one of our tensors.
    pointwise_axes: for a matrix that is a convolution in PyTorch, its number of
      axes of space and time.
    least: axes of a convolution.
  """
  if value.ndim == 2:
    return value.T.reshape(value.shape[::-1] + (1,) * pointwise_axes)
  if value.ndim >= least:
    return np.moveaxis(value, (-1, -2), (0, 1))
  return value

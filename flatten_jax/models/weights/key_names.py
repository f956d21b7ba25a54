# SPDX-License-Identifier: Apache-2.0
"""Names and axis orders of PyTorch weights, by publisher.

Each table leads from our names to theirs, which serves both ways: files are
searched for the names of all our tensors, and weights are exported under them.
"""

from collections.abc import Callable
import dataclasses
import re

from flax import nnx
import numpy as np

from flatten_jax.models import resnet, swin_v2, uniformer

Rules = tuple[tuple[str, str | Callable[[re.Match], str]], ...]


@dataclasses.dataclass(frozen=True)
class Naming:
  """One publisher's names: rules from ours to theirs, applied in order.

  Attributes:
    rules: (pattern, replacement) as `re.sub` takes them.
    pointwise: matches their names of 1x1 convolutions that are matrices here.
  """

  rules: Rules
  pointwise: str = r'^$'

  def official(self, name: str) -> str:
    """Translates our dotted name of a tensor to theirs."""
    for pattern, replacement in self.rules:
      name = re.sub(pattern, replacement, name)
    return name


def _from_one(prefix: str) -> Callable[[re.Match], str]:
  """Returns a replacement that counts from 1: embeds.0 -> patch_embed1."""
  return lambda match: f'{prefix}{int(match[1]) + 1}'


_LEAVES: Rules = (
  (r'(norm\d?)\.(mean|var)$', r'\1.running_\2'),
  (r'\.(scale|kernel)$', '.weight'),
)
_RESNET: Rules = (
  *_LEAVES,
  (r'^stages\.(\d)', _from_one('layer')),
  (r'shortcut_norm', 'downsample.1'),
  (r'shortcut', 'downsample.0'),
  (r'norm(\d)', r'bn\1'),
  (r'^norm', 'bn1'),
  (r'^conv\.', 'conv1.'),
  (r'^head', 'fc'),
)
_SWIN_V2: Rules = (
  *_LEAVES,
  (r'^embeds\.0', 'patch_embed'),
  (r'^stages\.(\d)', r'layers.\1.blocks'),
  (r'\.position_in', '.cpb_mlp.0'),
  (r'\.position_out', '.cpb_mlp.2'),
  (r'\.(fc\d)', r'.mlp.\1'),
)
_UNIFORMER: Rules = (
  *_LEAVES,
  (r'^embeds\.(\d)', _from_one('patch_embed')),
  (r'^stages\.(\d)', _from_one('blocks')),
  (r'\.pos\.', '.pos_embed.'),
  (r'^(blocks\d\.\d+)\.(qkv|proj)', r'\1.attn.\2'),
  (r'\.(fc\d)', r'.mlp.\1'),
  (r'\.conv_in', '.conv1'),
  (r'\.mix', '.attn'),
  (r'\.conv_out', '.conv2'),
  # The light variant's stem: number 2 of their list is a GELU.
  (r'^patch_embed1\.conv1', 'patch_embed1.proj.0'),
  (r'^patch_embed1\.norm1', 'patch_embed1.proj.1'),
  (r'^patch_embed1\.conv2', 'patch_embed1.proj.3'),
  (r'^patch_embed1\.norm2', 'patch_embed1.proj.4'),
)
_UNIFORMER_POINTWISE = r'^blocks[12]\.\d+\.(conv[12]|mlp\.fc[12])\.weight$'

# Model class -> its publishers; the first is the default of exports.
NAMINGS = {
  resnet.ResNet: {'torchvision': Naming(_RESNET)},  # timm's are the same.
  swin_v2.SwinV2: {
    'timm': Naming(
      (
        *_SWIN_V2,
        (r'^embeds\.(\d)', r'layers.\1.downsample'),
        (r'^head', 'head.fc'),
      )
    ),
    # The layer that opens a stage belongs to the stage before.
    'microsoft': Naming(
      (
        *_SWIN_V2,
        (r'^embeds\.(\d)', lambda m: f'layers.{int(m[1]) - 1}.downsample'),
      )
    ),
  },
  uniformer.UniFormer: {'uniformer': Naming(_UNIFORMER, _UNIFORMER_POINTWISE)},
}
# In files, but not learned.
_COMPUTED = re.compile(
  r'(num_batches_tracked|n_averaged|relative_coords_table'
  r'|relative_position_index|attn_mask)$'
)


def is_computed(name: str) -> bool:
  """Returns whether a file's tensor was computed, not learned."""
  return bool(_COMPUTED.search(name))


def namings_of(model: nnx.Module) -> dict[str, Naming]:
  """Returns publisher -> naming, for a model of ours."""
  for kind, namings in NAMINGS.items():
    if isinstance(model, kind):
      return namings
  raise ValueError(
    f'PyTorch names are known for {", ".join(k.__name__ for k in NAMINGS)}, '
    f'not for a {type(model).__name__}.'
  )


def to_ours(value: np.ndarray, num_axes: int) -> np.ndarray:
  """Converts PyTorch's axis order: [O I] -> [I O], [O I ...] -> [... I O].

  A pointwise convolution becomes a matrix if ours is one (`num_axes` 2).
  """
  if value.ndim == 2:
    return value.T
  if value.ndim >= 4:
    value = np.moveaxis(value, (0, 1), (-1, -2))
    if num_axes == 2 and set(value.shape[:-2]) == {1}:
      value = value.reshape(value.shape[-2:])
  return value


def to_torch(value: np.ndarray, pointwise_axes: int = 0) -> np.ndarray:
  """Converts our axis order to PyTorch's; the inverse of `to_ours`.

  Args:
    value: one of our tensors.
    pointwise_axes: for a matrix that is a convolution in PyTorch, its number of
      axes of space and time.
  """
  if value.ndim == 2:
    return value.T.reshape(value.shape[::-1] + (1,) * pointwise_axes)
  if value.ndim >= 4:
    return np.moveaxis(value, (-1, -2), (0, 1))
  return value

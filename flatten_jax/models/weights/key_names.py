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

from flatten_jax.models import (
  bn_inception,
  i3d,
  i3d_inception,
  motion_squeeze,
  resnet,
  slowfast,
  swin_v2,
  tdn,
  timesformer,
  tsn,
  two_stream,
  uniformer,
  video_swin,
  vidtr,
  vivit,
  vtn,
)
from flatten_jax.models.weights import convnet_names
from flatten_jax.models.weights.convnet_names import LEAVES as _LEAVES, Rules

# Tables of vectors, whose axes are not those of a linear layer.
_TABLE = re.compile(r'_embeddings\.weight$')


@dataclasses.dataclass(frozen=True)
class Naming:
  """One publisher's names: rules from ours to theirs, applied in order.

  Attributes:
    rules: (pattern, replacement) as `re.sub` takes them. 'x.{a,b}' is a tensor
      of ours that is x.a and x.b there.
    pointwise: matches their names of 1x1 convolutions that are matrices here.
    over_time: matches their names of convolutions over time only.
    ones: matches their names of tensors that files may lack, and are 1 then.
    flax: their axes are Flax's, with heads as an axis, instead of PyTorch's.
    image: the names of an image model, with which a video model starts.
  """

  rules: Rules
  pointwise: str = r'^$'
  over_time: str = r'^$'
  ones: str = r'^$'
  flax: bool = False
  image: bool = False

  def official(self, name: str) -> str:
    """Translates our dotted name of a tensor to theirs."""
    for pattern, replacement in self.rules:
      name = re.sub(pattern, replacement, name)
    return name

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
    if _TABLE.search(self.official(name)):
      return values[0]
    if re.search(self.over_time, self.official(name)):
      value = np.moveaxis(values[0], (0, 1), (-1, -2))  # [k I O]
      return value[0] if num_axes == 2 else value
    convert = _flax_to_ours if self.flax else to_ours
    joined = [convert(value, num_axes, len(values) > 1) for value in values]
    return np.concatenate(joined, axis=-1) if joined[1:] else joined[0]

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
        result[key] = _split_heads(key, part, model.stages[0][0].head_dim)
      else:
        is_matrix = re.search(self.pointwise, key)
        if _TABLE.search(key):
          result[key] = part
          continue
        if re.search(self.over_time, key):
          part = part[None] if part.ndim == 2 else part
          result[key] = np.moveaxis(part, (-1, -2), (0, 1))
          continue
        result[key] = to_torch(part, axes if is_matrix else 0)
    return result


def _from_one(prefix: str) -> Callable[[re.Match], str]:
  """Returns a replacement that counts from 1: embeds.0 -> patch_embed1."""
  return lambda match: f'{prefix}{int(match[1]) + 1}'


_SWIN_V2: Rules = (
  *_LEAVES,
  (r'^embeds\.0', 'patch_embed'),
  (r'^stages\.(\d)', r'layers.\1.blocks'),
  (r'\.position_in', '.cpb_mlp.0'),
  (r'\.position_out', '.cpb_mlp.2'),
  (r'\.(fc\d)', r'.mlp.\1'),
)
_SWIN: Rules = (
  *_LEAVES,
  (r'^embeds\.0', 'patch_embed'),
  (r'^embeds\.(\d)', lambda m: f'layers.{int(m[1]) - 1}.downsample'),
  (r'^stages\.(\d)', r'layers.\1.blocks'),
  (r'\.bias_table', '.relative_position_bias_table'),
  (r'\.(fc\d)', r'.mlp.\1'),
)
_VIDEO_SWIN: Rules = (
  *_SWIN,
  (r'^(?!head)', 'backbone.'),
  (r'^head', 'cls_head.fc_cls'),
)
_TIMESFORMER: Rules = (
  *_LEAVES,
  (r'^embeds\.0', 'patch_embed.proj'),
  (r'^stages\.0', 'blocks'),
  (r'^(blocks\.\d+)\.(qkv|proj)', r'\1.attn.\2'),
  (r'\.(fc\d)', r'.mlp.\1'),
)
_HUGGING_FACE: Rules = (
  *_LEAVES,
  (r'^embeds\.0', 'embeddings.patch_embeddings.projection'),
  (r'^cls_token', 'embeddings.cls_token'),
  (r'^pos_embed', 'embeddings.position_embeddings'),
  (r'^time_embed', 'embeddings.time_embeddings'),
  (r'^norm', 'layernorm'),
  (r'^(?!head)', 'timesformer.'),
  (r'^head', 'classifier'),
  (r'stages\.0', 'encoder.layer'),
  (r'\.temporal_norm1', '.temporal_layernorm'),
  (r'\.temporal_fc', '.temporal_dense'),
  (r'\.norm1', '.layernorm_before'),
  (r'\.norm2', '.layernorm_after'),
  (r'(?:attn\.|(?<=\d\.))qkv', 'attention.attention.qkv'),
  (r'(?:attn\.|(?<=\d\.))proj', 'attention.output.dense'),
  (r'\.fc1', '.intermediate.dense'),
  (r'\.fc2', '.output.dense'),
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

# Scenic's ViViT; `_vivit` adds the names of its encoders.
_FLAX_BLOCKS: Rules = (
  (r'\.norm1', '.LayerNorm_0'),
  (r'\.norm2', '.LayerNorm_1'),
  (r'\.qkv', '.MultiHeadDotProductAttention_0.{query,key,value}'),
  (r'\.proj', '.MultiHeadDotProductAttention_0.out'),
  (r'\.fc1', '.MlpBlock_0.Dense_0'),
  (r'\.fc2', '.MlpBlock_0.Dense_1'),
)
# Files from before Flax's Linen count all layers of a block together.
_PRE_LINEN: Rules = (
  (r'LayerNorm_1', 'LayerNorm_2'),
  (r'Attention_0', 'Attention_1'),
  (r'MlpBlock_0', 'MlpBlock_3'),
)


def _vivit(*encoders: str, pre_linen: bool = False, image: bool = False):
  """Returns Scenic's names; encoders are 'Transformer', or space and time."""
  rules = []
  for i, name in enumerate(encoders):
    cls = 'cls' if len(encoders) == 1 else f'cls_{name}'
    rules += [
      (rf'^stages\.{i}\.(\d+)', rf'{name}.encoderblock_\1'),
      (rf'^norms\.{i}', f'{name}.encoder_norm'),
      (rf'^cls_tokens\.{i}', cls),
      (rf'^pos_embeds\.{i}', f'{name}.posembed_input.pos_embedding'),
    ]
  rules += [
    *_FLAX_BLOCKS,
    (r'^embeds\.0', 'embedding'),
    (r'^head', 'none.head' if image else 'output_projection'),
  ]
  rules += _PRE_LINEN if pre_linen else ()
  return Naming(tuple(rules), flax=True, image=image)


def _vivit_namings(model: vivit.ViViT) -> dict[str, Naming]:
  """Returns the names of a ViViT, and of the image ViTs that it starts as."""
  encoders = ('SpatialTransformer', 'TemporalTransformer')
  encoders = encoders if len(model.stages) > 1 else ('Transformer',)
  vit = ('Transformer',)
  return {
    'scenic': _vivit(*encoders),
    'scenic_pre_linen': _vivit(*encoders, pre_linen=True),
    'vit': Naming(_VIT, image=True),
    'vit_flax': _vivit(*vit, image=True),
    'vit_pre_linen': _vivit(*vit, pre_linen=True, image=True),
  }


# Image ViTs as timm names them.
_VIT: Rules = (
  *_LEAVES,
  (r'^embeds\.0', 'patch_embed.proj'),
  (r'^stages\.0\.(\d+)', r'blocks.\1'),
  (r'\.(qkv|proj)\.', r'.attn.\1.'),
  (r'\.(fc\d)', r'.mlp.\1'),
  (r'^norms\.0', 'norm'),
  (r'^cls_tokens\.0', 'cls_token'),
  (r'^pos_embeds\.0', 'pos_embed'),
  (r'^head', 'none.head'),  # Never that of images.
  (r'^patch_embed\.attn\.', 'patch_embed.'),
)

_VIDTR: Rules = (
  (r'\.qkv\.kernel', '.self_attn.in_proj_weight'),
  (r'\.qkv\.bias', '.self_attn.in_proj_bias'),
  *_LEAVES,
  (r'\.proj\.', '.self_attn.out_proj.'),
  (r'\.fc(\d)', r'.linear\1'),
  (r'^embeds\.0', 'conv_stem'),
  (r'^stages\.0', 'encoder.layers'),
  (r'^norms\.0', 'encoder.norm'),
  (r'^pos_embeds\.0', 'pos_embedding'),
  (r'^head', 'fc'),
)

# A ViT inside of a backbone, and Hugging Face's Longformer.
_VTN: Rules = (
  *_LEAVES,
  (r'^stages\.1\.(\d+)', r'temporal_encoder.encoder.layer.\1'),
  (r'(layer\.\d+)\.qkv_global', r'\1.qkv_{query,key,value}_global'),
  (r'(layer\.\d+)\.qkv\.', r'\1.qkv_{query,key,value}.'),
  (r'\.qkv_\{', '.attention.self.{'),
  (r'(layer\.\d+)\.proj', r'\1.attention.output.dense'),
  (r'(layer\.\d+)\.norm1', r'\1.attention.output.LayerNorm'),
  (r'(layer\.\d+)\.fc1', r'\1.intermediate.dense'),
  (r'(layer\.\d+)\.fc2', r'\1.output.dense'),
  (r'(layer\.\d+)\.norm2', r'\1.output.LayerNorm'),
  (r'^frame_embed', 'temporal_encoder.embeddings.position_embeddings.weight'),
  (r'^type_embed', 'temporal_encoder.embeddings.token_type_embeddings.weight'),
  (r'^embed_norm', 'temporal_encoder.embeddings.LayerNorm'),
  (r'^cls_tokens\.1', 'cls_token'),
  (r'^neck_norm', 'mlp_head.0'),
  (r'^neck', 'mlp_head.1'),
  (r'^head', 'mlp_head.4'),
  (r'^(embeds|stages|norms|cls_tokens|pos_embeds)\.0', r'backbone.\1.0'),
  *((rf'^backbone\.{a[1:]}', f'backbone.{b}') for a, b in _VIT if a[0] == '^'),
  (r'^(backbone\.blocks\.\d+)\.(qkv|proj)\.', r'\1.attn.\2.'),
  (r'^(backbone\.blocks\.\d+)\.(fc\d)', r'\1.mlp.\2'),
)


def _pyslowfast(model: i3d.I3D | slowfast.SlowFast) -> dict[str, Naming]:
  """Returns the names of SlowFast and I3D, as a function of their depth."""
  depths = [len(stage) for stage in model.stages]
  rules = {
    'pyslowfast': convnet_names.PYSLOWFAST,
    'pytorchvideo': convnet_names.PYTORCHVIDEO,
    'caffe2': convnet_names.caffe2(depths),
  }
  pointwise = convnet_names.PYSLOWFAST_POINTWISE
  return {name: Naming(r, pointwise) for name, r in rules.items()}


class _DeepMindNaming(Naming):
  """I3D's variables in TensorFlow: Flax's axes, and norms without a scale."""

  def to_ours(
    self, name: str, values: list[np.ndarray], num_axes: int
  ) -> np.ndarray:
    """Returns matrices of 1x1x1 kernels, and vectors."""
    value = values[0]
    if num_axes < value.ndim:
      return value.reshape(value.shape[value.ndim - num_axes :])
    return value

  def to_theirs(
    self, name: str, value: np.ndarray, model: nnx.Module
  ) -> dict[str, np.ndarray]:
    """Converts one of our tensors; a scale goes into none of theirs.

    Raises:
      ValueError: a scale is not 1.
    """
    key = self.official(name)
    if key.endswith('gamma'):
      if (value != 1).any():
        raise ValueError(f'{key} is not 1, and this form has no scales.')
      return {}
    return {
      key: value.reshape(1, 1, 1, *value.shape) if value.ndim == 2 else value
    }


# Model class -> its publishers, perhaps as a function of the model; the first
# is the default of exports.
NAMINGS = {
  tdn.TDN: {
    'tdn': Naming(convnet_names.TDN, over_time=convnet_names.TDN_OVER_TIME)
  },
  motion_squeeze.MotionSqueezeNet: {
    'motion_squeeze': Naming(
      convnet_names.MOTION_SQUEEZE,
      over_time=convnet_names.MOTION_SQUEEZE_OVER_TIME,
    )
  },
  i3d_inception.I3DInception: {
    'piergiaj': Naming(
      convnet_names.I3D_INCEPTION, r'^logits\.conv3d\.weight$'
    ),
    'deepmind': _DeepMindNaming(convnet_names.I3D_DEEPMIND, ones=r'\.gamma$'),
  },
  two_stream.TwoStream: {'vgg': Naming(convnet_names.TWO_STREAM)},
  tsn.TSNResNet: {
    'tsn': Naming(convnet_names.TSN_RESNET),
    'openmmlab': Naming(convnet_names.MMACTION_RESNET),
    'torchvision': Naming(convnet_names.RESNET, image=True),
  },
  tsn.TSNBNInception: {
    'tsn': Naming(convnet_names.TSN_BN_INCEPTION),
    'cadene': Naming(convnet_names.CADENE, image=True),
  },
  bn_inception.BNInception: {
    'cadene': Naming(convnet_names.CADENE),
    'tsn': Naming(convnet_names.TSN_BN_INCEPTION),
  },
  resnet.ResNet: {
    'torchvision': Naming(convnet_names.RESNET)
  },  # timm's are the same.
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
  video_swin.VideoSwin: {
    'microsoft': Naming(_VIDEO_SWIN),
    'openmmlab': Naming(
      (*_VIDEO_SWIN, (r'^backbone\.norm\.', 'backbone.norm3.'))
    ),
    'torchvision': Naming(
      (
        *_SWIN,
        (
          r'^layers\.(\d)\.blocks',
          lambda m: f'features.{2 * int(m[1])}',
        ),
        (
          r'^layers\.(\d)\.downsample',
          lambda m: f'features.{2 * int(m[1]) + 1}',
        ),
        (r'\.mlp\.fc1', '.mlp.0'),
        (r'\.mlp\.fc2', '.mlp.3'),
      )
    ),
    'image': Naming(_SWIN),  # Of the image Swin, without prefix.
  },
  timesformer.TimeSformer: {
    'facebook': Naming((*_TIMESFORMER, (r'^', 'model.'))),
    'hugging_face': Naming(_HUGGING_FACE),
    'image': Naming(_TIMESFORMER),  # Of timm's ViT, without prefix.
  },
  uniformer.UniFormer: {'uniformer': Naming(_UNIFORMER, _UNIFORMER_POINTWISE)},
  vivit.ViViT: _vivit_namings,
  vtn.VTN: {
    'vtn': Naming(_VTN),
    'vit': Naming(_VIT, image=True),
  },
  i3d.I3D: _pyslowfast,
  slowfast.SlowFast: _pyslowfast,
  vidtr.VidTr: {
    'gluonmm': Naming(_VIDTR),
    'vit': Naming((*_VIT, (r'^cls_[st]$', 'cls_token')), image=True),
  },
}
# In files, but not learned, or not of a layer that does anything.
_COMPUTED = re.compile(
  r'(base_model\.(conv1_temp|bn2)\.\w+|num_batches_tracked|n_averaged'
  r'|relative_coords_table'
  r'|relative_position_index|attn_mask|position_ids|/Momentum|\.Momentum)$'
)


def is_computed(name: str) -> bool:
  """Returns whether a file's tensor was not learned, or has no effect."""
  return bool(_COMPUTED.search(name))


def namings_of(model: nnx.Module) -> dict[str, Naming]:
  """Returns publisher -> naming, for a model of ours."""
  for kind, namings in NAMINGS.items():
    if isinstance(model, kind):
      return namings(model) if callable(namings) else namings
  raise ValueError(
    f'PyTorch names are known for {", ".join(k.__name__ for k in NAMINGS)}, '
    f'not for a {type(model).__name__}.'
  )


def _flax_to_ours(
  value: np.ndarray, num_axes: int, is_part: bool
) -> np.ndarray:
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
  """Inverts `_flax_to_ours`, by Flax's name of the tensor."""
  if re.search(r'\.(query|key|value)\.', name):
    return value.reshape(*value.shape[:-1], -1, head_dim)
  if re.search(r'DotProductAttention_\d\.out\.kernel$', name):
    return value.reshape(-1, head_dim, value.shape[-1])
  return value


def to_ours(
  value: np.ndarray, num_axes: int, is_part: bool = False
) -> np.ndarray:
  """Converts PyTorch's axis order: [O I] -> [I O], [O I ...] -> [... I O].

  A pointwise convolution becomes a matrix if ours is one (`num_axes` 2).
  """
  del is_part
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

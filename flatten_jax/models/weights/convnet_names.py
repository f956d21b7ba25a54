# SPDX-License-Identifier: Apache-2.0
"""Names of networks of 2D convolutions: ResNets, TSN, TDN and others."""

import dataclasses
import re

from flax import nnx

from flatten_jax.models import (
  bn_inception,
  convnext,
  efficientnet_lite,
  motion_squeeze,
  resnet,
  tdn,
  tsn,
  two_stream,
)
from flatten_jax.models.weights.naming import LEAVES, Naming, Rules, counted


def _tsn(rules: Rules) -> Rules:
  """Returns the names of an image model with TSN's prefix and head."""
  return (
    *rules,
    (r'^(?!fc\.|head\.)', 'base_model.'),
    (r'^(fc|head)\.', 'new_fc.'),
  )


def inception_block(form: str, letters: str, parts: dict[str, str]):
  """Returns the rule for parts of blocks; our stage 0 is their third.

  Args:
    form: with places for the stage, the block's letter, and the part.
    letters: of the blocks of a stage.
    parts: our names of a block's convolutions -> theirs.
  """

  def name(match: re.Match) -> str:
    stage, block, part = match.groups()
    return form.format(int(stage) + 3, letters[int(block)], parts[part])

  return r'^stages\.(\d)\.(\d)\.(\w+)\.', name


RESNET: Rules = (
  *LEAVES,
  (r'^stages\.(\d)', counted('layer{}', 1)),
  (r'shortcut_norm', 'downsample.1'),
  (r'shortcut', 'downsample.0'),
  (r'norm(\d)', r'bn\1'),
  (r'^norm', 'bn1'),
  (r'^conv\.', 'conv1.'),
  (r'^head', 'fc'),
)
_TSN_RESNET = _tsn(RESNET)
# A convolution and its norm are `conv` and `bn` of one part.
_MMACTION_RESNET: Rules = (
  *RESNET,
  (r'downsample\.0', 'downsample.conv'),
  (r'downsample\.1', 'downsample.bn'),
  (r'(^|\.)conv(\d)\.', r'\1conv\2.conv.'),
  (r'(^|\.)bn(\d)\.', r'\1conv\2.bn.'),
  (r'^(?!fc\.)', 'backbone.'),
  (r'^fc\.', 'cls_head.fc_cls.'),
)

_INCEPTION_PARTS = {
  'one': '1x1',
  'reduce': '3x3_reduce',
  'three': '3x3',
  'double_reduce': 'double_3x3_reduce',
  'double1': 'double_3x3_1',
  'double2': 'double_3x3_2',
  'proj': 'pool_proj',
}
_BN_INCEPTION: Rules = (
  *LEAVES,
  (r'^embeds\.0\.conv1\.', 'conv1_7x7_s2.'),
  (r'^embeds\.0\.conv2\.', 'conv2_3x3.'),
  (r'^embeds\.0\.reduce\.', 'conv2_3x3_reduce.'),
  inception_block('inception_{}{}_{}.', 'abcde', _INCEPTION_PARTS),
  (r'\.conv\.', '.'),
  (r'\.norm\.', '_bn.'),
)
_TSN_BN_INCEPTION = _tsn(_BN_INCEPTION)
# The head's name is all that differs between other files.
_BN_INCEPTION_HEADS = {
  'cadene': 'last_linear',
  'yjxiong': 'fc',
  'caffe': 'fc-action',
}
_IMAGE_BN_INCEPTION = {
  publisher: Naming(
    (*_BN_INCEPTION, (r'^head\.', f'{head}.')), image=publisher != 'caffe'
  )
  for publisher, head in _BN_INCEPTION_HEADS.items()
}

# `long_term` is their mse, with names of its own for its parts.
_LONG_TERM = {
  'reduce': 'conv1',
  'reduce_norm': 'bn1',
  'mix': 'conv2',
  'half': 'conv3_smallscale2',
  'half_norm': 'bn3_smallscale2',
  'whole': 'conv3_smallscale4',
  'whole_norm': 'bn3_smallscale4',
  'expand': 'conv3',
  'expand_norm': 'bn3',
}
_TDN: Rules = _tsn(
  (
    *LEAVES,
    (r'long_term\.(\w+)\.', lambda m: f'mse.{_LONG_TERM[m[1]]}.'),
    (r'\.shift\.', '.shift.conv.'),
    (r'^embeds\.0\.near\.', 'resnext_layer1.'),
    (r'^embeds\.0\.near_conv\.', 'conv1_5.0.'),
    (r'^embeds\.0\.near_norm\.', 'conv1_5.1.'),
    (r'^embeds\.0\.', ''),
    (r'^stages\.(\d)\.', counted('layer{}_bak.', 1)),
    (r'shortcut_norm', 'downsample.1'),
    (r'shortcut', 'downsample.0'),
    (r'norm(\d)', r'bn\1'),
    (r'^norm\.', 'bn1.'),
    (r'^conv\.', 'conv1.'),
  )
)
_FLOW_LAYER = {'mix': 0, 'norm1': 1, 'conv': 3, 'norm2': 4}
_MOTION_SQUEEZE: Rules = _tsn(
  (
    *LEAVES,
    (
      r'^motion\.flow\.(\d)\.(\w+)\.',
      lambda m: f'flow_refinement.conv{int(m[1]) + 1}.{_FLOW_LAYER[m[2]]}.',
    ),
    (r'^motion\.reduce\.', 'chnl_reduction.0.'),
    (r'^motion\.norm\.', 'chnl_reduction.1.'),
    *((old, new) for old, new in RESNET[2:] if old != r'^head'),
  )
)
# An image network, for the stem of the middle frames.
_TDN_IMAGE: Rules = ((r'^embeds\.0\.(conv|norm)\.', r'\1.'), *RESNET)
# Convolutions over time only.
_TDN_OVER_TIME = r'\.shift\.conv\.weight$'
_MOTION_SQUEEZE_OVER_TIME = r'^new_fc\.weight$'
_TWO_STREAM: Rules = (
  *LEAVES,
  (r'^embeds\.0\.conv\.', 'conv1.'),
  (r'^stages\.0\.0\.conv\.', 'conv2.'),
  (r'^stages\.1\.(\d)\.conv\.', counted('conv{}.', 3)),
  (r'^head\.', 'fc8.'),
)
_CADENE_VGG: Rules = (
  *_TWO_STREAM,
  (r'^conv(\d)\.', lambda m: f'features.{(0, 4, 8, 10, 12)[int(m[1]) - 1]}.'),
  (r'^fc(\d)\.', lambda m: f'classif.{3 * int(m[1]) - 18}.'),
)


# What precedes a stage: a convolution and a norm in the stem, the norm first
# elsewhere.
_FACEBOOK_CONVNEXT: Rules = (
  *LEAVES,
  (r'^embeds\.0\.proj', 'downsample_layers.0.0'),
  (r'^embeds\.0\.norm', 'downsample_layers.0.1'),
  (r'^embeds\.(\d)\.norm', r'downsample_layers.\1.0'),
  (r'^embeds\.(\d)\.proj', r'downsample_layers.\1.1'),
  (r'\.depthwise', '.dwconv'),
  (r'\.fc(\d)', r'.pwconv\1'),
  (r'\.layer_scale', '.gamma'),
)
_TIMM_CONVNEXT: Rules = (
  *LEAVES,
  (r'^stages\.(\d)', r'stages.\1.blocks'),
  (r'^embeds\.0\.proj', 'stem.0'),
  (r'^embeds\.0\.norm', 'stem.1'),
  (r'^embeds\.(\d)\.norm', r'stages.\1.downsample.0'),
  (r'^embeds\.(\d)\.proj', r'stages.\1.downsample.1'),
  (r'\.depthwise', '.conv_dw'),
  (r'\.(fc\d)', r'.mlp.\1'),
  (r'\.layer_scale', '.gamma'),
  (r'^head', 'head.fc'),
  (r'^norm', 'head.norm'),
)

# timm's first stage does not expand, so that its parts have other names.
_TIMM_EFFICIENTNET_LITE: Rules = (
  *LEAVES,
  (r'^stages\.', 'blocks.'),
  (r'^(blocks\.0\.\d)\.conv_out', r'\1.conv_pw'),
  (r'^(blocks\.0\.\d)\.norm(\d)', r'\1.bn\2'),
  (r'\.conv_in', '.conv_pw'),
  (r'\.mix', '.conv_dw'),
  (r'\.conv_out', '.conv_pwl'),
  (r'\.norm(\d)', counted('.bn{}', 1)),
  (r'^conv\.', 'conv_stem.'),
  (r'^norm\.', 'bn1.'),
  (r'^neck\.', 'conv_head.'),
  (r'^neck_norm\.', 'bn2.'),
  (r'^head', 'classifier'),
)


def efficientnet_lite_names(model: nnx.Module) -> dict[str, Naming]:
  """Returns the names of efficientnet_pytorch, with one list of blocks."""
  depths = [len(stage) for stage in model.stages]

  def block(match: re.Match) -> str:
    stage, number = map(int, match.groups())
    return f'_blocks.{sum(depths[:stage]) + number}.'

  rules = (
    *LEAVES,
    (r'^stages\.(\d)\.(\d)\.', block),
    (r'\.conv_in\.', '._expand_conv.'),
    (r'\.mix\.', '._depthwise_conv.'),
    (r'\.conv_out\.', '._project_conv.'),
    (r'\.norm(\d)\.', r'._bn\1.'),
    (r'^conv\.', '_conv_stem.'),
    (r'^norm\.', '_bn0.'),
    (r'^neck\.', '_conv_head.'),
    (r'^neck_norm\.', '_bn1.'),
    (r'^head\.', '_fc.'),
  )
  return {
    'efficientnet_pytorch': Naming(rules),
    'timm': Naming(_TIMM_EFFICIENTNET_LITE),
  }


NAMINGS = {
  convnext.ConvNeXt: {
    'timm': Naming(_TIMM_CONVNEXT),
    'facebook': Naming(_FACEBOOK_CONVNEXT),
  },
  efficientnet_lite.EfficientNetLite: efficientnet_lite_names,
  tsn.TSNResNet: {
    'tsn': Naming(_TSN_RESNET),
    'openmmlab': Naming(_MMACTION_RESNET),
    'torchvision': Naming(RESNET, image=True),
  },
  tsn.TSNBNInception: {
    'tsn': Naming(_TSN_BN_INCEPTION),
    **_IMAGE_BN_INCEPTION,
  },
  bn_inception.BNInception: {
    publisher: dataclasses.replace(names, image=False)
    for publisher, names in _IMAGE_BN_INCEPTION.items()
  }
  | {'tsn': Naming(_TSN_BN_INCEPTION)},
  resnet.ResNet: {'torchvision': Naming(RESNET)},  # timm's are the same.
  tdn.TDN: {
    'tdn': Naming(_TDN, over_time=_TDN_OVER_TIME),
    'torchvision': Naming(_TDN_IMAGE, image=True),
  },
  motion_squeeze.MotionSqueezeNet: {
    'motion_squeeze': Naming(
      _MOTION_SQUEEZE, over_time=_MOTION_SQUEEZE_OVER_TIME
    ),
    'torchvision': Naming(RESNET, image=True),
  },
  two_stream.TwoStream: {
    'vgg': Naming(_TWO_STREAM),
    'cadene': Naming(_CADENE_VGG),
  },
}

# SPDX-License-Identifier: Apache-2.0
"""Names of the published weights of convolutional video models.

Rules from our names to theirs, as `key_names.Naming` takes them.
"""

from collections.abc import Callable
import re

Rules = tuple[tuple[str, str | Callable[[re.Match], str]], ...]

LEAVES: Rules = (
  (r'(norm\d?)\.(mean|var)$', r'\1.running_\2'),
  (r'\.(scale|kernel)$', '.weight'),
)


def _number(form: str, add: int) -> Callable[[re.Match], str]:
  """Returns a replacement whose number is ours plus `add`: 's{}_fuse.'."""
  return lambda match: form.format(int(match[1]) + add)


# The convolutions of a bottleneck: theirs are branch2.a, b and c.
_BRANCHES: Rules = tuple(
  (rf'(res\d+\.){kind}{number}\.', rf'\1branch2.{letter}{end}.')
  for number, letter in enumerate('abc', start=1)
  for kind, end in (('conv', ''), ('norm', '_bn'))
)
# SlowFast and I3D.
PYSLOWFAST: Rules = (
  *LEAVES,
  (r'^embeds\.0\.fast\.', 's1.pathway1_stem.'),
  (r'^embeds\.0\.(slow\.)?', 's1.pathway0_stem.'),
  (r'^fusions\.(\d)\.', _number('s{}_fuse.', 1)),
  (r'_fuse\.conv\.', '_fuse.conv_f2s.'),
  (r'^stages\.(\d)\.', _number('s{}.', 2)),
  (r'^(s\d\.)(\d+)\.fast\.', r'\1pathway1_res\2.'),
  (r'^(s\d\.)(\d+)\.(slow\.)?', r'\1pathway0_res\2.'),
  (r'res(\d+)\.non_local\.(?!norm)', r'nonlocal\1.conv_'),
  (r'res(\d+)\.non_local\.', r'nonlocal\1.'),
  *_BRANCHES,
  (r'\.shortcut_norm\.', '.branch1_bn.'),
  (r'\.shortcut\.', '.branch1.'),
  (r'\.norm\.', '.bn.'),
  (r'^head\.', 'head.projection.'),
)
PYTORCHVIDEO: Rules = (
  *PYSLOWFAST,
  (r'^s1\.pathway(\d)_stem\.', r'blocks.0.multipathway_blocks.\1.'),
  (r'^s(\d)_fuse\.', _number('blocks.{}.multipathway_fusion.', -1)),
  (r'\.conv_f2s\.', '.conv_fast_to_slow.'),
  (r'^s(\d)\.pathway', _number('blocks.{}.multipathway_blocks.', -1)),
  (r'(blocks\.\d)_res(\d+)\.', r'\1.res_blocks.\2.'),
  (r'branch2\.([abc])\.', r'branch2.conv_\1.'),
  (r'branch2\.([abc])_bn\.', r'branch2.norm_\1.'),
  (r'branch1\.', 'branch1_conv.'),
  (r'branch1_bn\.', 'branch1_norm.'),
  (r'\.bn\.', '.norm.'),
  (r'^head\.projection\.', 'blocks.6.proj.'),
)


def caffe2(depths: list[int]) -> Rules:
  """Returns the names of Caffe2, in which a fusion has its last block's."""

  def fused(match: re.Match) -> str:
    stage = int(match[1])
    if stage == 1:
      return 't_pool1_subsample_'
    return f't_res{stage}_{depths[stage - 2] - 1}_branch2c_bn_subsample_'

  return (
    *PYSLOWFAST,
    (r'^s(\d)_fuse\.(conv_f2s\.)?', fused),
    (r'^s1\.pathway1_stem\.(conv\.)?', r't_\1'),
    (r'^s1\.pathway0_stem\.', ''),
    (r'conv\.weight$', 'conv1_w'),
    (r'^(t_)?bn\.', r'\1res_conv1_bn_'),
    (r'^s(\d)\.pathway0_nonlocal(\d+)\.(conv_)?', r'nonlocal_conv\1_\2_'),
    (r'^s(\d)\.pathway0_res(\d+)\.', r'res\1_\2_'),
    (r'^s(\d)\.pathway1_res(\d+)\.', r't_res\1_\2_'),
    (r'branch2\.([abc])', r'branch2\1'),
    (r'_bn\.weight$', '_bn_s'),
    (r'bn_weight$', 'bn_s'),
    (r'bn[._]bias$', 'bn_b'),
    (r'bn[._]running_mean$', 'bn_rm'),
    (r'bn[._]running_var$', 'bn_riv'),
    (r'[._]weight$', '_w'),
    (r'[._]bias$', '_b'),
    (r'^head\.projection', 'pred'),
    (r'subsample_(weight)$', 'subsample_w'),
    (r'\.', '_'),
  )


# Their 1x1 convolutions that are matrices here.
PYSLOWFAST_POINTWISE = r'(conv\d+_\d+_|conv_)(theta|phi|g|out)[._]w'


def _tsn(rules: Rules) -> Rules:
  """Returns the names of an image model with TSN's prefix and head."""
  return (
    *rules,
    (r'^(?!fc\.|head\.)', 'base_model.'),
    (r'^(fc|head)\.', 'new_fc.'),
  )


RESNET: Rules = (
  *LEAVES,
  (r'^stages\.(\d)', _number('layer{}', 1)),
  (r'shortcut_norm', 'downsample.1'),
  (r'shortcut', 'downsample.0'),
  (r'norm(\d)', r'bn\1'),
  (r'^norm', 'bn1'),
  (r'^conv\.', 'conv1.'),
  (r'^head', 'fc'),
)
TSN_RESNET = _tsn(RESNET)
# A convolution and its norm are `conv` and `bn` of one part.
MMACTION_RESNET: Rules = (
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
BN_INCEPTION: Rules = (
  *LEAVES,
  (r'^embeds\.0\.conv1\.', 'conv1_7x7_s2.'),
  (r'^embeds\.0\.conv2\.', 'conv2_3x3.'),
  (r'^embeds\.0\.reduce\.', 'conv2_3x3_reduce.'),
  (
    r'^stages\.(\d)\.(\d)\.(\w+)\.',
    lambda m: (
      f'inception_{int(m[1]) + 3}{"abcde"[int(m[2])]}_{_INCEPTION_PARTS[m[3]]}.'
    ),
  ),
  (r'\.conv\.', '.'),
  (r'\.norm\.', '_bn.'),
)
TSN_BN_INCEPTION = _tsn(BN_INCEPTION)
CADENE: Rules = (*BN_INCEPTION, (r'^head\.', 'last_linear.'))

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
TDN: Rules = _tsn(
  (
    *LEAVES,
    (r'long_term\.(\w+)\.', lambda m: f'mse.{_LONG_TERM[m[1]]}.'),
    (r'\.shift\.', '.shift.conv.'),
    (r'^embeds\.0\.near\.', 'resnext_layer1.'),
    (r'^embeds\.0\.near_conv\.', 'conv1_5.0.'),
    (r'^embeds\.0\.near_norm\.', 'conv1_5.1.'),
    (r'^embeds\.0\.', ''),
    (r'^stages\.(\d)\.', _number('layer{}_bak.', 1)),
    (r'shortcut_norm', 'downsample.1'),
    (r'shortcut', 'downsample.0'),
    (r'norm(\d)', r'bn\1'),
    (r'^norm\.', 'bn1.'),
    (r'^conv\.', 'conv1.'),
  )
)
_FLOW_LAYER = {'mix': 0, 'norm1': 1, 'conv': 3, 'norm2': 4}
MOTION_SQUEEZE: Rules = _tsn(
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
# Convolutions over time only.
TDN_OVER_TIME = r'\.shift\.conv\.weight$'
MOTION_SQUEEZE_OVER_TIME = r'^new_fc\.weight$'

_STEM = ('Conv3d_1a_7x7', 'Conv3d_2b_1x1', 'Conv3d_2c_3x3')
_MIXED = {
  'one': 'b0',
  'reduce1': 'b1a',
  'three1': 'b1b',
  'reduce2': 'b2a',
  'three2': 'b2b',
  'proj': 'b3b',
}
I3D_INCEPTION: Rules = (
  *LEAVES,
  (r'^embeds\.0\.conv(\d)', lambda m: _STEM[int(m[1]) - 1]),
  (
    r'^stages\.(\d)\.(\d)\.(\w+)\.',
    lambda m: f'Mixed_{int(m[1]) + 3}{"bcdef"[int(m[2])]}.{_MIXED[m[3]]}.',
  ),
  (r'\.conv\.', '.conv3d.'),
  (r'\.norm\.', '.bn.'),
  (r'^head\.', 'logits.conv3d.'),
)
_BRANCHES_TF = {
  'b0': 'Branch_0.Conv3d_0a_1x1',
  'b1a': 'Branch_1.Conv3d_0a_1x1',
  'b1b': 'Branch_1.Conv3d_0b_3x3',
  'b2a': 'Branch_2.Conv3d_0a_1x1',
  'b2b': 'Branch_2.Conv3d_0b_3x3',
  'b3b': 'Branch_3.Conv3d_0b_1x1',
}
I3D_DEEPMIND: Rules = (
  *I3D_INCEPTION,
  (r'^logits\.conv3d\.', 'Logits.Conv3d_0c_1x1.conv3d.'),
  (r'\.(b\d[ab]?)\.', lambda m: f'.{_BRANCHES_TF[m[1]]}.'),
  (
    r'^Mixed_5b\.Branch_2\.Conv3d_0b_3x3',
    'Mixed_5b.Branch_2.Conv3d_0a_3x3',
  ),
  (r'\.conv3d\.weight$', '.conv_3d.w'),
  (r'\.conv3d\.bias$', '.conv_3d.b'),
  (r'\.bn\.bias$', '.batch_norm.beta'),
  (r'\.bn\.weight$', '.batch_norm.gamma'),  # Absent: 1.
  (r'\.bn\.running_mean$', '.batch_norm.moving_mean'),
  (r'\.bn\.running_var$', '.batch_norm.moving_variance'),
)
TWO_STREAM: Rules = (
  *LEAVES,
  (r'^embeds\.0\.conv\.', 'conv1.'),
  (r'^stages\.0\.0\.conv\.', 'conv2.'),
  (r'^stages\.1\.(\d)\.conv\.', _number('conv{}.', 3)),
  (r'^head\.', 'fc8.'),
)

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

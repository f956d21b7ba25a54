# SPDX-License-Identifier: Apache-2.0
"""Names of networks of 3D convolutions: SlowFast, I3D, and I3D as Inception."""

import re

from flax import nnx
import numpy as np

from flatten_jax.models import i3d, i3d_inception, slowfast
from flatten_jax.models.weights import convnet_names
from flatten_jax.models.weights.naming import LEAVES, Naming, Rules, counted

# The convolutions of a bottleneck: theirs are branch2.a, b and c.
_BRANCHES: Rules = tuple(
  (rf'(res\d+\.){kind}{number}\.', rf'\1branch2.{letter}{end}.')
  for number, letter in enumerate('abc', start=1)
  for kind, end in (('conv', ''), ('norm', '_bn'))
)
# SlowFast and I3D.
_PYSLOWFAST: Rules = (
  *LEAVES,
  (r'^embeds\.0\.fast\.', 's1.pathway1_stem.'),
  (r'^embeds\.0\.(slow\.)?', 's1.pathway0_stem.'),
  (r'^fusions\.(\d)\.', counted('s{}_fuse.', 1)),
  (r'_fuse\.conv\.', '_fuse.conv_f2s.'),
  (r'^stages\.(\d)\.', counted('s{}.', 2)),
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
_PYTORCHVIDEO: Rules = (
  *_PYSLOWFAST,
  (r'^s1\.pathway(\d)_stem\.', r'blocks.0.multipathway_blocks.\1.'),
  (r'^s(\d)_fuse\.', counted('blocks.{}.multipathway_fusion.', -1)),
  (r'\.conv_f2s\.', '.conv_fast_to_slow.'),
  (r'^s(\d)\.pathway', counted('blocks.{}.multipathway_blocks.', -1)),
  (r'(blocks\.\d)_res(\d+)\.', r'\1.res_blocks.\2.'),
  (r'branch2\.([abc])\.', r'branch2.conv_\1.'),
  (r'branch2\.([abc])_bn\.', r'branch2.norm_\1.'),
  (r'branch1\.', 'branch1_conv.'),
  (r'branch1_bn\.', 'branch1_norm.'),
  (r'\.bn\.', '.norm.'),
  (r'^head\.projection\.', 'blocks.6.proj.'),
)


def _caffe2(depths: list[int]) -> Rules:
  """Returns the names of Caffe2, in which a fusion has its last block's."""

  def fused(match: re.Match) -> str:
    stage = int(match[1])
    if stage == 1:
      return 't_pool1_subsample_'
    return f't_res{stage}_{depths[stage - 2] - 1}_branch2c_bn_subsample_'

  return (
    *_PYSLOWFAST,
    (r'^s(\d)_fuse\.(conv_f2s\.)?', fused),
    (r'^s1\.pathway1_stem\.(conv\.)?', r't_\1'),
    (r'^s1\.pathway0_stem\.', ''),
    (r'conv\.weight$', 'conv1_w'),
    (r'^(t_)?bn\.', r'\1res_conv1_bn_'),
    (r'^s(\d)\.pathway0_nonlocal(\d+)\.(conv_)?', r'nonlocal_conv\1_\2_'),
    (r'^s(\d)\.pathway0_res(\d+)\.', r'res\1_\2_'),
    (r'^s(\d)\.pathway1_res(\d+)\.', r't_res\1_\2_'),
    (r'branch2\.([abc])', r'branch2\1'),
    (r'_bn[._]weight$', '_bn_s'),
    (r'bn[._]bias$', 'bn_b'),
    (r'bn[._]running_mean$', 'bn_rm'),
    (r'bn[._]running_var$', 'bn_riv'),
    (r'[._]weight$', '_w'),
    (r'[._]bias$', '_b'),
    (r'^head\.projection', 'pred'),
    (r'\.', '_'),
  )


# Files with batch norms that were frozen, of which factor and shift are left;
# those of non-local blocks have become part of a convolution.
_FROZEN = (
  (r'_rm$', 0.0),
  (r'_riv$', 1 - 1e-5),
  (r'^nonlocal.*_bn_s$', 1.0),
  (r'^nonlocal.*_bn_b$', 0.0),
)
# An image network, for the slow path.
_TORCHVISION: Rules = (
  (r'^embeds\.0\.(slow\.)?', ''),
  (r'\.slow\.', '.'),
  *convnet_names.RESNET,
)
# Their 1x1 convolutions that are matrices here.
_PYSLOWFAST_POINTWISE = r'(conv\d+_\d+_|conv_)(theta|phi|g|out)[._]w'


def _pyslowfast(model: nnx.Module) -> dict[str, Naming]:
  """Returns the names of SlowFast and I3D, as a function of their depth."""
  rules = {
    'pyslowfast': _PYSLOWFAST,
    'pytorchvideo': _PYTORCHVIDEO,
    'caffe2': _caffe2([len(stage) for stage in model.stages]),
  }
  return {
    name: Naming(names, _PYSLOWFAST_POINTWISE, absent=_FROZEN)
    for name, names in rules.items()
  } | {'torchvision': Naming(_TORCHVISION, image=True)}


_STEM = ('Conv3d_1a_7x7', 'Conv3d_2b_1x1', 'Conv3d_2c_3x3')
_MIXED = {
  'one': 'b0',
  'reduce1': 'b1a',
  'three1': 'b1b',
  'reduce2': 'b2a',
  'three2': 'b2b',
  'proj': 'b3b',
}
_I3D_INCEPTION: Rules = (
  *LEAVES,
  (r'^embeds\.0\.conv(\d)', lambda m: _STEM[int(m[1]) - 1]),
  convnet_names.inception_block('Mixed_{}{}.{}.', 'bcdef', _MIXED),
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
_I3D_DEEPMIND: Rules = (
  *_I3D_INCEPTION,
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


# GoogLeNet, which is the same network on images.
_BRANCHES_TORCH = {
  'one': 'branch1',
  'reduce1': 'branch2.0',
  'three1': 'branch2.1',
  'reduce2': 'branch3.0',
  'three2': 'branch3.1',
  'proj': 'branch4.1',
}
_GOOGLENET: Rules = (
  *LEAVES,
  (r'^embeds\.0\.', ''),
  convnet_names.inception_block('inception{}{}.{}.', 'abcde', _BRANCHES_TORCH),
  (r'\.norm\.', '.bn.'),
  (r'^head\.', 'fc.'),
)


class _DeepMind(Naming):
  """I3D's variables in TensorFlow: Flax's axes, and norms without a scale."""

  def to_ours(
    self, name: str, values: list[np.ndarray], num_axes: int
  ) -> np.ndarray:
    """Returns matrices of 1x1x1 kernels, and vectors."""
    value = values[0]
    return value.reshape(value.shape[max(value.ndim - num_axes, 0) :])

  def to_theirs(
    self, name: str, value: np.ndarray, model: nnx.Module
  ) -> dict[str, np.ndarray]:
    """Converts one of our tensors; a scale goes into none of theirs.

    Raises:
      ValueError: a scale is not 1.
    """
    key = self.official(name)
    if key.endswith('.gamma'):
      if (value != 1).any():
        raise ValueError(f'{key} is not 1, and this form has no scales.')
      return {}
    return {
      key: value.reshape(1, 1, 1, *value.shape) if value.ndim == 2 else value
    }


NAMINGS = {
  i3d.I3D: _pyslowfast,
  slowfast.SlowFast: _pyslowfast,
  i3d_inception.I3DInception: {
    'piergiaj': Naming(_I3D_INCEPTION, r'^logits\.conv3d\.weight$'),
    'torchvision': Naming(_GOOGLENET, image=True),
    'deepmind': _DeepMind(_I3D_DEEPMIND, absent=((r'\.gamma$', 1.0),)),
  },
}

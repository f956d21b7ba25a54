# SPDX-License-Identifier: Apache-2.0
"""Every publisher's names of every model's tensors.

Each table leads from our names to theirs, which serves both ways: files are
searched for the names of all our tensors, and weights are exported under them.
"""

from flax import nnx

from flatten_jax.models import (
  swin_v2,
  timesformer,
  uniformer,
  video_swin,
  vidtr,
  vit,
  vivit,
  vtn,
)
from flatten_jax.models.weights import convnet_names, i3d_names, vit_names
from flatten_jax.models.weights.naming import LEAVES, Naming, Rules, counted

_UNIFORMER: Rules = (
  *LEAVES,
  (r'^embeds\.(\d)', counted('patch_embed{}', 1)),
  (r'^stages\.(\d)', counted('blocks{}', 1)),
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

# Swin V2, and Video Swin, which is Swin in time. The layers that open a stage
# belong to that stage at timm, to the one before at all others.
_SWIN: Rules = (
  *LEAVES,
  (r'^embeds\.0', 'patch_embed'),
  (r'^stages\.(\d)', r'layers.\1.blocks'),
  (r'\.position_in', '.cpb_mlp.0'),
  (r'\.position_out', '.cpb_mlp.2'),
  (r'\.bias_table', '.relative_position_bias_table'),
  (r'\.(fc\d)', r'.mlp.\1'),
)
_MICROSOFT: Rules = (
  *_SWIN,
  (r'^embeds\.(\d)', counted('layers.{}.downsample', -1)),
)
_TIMM_SWIN: Rules = (
  *_SWIN,
  (r'^embeds\.(\d)', r'layers.\1.downsample'),
  (r'^head', 'head.fc'),
)
_VIDEO_SWIN: Rules = (
  *_MICROSOFT,
  (r'^(?!head)', 'backbone.'),
  (r'^head', 'cls_head.fc_cls'),
)
_TORCHVISION_SWIN: Rules = (
  *_MICROSOFT,
  (
    r'^layers\.(\d)\.(blocks|downsample)',
    lambda m: f'features.{2 * int(m[1]) + (m[2] == "downsample")}',
  ),
  (r'\.mlp\.fc1', '.mlp.0'),
  (r'\.mlp\.fc2', '.mlp.3'),
)

# Model class -> its publishers, perhaps as a function of the model; the first
# is the default of exports.
NAMINGS = {
  **convnet_names.NAMINGS,
  **i3d_names.NAMINGS,
  swin_v2.SwinV2: {
    'timm': Naming(_TIMM_SWIN),
    'microsoft': Naming(_MICROSOFT),
  },
  uniformer.UniFormer: {'uniformer': Naming(_UNIFORMER, _UNIFORMER_POINTWISE)},
  video_swin.VideoSwin: {
    'microsoft': Naming(_VIDEO_SWIN),
    'openmmlab': Naming(
      (*_VIDEO_SWIN, (r'^backbone\.norm\.', 'backbone.norm3.'))
    ),
    'torchvision': Naming(_TORCHVISION_SWIN),
    'swin': Naming(_MICROSOFT, image=True),
    'swin_timm': Naming(_TIMM_SWIN, image=True),
  },
  vit.ViT: vit_names.VIT,
  timesformer.TimeSformer: vit_names.TIMESFORMER,
  vivit.ViViT: vit_names.vivit,
  vtn.VTN: vit_names.VTN,
  vidtr.VidTr: vit_names.VIDTR,
}


def namings_of(model: nnx.Module) -> dict[str, Naming]:
  """Returns publisher -> naming, for a model of ours."""
  for kind, namings in NAMINGS.items():
    if isinstance(model, kind):
      return namings(model) if callable(namings) else namings
  raise ValueError(
    f'PyTorch names are known for {", ".join(k.__name__ for k in NAMINGS)}, '
    f'not for a {type(model).__name__}.'
  )

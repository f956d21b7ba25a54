# SPDX-License-Identifier: Apache-2.0
"""Every model by name: its class, sizes, input and published weights."""

from collections.abc import Callable, Mapping
import dataclasses
from typing import Any

from flax import nnx

from flatten_jax.models import (
  resnet,
  swin_v2,
  timesformer,
  uniformer,
  uniformer3d,
  uniformer_light,
  video_swin,
  vidtr,
  vivit,
  vtn,
)
from flatten_jax.models.input_specs import (
  IMAGENET_MEAN,
  IMAGENET_STD,
  InputSpec,
)
from flatten_jax.models.weights.download import drive_url

IMAGENET = {'mean': IMAGENET_MEAN, 'std': IMAGENET_STD}


@dataclasses.dataclass(frozen=True)
class PublishedWeights:
  """Weights that the authors of a model published.

  Attributes:
    url: a file in any form that `load_torch` reads.
    options: of the model, in which the weights differ from its entry.
    input: fields of the model's input spec in which the weights differ: the
      normalization and the clips that they were trained with.
  """

  url: str
  input: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  options: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class ModelEntry:
  """A model of `MODELS`.

  Attributes:
    module: the class; called with (config, num_classes, rngs=...).
    config: sizes, a frozen dataclass.
    input: the clips that it takes, flattened or not.
    weights: training set -> published weights.
  """

  module: Callable[..., nnx.Module]
  config: Any
  input: InputSpec = dataclasses.field(default_factory=InputSpec)
  weights: Mapping[str, PublishedWeights] = dataclasses.field(
    default_factory=dict
  )


# Inputs of the image models are those of the Flatten paper's tables.
_SEGMENTS_160 = InputSpec(sampling='segment', crop=160)
_NANO = InputSpec(num_frames=9, sampling='segment', crop=32)
_SWIN_V2 = 'https://github.com/SwinTransformer/storage/releases/download/v2.0.0'
_UNIFORMER_S = drive_url('1-uepH3Q3BhTmWU6HK-sGAGQC_MpfIiPD')
_SCENIC = 'https://storage.googleapis.com/scenic-bucket/vivit'
_VIVIT = InputSpec(
  num_frames=32,
  stride=2,
  mean=(0.5,) * 3,
  std=(0.5,) * 3,  # [-1, 1].
)
_TIMM = (
  'https://github.com/rwightman/pytorch-image-models/releases/download/'
  'v0.1-vitjx/jx_vit_'
)
# ViTs of ImageNet-21k; the first was tuned on ImageNet-1k afterwards.
_VIT = PublishedWeights(f'{_TIMM}base_p16_224-80ecf9dd.pth')
_VIT_B_21K = PublishedWeights(f'{_TIMM}base_patch16_224_in21k-e5005f0a.pth')
_VIT_L_21K = PublishedWeights(f'{_TIMM}large_patch16_224_in21k-606da67d.pth')
_GLUONMM = 'https://gluonmm.s3.amazonaws.com/pretrained'
_VIDTR = {'average': 'probs', **IMAGENET}


def _vidtr_weights(name: str) -> dict[str, PublishedWeights]:
  """Returns what all sizes have: Kinetics-400, and the image model."""
  url = f'{_GLUONMM}/vidtr_{name}_patch16_224_k400.pth'
  return {'kinetics400': PublishedWeights(url), 'imagenet21k': _VIT_B_21K}


_VTN = (
  'https://researchpublic.blob.core.windows.net/vtn/VTN_VIT_B_KINETICS.pyth'
)
# The light variant at 160 px: all parameters of the plain one but the stem.
_UNIFORMER_XXS = drive_url('1CsXCzfVFPyM2mY8BA_1fO3q_VBngnF44')

_VIDEO_SWIN = InputSpec(num_frames=32, stride=2, average='probs', **IMAGENET)
_VIDEO_SWIN_URL = (
  'https://github.com/SwinTransformer/storage/releases/download/v1.0.4/swin_'
)
_SWIN_URL = (
  'https://github.com/SwinTransformer/storage/releases/download/v1.0.0/swin_'
)


def _video_swin_weights(size: str) -> dict[str, PublishedWeights]:
  """Returns what all sizes have: Kinetics-400, and the image model."""
  return {
    'kinetics400': PublishedWeights(
      f'{_VIDEO_SWIN_URL}{size}_patch244_window877_kinetics400_1k.pth'
    ),
    'imagenet1k': PublishedWeights(  # Inflated.
      f'{_SWIN_URL}{size}_patch4_window7_224.pth'
    ),
  }


def _timesformer_weights(**files: str) -> dict[str, PublishedWeights]:
  """Returns published weights by data set, and the image model."""
  return {
    name: PublishedWeights(
      f'https://www.dropbox.com/s/{file}.pyth?dl=1',
      {'sampling': 'segment'} if name == 'ssv2' else {},
    )
    for name, file in files.items()
  } | {'imagenet21k': _VIT}


MODELS = {
  'resnet50': ModelEntry(resnet.ResNet, resnet.RESNET50),
  'resnet101': ModelEntry(
    resnet.ResNet,
    resnet.RESNET101,
    weights={
      'imagenet1k': PublishedWeights(
        'https://download.pytorch.org/models/resnet101-63fe2227.pth', IMAGENET
      )
    },
  ),
  'resnet_test': ModelEntry(resnet.ResNet, resnet.TEST),
  'swinv2_t': ModelEntry(
    swin_v2.SwinV2,
    swin_v2.TINY,
    InputSpec(crop=192),
    {  # At 256 px, with windows of 8 and 16.
      'imagenet1k': PublishedWeights(
        f'{_SWIN_V2}/swinv2_tiny_patch4_window8_256.pth', IMAGENET
      ),
      'imagenet1k_window16': PublishedWeights(
        f'{_SWIN_V2}/swinv2_tiny_patch4_window16_256.pth', IMAGENET
      ),
    },
  ),
  'swinv2_test': ModelEntry(swin_v2.SwinV2, swin_v2.TEST),
  'uniformer_s': ModelEntry(
    uniformer.UniFormer,
    uniformer.SMALL,
    weights={'imagenet1k': PublishedWeights(_UNIFORMER_S, IMAGENET)},
  ),
  'uniformer_xxs': ModelEntry(
    uniformer.UniFormer,
    uniformer.XXS,
    _SEGMENTS_160,
    {'imagenet1k': PublishedWeights(_UNIFORMER_XXS, IMAGENET)},
  ),
  'uniformer_nano': ModelEntry(uniformer.UniFormer, uniformer.NANO, _NANO),
  'uniformer_test': ModelEntry(uniformer.UniFormer, uniformer.TEST),
  'uniformer_xxs_light': ModelEntry(
    uniformer_light.UniFormerLight, uniformer_light.XXS, _SEGMENTS_160
  ),
  'uniformer_light_test': ModelEntry(
    uniformer_light.UniFormerLight, uniformer_light.TEST
  ),
  'uniformer3d_s': ModelEntry(
    uniformer3d.UniFormer3D,
    uniformer3d.SMALL,
    InputSpec(),
    {
      'kinetics400': PublishedWeights(
        drive_url('1-jGZIIuTM5IYIpqkNTojhGhfMc7Gu9Kt')
      ),
      'kinetics400_8x8': PublishedWeights(
        drive_url('1-kitVTkWErHXI_x-sLItvK9-sOmb53j6'),
        {'num_frames': 8, 'stride': 8},
      ),
      'ssv2': PublishedWeights(
        drive_url('1-Wq22024HB7tT8kPX6eSMn2GUNMI-_gY'), {'sampling': 'segment'}
      ),
      'hmdb51': PublishedWeights(
        drive_url('1Es4xtcEvQSomnbp6Eo7TC3JejIwHf5yS')
      ),
      # Inflated. UniFormer's authors train them on with .45 and .225.
      'imagenet1k': PublishedWeights(_UNIFORMER_S),
    },
  ),
  'uniformer3d_nano': ModelEntry(
    uniformer3d.UniFormer3D, uniformer3d.NANO, _NANO
  ),
  'uniformer3d_test': ModelEntry(uniformer3d.UniFormer3D, uniformer3d.TEST),
  'uniformer3d_xxs': ModelEntry(
    uniformer_light.UniFormerLight3D,
    uniformer_light.XXS_3D,
    _SEGMENTS_160,
    {
      'kinetics400': PublishedWeights(
        drive_url('1DxqrNHb4h1ZKnEFaqbkKJAXQsyIFeD7b')
      ),
      'kinetics400_8f': PublishedWeights(
        drive_url('1Dxq82X8mBsfVOzij0HSeb1g4sdez71FM'), {'num_frames': 8}
      ),
      'imagenet1k': PublishedWeights(_UNIFORMER_XXS),  # As above.
    },
  ),
  'uniformer3d_light_test': ModelEntry(
    uniformer_light.UniFormerLight3D, uniformer_light.TEST_3D
  ),
  'vivit_b': ModelEntry(
    vivit.ViViT,
    vivit.BASE,
    _VIVIT,
    {
      'kinetics400': PublishedWeights(
        f'{_SCENIC}/kinetics_400/vivit_base_16x2_unfactorized/checkpoint'
      ),
      'imagenet21k': _VIT_B_21K,
    },
  ),
  'vivit_b_fe': ModelEntry(
    vivit.ViViT,
    vivit.BASE_FE,
    _VIVIT,
    {
      'kinetics400': PublishedWeights(
        f'{_SCENIC}/kinetics_400/vivit_base_16x2_fe/checkpoint',
        options={'temporal_depth': 12},
      ),
      'imagenet21k': _VIT_B_21K,
    },
  ),
  'vivit_l': ModelEntry(  # Trained on videos, it was not published.
    vivit.ViViT, vivit.LARGE, _VIVIT, {'imagenet21k': _VIT_L_21K}
  ),
  'vivit_l_fe': ModelEntry(
    vivit.ViViT,
    vivit.LARGE_FE,
    _VIVIT,
    {
      name: PublishedWeights(
        f'{_SCENIC}/{folder}/vivit_large_16x2_fe/checkpoint',
        options={'temporal_depth': 24},
      )
      for name, folder in (
        ('kinetics400', 'kinetics_400'),
        ('kinetics600', 'kinetics_600'),
        ('epic_kitchens', 'epic_kitchens'),
      )
    }
    | {'imagenet21k': _VIT_L_21K},
  ),
  'vivit_test': ModelEntry(vivit.ViViT, vivit.TEST),
  'vivit_fe_test': ModelEntry(vivit.ViViT, vivit.TEST_FE),
  'vidtr_s': ModelEntry(
    vidtr.VidTr,
    vidtr.SMALL,
    InputSpec(8, stride=8, **_VIDTR),
    _vidtr_weights('s_8x8'),
  ),
  'vidtr_m': ModelEntry(
    vidtr.VidTr,
    vidtr.MEDIUM,
    InputSpec(16, stride=4, **_VIDTR),
    _vidtr_weights('m_16x4'),
  ),
  'vidtr_l': ModelEntry(
    vidtr.VidTr,
    vidtr.LARGE,
    InputSpec(32, stride=2, **_VIDTR),
    _vidtr_weights('l_32x2'),
  ),
  'vidtr_test': ModelEntry(vidtr.VidTr, vidtr.TEST),
  'vtn_b': ModelEntry(
    vtn.VTN,
    vtn.BASE,
    InputSpec(16, stride=8),
    {'kinetics400': PublishedWeights(_VTN), 'imagenet21k': _VIT},
  ),
  'vtn_test': ModelEntry(vtn.VTN, vtn.TEST),
  'video_swin_t': ModelEntry(
    video_swin.VideoSwin,
    video_swin.TINY,
    _VIDEO_SWIN,
    _video_swin_weights('tiny'),
  ),
  'video_swin_s': ModelEntry(
    video_swin.VideoSwin,
    video_swin.SMALL,
    _VIDEO_SWIN,
    _video_swin_weights('small'),
  ),
  'video_swin_b': ModelEntry(
    video_swin.VideoSwin,
    video_swin.BASE,
    _VIDEO_SWIN,
    {
      **_video_swin_weights('base'),
      'kinetics400_22k': PublishedWeights(
        f'{_VIDEO_SWIN_URL}base_patch244_window877_kinetics400_22k.pth'
      ),
      'kinetics600_22k': PublishedWeights(
        f'{_VIDEO_SWIN_URL}base_patch244_window877_kinetics600_22k.pth'
      ),
      'kinetics400_window16': PublishedWeights(
        f'{_VIDEO_SWIN_URL}base_patch244_window1677_kinetics400_22k.pth',
        options={'window': (16, 7, 7)},
      ),
      'ssv2': PublishedWeights(
        f'{_VIDEO_SWIN_URL}base_patch244_window1677_sthv2.pth',
        {'sampling': 'segment'},
        {'window': (16, 7, 7)},
      ),
      'imagenet22k': PublishedWeights(
        f'{_SWIN_URL}base_patch4_window7_224_22k.pth'
      ),
    },
  ),
  'video_swin_test': ModelEntry(
    video_swin.VideoSwin, video_swin.TEST, _VIDEO_SWIN
  ),
  'timesformer_b': ModelEntry(
    timesformer.TimeSformer,
    timesformer.BASE,
    InputSpec(num_frames=8, stride=32),
    _timesformer_weights(
      kinetics400='g5t24we9gl5yk88/TimeSformer_divST_8x32_224_K400',
      kinetics600='4h2qt41m2z3aqrb/TimeSformer_divST_8x32_224_K600',
      ssv2='tybhuml57y24wpm/TimeSformer_divST_8_224_SSv2',
    ),
  ),
  'timesformer_hr': ModelEntry(
    timesformer.TimeSformer,
    timesformer.HR,
    InputSpec(num_frames=16, stride=16, crop=448),
    _timesformer_weights(
      kinetics400='6f0x172lpqy3oxt/TimeSformer_divST_16x16_448_K400',
      kinetics600='ft1e92g2vhvxecv/TimeSformer_divST_16x16_448_K600',
      ssv2='9t68uzk8w2fpfnv/TimeSformer_divST_16_448_SSv2',
    ),
  ),
  'timesformer_l': ModelEntry(
    timesformer.TimeSformer,
    timesformer.LONG,
    InputSpec(num_frames=96, stride=4),
    _timesformer_weights(
      kinetics400='r1iuxahif3sgimo/TimeSformer_divST_96x4_224_K400',
      kinetics600='857rx6xeclxfhdg/TimeSformer_divST_96x4_224_K600',
    )
    | {
      'ssv2': PublishedWeights(
        'https://www.dropbox.com/s/3f1rm2al8mhprwa/'
        'TimeSformer_divST_64_224_SSv2.pyth?dl=1',
        {'sampling': 'segment', 'num_frames': 64},
        {'frames': 64},
      )
    },
  ),
  'timesformer_test': ModelEntry(
    timesformer.TimeSformer,
    timesformer.TEST,
    InputSpec(num_frames=8, stride=32),
  ),
}

# SPDX-License-Identifier: Apache-2.0
"""The transformers that the paper compares with, for clips.

Inputs are those of the published tests; the weights of Something-Something
differ. Twins for the tests (`_test`) have the same on small frames.
"""

import dataclasses

from flatten_jax.models import timesformer, video_swin, vidtr, vivit, vtn
from flatten_jax.models.entries.entry import ModelEntry, PublishedWeights
from flatten_jax.models.input_specs import IMAGENET, InputSpec

_TIMM = (
  'https://github.com/rwightman/pytorch-image-models/releases/download/'
  'v0.1-vitjx/jx_vit_'
)
# ViTs of ImageNet-21k; the first was tuned on ImageNet-1k afterwards.
_VIT = PublishedWeights(f'{_TIMM}base_p16_224-80ecf9dd.pth')
_VIT_B_21K = PublishedWeights(f'{_TIMM}base_patch16_224_in21k-e5005f0a.pth')
_VIT_L_21K = PublishedWeights(f'{_TIMM}large_patch16_224_in21k-606da67d.pth')

_SWIN = 'https://github.com/SwinTransformer/storage/releases/download'
_DROPBOX = 'https://www.dropbox.com/s'
_SCENIC = 'https://storage.googleapis.com/scenic-bucket/vivit'
_GLUONMM = 'https://gluonmm.s3.amazonaws.com/pretrained'
_VTN_URL = (
  'https://researchpublic.blob.core.windows.net/vtn/VTN_VIT_B_KINETICS.pyth'
)

_VIDEO_SWIN = InputSpec(
  num_frames=32,
  sampling='mmaction2',
  stride=2,
  average='probs',
  num_clips=4,
  num_crops=3,
  **IMAGENET,
)
_TIMESFORMER = InputSpec(8, 'timesformer', stride=32, num_crops=3)
_VIVIT = InputSpec(
  num_frames=32,
  sampling='vivit',
  stride=2,
  mean=(0.5,) * 3,
  std=(0.5,) * 3,  # [-1, 1].
  num_clips=4,
  num_crops=3,
  test_short_side=256,
)
# Not the normalization of the ViT that it starts from, which is ViViT's.
_VTN = InputSpec(16, 'vtn', stride=8, test_frames=250, test_short_side=256)
_VIDTR = InputSpec(
  num_frames=32,
  sampling='vidtr',
  stride=2,
  average='probs',
  num_clips=10,
  num_crops=3,
  **IMAGENET,
)


def _small(spec: InputSpec, **changes) -> InputSpec:
  """Returns the input of a twin: 4 frames of 32 px if not said otherwise."""
  return dataclasses.replace(spec, **{'num_frames': 4, 'crop': 32} | changes)


def _video_swin_weights(size: str) -> dict[str, PublishedWeights]:
  """Returns what all sizes have: Kinetics-400, and the image model."""
  return {
    'kinetics400': PublishedWeights(
      f'{_SWIN}/v1.0.4/swin_{size}_patch244_window877_kinetics400_1k.pth'
    ),
    'imagenet1k': PublishedWeights(  # Inflated.
      f'{_SWIN}/v1.0.0/swin_{size}_patch4_window7_224.pth'
    ),
  }


def _timesformer_weights(**files: str) -> dict[str, PublishedWeights]:
  """Returns published weights by data set, and the image model."""
  return {
    name: PublishedWeights(f'{_DROPBOX}/{file}.pyth?dl=1')
    for name, file in files.items()
  } | {'imagenet21k': _VIT}


def _timesformer_ssv2(file: str, frames: int = 0) -> PublishedWeights:
  """Returns weights whose training read BGR; `frames` if not the model's."""
  return PublishedWeights(
    f'{_DROPBOX}/{file}_SSv2.pyth?dl=1',
    {'sampling': 'segment_middle', 'channels': 'bgr'}
    | ({'num_frames': frames} if frames else {}),
    {'frames': frames} if frames else {},
  )


def _vidtr_weights(name: str) -> dict[str, PublishedWeights]:
  """Returns what all sizes have: Kinetics-400, and the image model."""
  url = f'{_GLUONMM}/vidtr_{name}_patch16_224_k400.pth'
  return {'kinetics400': PublishedWeights(url), 'imagenet21k': _VIT_B_21K}


MODELS = {
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
        f'{_SWIN}/v1.0.4/swin_base_patch244_window877_kinetics400_22k.pth'
      ),
      'kinetics600_22k': PublishedWeights(
        f'{_SWIN}/v1.0.4/swin_base_patch244_window877_kinetics600_22k.pth'
      ),
      'kinetics400_window16': PublishedWeights(
        f'{_SWIN}/v1.0.4/swin_base_patch244_window1677_kinetics400_22k.pth',
        options={'window': (16, 7, 7)},
      ),
      'ssv2': PublishedWeights(
        f'{_SWIN}/v1.0.4/swin_base_patch244_window1677_sthv2.pth',
        {'sampling': 'segment_middle', 'num_clips': 1},
        {'window': (16, 7, 7)},
      ),
      'imagenet22k': PublishedWeights(
        f'{_SWIN}/v1.0.0/swin_base_patch4_window7_224_22k.pth'
      ),
    },
  ),
  'video_swin_test': ModelEntry(
    video_swin.VideoSwin, video_swin.TEST, _small(_VIDEO_SWIN)
  ),
  'timesformer_b': ModelEntry(
    timesformer.TimeSformer,
    timesformer.BASE,
    _TIMESFORMER,
    _timesformer_weights(
      kinetics400='g5t24we9gl5yk88/TimeSformer_divST_8x32_224_K400',
      kinetics600='4h2qt41m2z3aqrb/TimeSformer_divST_8x32_224_K600',
    )
    | {'ssv2': _timesformer_ssv2('tybhuml57y24wpm/TimeSformer_divST_8_224')},
  ),
  'timesformer_hr': ModelEntry(
    timesformer.TimeSformer,
    timesformer.HR,
    dataclasses.replace(_TIMESFORMER, num_frames=16, stride=16, crop=448),
    _timesformer_weights(
      kinetics400='6f0x172lpqy3oxt/TimeSformer_divST_16x16_448_K400',
      kinetics600='ft1e92g2vhvxecv/TimeSformer_divST_16x16_448_K600',
    )
    | {'ssv2': _timesformer_ssv2('9t68uzk8w2fpfnv/TimeSformer_divST_16_448')},
  ),
  'timesformer_l': ModelEntry(
    timesformer.TimeSformer,
    timesformer.LONG,
    dataclasses.replace(_TIMESFORMER, num_frames=96, stride=4),
    _timesformer_weights(
      kinetics400='r1iuxahif3sgimo/TimeSformer_divST_96x4_224_K400',
      kinetics600='857rx6xeclxfhdg/TimeSformer_divST_96x4_224_K600',
    )
    | {
      'ssv2': _timesformer_ssv2(
        '3f1rm2al8mhprwa/TimeSformer_divST_64_224', frames=64
      )
    },
  ),
  'timesformer_test': ModelEntry(
    timesformer.TimeSformer, timesformer.TEST, _small(_TIMESFORMER, crop=48)
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
  'vivit_test': ModelEntry(
    vivit.ViViT, vivit.TEST, _small(_VIVIT, test_short_side=36)
  ),
  'vivit_fe_test': ModelEntry(
    vivit.ViViT, vivit.TEST_FE, _small(_VIVIT, test_short_side=36)
  ),
  'vtn_b': ModelEntry(
    vtn.VTN,
    vtn.BASE,
    _VTN,
    {'kinetics400': PublishedWeights(_VTN_URL), 'imagenet21k': _VIT},
  ),
  'vtn_test': ModelEntry(
    vtn.VTN, vtn.TEST, _small(_VTN, test_frames=12, test_short_side=36)
  ),
  'vidtr_s': ModelEntry(
    vidtr.VidTr,
    vidtr.SMALL,
    dataclasses.replace(_VIDTR, num_frames=8, stride=8),
    _vidtr_weights('s_8x8'),
  ),
  'vidtr_m': ModelEntry(
    vidtr.VidTr,
    vidtr.MEDIUM,
    dataclasses.replace(_VIDTR, num_frames=16, stride=4),
    _vidtr_weights('m_16x4'),
  ),
  'vidtr_l': ModelEntry(
    vidtr.VidTr, vidtr.LARGE, _VIDTR, _vidtr_weights('l_32x2')
  ),
  'vidtr_test': ModelEntry(vidtr.VidTr, vidtr.TEST, _small(_VIDTR)),
}

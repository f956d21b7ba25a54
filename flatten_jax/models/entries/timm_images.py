# SPDX-License-Identifier: Apache-2.0
"""Image models under timm's names, for flattened clips."""

from flatten_jax.models import convnext, vit
from flatten_jax.models.entries.entry import (
  NANO,
  ModelEntry,
  PublishedWeights,
)
from flatten_jax.models.input_specs import IMAGENET, InputSpec

_GOOGLE = 'https://storage.googleapis.com/vit_models/augreg'
_FACEBOOK = 'https://dl.fbaipublicfiles.com'
# Google's ViTs were trained on values from -1 to 1.
_VIT = InputSpec(mean=(0.5,) * 3, std=(0.5,) * 3)


def _vit_weights(
  pretraining: str, tuning: str, scratch: str, dino: str
) -> dict[str, PublishedWeights]:
  """Returns weights of "How to train your ViT?" (2021), and DINO's (2021).

  Args:
    pretraining: file of ImageNet-21k.
    tuning: added to its name, of ImageNet-1k afterwards.
    scratch: file of ImageNet-1k alone.
    dino: file of ImageNet-1k without labels, which has no head.
  """
  url = f'{_FACEBOOK}/dino/{dino}/{dino}.pth'
  return {
    'imagenet21k_1k': PublishedWeights(f'{_GOOGLE}/{pretraining}{tuning}.npz'),
    'imagenet1k': PublishedWeights(f'{_GOOGLE}/{scratch}.npz'),
    'imagenet21k': PublishedWeights(f'{_GOOGLE}/{pretraining}.npz'),
    'dino': PublishedWeights(url, IMAGENET),
  }


def _convnext_weights(size: str) -> dict[str, PublishedWeights]:
  """Returns weights of ConvNeXt's authors."""
  return {
    name: PublishedWeights(
      f'{_FACEBOOK}/convnext/convnext_{size}_{file}.pth', IMAGENET
    )
    for name, file in (
      ('imagenet22k_1k', '22k_1k_224'),
      ('imagenet1k', '1k_224_ema'),
      ('imagenet22k', '22k_224'),
    )
  }


MODELS = {
  'vit_small_patch16_224': ModelEntry(
    vit.ViT,
    vit.SMALL,
    _VIT,
    _vit_weights(
      'S_16-i21k-300ep-lr_0.001-aug_light1-wd_0.03-do_0.0-sd_0.0',
      '--imagenet2012-steps_20k-lr_0.03-res_224',
      'S_16-i1k-300ep-lr_0.001-aug_medium2-wd_0.1-do_0.0-sd_0.0'
      '--imagenet2012-steps_20k-lr_0.01-res_224',
      'dino_deitsmall16_pretrain',
    ),
  ),
  'vit_base_patch16_224': ModelEntry(
    vit.ViT,
    vit.BASE,
    _VIT,
    _vit_weights(
      'B_16-i21k-300ep-lr_0.001-aug_medium1-wd_0.1-do_0.0-sd_0.0',
      '--imagenet2012-steps_20k-lr_0.01-res_224',
      'B_16-i1k-300ep-lr_0.001-aug_strong2-wd_0.1-do_0.1-sd_0.1'
      '--imagenet2012-steps_20k-lr_0.01-res_224',
      'dino_vitbase16_pretrain',
    ),
  ),
  'vit_nano': ModelEntry(vit.ViT, vit.NANO, NANO),
  'vit_test': ModelEntry(vit.ViT, vit.TEST, _VIT),
  'convnext_tiny': ModelEntry(
    convnext.ConvNeXt, convnext.TINY, weights=_convnext_weights('tiny')
  ),
  'convnext_small': ModelEntry(
    convnext.ConvNeXt, convnext.SMALL, weights=_convnext_weights('small')
  ),
  'convnext_test': ModelEntry(convnext.ConvNeXt, convnext.TEST),
}

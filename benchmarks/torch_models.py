# SPDX-License-Identifier: Apache-2.0
"""The models that ours are timed against, in PyTorch, under our names."""

import torch

from benchmarks import torch_clip_resnet, torch_uniformer, torch_video

TIMM_NAMES = {
  'efficientnet_lite0': 'tf_efficientnet_lite0',
  'resnet50': 'resnet50',
  'resnet101': 'resnet101',
  'swinv2_t': 'swinv2_tiny_window8_256',
}


def create(
  name: str, side: int, frames: int = 1, num_classes: int = 400
) -> torch.nn.Module:
  """A model for images of `side` pixels or clips; weights channels-last."""
  if name in torch_video.MODELS:
    return torch_video.create(name, frames, side, num_classes)
  if name in torch_clip_resnet.MODELS:
    return torch_clip_resnet.create(name, num_classes)
  if name in torch_uniformer.SIZES:
    return torch_uniformer.create(name, num_classes)
  import timm  # Here, as the UniFormers do without.

  options = {'num_classes': num_classes}
  if name.startswith('swin'):
    # Ours has no drop path by default; timm builds its masks for one size.
    options |= {'img_size': side, 'drop_path_rate': 0.0}
  model = timm.create_model(TIMM_NAMES[name], **options)
  return model.to(memory_format=torch.channels_last)


def our_options(name: str, side: int, frames: int = 1) -> dict:
  """Returns the options with which our model is the same as PyTorch's."""
  if name in torch_video.MODELS:
    return torch_video.our_options(name, frames, side)
  if name in torch_clip_resnet.MODELS:
    return torch_clip_resnet.our_options(frames, side)
  return {}

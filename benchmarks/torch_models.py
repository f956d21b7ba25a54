# SPDX-License-Identifier: Apache-2.0
"""The models that ours are timed against, in PyTorch, under our names."""

import timm
import torch
import torch_uniformer

TIMM_NAMES = {
  'resnet50': 'resnet50',
  'resnet101': 'resnet101',
  'swinv2_t': 'swinv2_tiny_window8_256',
}


def create(name: str, side: int, num_classes: int = 400) -> torch.nn.Module:
  """A model for images of `side` pixels, weights in channels-last order."""
  if name in torch_uniformer.SIZES:
    return torch_uniformer.create(name, num_classes)
  options = {'num_classes': num_classes}
  if name.startswith('swin'):
    # Ours has no drop path by default; timm builds its masks for one size.
    options |= {'img_size': side, 'drop_path_rate': 0.0}
  model = timm.create_model(TIMM_NAMES[name], **options)
  return model.to(memory_format=torch.channels_last)

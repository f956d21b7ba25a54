# SPDX-License-Identifier: Apache-2.0
"""The models that ours are timed against, in PyTorch, under our names."""

import torch
import torch_uniformer
import torch_uniformer3d

TIMM_NAMES = {
  'resnet50': 'resnet50',
  'resnet101': 'resnet101',
  'swinv2_t': 'swinv2_tiny_window8_256',
}


def create(name: str, side: int, num_classes: int = 400) -> torch.nn.Module:
  """A model for images of `side` pixels or clips; weights channels-last."""
  for uniformers in (torch_uniformer, torch_uniformer3d):
    if name in uniformers.SIZES:
      return uniformers.create(name, num_classes)
  import timm  # Here, as the UniFormers do without.

  options = {'num_classes': num_classes}
  if name.startswith('swin'):
    # Ours has no drop path by default; timm builds its masks for one size.
    options |= {'img_size': side, 'drop_path_rate': 0.0}
  model = timm.create_model(TIMM_NAMES[name], **options)
  return model.to(memory_format=torch.channels_last)

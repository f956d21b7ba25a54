# SPDX-License-Identifier: Apache-2.0
"""UniFormer for images in PyTorch, to time ours against.

Written from the paper's facts, with the official names, so that the same
weights go into both. Faster than the official code where that is free: the
attention is PyTorch's fused one, and the layout is channels-last.
"""

import torch
from torch import nn
from torch.nn import functional

SIZES = {
  'uniformer_s': {
    'depth': (3, 4, 8, 3),
    'dim': (64, 128, 320, 512),
    'head_dim': 64,
    'ratio': 4,
  },
  'uniformer_xxs': {
    'depth': (2, 5, 8, 2),
    'dim': (56, 112, 224, 448),
    'head_dim': 28,
    'ratio': 3,
  },
  'uniformer_test': {
    'depth': (1, 1, 1, 1),
    'dim': (8, 8, 16, 16),
    'head_dim': 8,
    'ratio': 2,
  },
}


class Mlp(nn.Module):
  def __init__(self, layer, dim, hidden):
    super().__init__()
    self.fc1 = layer(dim, hidden)
    self.fc2 = layer(hidden, dim)

  def forward(self, x):
    return self.fc2(functional.gelu(self.fc1(x)))


def conv1x1(dim_in, dim_out):
  return nn.Conv2d(dim_in, dim_out, 1)


class ConvBlock(nn.Module):
  def __init__(self, dim, ratio):
    super().__init__()
    self.pos_embed = nn.Conv2d(dim, dim, 3, padding=1, groups=dim)
    self.norm1 = nn.BatchNorm2d(dim)
    self.conv1 = conv1x1(dim, dim)
    self.conv2 = conv1x1(dim, dim)
    self.attn = nn.Conv2d(dim, dim, 5, padding=2, groups=dim)
    self.norm2 = nn.BatchNorm2d(dim)
    self.mlp = Mlp(conv1x1, dim, dim * ratio)

  def forward(self, x):
    x = x + self.pos_embed(x)
    x = x + self.conv2(self.attn(self.conv1(self.norm1(x))))
    return x + self.mlp(self.norm2(x))


class Attention(nn.Module):
  def __init__(self, dim, head_dim):
    super().__init__()
    self.qkv = nn.Linear(dim, 3 * dim)
    self.proj = nn.Linear(dim, dim)
    self.head_dim = head_dim

  def forward(self, x):  # [B N C]
    qkv = self.qkv(x).unflatten(2, (3, -1, self.head_dim))  # [B N 3 h d]
    q, k, v = qkv.permute(2, 0, 3, 1, 4)  # [B h N d] each
    x = functional.scaled_dot_product_attention(q, k, v)
    return self.proj(x.transpose(1, 2).flatten(2))


class AttentionBlock(nn.Module):
  def __init__(self, dim, head_dim, ratio):
    super().__init__()
    self.pos_embed = nn.Conv2d(dim, dim, 3, padding=1, groups=dim)
    self.norm1 = nn.LayerNorm(dim, eps=1e-6)
    self.attn = Attention(dim, head_dim)
    self.norm2 = nn.LayerNorm(dim, eps=1e-6)
    self.mlp = Mlp(nn.Linear, dim, dim * ratio)

  def forward(self, x):  # [B C H W], channels-last in memory
    x = x + self.pos_embed(x)
    y = x.permute(0, 2, 3, 1).flatten(1, 2)  # [B N C], a view
    y = y + self.attn(self.norm1(y))
    y = y + self.mlp(self.norm2(y))
    return y.unflatten(1, x.shape[2:]).permute(0, 3, 1, 2)


class PatchEmbed(nn.Module):
  def __init__(self, dim_in, dim_out, patch):
    super().__init__()
    self.norm = nn.LayerNorm(dim_out)
    self.proj = nn.Conv2d(dim_in, dim_out, patch, patch)

  def forward(self, x):
    return self.norm(self.proj(x).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class UniFormer(nn.Module):
  """Images [B 3 H W], channels-last in memory -> logits [B K]."""

  def __init__(self, name, num_classes=400):
    super().__init__()
    size = SIZES[name]
    dims = (3, *size['dim'])
    for i in range(4):
      dim = dims[i + 1]
      embed = PatchEmbed(dims[i], dim, 4 if i == 0 else 2)
      setattr(self, f'patch_embed{i + 1}', embed)
      args = (
        (dim, size['ratio'])
        if i < 2
        else (dim, size['head_dim'], size['ratio'])
      )
      block = ConvBlock if i < 2 else AttentionBlock
      blocks = nn.Sequential(*(block(*args) for _ in range(size['depth'][i])))
      setattr(self, f'blocks{i + 1}', blocks)
    self.norm = nn.BatchNorm2d(dims[-1])
    self.head = nn.Linear(dims[-1], num_classes)

  def forward(self, x):
    for i in range(1, 5):
      x = getattr(self, f'patch_embed{i}')(x)
      x = getattr(self, f'blocks{i}')(x)
    return self.head(self.norm(x).mean((2, 3)))


def create(name, num_classes=400):
  """The model with its weights in channels-last order."""
  return UniFormer(name, num_classes).to(memory_format=torch.channels_last)

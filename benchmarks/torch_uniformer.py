# SPDX-License-Identifier: Apache-2.0
"""UniFormers for images and clips, in PyTorch: to hold ours against.

Written from the papers' facts, with the official names, so that the same
weights go into both. The attention is PyTorch's fused one, and the layout is
channels-last, which is faster than the official code and free.
"""

import torch
from torch import nn
from torch.nn import functional

S = {
  'depth': (3, 4, 8, 3),
  'dim': (64, 128, 320, 512),
  'head_dim': 64,
  'ratio': 4,
}
XXS = {
  'depth': (2, 5, 8, 2),
  'dim': (56, 112, 224, 448),
  'head_dim': 28,
  'ratio': 3,
}
TEST = {
  'depth': (1, 1, 1, 1),
  'dim': (8, 8, 16, 16),
  'head_dim': 8,
  'ratio': 2,
}
SIZES = {  # Name -> sizes, axes of positions, whether it is a light one.
  'uniformer_s': (S, 2, False),
  'uniformer_xxs': (XXS, 2, False),
  'uniformer_test': (TEST, 2, False),
  'uniformer3d_s': (S, 3, False),
  'uniformer3d_xxs': (XXS, 3, True),
  'uniformer3d_test': (TEST, 3, False),
  'uniformer3d_light_test': (TEST | {'depth': (1, 1, 2, 1)}, 3, True),
  'uniformer_xxs_light': (XXS, 2, True),
  'uniformer_light_test': (TEST | {'depth': (1, 1, 2, 1)}, 2, True),
}


class Axes:
  """PyTorch's layers for images (2) or clips (3)."""

  def __init__(self, axes):
    self.axes = axes
    self.conv = {2: nn.Conv2d, 3: nn.Conv3d}[axes]
    self.norm = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}[axes]
    self.format = {2: torch.channels_last, 3: torch.channels_last_3d}[axes]

  def pointwise(self, dim_in, dim_out):
    return self.conv(dim_in, dim_out, 1)

  def depthwise(self, dim, size):
    return self.conv(dim, dim, size, padding=size // 2, groups=dim)

  def sides(self, time, space):
    """(time, space, space), without time for images."""
    return (time, space, space)[-self.axes :]


class Mlp(nn.Module):
  def __init__(self, layer, dim, hidden):
    super().__init__()
    self.fc1 = layer(dim, hidden)
    self.fc2 = layer(hidden, dim)

  def forward(self, x):
    return self.fc2(functional.gelu(self.fc1(x)))


class ConvBlock(nn.Module):
  def __init__(self, dim, ratio, axes):
    super().__init__()
    self.pos_embed = axes.depthwise(dim, 3)
    self.norm1 = axes.norm(dim)
    self.conv1 = axes.pointwise(dim, dim)
    self.conv2 = axes.pointwise(dim, dim)
    self.attn = axes.depthwise(dim, 5)
    self.norm2 = axes.norm(dim)
    self.mlp = Mlp(axes.pointwise, dim, dim * ratio)

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

  def forward(self, x, need_scores=False):
    """[B N C] -> same, and what the class token attends to where asked."""
    qkv = self.qkv(x).unflatten(2, (3, -1, self.head_dim))  # [B N 3 h d]
    q, k, v = qkv.permute(2, 0, 3, 1, 4)  # [B h N d] each
    out = functional.scaled_dot_product_attention(q, k, v)
    out = self.proj(out.transpose(1, 2).flatten(2))
    if not need_scores:
      return out
    first = q[:, :, :1] @ k.transpose(2, 3) * self.head_dim**-0.5
    return out, first.softmax(-1).mean(1)[:, 0, 1:]  # [B N-1]


class AttentionBlock(nn.Module):
  def __init__(self, dim, head_dim, ratio, axes):
    super().__init__()
    self.pos_embed = axes.depthwise(dim, 3)
    self.norm1 = nn.LayerNorm(dim, eps=1e-6)
    self.attn = Attention(dim, head_dim)
    self.norm2 = nn.LayerNorm(dim, eps=1e-6)
    self.mlp = Mlp(nn.Linear, dim, dim * ratio)

  def forward(self, x):  # [B C ...], channels-last in memory
    x = x + self.pos_embed(x)
    y = x.flatten(2).transpose(1, 2)  # [B N C], a view
    y = y + self.attn(self.norm1(y))
    y = y + self.mlp(self.norm2(y))
    return y.transpose(1, 2).unflatten(2, x.shape[2:])


class LightBlock(AttentionBlock):
  """Attention for the class token, the better half, and one for the rest."""

  def branches(self, tokens):
    moved, seen = self.attn(self.norm1(tokens), need_scores=True)
    return moved + self.mlp(self.norm2(tokens + moved)), seen

  def forward(self, x, cls_token, scores):
    """[B C ...] -> same; `scores` tell the better half, None at first."""
    x = x + self.pos_embed(x)
    shape, x = x.shape[2:], x.flatten(2).transpose(1, 2)  # [B N C]
    if scores is None:
      moves, scores = self.branches(torch.cat([cls_token, x], 1))
      x = x + moves[:, 1:]
    else:
      count = x.shape[1] // 2
      kept = scores.topk(count, 1).indices
      rows = torch.arange(len(x))[:, None]
      is_rest = torch.ones_like(scores).index_put(
        (rows, kept), scores.new_tensor(0.0)
      )
      weights = scores * is_rest
      mean = ((weights / weights.sum(1, keepdim=True))[..., None] * x).sum(1)
      tokens = torch.cat([cls_token, x[rows, kept], mean[:, None]], 1)
      moves, seen = self.branches(tokens)
      every = is_rest[..., None] * moves[:, -1:]
      x = x + every.index_put((rows, kept), moves[:, 1:-1])
      seen = (scores[rows, kept] + seen[:, :-1]) / 2
      scores = scores.index_put((rows, kept), seen)
    x = x.transpose(1, 2).unflatten(2, shape)
    return x, cls_token + moves[:, :1], scores


class PatchEmbed(nn.Module):
  def __init__(self, dim_in, dim_out, axes, kernel, strides, padding=0):
    super().__init__()
    self.norm = nn.LayerNorm(dim_out)
    self.proj = axes.conv(dim_in, dim_out, kernel, strides, padding)

  def forward(self, x):
    x = self.proj(x)
    return self.norm(x.movedim(1, -1)).movedim(-1, 1)


class ConvStem(nn.Module):
  def __init__(self, dim, axes):
    super().__init__()
    self.proj = nn.Sequential(
      axes.conv(3, dim // 2, 3, axes.sides(1, 2), 1),
      axes.norm(dim // 2),
      nn.GELU(),
      axes.conv(dim // 2, dim, 3, axes.sides(2, 2), 1),
      axes.norm(dim),
    )

  def forward(self, x):
    return self.proj(x)


class UniFormer(nn.Module):
  """Clips [B 3 T H W] or images [B 3 H W] -> logits [B K]."""

  def __init__(self, size, axes, light, num_classes):
    super().__init__()
    axes = Axes(axes)
    dims = (3, *size['dim'])
    self.light = light
    for i in range(4):
      dim = dims[i + 1]
      if i == 0 and light:
        embed = ConvStem(dim, axes)
      elif i == 0:
        sides = axes.sides(3, 4), axes.sides(2, 4), axes.sides(1, 0)
        embed = PatchEmbed(3, dim, axes, *sides)
      else:
        strides = axes.sides(1, 2)
        embed = PatchEmbed(dims[i], dim, axes, strides, strides)
      setattr(self, f'patch_embed{i + 1}', embed)
      attends = LightBlock if light else AttentionBlock
      blocks = nn.ModuleList(
        ConvBlock(dim, size['ratio'], axes)
        if i < 2
        else attends(dim, size['head_dim'], size['ratio'], axes)
        for _ in range(size['depth'][i])
      )
      setattr(self, f'blocks{i + 1}', blocks)
    self.norm = axes.norm(dims[-1])
    self.head = nn.Linear(dims[-1], num_classes)
    if light:
      self.cls_token = nn.Parameter(0.02 * torch.randn(1, 1, dims[3]))
      self.cls_upsample = nn.Linear(dims[3], dims[4])
      self.norm_cls = nn.LayerNorm(dims[4])
      self.head_cls = nn.Linear(dims[4], num_classes)

  def forward(self, x, both_heads=False):
    """Clips [B 3 T H W] to logits [B K], of both heads where asked."""
    cls_token = scores = grid = None
    for i in range(1, 5):
      x = getattr(self, f'patch_embed{i}')(x)
      if self.light and i == 3:
        cls_token = self.cls_token.expand(len(x), -1, -1)
      if self.light and i == 4:
        cls_token, scores = self.cls_upsample(cls_token), halve(scores, grid)
      for block in getattr(self, f'blocks{i}'):
        if self.light and i > 2:
          x, cls_token, scores = block(x, cls_token, scores)
        else:
          x = block(x)
      grid = x.shape[2:]
    logits = self.head(self.norm(x).flatten(2).mean(2))
    if not both_heads:
      return logits
    return logits, self.head_cls(self.norm_cls(cls_token[:, 0]))


def halve(scores, grid):
  """Scores of [...] H W positions for [...] H/2 W/2, with the same sum."""
  pooled = functional.avg_pool2d(scores.reshape(len(scores), -1, *grid[-2:]), 2)
  pooled = pooled.flatten(1)
  return pooled * scores.sum(1, keepdim=True) / pooled.sum(1, keepdim=True)


def create(name, num_classes=400):
  """The model with its weights in channels-last order."""
  size, axes, light = SIZES[name]
  model = UniFormer(size, axes, light, num_classes)
  return model.to(memory_format=Axes(axes).format)

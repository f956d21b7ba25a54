# SPDX-License-Identifier: Apache-2.0
"""Video Swin-T, TimeSformer and VidTr-S in PyTorch: to hold ours against.

Written from the papers' facts, with the official names, so that the same
weights go into both. All attention is PyTorch's fused one, which the official
code does not use. Clips are [B 3 T H W]; no dropout, no stochastic depth.
"""

import itertools
import math

import torch
from torch import nn
from torch.nn import functional

WINDOW = (8, 7, 7)


class Attention(nn.Module):
  """Attention of N positions to each other, [B N C], with a mask or bias."""

  def __init__(self, dim, heads):
    super().__init__()
    self.qkv = nn.Linear(dim, 3 * dim)
    self.proj = nn.Linear(dim, dim)
    self.heads = heads

  def forward(self, x, mask=None):
    qkv = self.qkv(x).unflatten(-1, (3, self.heads, -1))
    q, k, v = qkv.permute(2, 0, 3, 1, 4)  # [B heads N D] each.
    x = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    return self.proj(x.transpose(1, 2).flatten(2))


def mlp(dim, hidden):
  """Two linear layers, under the names of Vision Transformers."""
  layers = {
    'fc1': nn.Linear(dim, hidden),
    'act': nn.GELU(),
    'fc2': nn.Linear(hidden, dim),
  }
  module = nn.Sequential()
  for name, layer in layers.items():
    module.add_module(name, layer)
  return module


class WindowAttention(Attention):
  """Attention in windows, shifted or not, with a position bias. [B T H W C]."""

  def __init__(self, dim, heads, shifted):
    super().__init__(dim, heads)
    offsets = math.prod(2 * side - 1 for side in WINDOW)
    table = torch.empty(offsets, heads)
    self.relative_position_bias_table = nn.Parameter(nn.init.normal_(table))
    self.shifted = shifted
    places = torch.tensor(list(itertools.product(*map(range, WINDOW))))
    distance = places[:, None] - places[None] + torch.tensor(WINDOW) - 1
    index = distance[..., 0]
    for axis in (1, 2):
      index = index * (2 * WINDOW[axis] - 1) + distance[..., axis]
    self.register_buffer('index', index, persistent=False)
    self.masks = {}  # Size of the map -> mask.

  def forward(self, x):
    batch, *size, dim = x.shape
    window = [min(sides) for sides in zip(WINDOW, size, strict=True)]
    shift = [
      side // 2 if self.shifted and side < length else 0
      for side, length in zip(WINDOW, size, strict=True)
    ]
    more = [-n % side for n, side in zip(size, window, strict=True)]
    if any(more):
      x = functional.pad(x, (0, 0, 0, more[2], 0, more[1], 0, more[0]))
    padded = x.shape[1:4]
    if any(shift):
      x = x.roll([-by for by in shift], (1, 2, 3))
    bias = self.bias(padded, window, shift)
    if len(bias) > 1:
      bias = bias.repeat(batch, 1, 1, 1)
    x = super().forward(to_windows(x, window), bias)
    x = from_windows(x, window, (batch, *padded, dim))
    if any(shift):
      x = x.roll(shift, (1, 2, 3))
    return x[:, : size[0], : size[1], : size[2]]

  def bias(self, padded, window, shift):
    """Position bias and shift mask, [1 or windows, heads, N N]."""
    length = math.prod(window)
    table = self.relative_position_bias_table
    index = self.index[:length, :length]
    bias = table[index.flatten()].view(length, length, -1)
    bias = bias.permute(2, 0, 1)[None].contiguous()
    if not any(shift):
      return bias
    if padded not in self.masks:
      regions = torch.zeros(1, *padded, 1)
      for axis, side in enumerate(window):
        place = torch.arange(padded[axis])
        part = (place >= padded[axis] - side) * 1.0
        part = part + (place >= padded[axis] - shift[axis])
        shape = [1] * 5
        shape[axis + 1] = -1
        regions = 3 * regions + part.view(shape)
      regions = to_windows(regions, window)[..., 0]
      apart = regions[:, None, :] != regions[:, :, None]
      self.masks[padded] = -100.0 * apart[:, None].float()
    return bias + self.masks[padded]


def to_windows(x, window):
  """[B T H W C] -> [B*n N C]."""
  for axis, side in zip((1, 3, 5), window, strict=True):
    x = x.unflatten(axis, (-1, side))
  return x.permute(0, 1, 3, 5, 2, 4, 6, 7).reshape(
    -1, math.prod(window), x.shape[-1]
  )


def from_windows(x, window, shape):
  """Inverts `to_windows`."""
  counts = [n // side for n, side in zip(shape[1:4], window, strict=True)]
  x = x.view(shape[0], *counts, *window, -1)
  return x.permute(0, 1, 4, 2, 5, 3, 6, 7).reshape(shape)


class SwinBlock(nn.Module):
  """[B T H W C] -> same."""

  def __init__(self, dim, heads, shifted):
    super().__init__()
    self.norm1 = nn.LayerNorm(dim)
    self.attn = WindowAttention(dim, heads, shifted)
    self.norm2 = nn.LayerNorm(dim)
    self.mlp = mlp(dim, 4 * dim)

  def forward(self, x):
    x = x + self.attn(self.norm1(x))
    return x + self.mlp(self.norm2(x))


class Merge(nn.Module):
  """[B T H W C] -> [B T H/2 W/2 2C]."""

  def __init__(self, dim):
    super().__init__()
    self.norm = nn.LayerNorm(4 * dim)
    self.reduction = nn.Linear(4 * dim, 2 * dim, bias=False)

  def forward(self, x):
    x = functional.pad(x, (0, 0, 0, x.shape[3] % 2, 0, x.shape[2] % 2))
    parts = [x[:, :, i::2, j::2] for j in (0, 1) for i in (0, 1)]
    return self.reduction(self.norm(torch.cat(parts, -1)))


class Names(nn.Module):
  """Gives modules the names of published files, without a forward pass."""

  def __init__(self, **modules):
    super().__init__()
    for name, module in modules.items():
      setattr(self, name, module)


class VideoSwin(nn.Module):
  """[B 3 T H W] -> [B K]; T is even, H and W are multiples of 4."""

  def __init__(
    self,
    num_classes,
    dim=96,
    depth=(2, 2, 6, 2),
    heads=(3, 6, 12, 24),
  ):
    super().__init__()
    layers = nn.ModuleList()
    for i, (count, h) in enumerate(zip(depth, heads, strict=True)):
      width = dim * 2**i
      blocks = [SwinBlock(width, h, j % 2 == 1) for j in range(count)]
      layers.append(Names(blocks=nn.ModuleList(blocks)))
      if i + 1 < len(depth):
        layers[-1].downsample = Merge(width)
    patch = (2, 4, 4)
    self.backbone = Names(
      patch_embed=Names(
        proj=nn.Conv3d(3, dim, patch, patch), norm=nn.LayerNorm(dim)
      ),
      layers=layers,
      norm=nn.LayerNorm(width),
    )
    self.cls_head = Names(fc_cls=nn.Linear(width, num_classes))

  def forward(self, x):
    embed = self.backbone.patch_embed
    x = embed.norm(embed.proj(x).movedim(1, -1))
    for layer in self.backbone.layers:
      for block in layer.blocks:
        x = block(x)
      if hasattr(layer, 'downsample'):
        x = layer.downsample(x)
    return self.cls_head.fc_cls(self.backbone.norm(x).mean((1, 2, 3)))


class TimeSformerBlock(nn.Module):
  """Patches [B T N C] and class token [B 1 C] -> both."""

  def __init__(self, dim, heads):
    super().__init__()
    self.temporal_norm1 = nn.LayerNorm(dim, 1e-6)
    self.temporal_attn = Attention(dim, heads)
    self.temporal_fc = nn.Linear(dim, dim)
    self.norm1 = nn.LayerNorm(dim, 1e-6)
    self.attn = Attention(dim, heads)
    self.norm2 = nn.LayerNorm(dim, 1e-6)
    self.mlp = mlp(dim, 4 * dim)

  def forward(self, x, token):
    batch, frames, places, _ = x.shape
    y = self.temporal_norm1(x).transpose(1, 2).flatten(0, 1)
    y = self.temporal_fc(self.temporal_attn(y))
    x = x + y.unflatten(0, (batch, places)).transpose(1, 2)
    tokens = token[:, None].expand(-1, frames, -1, -1)
    y = torch.cat([tokens, x], 2).flatten(0, 1)
    y = self.attn(self.norm1(y)).unflatten(0, (batch, frames))
    token = token + y[:, :, 0].mean(1, keepdim=True)
    x = torch.cat([token, (x + y[:, :, 1:]).flatten(1, 2)], 1)
    x = x + self.mlp(self.norm2(x))
    return x[:, 1:].unflatten(1, (frames, places)), x[:, :1]


class TimeSformer(nn.Module):
  """[B 3 T H W] -> [B K], of the one size that its tables have."""

  def __init__(self, num_classes, frames, side, dim=768, depth=12, heads=12):
    super().__init__()
    blocks = [TimeSformerBlock(dim, heads) for _ in range(depth)]
    self.model = Names(
      cls_token=normal(1, 1, dim),
      pos_embed=normal(1, 1 + (side // 16) ** 2, dim),
      time_embed=normal(1, frames, dim),
      patch_embed=Names(proj=nn.Conv2d(3, dim, 16, 16)),
      blocks=nn.ModuleList(blocks),
      norm=nn.LayerNorm(dim, 1e-6),
      head=nn.Linear(dim, num_classes),
    )

  def forward(self, x):
    model, batch = self.model, len(x)
    x = model.patch_embed.proj(x.movedim(2, 1).flatten(0, 1))
    x = x.flatten(2).transpose(1, 2).unflatten(0, (batch, -1))
    x = x + model.pos_embed[:, None, 1:] + model.time_embed[:, :, None]
    token = (model.cls_token + model.pos_embed[:, :1]).expand(batch, -1, -1)
    for block in model.blocks:
      x, token = block(x, token)
    return model.head(model.norm(token[:, 0]))


class VidTrLayer(nn.Module):
  """Tokens [B R N C] -> same; positions, if any, enter the attention."""

  def __init__(self, dim, heads):
    super().__init__()
    self.self_attn = Names(
      in_proj_weight=nn.Parameter(nn.init.xavier_uniform_(empty(3 * dim, dim))),
      in_proj_bias=nn.Parameter(torch.zeros(3 * dim)),
      out_proj=nn.Linear(dim, dim),
    )
    self.linear1 = nn.Linear(dim, 4 * dim)
    self.linear2 = nn.Linear(4 * dim, dim)
    self.norm1 = nn.LayerNorm(dim)
    self.norm2 = nn.LayerNorm(dim)
    self.heads = heads

  def forward(self, x, positions=None):
    y = self.norm1(x)
    if positions is not None:
      y = y + positions
    attn, attend = self.self_attn, functional.scaled_dot_product_attention
    y = functional.linear(y, attn.in_proj_weight, attn.in_proj_bias)
    y = y.unflatten(-1, (3, self.heads, -1))
    q, k, v = y.permute(3, 0, 4, 2, 1, 5)  # [B heads N R D] each.
    v = attend(q, k, v)
    q, k, v = (part.transpose(2, 3) for part in (q, k, v))
    y = attend(q, k, v).permute(0, 2, 3, 1, 4).flatten(3)
    x = x + attn.out_proj(y)
    return x + self.linear2(functional.relu(self.linear1(self.norm2(x))))


class VidTr(nn.Module):
  """[B 3 T H W] -> [B K], of the one size that its tables have."""

  def __init__(self, num_classes, frames, side, dim=768, depth=12, heads=12):
    super().__init__()
    places = (side // 16) ** 2
    self.conv_stem = nn.Conv3d(3, dim, (1, 16, 16), (1, 16, 16))
    self.cls_s = normal(frames, 1, dim)
    self.cls_t = normal(1, 1 + places, dim)
    self.pos_embedding = normal(1, (1 + frames) * (1 + places), dim)
    layers = [VidTrLayer(dim, heads) for _ in range(depth)]
    self.encoder = Names(layers=nn.ModuleList(layers), norm=nn.LayerNorm(dim))
    self.fc = nn.Linear(dim, num_classes)

  def forward(self, x):
    x = self.conv_stem(x).flatten(3).permute(0, 2, 3, 1)  # [B T N C]
    x = torch.cat([self.cls_s.expand(len(x), -1, -1, -1), x], 2)
    x = torch.cat([self.cls_t.expand(len(x), 1, -1, -1), x], 1)
    positions = self.pos_embedding.view(1, *x.shape[1:])
    for i, layer in enumerate(self.encoder.layers):
      x = layer(x, None if i else positions)
    return self.fc(self.encoder.norm(x[:, 0, 0]))


def empty(*shape):
  return torch.empty(shape)


def normal(*shape):
  return nn.Parameter(nn.init.normal_(empty(*shape), std=0.02))


MODELS = ('video_swin_t', 'timesformer_b', 'vidtr_s')


def create(name: str, frames: int, side: int, num_classes: int) -> nn.Module:
  """Returns a model for clips of one size, under our name for it."""
  if name == 'video_swin_t':
    return VideoSwin(num_classes)
  kind = {'timesformer_b': TimeSformer, 'vidtr_s': VidTr}[name]
  return kind(num_classes, frames, side)


def our_options(name: str, frames: int, side: int) -> dict:
  """Returns options of ours that make it the same: tables, no dropout."""
  return {
    'video_swin_t': {'dropout': 0.0},
    'timesformer_b': {'frames': frames, 'size': side},
    'vidtr_s': {
      'clip_shape': (frames, side, side),
      'dropout': 0.0,
      'head_dropout': 0.0,
    },
  }[name] | {'drop_path_rate': 0.0}

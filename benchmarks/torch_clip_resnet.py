# SPDX-License-Identifier: Apache-2.0
"""SlowFast-R50 and I3D-R50 in PyTorch: to hold ours against.

Written from the papers' facts, with PySlowFast's names, so that the same
weights go into both. Clips are [B 3 T H W], made contiguous, which is a tenth
faster than channels-last; no dropout.
"""

import torch
from torch import nn
from torch.nn.functional import max_pool3d, relu

from benchmarks.torch_video import Names

DEPTH = (3, 4, 6, 3)
ALPHA, BETA, FUSION = 4, 8, 7  # Of SlowFast 8x8.


def conv(dim_in, dim, size, stride=(1, 1, 1)):
  pad = tuple(side // 2 for side in size)
  return nn.Conv3d(dim_in, dim, size, stride, pad, bias=False)


class Stem(nn.Module):
  """[B 3 T H W] -> [B C T H/4 W/4]."""

  def __init__(self, dim, time):
    super().__init__()
    self.conv = conv(3, dim, (time, 7, 7), (1, 2, 2))
    self.bn = nn.BatchNorm3d(dim)

  def forward(self, x):
    x = relu(self.bn(self.conv(x)), inplace=True)
    return max_pool3d(x, (1, 3, 3), (1, 2, 2), (0, 1, 1))


class Bottleneck(nn.Module):
  """[B I T H W] -> [B 4*dim T H/s W/s]."""

  def __init__(self, dim_in, dim, time, stride):
    super().__init__()
    strides = (1, stride, stride)
    self.branch2 = Names(
      a=conv(dim_in, dim, (time, 1, 1)),
      a_bn=nn.BatchNorm3d(dim),
      b=conv(dim, dim, (1, 3, 3), strides),
      b_bn=nn.BatchNorm3d(dim),
      c=conv(dim, 4 * dim, (1, 1, 1)),
      c_bn=nn.BatchNorm3d(4 * dim),
    )
    self.branch1 = None
    if stride > 1 or dim_in != 4 * dim:
      self.branch1 = conv(dim_in, 4 * dim, (1, 1, 1), strides)
      self.branch1_bn = nn.BatchNorm3d(4 * dim)

  def forward(self, x):
    inner = self.branch2
    y = relu(inner.a_bn(inner.a(x)), inplace=True)
    y = relu(inner.b_bn(inner.b(y)), inplace=True)
    y = inner.c_bn(inner.c(y))
    if self.branch1 is not None:
      x = self.branch1_bn(self.branch1(x))
    return relu(x + y, inplace=True)


def stage(number, widths, dims, times):
  """Returns the blocks of a stage, of every path, under their names."""
  blocks = Names()
  for path, (dim_in, dim) in enumerate(zip(widths, dims, strict=True)):
    for i in range(DEPTH[number]):
      stride = 2 if number and not i else 1
      time = times[path][i % len(times[path])]
      block = Bottleneck(4 * dim if i else dim_in, dim, time, stride)
      setattr(blocks, f'pathway{path}_res{i}', block)
  return blocks


def run(blocks, path, x):
  """Applies the blocks of a path."""
  for name, block in blocks.named_children():
    if name.startswith(f'pathway{path}_'):
      x = block(x)
  return x


class I3D(nn.Module):
  """[B 3 T H W] -> [B K]."""

  def __init__(self, num_classes):
    super().__init__()
    self.s1 = Names(pathway0_stem=Stem(64, 5))
    times = ((3,), (3, 1), (3, 1), (1, 3))
    width = 64
    for i in range(4):
      dim = 64 * 2**i
      setattr(self, f's{i + 2}', stage(i, (width,), (dim,), (times[i],)))
      width = 4 * dim
    self.head = Names(projection=nn.Linear(width, num_classes))

  def forward(self, x):
    x = self.s1.pathway0_stem(x.contiguous())
    for i in range(4):
      x = run(getattr(self, f's{i + 2}'), 0, x)
      if not i:
        x = max_pool3d(x, (2, 1, 1), (2, 1, 1))
    return self.head.projection(x.mean((2, 3, 4)))


class SlowFast(nn.Module):
  """[B 3 T H W] -> [B K]; T is that of the fast path."""

  def __init__(self, num_classes):
    super().__init__()
    self.s1 = Names(pathway0_stem=Stem(64, 1), pathway1_stem=Stem(8, 5))
    slow, fast = 64, 64 // BETA
    for i, time in enumerate((1, 1, 3, 3)):
      fuse = conv(fast, 2 * fast, (FUSION, 1, 1), (ALPHA, 1, 1))
      fuse = Names(conv_f2s=fuse, bn=nn.BatchNorm3d(2 * fast))
      setattr(self, f's{i + 1}_fuse', fuse)
      dim, widths = 64 * 2**i, (slow + 2 * fast, fast)
      blocks = stage(i, widths, (dim, dim // BETA), ((time,), (3,)))
      setattr(self, f's{i + 2}', blocks)
      slow, fast = 4 * dim, 4 * dim // BETA
    self.head = Names(projection=nn.Linear(slow + fast, num_classes))

  def forward(self, x):
    count = x.shape[2] // ALPHA
    frames = torch.arange(count) * (x.shape[2] - 1) // (count - 1)
    slow, fast = x[:, :, frames].contiguous(), x.contiguous()
    slow, fast = self.s1.pathway0_stem(slow), self.s1.pathway1_stem(fast)
    for i in range(4):
      fuse = getattr(self, f's{i + 1}_fuse')
      fused = relu(fuse.bn(fuse.conv_f2s(fast)), inplace=True)
      blocks = getattr(self, f's{i + 2}')
      slow = run(blocks, 0, torch.cat([slow, fused], 1))
      fast = run(blocks, 1, fast)
    x = torch.cat([slow.mean((2, 3, 4)), fast.mean((2, 3, 4))], 1)
    return self.head.projection(x)


MODELS = {'slowfast_r50': SlowFast, 'i3d_r50': I3D}


def create(name: str, num_classes: int) -> nn.Module:
  """Returns a model under our name for it."""
  return MODELS[name](num_classes)


def our_options(frames: int, side: int) -> dict:
  """Returns options of ours that make it the same for clips of one size."""
  window = 32 * -(-side // 32)  # The whole map.
  return {'clip_shape': (frames, window, window), 'dropout': 0.0}

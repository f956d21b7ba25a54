# SPDX-License-Identifier: Apache-2.0
"""Outputs of the parts of convolutional video models, by official name."""

from flax import nnx
import jax

from flatten_jax.models import (
  bn_inception,
  i3d,
  i3d_inception,
  motion_squeeze,
  slowfast,
  tdn,
  tsn,
  two_stream,
)
from flatten_jax.models.layers import pooling
from tests.support import official


def activations(model: nnx.Module, x: jax.Array) -> dict[str, jax.Array]:
  """Returns the outputs of parts of a model, by official name."""
  if isinstance(model, slowfast.SlowFast):
    return _slowfast(model, x)
  if isinstance(model, i3d.I3D):
    return _i3d(model, x)
  for kind, look in (
    (tdn.TDN, _tdn),
    (motion_squeeze.MotionSqueezeNet, _motion_squeeze),
    (i3d_inception.I3DInception, _i3d_inception),
    (two_stream.TwoStream, _two_stream),
  ):
    if isinstance(model, kind):
      return look(model, x)
  batch = x.shape[:2]
  image = (
    _bn_inception
    if isinstance(model, bn_inception.BNInception)
    else (
      lambda model, x: {
        f'base_model.{k}': v for k, v in official.activations(model, x).items()
      }
    )
  )
  seen = image(model, tsn.to_frames(x))
  return {k: tsn.to_clips(v, batch) for k, v in seen.items()}


def _bn_inception(model, x):
  stem = model.embeds[0]
  seen = {'conv1_7x7_s2_bn': stem.conv1.norm(stem.conv1.conv(x))}
  y = pooling.halve_by_max(stem.conv1(x))
  seen['pool2_3x3_s2_input'] = stem.conv2(stem.reduce(y))
  x = stem(x)
  for i, stage in enumerate(model.stages, start=3):
    for letter, block in zip('abcde', stage, strict=False):
      seen[f'inception_{i}{letter}_pool_input'] = x
      seen[f'inception_{i}{letter}_pool'] = block.pool(x)
      x = block(x)
  return seen


def _slowfast(model, x):
  seen = {}
  x = model.embeds[0](model.paths(x))
  for i, stage in enumerate(model.stages):
    x = model.fusions[i](x)
    for path in (0, 1):
      seen[f's{i + 1}_fuse.pathway{path}'] = x[path]
    for j, block in enumerate(stage):
      x = block(x)
      for path in (0, 1):
        seen[f's{i + 2}.pathway{path}_res{j}'] = x[path]
      seen[f's{i + 2}.pathway0_nonlocal{j}'] = x[0]
    for path in (0, 1):
      seen[f's{i + 2}.pathway{path}'] = x[path]
  return seen


def _i3d(model, x):
  seen = {}
  x = seen['s1'] = model.embeds[0](x)
  for i, stage in enumerate(model.stages):
    for j, block in enumerate(stage):
      x = block(x)
      groups = block.non_local.groups if block.non_local else 1
      folded = (len(x) * groups, x.shape[1] // groups, *x.shape[2:])
      seen[f's{i + 2}.pathway0_nonlocal{j}'] = x.reshape(folded)
    seen[f's{i + 2}'] = x
    if i == 0:
      x = seen['pathway0_pool'] = i3d.halve_frames(x)
  return seen


def _tdn(model, x):
  x = model.segments(x)
  stem = model.embeds[0]
  seen = {'base_model.conv1_5': stem.differences(x)}
  x, *near = stem(x)
  seen['base_model.resnext_layer1'] = near[1]
  x = seen['base_model.fused1'] = model.add(x, near[0])
  for i, stage in enumerate(model.stages, start=1):
    for j, block in enumerate(stage):
      if i > 1:
        name = f'base_model.layer{i}_bak.{j}'
        y = block.long_term(jax.nn.relu(block.norm1(block.conv1(x))))
        seen[f'{name}.mse'], seen[f'{name}.shift'] = y, block.shift(y)
      x = block(x)
    seen[f'base_model.layer{i}_bak'] = x
    if i == 1:
      x = model.add(x, near[1])
  return seen


def _motion_squeeze(model, x):
  seen = {}
  x = seen['base_model.maxpool'] = model.stem(x)
  for i, stage in enumerate(model.stages, start=1):
    for block in stage:
      x = block(x)
    seen[f'base_model.layer{i}'] = x
    if i == 2:
      y = jax.nn.relu(model.motion.norm(model.motion.reduce(x)))
      seen['base_model.chnl_reduction'] = y
      y = seen['base_model.matching_layer'] = model.motion.matches(x)
      y = motion_squeeze.displacement(y)
      seen['base_model.flow'] = y[..., :2]
      seen['base_model.confidence'] = y[..., 2:]
      x = seen['base_model.flow_refinement'] = model.motion(x)
  return seen


def _i3d_inception(model, x):
  stem = model.embeds[0]
  seen = {'Conv3d_1a_7x7': stem.conv1(x)}
  x = seen['Conv3d_2c_3x3'] = stem(x)
  for i, stage in enumerate(model.stages):
    size = i3d_inception._POOLS[i]
    x = i3d_inception.same_max_pool(x, size, (min(size[0], 2), 2, 2))
    for letter, block in zip('bcdef', stage, strict=False):
      x = seen[f'Mixed_{i + 3}{letter}'] = block(x)
  return seen


def _two_stream(model, x):
  first, (second,), rest = model.embeds[0], *model.stages
  seen = {'norm1': first.normed(x)}
  x = seen['pool1'] = first(x)
  seen['norm2'] = second.normed(x)
  x = seen['pool2'] = second(x)
  for i, layer in enumerate(rest, start=3):
    seen[f'conv{i}'], x = layer.conv(x), layer(x)
  seen['pool5'] = x
  seen['fc6'], seen['fc7'] = model.hidden(x)
  return seen

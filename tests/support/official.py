# SPDX-License-Identifier: Apache-2.0
"""Reads outputs of the official PyTorch models, from parity files.

Weights, images and cotangents are functions of names and shapes, so the files
hold only results: in float64, from weights and images in float32.
"""

import dataclasses
import math
import pathlib
import re
import zlib

from flax import nnx, traverse_util
import jax
import numpy as np

import flatten_jax as fj
from flatten_jax.models import efficientnet_lite, resnet, swin_v2
from flatten_jax.models.weights import key_names

# File -> the model and its options.
FILES = {
  'uniformer_small_2d_2x3x96x96': ('uniformer_s', {}),
  'uniformer_small_2d_1x3x224x224': ('uniformer_s', {}),
  'uniformer_xxs_2d_plain_2x3x96x96': ('uniformer_xxs', {}),
  'uniformer_xxs_2d_plain_1x3x160x160': ('uniformer_xxs', {}),
  'efficientnet_lite0_2x3x96x96': ('efficientnet_lite0', {'dropout': 0}),
  'efficientnet_lite0_1x3x224x224': ('efficientnet_lite0', {}),
  'resnet50_2x3x96x96': ('resnet50', {}),
  'resnet101_2x3x96x96': ('resnet101', {}),
  'swinv2_tiny_w6_2x3x192x192': ('swinv2_t', {'window': 6}),
  'swinv2_tiny_w8_2x3x256x256': ('swinv2_t', {}),
  'swinv2_tiny_w8_1x3x512x512': ('swinv2_t', {}),
  'swinv2_tiny_w16_1x3x256x256': ('swinv2_t', {'window': 16}),
  'swinv2_tiny_w16_1x3x512x512': ('swinv2_t', {'window': 16}),
  'swinv2_tiny_w16_pre8_1x3x512x512': (
    'swinv2_t',
    {'window': 16, 'pretrained_window': 8},
  ),
}
CLIP_FILES = {  # Of models that take clips.
  'uniformer_small_3d_2x3x8x64x64': ('uniformer3d_s', {}),
  'uniformer_xxs_3d_2x3x8x64x64': ('uniformer3d_xxs', {}),
}
# Position tables and class tokens of ViViT, VTN and VidTr.
TABLES = (
  'backbone.pos_embed',
  'position_embeddings.weight',
  'token_type_embeddings.weight',
  'pos_embedding',
  'cls_SpatialTransformer',
  'cls_TemporalTransformer',
  'cls_s',
  'cls_t',
)
# Kernels that are not of unit variance: the last of residual branches, and
# those of networks without any.
GAINS = (
  (r'(pos_embed|conv3|branch2\.c)\.weight$', 0.5),
  (r'conv_(theta|phi)\.weight$', 0.25),
  (r'conv_out\.weight$', 0.1),
  (r'conv3d\.weight$', 1.25),
  (r'^base_model\.(conv\d_\dx|inception_).*(?<!_bn)\.weight$', 1.35),
)
# Files that also hold results of training with batch statistics.
TRAINED = [file for file in FILES if file.endswith('96x96')]


@dataclasses.dataclass
class Case:
  """A model with the official weights, its input, and its true results."""

  model: nnx.Module
  images: np.ndarray  # [B H W 3]
  cotangent: np.ndarray  # [B K]; the loss is sum(logits * cotangent).
  truth: dict[str, np.ndarray]


def load(
  folder: pathlib.Path,
  file: str,
  dtype: str = 'float32',
  checkpoint: pathlib.Path | None = None,
) -> Case:
  """Loads the case of one file; the model computes in `dtype`.

  Its weights come from `fill`, or from a checkpoint.
  """
  truth, weights = read(folder, file)
  name, options = (FILES | CLIP_FILES)[file]
  model = fj.create_model(name, dtype=dtype, **options)
  report = fj.load_torch(model, checkpoint or weights)
  assert not report.left_at_init
  assert not report.dropped
  shape = tuple(map(int, file.rsplit('_', 1)[1].split('x')))
  cotangent = generator('cotangent', truth['logits'].shape)
  return Case(
    model,
    images(shape),
    cotangent.standard_normal(truth['logits'].shape),
    truth,
  )


def read(folder: pathlib.Path, file: str) -> tuple[dict, dict]:
  """Reads the results of a file, and the weights of its model."""
  truth = dict(np.load(folder / f'{file}.npz'))
  shapes = [
    tuple(map(int, text.split('x'))) if text else ()
    for text in truth['state_shapes']
  ]
  names = map(str, truth['state_names'])
  weights = {name: fill(name, s) for name, s in zip(names, shapes, strict=True)}
  if 'state_flax_shapes' in truth:
    for name, text in zip(weights, truth['state_flax_shapes'], strict=True):
      value = weights[name]
      if name.endswith('kernel'):
        value = np.moveaxis(value, (0, 1), (-1, -2))
      weights[name] = value.reshape(tuple(map(int, text.split('x'))))
  return truth, weights


def fill(name: str, shape: tuple[int, ...]) -> np.ndarray:
  """Returns the official weights of a name and shape of PyTorch."""
  rng = np.random.Generator(np.random.PCG64(zlib.crc32(name.encode())))
  if name.endswith('num_batches_tracked'):
    return np.zeros(shape, np.int64)
  if name.endswith('position_ids'):
    return np.broadcast_to(np.arange(shape[-1]), shape)
  if name.endswith('running_var'):
    return rng.uniform(0.5, 1.5, shape).astype(np.float32)
  noise = rng.standard_normal(shape)
  if name.endswith('logit_scale'):  # Some beyond the bound.
    return (math.log(10) + noise).astype(np.float32)
  if name.endswith(TABLES) or name == 'cls':
    return (0.5 * noise).astype(np.float32)
  if len(shape) == 1:
    shift = 1 if name.endswith(('.weight', '/scale')) else 0
    return (shift + 0.1 * noise).astype(np.float32)
  if name.endswith('cls_token'):
    return (0.5 * noise).astype(np.float32)
  noise = noise / math.sqrt(math.prod(shape[1:]))
  gain = next((gain for end, gain in GAINS if re.search(end, name)), 1)
  return (noise * gain).astype(np.float32)


def images(shape: tuple[int, ...]) -> np.ndarray:
  """Returns the official input: noise at three scales. [N C ...] -> [N ... C].

  The coarse noise has cells of 8 x 8 pixels, and of 2 frames.
  """
  rng = generator('input', shape)
  noise = rng.standard_normal(shape)
  cells = (2, 8, 8)[-len(shape[2:]) :]
  counts = (-(-n // cell) for n, cell in zip(shape[2:], cells, strict=True))
  coarse = rng.standard_normal((*shape[:2], *counts))
  for axis, cell in enumerate(cells, start=2):
    coarse = coarse.repeat(cell, axis=axis)
  coarse = coarse[tuple(map(slice, shape))]
  bias = rng.standard_normal(shape[:2])
  bias = np.expand_dims(bias, tuple(range(2, len(shape))))
  mixed = 0.5 * noise + 0.8 * coarse + 0.5 * bias
  return np.moveaxis(mixed.astype(np.float32), 1, -1)


def generator(tag: str, shape: tuple[int, ...]) -> np.random.Generator:
  """Returns the random numbers of a name and a shape."""
  text = f'{tag}:{"x".join(map(str, shape))}'
  return np.random.Generator(np.random.PCG64(zlib.crc32(text.encode())))


def translation(model: nnx.Module, names) -> dict[str, str]:
  """Returns PyTorch's name of a tensor -> ours."""
  ours = flat_state(model)
  translations = [
    {naming.official(name): name for name in ours}
    for naming in key_names.namings_of(model).values()
  ]
  translated = max(translations, key=lambda t: len(t.keys() & set(names)))
  return {str(n): translated[n] for n in names if n in translated}


def flat_state(model: nnx.Module) -> dict[str, np.ndarray]:
  """Returns parameters and running statistics by dotted names."""
  return flat(nnx.state(model, (nnx.Param, nnx.BatchStat)))


def in_names(model: nnx.Module, publisher: str) -> dict[str, np.ndarray]:
  """Returns a model's tensors in any names, also those of image models."""
  names, state = key_names.namings_of(model)[publisher], {}
  for name, value in flat_state(model).items():
    state |= names.to_theirs(name, value, model)
  return state


def flat(tree) -> dict[str, np.ndarray]:
  """Returns the arrays of a state by dotted names."""
  return {k: np.asarray(v) for k, v in flat_leaves(tree).items()}


def flat_leaves(tree) -> dict:
  """Returns the leaves of a state by dotted names, also shapes."""
  tree = traverse_util.flatten_dict(nnx.to_pure_dict(tree))
  return {'.'.join(map(str, k)): v for k, v in tree.items()}


def activations(model: nnx.Module, x: jax.Array) -> dict[str, jax.Array]:
  """Returns the outputs of all parts of a model, by official name."""
  seen = {}
  if isinstance(model, efficientnet_lite.EfficientNetLite):
    x = model.stem(x)
    for i, block in enumerate(block for s in model.stages for block in s):
      x = seen[f'_blocks.{i}'] = block(x)
    return seen
  if isinstance(model, resnet.ResNet):
    x = seen['maxpool'] = model.stem(x)
    for i, stage in enumerate(model.stages, start=1):
      for block in stage:
        x = block(x)
      seen[f'layer{i}'] = x
    return seen
  swin = isinstance(model, swin_v2.SwinV2)
  for i, (embed, stage) in enumerate(
    zip(model.embeds, model.stages, strict=True), start=0 if swin else 1
  ):
    x = seen[f'patch_embed{i or ""}'] = embed(x)
    for j, block in enumerate(stage):
      x = seen[f'blocks{i}.{j}'] = block(x)
    seen[f'layers.{i}'] = x
  seen['norm'] = model.norm(x)
  return seen


def points(x: np.ndarray) -> np.ndarray:
  """Returns values at three places of every map. [B (T) H W C] -> [B C 3]."""
  *frames, height, width = x.shape[1:-1]
  places = (0, width - 1), (height // 3, width // 4), (height - 1, 0)
  if frames:
    times = 0, frames[0] // 2, frames[0] - 1
    places = [(t, *place) for t, place in zip(times, places, strict=True)]
  return np.stack([x[:, *place] for place in places], axis=-1)


def assert_close(ours, theirs, rtol=1e-8, atol=1e-12, name=''):
  """Compares with official values; `atol` is a share of the largest of them."""
  atol *= np.abs(theirs).max()
  np.testing.assert_allclose(ours, theirs, rtol=rtol, atol=atol, err_msg=name)

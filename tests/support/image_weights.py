# SPDX-License-Identifier: Apache-2.0
"""Tiny checkpoints of image models, with which video models start."""

import numpy as np

from flatten_jax.models.weights import key_names
from tests.support import official


def vit(dim=16, layers=2, side=2, classes=7):
  """Returns an image ViT by timm's names; its table is of side x side."""
  shapes = {
    'cls_token': (1, 1, dim),
    'pos_embed': (1, 1 + side**2, dim),
    'patch_embed.proj.weight': (dim, 3, 16, 16),
    'patch_embed.proj.bias': (dim,),
    'norm.weight': (dim,),
    'norm.bias': (dim,),
    'head.weight': (classes, dim),
    'head.bias': (classes,),
  }
  for i in range(layers):
    for name, out, into in (
      ('attn.qkv', 3 * dim, dim),
      ('attn.proj', dim, dim),
      ('mlp.fc1', 4 * dim, dim),
      ('mlp.fc2', dim, 4 * dim),
    ):
      shapes[f'blocks.{i}.{name}.weight'] = (out, into)
      shapes[f'blocks.{i}.{name}.bias'] = (out,)
    for name in ('norm1', 'norm2'):
      shapes[f'blocks.{i}.{name}.weight'] = (dim,)
      shapes[f'blocks.{i}.{name}.bias'] = (dim,)
  return {name: official.fill(name, shape) for name, shape in shapes.items()}


def swin(model, publisher='swin'):
  """Returns an image Swin of the sizes of a Video Swin."""
  _, height, width = model.stages[0][0].attn.window
  names = key_names.namings_of(model)[publisher]
  state = {}
  for name, value in official.flat_state(model).items():
    for key, part in names.to_theirs(name, value, model).items():
      shape = part.shape
      if part.ndim == 5:
        shape = part[:, :, 0].shape
      if key.endswith('bias_table'):
        shape = ((2 * height - 1) * (2 * width - 1), shape[1])
      state[key] = official.fill(key, shape)
  return state


def google(vit, heads):
  """Returns a ViT of timm's names as Google's .npz files have it."""
  rules = (
    ('.', '/'),
    ('patch_embed/proj', 'embedding'),
    ('cls_token', 'cls'),
    ('pos_embed', 'Transformer/posembed_input/pos_embedding'),
    ('blocks/', 'Transformer/encoderblock_'),
    ('attn/', 'MultiHeadDotProductAttention_1/'),
    ('/proj', '/out'),
    ('mlp/fc1', 'MlpBlock_3/Dense_0'),
    ('mlp/fc2', 'MlpBlock_3/Dense_1'),
    ('norm1/', 'LayerNorm_0/'),
    ('norm2/', 'LayerNorm_2/'),
    ('norm/', 'Transformer/encoder_norm/'),
    ('/weight', '/kernel'),
  )
  state = {}
  for name, value in vit.items():
    for old, new in rules:
      name = name.replace(old, new)
    if 'LayerNorm' in name or 'encoder_norm' in name:
      name = name.replace('kernel', 'scale')
    if value.ndim == 2:
      value = value.T
    elif value.ndim == 4:
      value = value.transpose(2, 3, 1, 0)
    if '/qkv/' in name:
      parts = np.split(value, 3, axis=-1)
      for part, x in zip(('query', 'key', 'value'), parts, strict=True):
        key = name.replace('qkv', part)
        state[key] = x.reshape(*x.shape[:-1], heads, -1)
      continue
    if name.endswith('/out/kernel'):
      value = value.reshape(heads, -1, value.shape[-1])
    state[name] = value
  return state
